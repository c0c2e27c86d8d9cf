"""Scoring: one score for each path, whatever lies there, and the same one in whatever company."""

import csv
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from dfd.base.errors import ConfigError, DfdError
from dfd.base.types import CARD_KEY, Label, Status
from dfd.config.compose import predict_config
from dfd.faces.crop import Square
from dfd.faces.detect import build_detector
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import FaceWindow, WindowsEnd, WindowSettings
from dfd.models.files.card import read_card
from dfd.models.files.checkpoint import load_checkpoint
from dfd.scoring.aggregation import TrackAndVideoScores, WindowsByTrack, max_of_means
from dfd.scoring.detector import Detector
from dfd.scoring.look.stream import stream_windows
from dfd.scoring.options import check_numbers, detector_options, start_workers
from dfd.scoring.video.state import _Video
from dfd.video.encode import write_video
from tests.conftest import drawn_frames

FIXED = {"name": "fixed_box"}


@pytest.fixture(scope="module")
def detector(tiny_checkpoint: Path) -> Iterator[Detector]:
    with Detector.load(tiny_checkpoint, face_detector=FIXED, num_workers=2, device="cpu") as detector:
        yield detector


def windows_of(*arguments: Any) -> list[FaceWindow]:
    return [item for item in stream_windows(*arguments) if isinstance(item, FaceWindow)]


def test_a_video_alone_and_in_company_gets_the_same_score(
    detector: Detector, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(tiny_videos.parent.glob("*.mp4"))[:5]
    together = {score.path: score.prob_fake for score in detector.score_many(paths)}
    monkeypatch.setattr(detector, "batch_size", 1)
    alone = detector.score(paths[3])
    assert alone.prob_fake == pytest.approx(together[str(paths[3])], abs=1e-5)


def test_scores_are_the_same_to_the_last_digit_in_any_company_and_of_copies(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    paths = []
    for number, num_frames in enumerate((24, 70, 130)):  # some clips: fewer and more than a batch
        write_video(tmp_path / f"{number}.mp4", drawn_frames(number, num_frames=num_frames), fps=25)
        shutil.copy(tmp_path / f"{number}.mp4", tmp_path / f"{number}-copy.mp4")
        paths += [tmp_path / f"{number}.mp4", tmp_path / f"{number}-copy.mp4"]

    def scores(paths: list[Path], num_workers: int) -> dict[str, list[float]]:
        options = {"face_detector": FIXED, "device": "cpu", "batch_size": 4, "heatmaps": False}
        with Detector.load(tiny_checkpoint, num_workers=num_workers, tuned=True, **options) as detector:
            found = {Path(score.path).name: score for score in detector.score_many(paths)}
        return {name: [w.prob_fake for track in score.tracks for w in track.windows] for name, score in found.items()}

    together = scores(paths, 2)
    assert len({len(probs) for probs in together.values()}) == 3
    for number in range(3):
        assert together[f"{number}.mp4"] == together[f"{number}-copy.mp4"]
    assert scores(paths[::-1], 1) == together
    assert {name: probs for path in paths[2:4] for name, probs in scores([path], 1).items()} == {
        path.name: together[path.name] for path in paths[2:4]
    }


def test_batches_of_several_videos_give_the_scores_of_each_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    lengths = (24, 70, 40)
    for number, num_frames in enumerate(lengths):
        write_video(tmp_path / f"{number}.mp4", drawn_frames(number, num_frames=num_frames), fps=25)
    options: dict[str, Any] = {"face_detector": FIXED, "device": "cpu", "heatmaps": False, "batch_size": 7}
    found: list[list[float | None]] = []
    sizes: list[list[int]] = []
    for across_videos in (False, True):
        detector = Detector.load(tiny_checkpoint, across_videos=across_videos, **options)
        of_batch, noted = detector.prob_fake_batch, []

        def noting(
            frames: torch.Tensor, seconds: torch.Tensor, of_batch: Any = of_batch, noted: list[int] = noted
        ) -> list[float]:
            noted.append(len(frames))
            return list(of_batch(frames, seconds))

        detector.prob_fake_batch = noting  # type: ignore[method-assign]
        looks = build_detector(**detector.face_detector), detector.extraction, detector.windows
        videos = [(path := tmp_path / f"{n}.mp4", detector.begin(path), stream_windows(path, *looks)) for n in range(3)]
        scores: dict[int, float | None] = {}
        while len(scores) < len(videos):  # as from three workers, piece by piece
            for number, (_, video, pieces) in enumerate(videos):
                if number in scores:
                    continue
                item = next(pieces, None)
                if item is None:
                    scores[number] = detector.finished(video).prob_fake
                elif not isinstance(item, float):
                    detector.take(video, item)
        found.append([scores[number] for number in range(3)])
        sizes.append(noted)
    assert sum(sizes[0]) == sum(sizes[1])
    assert sizes[1].count(7) > sizes[0].count(7), "fuller batches"
    assert len(sizes[1]) <= len(sizes[0])
    assert found[1] == pytest.approx(found[0], abs=1e-5)


def test_progress_is_that_of_the_network_too(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "v.mp4", drawn_frames(1, num_frames=130), fps=25)
    monkeypatch.setattr(detector, "batch_size", 2)
    shares: list[float] = []
    computed: list[int] = []
    of_batch = detector.prob_fake_batch

    def noting(frames: torch.Tensor, seconds: torch.Tensor) -> list[float]:
        computed.append(len(shares))
        return of_batch(frames, seconds)

    monkeypatch.setattr(detector, "prob_fake_batch", noting)
    assert detector.score(tmp_path / "v.mp4", on_progress=lambda _, share: shares.append(share)).status is Status.OK
    assert len(computed) > 3
    assert all(0 <= share <= 1 for share in shares)
    assert max(shares[: computed[0]], default=0) <= 0.1, "looking for faces is a small part of it"
    assert shares[-1] > 0.5


def test_every_path_gets_one_score_and_bad_ones_no_verdict(
    detector: Detector, tiny_videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    good = tiny_videos.parent / "00.mp4"
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:500])
    paths = [good, tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "cut.mp4", tmp_path / "gone.mp4"]
    scores = {Path(score.path).name: score for score in detector.score_many(paths)}
    assert len(scores) == len(paths)
    assert scores["00.mp4"].status is Status.OK
    for name in ("text.mp4", "empty.mp4", "cut.mp4", "gone.mp4"):
        assert scores[name].status is (Status.MISSING if name == "gone.mp4" else Status.UNREADABLE)
        assert scores[name].label is None
        assert scores[name].prob_fake is None
        assert name in scores[name].message


def test_the_windows_cover_the_whole_video_and_name_their_times(detector: Detector, tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", drawn_frames(0, num_frames=200), fps=20)
    score = detector.score(tmp_path / "long.mp4")
    (track,) = score.tracks
    assert len(track.windows) == detector.windows.max_windows == score.num_windows
    assert score.num_windows_possible == 50
    assert score.message == "32 of 50 windows were looked at, evenly spaced (max_windows=32)"
    assert track.windows[0].start_seconds == 0
    assert track.windows[-1].end_seconds == pytest.approx(10.0)
    starts = [window.start_seconds for window in track.windows]
    assert starts == sorted(starts)
    assert np.diff(starts).max() < 2 * np.diff(starts).min()


def test_a_part_of_one_video_is_looked_at_in_full_and_the_next_video_as_before(
    detector: Detector, tmp_path: Path
) -> None:
    write_video(tmp_path / "long.mp4", drawn_frames(0, num_frames=200), fps=20)
    part = detector.score(tmp_path / "long.mp4", span=(5.0, 7.0), max_windows=None)
    assert part.tracks[0].windows[0].start_seconds == pytest.approx(5.0)
    assert 6.8 <= part.tracks[0].windows[-1].end_seconds <= 7.0
    assert (part.num_windows, part.message) == (10, "only the part 0:05-0:07 was looked at")
    assert detector.score(tmp_path / "long.mp4").num_windows == 32


def test_a_videos_probability_is_the_mean_over_windows(detector: Detector, tiny_videos: Path) -> None:
    score = detector.score(tiny_videos.parent / "01.mp4")
    means = [np.mean([window.prob_fake for window in track.windows]) for track in score.tracks]
    assert score.prob_fake == pytest.approx(max(means))
    is_fake = score.prob_fake >= detector.card.threshold
    # It was never shown to find any kind of fake, so a low score is no label.
    assert (score.label, score.confidence) == ((Label.FAKE, score.prob_fake) if is_fake else (None, None))


def test_a_score_says_what_was_scored_and_shows_it(detector: Detector, tiny_videos: Path) -> None:
    score = detector.score(tiny_videos.parent / "01.mp4")
    assert score.file is not None
    assert (score.file.width, score.file.height, score.file.num_frames) == (96, 96, 24)
    assert score.file.sha256 == hashlib.sha256((tiny_videos.parent / "01.mp4").read_bytes()).hexdigest()
    assert score.thumbnail is not None
    assert score.thumbnail.shape == (96, 96, 3)
    assert {"decode", "detect", "crop", "network"} <= score.seconds_by_stage.keys()
    (track,) = score.tracks
    best = sorted((window.prob_fake for window in track.windows), reverse=True)
    assert [moment.prob_fake for moment in score.moments] == best[:3]
    for moment in score.moments:
        window = track.windows[moment.window]
        assert window.prob_fake == moment.prob_fake
        assert window.start_seconds <= moment.seconds < window.end_seconds
        assert moment.crop.shape == (64, 64, 3)


def test_too_near_to_the_threshold_is_uncertain_and_no_verdict(tiny_checkpoint: Path, tiny_videos: Path) -> None:
    path = tiny_videos.parent / "01.mp4"
    with Detector.load(tiny_checkpoint, face_detector=FIXED, num_workers=1) as detector:
        prob = detector.score(path).prob_fake
    assert prob is not None
    for threshold, expected in ((prob, "uncertain"), (prob / 2, "fake"), (1 - (1 - prob) / 2, "uncertain")):
        options = {"threshold": threshold, "uncertain_margin": 0.05, "face_detector": FIXED, "num_workers": 1}
        with Detector.load(tiny_checkpoint, **options) as detector:
            score = detector.score(path)
        assert str(score.verdict) == expected
        assert score.label is (None if threshold > prob else Label.FAKE)
        assert ("nothing found, but" in score.message) == (threshold > prob)
        assert score.tracks[0].verdict is score.verdict


def test_the_way_from_windows_to_the_video_can_be_chosen_or_given(tiny_checkpoint: Path, tiny_videos: Path) -> None:
    def least(windows: WindowsByTrack) -> TrackAndVideoScores:
        return [min(probs) for probs in windows], min(map(min, windows))

    found = {}
    for way in ("max_of_means", "max_of_windows", least):
        options = {"face_detector": FIXED, "num_workers": 1, "aggregation": way}
        with Detector.load(tiny_checkpoint, **options) as detector:
            found[way] = detector.score(tiny_videos.parent / "01.mp4").prob_fake
    assert found[least] < found["max_of_means"] < found["max_of_windows"]
    with pytest.raises(ConfigError, match="aggregation=median is not one of max_of_means"):
        Detector.load(tiny_checkpoint, aggregation="median")


def test_progress_is_told_and_comes_to_the_end(detector: Detector, tiny_videos: Path) -> None:
    told: list[tuple[Path, float]] = []
    path = tiny_videos.parent / "01.mp4"
    detector.score(path, on_progress=lambda path, share: told.append((path, share)))
    assert {name for name, _ in told} == {path}
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_detector_at_work_refuses_other_videos(detector: Detector, tiny_videos: Path) -> None:
    paths = sorted(tiny_videos.parent.glob("*.mp4"))[:3]
    scores = detector.score_many(paths)
    first = next(scores)
    with pytest.raises(RuntimeError, match="is scoring other videos"):
        detector.score(paths[0])
    assert len({first.path, *(score.path for score in scores)}) == 3
    assert detector.score(paths[0]).status is Status.OK


def test_the_face_behind_the_verdict_is_among_those_that_are_kept() -> None:
    """However many faces with one more suspicious window came after it."""
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    video = _Video(Path("a.mp4"))

    def add(track: int, prob: float) -> None:
        window = FaceWindow(track, 0, 0.0, 1.0, (0.0, 0.5), crops, (0.0, 0.0, 1.0, 1.0))
        video.add(window, prob, seconds=0.0, num_kept=3, aggregation=max_of_means)

    for _ in range(10):
        add(0, 0.8)
    for track in range(1, 60):
        for prob in (0.9, *[0.1] * 9):
            add(track, prob)
    assert 0 in video.kept
    assert len(video.kept) <= 32


def test_workers_stay_for_the_next_video(detector: Detector, tiny_videos: Path) -> None:
    detector.score(tiny_videos.parent / "01.mp4")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    detector.score(tiny_videos.parent / "02.mp4")
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before


def test_a_plain_script_scores_a_video(tiny_checkpoint: Path, tiny_videos: Path, tmp_path: Path) -> None:
    """No Hydra, no current directory, no `if __name__ == "__main__":`."""
    video, script = tiny_videos.parent / "01.mp4", tmp_path / "script.py"
    root = Path(__file__).resolve().parents[2]
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(root)!r})\n"
        "from dfd import Detector\n"
        f"score = Detector.load({str(tiny_checkpoint)!r}).score({str(video)!r})\n"
        "print(score.status, 'hydra' in sys.modules, score.prob_fake)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok False 0.")


def test_faces_are_looked_for_as_in_training_unless_told_otherwise(tiny_checkpoint: Path) -> None:
    assert Detector.load(tiny_checkpoint).face_detector["name"] == "fixed_box"
    assert Detector.load(tiny_checkpoint, face_detector={"name": "mtcnn"}).face_detector["name"] == "mtcnn"


@pytest.mark.parametrize("num_frames", [1, 3, 4, 7])
def test_a_short_video_is_scored(detector: Detector, tmp_path: Path, num_frames: int) -> None:
    write_video(tmp_path / "short.mp4", drawn_frames(0, num_frames=num_frames), fps=25)
    score = detector.score(tmp_path / "short.mp4")
    assert score.status is Status.OK
    assert score.num_frames == min(num_frames, detector.card.clip_len)  # 7 frames hold one clip of 4


def test_a_video_without_a_face_is_not_called_real(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "plain.mp4", np.full((30, 120, 160, 3), 90, np.uint8), fps=25)
    detector = Detector.load(tiny_checkpoint, face_detector={"name": "mtcnn"}, num_workers=1)
    score = detector.score(tmp_path / "plain.mp4")
    assert score.status is Status.NO_FACE
    assert score.label is score.verdict is None
    assert score.thumbnail is not None
    assert score.file is not None


def test_prediction_cuts_the_same_crops_as_preprocessing(tiny_videos: Path, tmp_path: Path) -> None:
    from dfd.data.prepare.video import PreparationSettings, prepare_video
    from dfd.data.sources.manifest import read_manifest
    from dfd.data.store.folders import video_folder
    from dfd.video.decode import VideoReader

    extraction = ExtractionSettings(crop=Square(size=64))
    row = read_manifest(tiny_videos)[0]
    found = windows_of(row.path, build_detector("fixed_box"), extraction, WindowSettings(clip_len=24, max_windows=1))
    record = prepare_video(row, tmp_path, PreparationSettings(FIXED, extraction), build_detector("fixed_box"))
    with VideoReader(video_folder(tmp_path, row) / record.tracks[0].file) as reader:
        stored = reader.frames(range(24))
    difference = stored.astype(int) - found[0].crops.astype(int)
    assert np.abs(difference).mean() < 4  # the encoder's loss


def broken_files(shared_data: Path) -> dict[Path, list[str]]:
    with (shared_data / "broken" / "expected.csv").open() as file:
        expected = {row["file"]: row["expect"].split("-or-") for row in csv.DictReader(file)}
    # It ends between two frames, every counter is in order and all of its frames are sound: nothing tells of more.
    expected["ts.ts"] = ["partial", "ok"]
    return {shared_data / "broken" / name: statuses for name, statuses in expected.items()}


def test_every_file_of_the_broken_set_is_read_as_far_as_it_can_be(shared_data: Path) -> None:
    found = {}
    for path in (expected := broken_files(shared_data)):
        looked_for = build_detector("fixed_box"), ExtractionSettings(), WindowSettings(clip_len=1)
        try:
            *_, end = stream_windows(path, *looked_for)
            assert isinstance(end, WindowsEnd)
            found[path] = "partial" if end.partial else "ok"
        except DfdError as error:
            found[path] = str(error.status)
    assert {path.name: status for path, status in found.items() if status not in expected[path]} == {}


def test_scoring_the_broken_set_gives_every_file_its_status(tiny_checkpoint: Path, shared_data: Path) -> None:
    expected = broken_files(shared_data)
    detector = Detector.load(tiny_checkpoint, face_detector={"name": "mtcnn"}, num_workers=2)
    scores = {Path(score.path): score for score in detector.score_many(expected)}
    assert scores.keys() == expected.keys()
    assert {path.name: score.status for path, score in scores.items() if score.status not in expected[path]} == {}
    assert all((score.verdict is not None) == score.status.has_faces for score in scores.values())


def test_workers_started_ahead_import_what_the_card_says_and_are_taken_over(
    tiny_checkpoint: Path, tiny_videos: Path
) -> None:
    config = predict_config(str(tiny_checkpoint))
    with start_workers(config, [tiny_checkpoint], [tiny_videos]) as pool:
        assert pool.num_workers == 1
        detector = Detector.load(tiny_checkpoint, face_detector=FIXED, num_workers=1, device="cpu", pool=pool)
        assert detector.score(tiny_videos.parent / "00.mp4").status is Status.OK
        assert detector._pool is pool
        paths = sorted(tiny_videos.parent.glob("*.mp4"))[:2]
        detector.num_workers = 2
        assert {score.status for score in detector.score_many(paths)} == {Status.OK}
        assert detector._pool is not pool
        with pytest.raises(ValueError, match="closed"):  # its workers do not stay beside the new ones
            next(pool.map(print, ["any"]))
        detector.close()
        detector.close()
        assert detector.score(paths[0]).status is Status.OK
        detector.close()


def test_workers_that_are_not_kept_end_before_the_last_video_is_explained(
    tiny_checkpoint: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(tiny_checkpoint, face_detector=FIXED, num_workers=1, device="cpu")
    detector.keeps_workers = False
    pools: list[object] = []
    finished = Detector.finished

    def watched(self: Detector, video: Any) -> Any:
        pools.append(self._pool)
        return finished(self, video)

    monkeypatch.setattr(Detector, "finished", watched)
    paths = sorted(tiny_videos.parent.glob("*.mp4"))[:2]
    assert {score.status for score in detector.score_many(paths)} == {Status.OK}
    assert [pool is None for pool in pools] == [False, True]


def test_videos_begun_while_the_detector_loads_are_scored_as_ever(tiny_checkpoint: Path, tiny_videos: Path) -> None:
    paths = sorted(tiny_videos.parent.glob("*.mp4"))[:3]
    config = predict_config(str(tiny_checkpoint), ["num_workers=1", "window_stride=3"])
    options = detector_options(config)
    with Detector.load(tiny_checkpoint, **options) as detector:
        expected = {score.path: score.prob_fake for score in detector.score_many(paths)}
    with start_workers(config, [tiny_checkpoint], paths, begin=True) as pool:
        begun = [one.payload for _, _, one in pool._ahead]
        assert len(begun) == 2
        deadline = time.monotonic() + 60
        while not pool._inbox._clocks and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pool._inbox._clocks, "a worker looks at a video before there is a network"
        with Detector.load(tiny_checkpoint, **options, pool=pool) as detector:
            assert [one.payload for _, _, one in pool._ahead] == begun, "the detector's settings are the workers' own"
            found = {score.path: score.prob_fake for score in detector.score_many(paths)}
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_card_is_read_from_a_header_or_not_at_all(tiny_checkpoint: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny_checkpoint.read_bytes()[:100])
    assert read_card(tiny_checkpoint) == load_checkpoint(tiny_checkpoint)[0]
    assert read_card(damaged) is None
    save_file({"w": torch.zeros(2)}, tmp_path / "deep.safetensors", metadata={CARD_KEY: "[" * 100_000})
    assert read_card(tmp_path / "deep.safetensors") is None
    assert read_card(tmp_path / "missing.safetensors") is None
    assert read_card(tmp_path / "detector.ckpt") is None


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("aggregation=mean", "aggregation=mean is not one of"),
        ("threshold=50", "threshold must be in 0..1, got 50"),
        ("uncertain_margin=0.7", "uncertain_margin must be in 0..0.5"),
        ("prevalence=2", "prevalence must be above 0 and below 1, got 2"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_anything_is_loaded(option: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_numbers(predict_config("no-such-file.safetensors", [option]))
