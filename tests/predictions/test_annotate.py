"""The annotated video: all of the source's frames and sound, and on them what was scored, no more."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from dfd.base.errors import UnreadableVideo
from dfd.base.types import DetectorScore, Label, Status, TrackScore, Verdict, VideoScore, WindowScore
from dfd.predictions.annotate.captions import VERDICT_COLORS
from dfd.predictions.annotate.face import Rules, voices_of
from dfd.predictions.annotate.still import annotate_still
from dfd.predictions.annotate.video import annotate_video
from dfd.predictions.rows import json_of
from dfd.scoring.aggregation import verdict
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter, write_video
from dfd.video.sound import SoundCopy
from tests.conftest import drawn_frames
from tests.video.patterns import draw, number_of
from tests.video.test_pictures import joined

BOX = (200.0, 120.0, 320.0, 260.0)


def scored(*windows: tuple[float, float, float], track: int = 0, prob: float = 0.93) -> VideoScore:
    parts = tuple(WindowScore(*window, BOX) for window in windows)
    tracks = (TrackScore(track, prob, Verdict.FAKE, parts),)
    return VideoScore("video", Status.OK, Verdict.FAKE, Label.FAKE, prob, prob, 1, model="tiny@0123", tracks=tracks)


def everywhere(num_frames: int, box: tuple[float, ...] = BOX, track: int = 0) -> dict:
    return {track: (np.arange(num_frames), np.tile(np.float32(box), (num_frames, 1)))}


def annotate(source: Path, target: Path, score: VideoScore | None = None, boxes: dict | None = None, **options):
    rules = options.pop("rules", Rules(0.5))
    return annotate_video(source, target, score or scored((0, 1, 0.93)), boxes or {}, rules=rules, **options)


def frames_of(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        assert reader.partial is None
        return reader.frames(range(reader.num_frames))


def codecs_of(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {stream.type: stream.codec_context.name for stream in container.streams}


def sine(path: Path, codec: str, *, seconds: float = 2.0) -> Path:
    """A file with a tone and a video of 50 patterns."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono")
        kind = sound.codec_context.format.name
        for number in range(round(25 * seconds)):
            picture = av.VideoFrame.from_ndarray(np.full((96, 160, 3), 4 * number, np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(video.encode(picture))
            time = (number * rate // 25 + np.arange(rate // 25)) / rate
            wave = 0.5 * np.sin(2 * np.pi * 440 * time)[None]
            scale, dtype = {"flt": (1, np.float32), "s16": (2**15, np.int16), "s32": (2**31, np.int32)}[
                kind.rstrip("p")
            ]
            samples = (wave * scale).astype(dtype)
            tone = av.AudioFrame.from_ndarray(samples, format=kind, layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = rate, number * rate // 25, Fraction(1, rate)
            container.mux(sound.encode(tone))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def heard(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])


def test_every_frame_is_there_at_its_time(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=40)
    done = annotate(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert done.num_frames == 40
    assert done.message == ""
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert reader.num_frames == 40
        assert reader.info.duration_seconds == pytest.approx(1.6)
        assert reader.fps == pytest.approx(25)
        frames = reader.frames(range(40))
        assert reader.timestamps(range(40)) == pytest.approx([index / 25 for index in range(40)])
    assert [number_of(frame[:360]) for frame in frames] == list(range(40))


def test_a_variable_frame_rate_is_kept(tmp_path):
    times = [0, 40, 200, 210, 700, 1200]
    draw(tmp_path / "a.mkv", size=(640, 360), num_frames=6, timestamps=times)
    annotate(tmp_path / "a.mkv", tmp_path / "b.mp4")
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert reader.timestamps(range(6)) == pytest.approx([time / 1000 for time in times], abs=0.002)


def test_the_box_is_where_the_face_is_and_the_rest_as_it_was(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=10)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes=everywhere(10))
    before, after = frames_of(tmp_path / "a.mp4")[5].astype(int), frames_of(tmp_path / "b.mp4")[5].astype(int)
    change = np.abs(after[:360, :640] - before).max(axis=-1)
    assert np.median(change[190, 198:203]) > 30  # the left edge, at half its height
    assert np.median(change[258:263, 260]) > 30  # the lower edge
    untouched = np.ones((360, 640), bool)
    untouched[70:270, 190:620] = False  # the box and, above it, the label
    assert np.percentile(change[untouched], 99) < 20  # the encoder's loss
    inside = change[140:240, 220:300]
    assert np.percentile(inside, 99) < 20
    assert change[80:115, 200:330].mean() > 30  # the label


def box_is_drawn(frame: np.ndarray, before: np.ndarray, *, at: tuple[int, int]) -> bool:
    y, x = at
    change = np.abs(frame[:360, :640].astype(int) - before.astype(int)).max(axis=-1)
    return bool(change[y - 2 : y + 3, x - 2 : x + 3].max() > 60)


def test_between_frames_looked_at_the_box_moves_and_over_a_long_gap_there_is_none(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=60)
    boxes = np.float32([[100, 200, 160, 260], [200, 200, 260, 260], [200, 200, 260, 260]])
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes={0: (np.array([0, 10, 50]), boxes)})
    before, after = frames_of(tmp_path / "a.mp4"), frames_of(tmp_path / "b.mp4")
    corner = (260, 150)  # the lower left corner of the box halfway
    assert box_is_drawn(after[5], before[5], at=corner)
    assert not box_is_drawn(after[10], before[10], at=corner)
    assert box_is_drawn(after[10], before[10], at=(260, 200))
    assert not box_is_drawn(after[30], before[30], at=(260, 200))  # 1.6 seconds between two looks
    assert not box_is_drawn(after[55], before[55], at=(260, 200))  # never beyond the track


def test_only_a_frame_within_a_window_has_a_closed_box(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=50)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", scored((0, 0.4, 0.93)), everywhere(50))
    before, after = frames_of(tmp_path / "a.mp4"), frames_of(tmp_path / "b.mp4")
    middle, corner = (190, 200), (258, 202)
    assert box_is_drawn(after[5], before[5], at=middle)
    assert not box_is_drawn(after[30], before[30], at=middle)
    assert box_is_drawn(after[30], before[30], at=corner)


def nearest_verdict(frame: np.ndarray) -> Verdict:
    """Verdict in whose colour the label above the box is written."""
    label = frame[96:114, 315:480].reshape(-1, 3).astype(int)
    colorful = label[np.argsort(np.ptp(label, axis=1))[-100:]]
    color = np.median(colorful, axis=0)
    return min(VERDICT_COLORS, key=lambda verdict: np.abs(color - VERDICT_COLORS[verdict]).sum())


@pytest.mark.parametrize("clip_len", [1, 2])
@pytest.mark.parametrize("name", ["a.mp4", "late.ts"])
def test_every_frame_shows_the_score_that_its_own_window_has_in_the_records(tmp_path, clip_len, name):
    """Windows follow each other, as with ``max_windows=null``, so that each begins where another ends."""
    num_frames = 40
    source = draw(tmp_path / name, size=(640, 360), num_frames=num_frames)  # the clock of late.ts begins at 1.4 s
    probs = [0.95, 0.05, 0.5]
    with VideoReader(source) as reader:
        times = reader.clock_seconds(range(num_frames))
    starts = range(0, num_frames, clip_len)
    windows = [
        (times[start], times[min(start + clip_len, num_frames) - 1] + 1 / 25, probs[number % 3])
        for number, start in enumerate(starts)
    ]
    annotate(source, tmp_path / "b.mp4", scored(*windows), everywhere(num_frames), rules=Rules(0.5, 0.1))
    value = json_of(scored(*windows))
    for index, frame in enumerate(frames_of(tmp_path / "b.mp4")):
        covering = [
            window
            for window in value["tracks"][0]["windows"]
            if window["start_seconds"] <= times[index] + 1e-6 and times[index] + 1e-6 < window["end_seconds"]
        ]
        expected = verdict(covering[-1]["prob_fake"], threshold=0.5, margin=0.1)
        assert nearest_verdict(frame) is expected, index


def texts_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is written into pictures from now on."""
    texts: list[str] = []
    written = ImageDraw.ImageDraw.text

    def keep(self, xy, text, *args, **kwargs):
        texts.append(text)
        return written(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", keep)
    return texts


def test_a_still_of_it_keeps_its_meaning(tmp_path, monkeypatch):
    """Words that mean something stand before each score: no "REAL 17 %", which reads as the opposite."""
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2)
    texts = texts_of(monkeypatch)
    low = replace(scored((0, 1, 0.06), prob=0.17), verdict=Verdict.REAL)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", low, everywhere(2))
    assert "no sign found · score 0.17" in texts
    assert "no sign found · score 0.06" in texts
    assert "appearance 1" in texts
    assert not any(word in text for text in texts for word in ("%", "REAL", "real"))


def test_what_must_be_said_beside_the_scores_is_in_every_frame(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2)
    texts = texts_of(monkeypatch)
    caveat = "It was trained on drawn faces only, and nothing should depend on what it says of real ones."
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", rules=Rules(0.5, caveat=caveat))
    annotate(tmp_path / "a.mp4", tmp_path / "c.mp4")
    lines = [text for text in texts if "nothing should depend" in text or "trained on drawn" in text]
    assert " ".join(lines) == caveat
    with_caveat, without = frames_of(tmp_path / "b.mp4"), frames_of(tmp_path / "c.mp4")
    assert with_caveat.shape[1] > without.shape[1]
    rows = with_caveat[1, without.shape[1] :].astype(int)
    assert (rows.max(axis=(1, 2)) > 120).any()


def test_a_caveat_that_is_too_long_ends_in_an_ellipsis(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=1)
    texts = texts_of(monkeypatch)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", rules=Rules(0.5, caveat="word " * 500))
    lines = [text for text in texts if text.startswith("word")]
    assert len(lines) == 4
    assert [text.endswith("…") for text in lines] == [False, False, False, True]


def test_a_detector_without_verdicts_shows_scores_without_words_for_them(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2)
    texts = texts_of(monkeypatch)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", scored((0, 1, 0.93)), everywhere(2), rules=Rules(None))
    assert "cannot tell · score 0.93" in texts
    assert not any("signs of a fake" in text for text in texts)


def test_several_detectors_stand_side_by_side(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=50)
    texts = texts_of(monkeypatch)
    first, second = scored((0, 2, 0.93)), scored((0, 1, 0.07), (1, 2, 0.6))
    parts = (
        DetectorScore("one@0123", Status.OK, 0.93, Verdict.FAKE, 1, first.tracks),
        DetectorScore("two@4567", Status.OK, 0.34, None, 2, second.tracks),
    )
    score = replace(first, detectors=parts)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", score, everywhere(50), rules=Rules(0.5))
    annotate(tmp_path / "a.mp4", tmp_path / "c.mp4", first, everywhere(50))
    assert {"one: signs of a fake · score 0.93", "two: cannot tell · score 0.34"} <= set(texts)
    assert {"one 0.93", "two 0.07", "two 0.60"} <= set(texts)
    assert frames_of(tmp_path / "b.mp4").shape[1] > frames_of(tmp_path / "c.mp4").shape[1], "a time line for each"


def test_an_appearance_that_does_not_count_is_grey_and_says_so(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=4)
    texts = texts_of(monkeypatch)
    (track,) = scored((0, 1, 0.9)).tracks
    score = replace(scored((0, 1, 0.9)), tracks=(replace(track, weak="short and cut off"),))
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", score, everywhere(4))
    assert "does not count · score 0.90" in texts
    edge = frames_of(tmp_path / "b.mp4")[1].astype(int)[259:262, 202:215].reshape(-1, 3)
    assert np.ptp(edge.mean(axis=0)) < 60


def test_a_label_lies_on_no_other_face_where_there_is_room(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2)
    left, right = (10.0, 140.0, 60.0, 220.0), (200.0, 60.0, 320.0, 200.0)
    boxes = {**everywhere(2, left, track=0), **everywhere(2, right, track=1)}
    score = replace(scored((0, 1, 0.9)), tracks=scored((0, 1, 0.1)).tracks + scored((0, 1, 0.9), track=1).tracks)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", score, boxes)
    before, after = frames_of(tmp_path / "a.mp4")[1].astype(int), frames_of(tmp_path / "b.mp4")[1].astype(int)
    inside = np.abs(after[75:185, 215:305] - before[75:185, 215:305])
    assert np.percentile(inside, 99) < 20, "the right face is seen"


def test_a_face_that_was_not_scored_is_drawn_grey(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=4)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", scored((0, 1, 0.9)), everywhere(4, track=7))
    after = frames_of(tmp_path / "b.mp4")[1].astype(int)
    edge = after[259:262, 202:215].reshape(-1, 3)
    assert np.ptp(edge.mean(axis=0)) < 60


def test_the_time_line_shows_the_position_and_when_it_is_suspicious(tmp_path):
    write_video(tmp_path / "a.mp4", np.full((50, 360, 640, 3), 90, np.uint8), fps=25)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", scored((0, 0.5, 0.95), (1.5, 2.0, 0.95)), everywhere(5))
    frames = frames_of(tmp_path / "b.mp4").astype(int)
    strip = frames[:, 360:]
    red = (strip[25, :, :, 0] - strip[25, :, :, 2]).max(axis=0) > 100
    assert red[60:140].mean() > 0.8  # 0 to 0.5 s
    assert red[500:600].mean() > 0.8
    assert not red[330:460].any()
    playhead = [(strip[index].min(axis=-1) > 200).sum(axis=0)[:640].argmax() for index in (2, 25, 48)]
    assert playhead == sorted(playhead)
    assert playhead[1] == pytest.approx(320, abs=15)


def test_the_picture_is_at_most_as_large_as_asked_for(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=3)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes=everywhere(3), max_side=500)
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert reader.width == 500
        assert 281 < reader.height < 400


@pytest.mark.parametrize("side", [(97, 61), (481, 321), (16, 16)])
def test_odd_and_small_sizes_are_drawn(tmp_path, side):
    width, height = side
    frames = drawn_frames(0, num_frames=3, side=max(side) + 8)[:, :height, :width]
    write_video(tmp_path / "a.mp4", frames, fps=25)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes=everywhere(3, (2, 2, 14, 12)))
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert reader.width % 2 == reader.height % 2 == 0
        assert reader.width >= 480
        assert reader.num_frames == 3
    assert codecs_of(tmp_path / "b.mp4") == {"video": "h264"}


def test_a_video_of_one_frame_is_drawn(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=1)
    assert annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes=everywhere(1)).num_frames == 1
    assert len(frames_of(tmp_path / "b.mp4")) == 1


def test_a_turned_video_is_drawn_upright(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=4, display=(90, False))
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes=everywhere(4, (100, 300, 200, 420)))
    before, after = frames_of(tmp_path / "a.mp4"), frames_of(tmp_path / "b.mp4")
    assert before.shape[1:3] == (640, 360)
    assert after.shape[2] == 360
    change = np.abs(after[2, :640].astype(int) - before[2].astype(int)).max(axis=-1)
    assert np.median(change[360, 98:103]) > 30
    assert np.percentile(change[450:], 99) < 25


def test_sound_is_copied_and_stays_in_step(tmp_path):
    sine(tmp_path / "a.mp4", "aac")
    assert annotate(tmp_path / "a.mp4", tmp_path / "b.mp4").message == ""
    assert codecs_of(tmp_path / "b.mp4") == {"video": "h264", "audio": "aac"}
    np.testing.assert_array_equal(heard(tmp_path / "a.mp4"), heard(tmp_path / "b.mp4"))
    with av.open(str(tmp_path / "a.mp4")) as before, av.open(str(tmp_path / "b.mp4")) as after:
        times = [[float(p.pts * p.time_base) for p in c.demux(audio=0) if p.pts is not None] for c in (before, after)]
        assert times[0] == pytest.approx(times[1], abs=1e-3)


@pytest.mark.parametrize(("codec", "name"), [("libmp3lame", "a.avi"), ("libopus", "a.mkv"), ("ac3", "a.mkv")])
def test_other_sound_that_mp4_holds_is_copied(tmp_path, codec, name):
    sine(tmp_path / name, codec)
    assert annotate(tmp_path / name, tmp_path / "b.mp4").message == ""
    assert "audio" in codecs_of(tmp_path / "b.mp4")
    assert len(heard(tmp_path / "b.mp4")) == pytest.approx(96_000, rel=0.05)


def test_sound_of_a_transport_stream_is_copied_from_the_first_frame_on(tmp_path):
    sine(tmp_path / "a.ts", "aac")
    assert annotate(tmp_path / "a.ts", tmp_path / "b.mp4").message == ""
    with av.open(str(tmp_path / "b.mp4")) as container:
        first = next(packet for packet in container.demux(audio=0) if packet.pts is not None)
        assert abs(float(first.pts * first.time_base)) < 0.1
    assert len(heard(tmp_path / "b.mp4")) == pytest.approx(96_000, rel=0.05)


def test_sound_that_mp4_cannot_hold_is_left_out_and_said(tmp_path):
    sine(tmp_path / "a.avi", "pcm_s16le")
    done = annotate(tmp_path / "a.avi", tmp_path / "b.mp4")
    assert "sound was left out" in done.message
    assert "pcm_s16le" in done.message
    assert codecs_of(tmp_path / "b.mp4") == {"video": "h264"}


def test_sound_that_the_muxer_refuses_costs_the_sound_only(tmp_path, monkeypatch):
    sine(tmp_path / "a.mp4", "aac")

    def fail(self, seconds=0.0):
        raise av.error.InvalidDataError(1, "Invalid data", "a.mp4")

    monkeypatch.setattr(SoundCopy, "copy_until", fail)
    done = annotate(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert "cannot be copied" in done.message
    assert done.num_frames == 50
    assert codecs_of(tmp_path / "b.mp4") == {"video": "h264"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_a_player_can_start_before_the_file_is_whole(tmp_path):
    sine(tmp_path / "a.mp4", "aac")
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4")
    content = (tmp_path / "b.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_of_a_damaged_video_what_can_be_read_is_written(tmp_path):
    draw(tmp_path / "whole.mkv", size=(640, 360), num_frames=60)
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    done = annotate(tmp_path / "cut.mkv", tmp_path / "b.mp4", boxes=everywhere(60))
    assert 5 < done.num_frames < 60
    assert "cut short" in done.message or "damaged" in done.message
    assert len(frames_of(tmp_path / "b.mp4")) == done.num_frames


def test_what_cannot_be_read_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UnreadableVideo):
        annotate(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_failure_on_the_way_leaves_nothing_and_an_older_file_as_it_was(tmp_path, monkeypatch):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=4)
    (tmp_path / "b.mp4").write_text("older")
    monkeypatch.setattr(VideoWriter, "close", lambda self: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        annotate(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    assert (tmp_path / "b.mp4").read_text() == "older"


@pytest.mark.parametrize(
    "name", ["%d.mp4", "a:b.mp4", "-y.mp4", "two words, ü 🙂.mp4", "x" * 251 + ".mp4", "new\nline.mp4", "'$(id)`.MP4"]
)
def test_hostile_names_are_only_names(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source = draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2).rename(tmp_path / "in" / name)
    score = scored((0, 1, 0.9))
    annotate(source, tmp_path / "out" / name, VideoScore(**{**_fields(score), "path": name, "model": name}))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert len(frames_of(tmp_path / "out" / name)) == 2


def _fields(score: VideoScore) -> dict:
    return {name: getattr(score, name) for name in VideoScore.__slots__}


def test_a_video_without_a_verdict_is_said_to_have_none(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2)
    annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", VideoScore("a.mp4", Status.NO_FACE))
    strip = frames_of(tmp_path / "b.mp4")[0][362:]
    assert np.ptp(strip.astype(int), axis=-1).max() < 60  # no verdict's colour anywhere


def test_the_source_is_never_overwritten(tmp_path):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=2)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="would overwrite"):
        annotate(tmp_path / "a.mp4", tmp_path / "link.mp4")
    with pytest.raises(ValueError, match=r"end in \.mp4"):
        annotate(tmp_path / "a.mp4", tmp_path / "b.avi")


@pytest.mark.parametrize(
    "boxes",
    [(np.array([3, 1]), np.zeros((2, 4))), (np.array([1]), np.zeros((2, 4))), (np.array([-1]), np.zeros((1, 4)))],
)
def test_boxes_that_do_not_belong_to_frames_are_refused(tmp_path, boxes):
    draw(tmp_path / "a.mp4", size=(640, 360), num_frames=4)
    with pytest.raises(ValueError, match="track 5"):
        annotate(tmp_path / "a.mp4", tmp_path / "b.mp4", boxes={5: boxes})


def sound_packets(path: Path) -> dict[bytes, float]:
    """When each packet of the sound is heard, by what ends it."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return {
            bytes(packet)[-40:]: float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.size
        }


def test_a_video_whose_beginning_cannot_be_decoded_stays_in_step_with_its_sound(tmp_path, shared_field):
    """42 frames come before the first key frame; windows are told on the file's clock, which begins at 1.74 s."""
    source = shared_field / "in12.ts"
    done = annotate(source, tmp_path / "b.mp4", scored((3.5, 4.0, 0.93)), everywhere(142))
    assert "the first 42 frames, up to 3.42 s, cannot be decoded" in done.message
    with VideoReader(source) as reader:
        first_shown = reader.clock_seconds([reader.first_frame])[0]
    with av.open(str(tmp_path / "b.mp4")) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert len(shown) == done.num_frames == 100
    assert shown[0] == pytest.approx(0, abs=0.001)
    before, after = sound_packets(source), sound_packets(tmp_path / "b.mp4")
    shifts = [before[end] - seconds for end, seconds in after.items() if end in before]
    assert len(shifts) > 100
    assert shifts == pytest.approx([first_shown - shown[0]] * len(shifts), abs=0.01)


def test_a_part_of_another_size_is_drawn_in_its_own_shape(tmp_path):
    source = joined(tmp_path / "a.mkv", [(640, 360), (360, 640)])
    box = (60.0, 400.0, 180.0, 520.0)
    boxes = {0: (np.arange(10, 20), np.tile(np.float32(box), (10, 1)))}
    done = annotate(source, tmp_path / "b.mp4", scored((0.4, 0.8, 0.93)), boxes)
    assert done.num_frames == 20
    frames = frames_of(tmp_path / "b.mp4")
    first, second = frames[5][:360, :640], frames[15][:360, :640]
    assert (first.std(axis=(0, 2)) > 5).all()
    # 360 x 640 in 360 lines is 202 pixels wide, in the middle; beside it nothing.
    assert second[:, :210].max() < 40
    assert second[:180, 430:].max() < 40  # above the label
    assert number_of(second[:, 219:421]) == 5
    annotate(source, tmp_path / "c.mp4", scored((0.4, 0.8, 0.93)), {})
    changed = np.abs(second.astype(int) - frames_of(tmp_path / "c.mp4")[15][:360, :640]).max(axis=-1) > 60
    top = round(400 * 360 / 640)
    rows, columns = np.nonzero(changed[top + 5 :])  # below the label
    drawn = np.array([columns.min() - 219, columns.max() - 219, rows.max() + top + 5])
    assert drawn == pytest.approx(np.array([60, 180, 520]) * 360 / 640, abs=5)


def test_a_still_picture_becomes_a_picture_with_boxes_and_scores(tmp_path, monkeypatch):
    picture = drawn_frames(0, num_frames=1, side=640)[0][:360]
    Image.fromarray(picture).save(tmp_path / "a.png")
    texts = texts_of(monkeypatch)
    rules = Rules(0.5, caveat="Trained on videos.")
    boxes = {0: (np.array([0]), np.float32([BOX]))}
    annotate_still(tmp_path / "a.png", tmp_path / "b.jpg", scored((0, 1 / 30, 0.93)), boxes, rules=rules)
    with Image.open(tmp_path / "b.jpg") as drawn:
        assert drawn.format == "JPEG"
        after = np.asarray(drawn).astype(int)
    assert after.shape[1] == 640
    change = np.abs(after[:360] - picture).max(axis=-1)
    assert np.median(change[190, 198:203]) > 30
    assert np.percentile(change[280:], 99) < 30
    assert {"signs of a fake · score 0.93", "whole picture", "Trained on videos."} <= set(texts)
    assert not any("over time" in text or "0:00" in text for text in texts)
    with pytest.raises(ValueError, match=r"end in \.jpg"):
        annotate_still(tmp_path / "a.png", tmp_path / "b.png", scored((0, 1, 0.9)), {}, rules=rules)
    with pytest.raises(ValueError, match="would overwrite"):
        annotate_still(tmp_path / "b.jpg", tmp_path / "b.jpg", scored((0, 1, 0.9)), {}, rules=rules)


def test_a_face_is_told_in_the_words_of_its_detectors_scope() -> None:
    message = "signs of face swaps, the kinds that it was shown to find"
    voice = next(voices_of(replace(scored((0, 1, 0.93)), message=message), Rules(0.5, tells_real=False)))
    assert [voice.words(prob) for prob in (0.93, 0.1)] == ["signs of face swaps", "nothing found"]
    silent = next(voices_of(scored((0, 1, 0.93)), Rules(None)))
    assert silent.words(0.93) == "cannot tell"
