"""A fake whose picture is the original's, encoded again, is told from one whose face was changed."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from dfd.base.errors import DfdError, UnreadableVideo
from dfd.base.types import FrameArray, Label
from dfd.data.demo.faces import Portrait
from dfd.data.demo.person import Person
from dfd.data.demo.scenes import Format, Scene, Swap
from dfd.data.prepare.audio_only import DEFAULT_THRESHOLD, PairVerdict, compare_with_originals, picture_difference
from dfd.data.sources.row import VideoRow
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video

FORM = Format(seconds=0.8)


def as_frames(pictures: list[np.ndarray]) -> FrameArray:
    return np.stack([np.clip(np.rint(picture), 0, 255).astype(np.uint8) for picture in pictures])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.compose([portrait(0)], FORM, np.random.default_rng(1))


def portrait(number: int) -> Portrait:
    return Portrait(Person.invent(np.random.default_rng(number)))


@pytest.fixture(scope="module")
def frames(scene: Scene) -> FrameArray:
    return as_frames(list(scene.frames()))


@pytest.fixture(scope="module")
def original(frames: FrameArray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio_only") / "original.mp4"
    write_video(path, frames, fps=25, crf=18, pixel_format="yuv420p")
    return path


@pytest.fixture(scope="module")
def swapped(frames: FrameArray, scene: Scene, original: Path) -> Path:
    swap = Swap.between(scene.actors[0].portrait, portrait(5), FORM, np.random.default_rng(2))
    forged = [swap.apply(frame.astype(np.float32), scene, scene.actors[0], i) for i, frame in enumerate(frames)]
    path = original.with_name("swapped.mp4")
    write_video(path, as_frames(forged), fps=25, crf=18, pixel_format="yuv420p")
    return path


def encode_again(path: Path, target: Path, *, crf: int, start: int = 0, stop: int | None = None) -> Path:
    with VideoReader(path) as reader:
        frames = reader.frames(range(reader.num_frames))[start:stop]
    write_video(target, frames, fps=25, crf=crf, pixel_format="yuv420p", keyframe_interval=250)
    return target


def fake(path: Path, original: str = "original.mp4") -> VideoRow:
    return VideoRow(path, path.name, Label.FAKE, "drawn", "sound", extra={"original": original})


@pytest.mark.parametrize("crf", [10, 18, 23, 28, 34])
def test_a_picture_encoded_again_stays_below_the_threshold(original: Path, tmp_path: Path, crf: int) -> None:
    assert picture_difference(encode_again(original, tmp_path / "a.mp4", crf=crf), original) < DEFAULT_THRESHOLD / 1.5


def test_a_video_does_not_differ_from_itself(original: Path) -> None:
    assert picture_difference(original, original) < 0.01


def test_a_swapped_face_is_above_the_threshold(original: Path, swapped: Path) -> None:
    assert picture_difference(swapped, original) > DEFAULT_THRESHOLD


def test_a_change_of_one_part_in_a_hundred_is_above_the_threshold(
    frames: FrameArray, original: Path, tmp_path: Path
) -> None:
    changed = frames.copy()
    changed[:, 100:124, 140:172] //= 2
    write_video(tmp_path / "a.mp4", changed, fps=25, crf=28, pixel_format="yuv420p")
    assert picture_difference(tmp_path / "a.mp4", original) > DEFAULT_THRESHOLD


def test_a_change_in_a_few_frames_is_found(frames: FrameArray, original: Path, tmp_path: Path) -> None:
    changed = frames.copy()
    changed[6:10, 100:124, 140:172] //= 2
    write_video(tmp_path / "a.mp4", changed, fps=25, crf=28, pixel_format="yuv420p")
    assert picture_difference(tmp_path / "a.mp4", original) > DEFAULT_THRESHOLD


def test_which_video_comes_first_does_not_matter(original: Path, swapped: Path) -> None:
    assert picture_difference(swapped, original) == pytest.approx(picture_difference(original, swapped), rel=1e-6)


def test_of_videos_that_differ_in_length_the_common_frames_are_compared(
    original: Path, swapped: Path, tmp_path: Path
) -> None:
    shorter = encode_again(original, tmp_path / "a.mp4", crf=23, stop=13)
    assert picture_difference(shorter, original) < DEFAULT_THRESHOLD < picture_difference(shorter, swapped)


def test_frames_out_of_step_are_no_copy(frames: FrameArray, original: Path, tmp_path: Path) -> None:
    moving = np.stack([np.roll(frame, 6 * index, axis=1) for index, frame in enumerate(frames)])
    write_video(tmp_path / "a.mp4", moving, fps=25, crf=18)
    write_video(tmp_path / "b.mp4", moving[3:], fps=25, crf=18)
    assert picture_difference(tmp_path / "a.mp4", tmp_path / "b.mp4") > DEFAULT_THRESHOLD


def test_another_colour_matrix_does_not_hide_a_copy(frames: FrameArray, original: Path, tmp_path: Path) -> None:
    # Converted by one matrix and, for want of a tag, read by another: skin shifts by several levels.
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = FORM.width, FORM.height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            for packet in stream.encode(picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert np.abs(reader.frames([3])[0].mean((0, 1)) - frames[3].mean((0, 1))).max() > 1
    assert picture_difference(tmp_path / "a.mp4", original) < DEFAULT_THRESHOLD / 1.5


def test_a_picture_of_another_size_is_scaled_and_one_of_another_aspect_differs_infinitely(
    frames: FrameArray, original: Path, tmp_path: Path
) -> None:
    halves = frames.reshape(len(frames), FORM.height // 2, 2, FORM.width // 2, 2, 3).mean((2, 4)).astype(np.uint8)
    write_video(tmp_path / "half.mp4", halves, fps=25)
    write_video(tmp_path / "cut.mp4", frames[:, :, 40:], fps=25)
    assert picture_difference(tmp_path / "half.mp4", original) < DEFAULT_THRESHOLD
    assert picture_difference(tmp_path / "cut.mp4", original) == float("inf")


def test_a_video_that_cannot_be_read_is_an_error(original: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UnreadableVideo, match=r"text\.mp4"):
        picture_difference(tmp_path / "text.mp4", original)


def test_verdicts_are_in_the_order_of_the_rows_and_an_unreadable_pair_is_one_with_a_message(
    original: Path, swapped: Path, tmp_path: Path
) -> None:
    copy = encode_again(original, tmp_path / "copy.mp4", crf=28)
    (tmp_path / "text.mp4").write_text("no video")
    rows = [fake(tmp_path / "text.mp4"), fake(swapped), fake(copy), fake(tmp_path / "gone.mp4")]
    told: list[PairVerdict] = []
    cache = tmp_path / "store" / "audio_only.csv"
    verdicts = compare_with_originals(rows, {"original.mp4": original}, cache, num_workers=2, on_pair=told.append)
    assert [(verdict.name, verdict.original) for verdict in verdicts] == [(row.name, "original.mp4") for row in rows]
    assert sorted(told, key=repr) == sorted(verdicts, key=repr)
    text, forged, copied, gone = verdicts
    assert text.difference is None
    assert "text.mp4: not a video" in text.message
    assert gone.difference is None
    assert "gone.mp4: no such file" in gone.message
    assert forged.difference == picture_difference(swapped, original)
    assert copied.difference == picture_difference(copy, original)
    # What could not be compared is tried again, so the cache does not hold it.
    assert len(cache.read_text().splitlines()) == 3


@pytest.fixture
def measure(original: Path, tmp_path: Path) -> Callable[[], list[float | None]]:
    """Compare two copies, with a cache; the cached results are of a kind that no measurement gives."""
    rows = [fake(encode_again(original, tmp_path / f"{name}.mp4", crf=28)) for name in ("one", "two")]
    cache = tmp_path / "cache.csv"

    def run() -> list[float | None]:
        verdicts = compare_with_originals(rows, {"original.mp4": original}, cache, num_workers=1)
        return [verdict.difference for verdict in verdicts]

    run()
    header, first, second = cache.read_text().splitlines()
    marked = [line.rsplit(",", 1)[0] + ",-1.5" for line in (first, second)]
    cache.write_text("\n".join([header, *marked, ""]))
    return run


def test_what_the_cache_holds_is_not_measured_again(measure: Callable[[], list[float | None]]) -> None:
    assert measure() == [-1.5, -1.5]


def test_a_line_that_was_cut_off_is_measured_again(measure: Callable[[], list[float | None]], tmp_path: Path) -> None:
    cache = tmp_path / "cache.csv"
    cache.write_text(cache.read_text()[:-2])  # -1.5 is now -1.
    first, second = measure()
    assert {first, second} > {-1.5}
    assert -1.0 not in (first, second)
    assert measure() == [first, second]
    assert len(cache.read_text().splitlines()) == 3


def test_a_file_of_another_size_is_measured_again(
    measure: Callable[[], list[float | None]], original: Path, tmp_path: Path
) -> None:
    encode_again(original, tmp_path / "two.mp4", crf=40)
    first, second = measure()
    assert first == -1.5
    assert second is not None
    assert second > 0


def test_results_of_another_number_of_frames_are_not_used(
    measure: Callable[[], list[float | None]], tmp_path: Path
) -> None:
    cache = tmp_path / "cache.csv"
    header, *lines = cache.read_text().splitlines()
    others = [",".join([version, "3", *cells]) for version, _, *cells in (line.split(",") for line in lines)]
    cache.write_text("\n".join([header, *others, ""]))
    assert -1.5 not in measure()


def test_a_file_that_is_no_cache_is_refused(original: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.csv").write_text("path,label\na.mp4,real\n")
    with pytest.raises(DfdError, match=r"cache\.csv: is not a list of compared videos"):
        compare_with_originals([fake(original)], {"original.mp4": original}, tmp_path / "cache.csv")


@pytest.mark.parametrize(
    ("forged", "real"),
    [
        pytest.param("dev_002.mp4", "dev_001.mp4", id="NeuralTextures"),
        pytest.param("dev_013.mp4", "dev_033.mp4", id="Deepfakes"),
        pytest.param("dev_025.mp4", "dev_004.mp4", id="FaceSwap"),
        pytest.param("dev_021.webm", "dev_003.webm", id="GHOST"),
    ],
)
def test_real_fakes_differ_from_their_originals_and_copies_do_not(
    shared_data: Path, tmp_path: Path, forged: str, real: str
) -> None:
    videos = shared_data / "dev" / "videos"
    with VideoReader(videos / real) as reader:
        frames = reader.frames(range(24))
    write_video(tmp_path / "original.mp4", frames, fps=25, crf=10)
    write_video(tmp_path / "copy.mp4", frames, fps=25, crf=34, pixel_format="yuv420p", preset="veryfast")
    copied = picture_difference(tmp_path / "copy.mp4", tmp_path / "original.mp4")
    assert copied < DEFAULT_THRESHOLD < picture_difference(videos / forged, videos / real)
    assert picture_difference(videos / forged, videos / real) > 2 * copied
