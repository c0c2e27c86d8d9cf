"""The windows of a video: which there are, that they come as they are cut, and that nothing piles up."""

import hashlib
import os
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import dfd.scoring.look.workers as windows_module
from dfd.base.errors import NoFaceFound, UnreadableVideo
from dfd.base.types import FaceBox, FileFacts
from dfd.faces.crop import Square
from dfd.faces.extract import ExtractionSettings, FaceExtractor
from dfd.faces.found import (
    FaceBoxes,
    FaceWindow,
    Found,
    Thumbnail,
    WindowsEnd,
    WindowSettings,
    frame_picture,
    read_picture,
)
from dfd.faces.one_pass import _Clips
from dfd.scoring.look.stream import file_facts, stream_windows
from dfd.scoring.look.workers import import_ahead
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video

EXTRACTION = ExtractionSettings(crop=Square(size=32, margin_fraction=0.25), key_frame_stride=5)


class Squares:
    """Finds squares by their colours: red, green and blue ones, in this order of their columns."""

    name = "squares"
    batch_size = 1

    def __call__(self, frames: np.ndarray) -> list[list[FaceBox]]:
        return [[box for channel in range(3) for box in self.find(frame, channel)] for frame in frames]

    @staticmethod
    def find(frame: np.ndarray, channel: int) -> list[FaceBox]:
        others = [other for other in range(3) if other != channel]
        ys, xs = np.nonzero((frame[..., channel] > 180) & (frame[..., others].max(axis=-1) < 100))
        if len(xs) < 50:
            return []
        x1, y1, x2, y2 = float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
        return [FaceBox(x1, y1, x2, y2, 0.9, ((x1 + 1, y1 + 1),) * 5)]


def video(path: Path, num_frames: int, faces: dict[int, tuple[int, range]], fps: float = 25) -> Path:
    """A grey video with a square of side ``size`` for each channel, seen in a range of frames."""
    frames = np.full((num_frames, 96, 240, 3), 128, np.uint8)
    for channel, (size, seen) in faces.items():
        left = 10 + 80 * channel
        for index in seen:
            frames[index, 20 : 20 + size, left : left + size] = 0
            frames[index, 20 : 20 + size, left : left + size, channel] = 255
    write_video(path, frames, fps=fps)
    return path


def found_in(path: Path, extraction: ExtractionSettings = EXTRACTION, **settings: object) -> list[Found]:
    return list(stream_windows(path, Squares(), extraction, WindowSettings(**{"clip_len": 4, **settings})))


def windows_in(path: Path, **settings: object) -> list[FaceWindow]:
    return [item for item in found_in(path, **settings) if isinstance(item, FaceWindow)]


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_whole_frame_is_kept_as_it_is_shown_with_a_box_around_the_face(quarter_turns: int) -> None:
    frame = np.full((90, 1200, 3), 128, np.uint8)
    jpeg = frame_picture(frame, np.array([400, 20, 450, 70], np.float32), quarter_turns=quarter_turns)
    picture = np.rot90(read_picture(jpeg), quarter_turns)
    assert picture.shape == (36, 480, 3)
    ys, xs = np.nonzero(np.abs(picture.astype(int) - 128).max(axis=-1) > 40)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == pytest.approx((160, 180, 8, 28), abs=3)
    assert picture[18, 160].astype(int).tolist() == pytest.approx([255, 200, 64], abs=40)  # orange on black


def test_each_frame_of_a_window_is_kept_whole_where_it_is_asked_for(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 12, {0: (40, range(12)), 2: (40, range(12))})
    assert [len(window.pictures) for window in windows_in(path, frames=True)] == [4] * 6
    assert not any(window.pictures for window in windows_in(path))


def test_without_a_cap_every_frame_is_in_a_window(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 101, {0: (40, range(101))})
    windows = windows_in(path, max_windows=None)
    starts = [window.start_frame for window in windows]
    assert len(windows) == 25
    assert starts[0] == 0
    assert starts[-1] == 97
    assert set(np.diff(starts)) <= {4, 5}


def test_a_cap_samples_the_whole_video_evenly_and_says_so(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 101, {0: (40, range(101))})
    *_, end = found_in(path, max_windows=5)
    assert [window.start_frame for window in windows_in(path, max_windows=5)] == [0, 24, 48, 73, 97]
    assert isinstance(end, WindowsEnd)
    assert (end.num_windows, end.num_windows_possible) == (5, 25)
    assert end.message == "5 of 25 windows were looked at, evenly spaced (max_windows=5)"


def test_with_a_span_only_its_frames_are_in_windows_and_it_is_said(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 101, {0: (40, range(101))})
    *_, end = found_in(path, max_windows=None, span=(1.0, 2.0))
    windows = windows_in(path, max_windows=None, span=(1.0, 2.0))
    assert [window.start_frame for window in windows] == [25, 29, 33, 38, 42, 46]
    assert isinstance(end, WindowsEnd)
    assert (end.num_windows, end.num_windows_possible) == (6, 25)
    assert end.message == "only the part 0:01-0:02 was looked at"


def test_a_span_shorter_than_a_clip_gives_one_clip_also_at_the_end_of_the_video(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 101, {0: (40, range(101))})
    assert [window.start_frame for window in windows_in(path, span=(0.5, 0.51))] == [13]
    assert [window.start_frame for window in windows_in(path, span=(4.0, 9.0))] == [97]


def test_a_span_after_the_end_of_the_video_is_refused_with_its_length(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 50, {0: (40, range(50))})
    with pytest.raises(NoFaceFound, match="span 0:40-1:00 starts after the end of the video"):
        found_in(path, span=(40.0, 60.0))


def test_windows_may_overlap(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 20, {0: (40, range(20))})
    windows = windows_in(path, max_windows=None, window_stride=2)
    assert [window.start_frame for window in windows] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert np.array_equal(windows[0].crops[2:], windows[1].crops[:2])


def test_crops_are_those_of_the_frames_that_the_window_names(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 50, {0: (40, range(50)), 1: (30, range(50))})
    with VideoReader(path) as reader:
        whole = {}
        for piece in FaceExtractor(Squares(), EXTRACTION).run(reader.chunks()):
            whole |= {(piece.track, piece.start_frame + i): crop for i, crop in enumerate(piece.crops(EXTRACTION.crop))}
    windows = windows_in(path, max_windows=None, clip_stride=2)
    assert {window.track for window in windows} == {0, 1}
    for window in windows:
        frames = [round(seconds * 25) for seconds in window.frame_seconds]
        assert frames == [window.start_frame + 2 * place for place in range(4)]
        for crop, frame in zip(window.crops, frames, strict=True):
            assert np.array_equal(crop, whole[window.track, frame])


def test_windows_come_while_the_rest_is_still_to_be_decoded(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 400, {0: (40, range(400))})
    shares = []
    for item in stream_windows(path, Squares(), EXTRACTION, WindowSettings(clip_len=4, max_windows=None)):
        if isinstance(item, float):
            shares.append(item)
        elif isinstance(item, FaceWindow):
            # Up to here has been decoded: no more than a few key frames and a chunk behind the window's end.
            assert item.start_frame >= (shares[-1] if shares else 0) * 400 - 30
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_is_held_does_not_grow_with_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    ready = _Clips.ready

    def counting(self: _Clips, settled: int | None, *tracks: set[int]) -> object:
        yield from ready(self, settled, *tracks)
        held.append(sum(len(crops) for by_track in self._seen.values() for crops in by_track.values()))

    monkeypatch.setattr(_Clips, "ready", counting)
    path = video(tmp_path / "a.mp4", 600, {0: (40, range(600)), 1: (30, range(600))})
    assert len(windows_in(path, max_windows=None)) == 300
    assert max(held) <= 2 * 4 * 8


def test_the_largest_faces_are_scored_and_the_others_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 40, {0: (40, range(40)), 1: (30, range(40)), 2: (50, range(40))})
    *_, end = found_in(path, max_faces=2, max_windows=None)
    windows = windows_in(path, max_faces=2, max_windows=None)
    assert isinstance(end, WindowsEnd)
    assert {round(window.box[0] / 80) for window in windows} == {0, 2}
    assert end.num_faces == 3
    assert end.message == "10 clips of smaller faces were not scored (max_faces=2)"


def test_a_face_in_less_than_half_of_a_window_is_not_in_it(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 80, {0: (40, range(80)), 1: (40, range(20, 50))})
    second = [window for window in windows_in(path, max_windows=None) if window.box[0] > 80]
    assert {window.start_frame for window in second} <= set(range(18, 52))
    assert len(second) >= 6


@pytest.mark.parametrize("clip_stride", [1, 2, 3, 4])
def test_a_face_throughout_a_video_shorter_than_a_clip_is_scored(tmp_path: Path, clip_stride: int) -> None:
    path = video(tmp_path / "a.mp4", 5, {0: (40, range(5))})
    assert len(windows_in(path, clip_len=10, clip_stride=clip_stride)) == 1


def test_a_face_too_brief_to_score_is_said_to_be(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 200, {0: (40, range(200)), 1: (40, range(165, 200))})
    *_, end = found_in(path, clip_len=100)
    assert isinstance(end, WindowsEnd)
    assert end.num_faces == 2
    assert end.message == "1 face was seen for less than half of a clip and not scored"
    late = video(tmp_path / "b.mp4", 250, {0: (40, range(225, 250))})
    with pytest.raises(NoFaceFound, match=r"b\.mp4: 1 face was found, but none for half of a clip of 100 frames"):
        found_in(late, clip_len=100)


def test_a_large_file_gives_signs_of_life_while_it_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfd.scoring.look.stream._HASHED_AT_ONCE", 10)
    (tmp_path / "a.mp4").write_bytes(bytes(35))
    items = list(file_facts(tmp_path / "a.mp4"))
    assert items[:-1] == [None] * 3
    assert items[-1] == FileFacts(35, hashlib.sha256(bytes(35)).hexdigest())


def test_the_file_and_a_picture_of_it_come_first(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 40, {0: (40, range(40))}, fps=20)
    items = found_in(path)
    facts = [item for item in items if isinstance(item, FileFacts)]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stated = facts[-1].stated
    assert facts[-1] == FileFacts(path.stat().st_size, digest, 240, 96, 20.0, "h264", 40, stated=stated)
    assert stated["sound"] == "none"
    pictures = [item.picture for item in items if isinstance(item, Thumbnail)]
    assert [picture.shape for picture in pictures] == [(96, 240, 3)] * 2
    assert items.index(facts[0]) == 0


def test_what_is_known_of_a_video_without_a_face_comes_before_the_error(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 40, {})
    found = []
    stream = stream_windows(path, Squares(), EXTRACTION, WindowSettings(clip_len=4))
    with pytest.raises(NoFaceFound, match=r"a\.mp4: no face in any of 40 frames"):
        found.extend(iter(lambda: found.append(next(stream)), ...))
    assert any(isinstance(item, Thumbnail) for item in found)
    assert any(isinstance(item, FileFacts) for item in found)


def test_of_a_file_that_is_no_video_at_least_size_and_hash_are_known(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    stream = stream_windows(tmp_path / "text.mp4", Squares(), EXTRACTION, WindowSettings(clip_len=4))
    assert next(stream) == FileFacts(8, hashlib.sha256(b"no video").hexdigest())
    with pytest.raises(UnreadableVideo):
        next(stream)


def test_boxes_for_every_frame_if_they_are_asked_for(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 120, {0: (40, range(120))})
    boxes = [item for item in found_in(path, max_windows=2, every_frame=True) if isinstance(item, FaceBoxes)]
    frames = [box.start_frame + i for box in boxes for i in range(len(box.boxes_xyxy))]
    assert frames == list(range(120))
    assert np.abs(np.concatenate([box.boxes_xyxy for box in boxes]) - [10, 20, 50, 60]).max() < 3
    windows = windows_in(path, max_windows=2, every_frame=True)
    assert [window.start_frame for window in windows] == [0, 116]


@pytest.mark.parametrize("name", ["clip_len", "window_stride", "max_windows", "max_faces", "max_decode_side"])
def test_a_setting_out_of_range_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        WindowSettings(**{"clip_len": 4, name: 0})


@pytest.mark.parametrize("free_cores", [1, 0])
def test_a_worker_imports_what_its_detector_needs_and_keeps_its_priority(free_cores, tmp_path, monkeypatch):
    (tmp_path / "slow_library.py").write_text(
        "import os, threading\nniceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(windows_module.DETECTOR_MODULES, "slow", "slow_library")
    monkeypatch.setattr(windows_module, "hold_to_one_core", lambda: None)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    left = get_context("spawn").Semaphore(free_cores)
    import_ahead("slow", left)
    library = sys.modules.pop("slow_library")
    assert library.niceness == (before if free_cores or sys.platform != "linux" else min(before + 10, 19))
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert left.acquire(block=False) == bool(free_cores)
