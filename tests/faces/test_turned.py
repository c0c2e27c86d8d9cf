"""Pictures that lie on their side without saying so, and what is said where no face is found."""

from pathlib import Path

import numpy as np
import pytest

from dfd.base.errors import NoFaceFound
from dfd.base.types import FaceBox, FrameArray
from dfd.faces.crop import Square
from dfd.faces.detect import FixedBox, build_detector
from dfd.faces.extract import ExtractionSettings, FaceExtractor
from dfd.faces.found import FaceBoxes, FaceWindow, WindowsEnd, WindowSettings
from dfd.faces.no_face import no_face_message
from dfd.faces.tracks.track import Tracker
from dfd.faces.turned import quarter_turns_with_faces, turned_back
from dfd.scoring.look.stream import stream_windows
from dfd.video.encode import write_video
from tests.video.test_pictures import joined

EXTRACTION = ExtractionSettings(crop=Square(size=32, margin_fraction=0.0), key_frame_stride=5)
# A face is a red square with a blue one on top of it.
LEFT, TOP, SIDE = 90, 40, 32


class OneWayUp:
    """Finds red squares below blue ones, and counts the pictures that it was given."""

    name, batch_size = "one_way_up", 1

    def __init__(self) -> None:
        self.num_pictures = 0

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        self.num_pictures += len(frames)
        return [list(self._faces(frame)) for frame in frames]

    def _faces(self, frame: np.ndarray) -> list[FaceBox]:
        red = (frame[..., 0] > 180) & (frame[..., 2] < 90)
        blue = (frame[..., 2] > 180) & (frame[..., 0] < 90)
        if red.sum() < 50:
            return []
        rows, columns = np.nonzero(red)
        x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        above = blue[max(0, y1 - (y2 - y1)) : y1, x1:x2]
        if above.size == 0 or above.mean() < 0.5:
            return []
        points = FixedBox.LANDMARKS
        landmarks = tuple((float(x1 + x * (x2 - x1)), float(y1 + y * (y2 - y1))) for x, y in points)
        return [FaceBox(float(x1), float(y1), float(x2), float(y2), score=1.0, landmarks=landmarks)]


def frames_with_face(num_frames: int = 24) -> FrameArray:
    frames = np.full((num_frames, 120, 160, 3), 120, np.uint8)
    frames[:, TOP : TOP + SIDE, LEFT : LEFT + SIDE] = (230, 20, 20)
    frames[:, TOP - SIDE : TOP, LEFT : LEFT + SIDE] = (20, 20, 230)
    return frames


@pytest.mark.parametrize(("turns", "words"), [(1, "turn to the right"), (2, "half turn"), (3, "turn to the left")])
def test_faces_of_a_picture_on_its_side_are_found_where_they_are(tmp_path: Path, turns: int, words: str) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.ascontiguousarray(np.rot90(frames_with_face(), turns, axes=(1, 2))), fps=25)
    settings = WindowSettings(clip_len=4, every_frame=True)
    found = list(stream_windows(path, OneWayUp(), EXTRACTION, settings))
    windows = [item for item in found if isinstance(item, FaceWindow)]
    end = found[-1]
    assert isinstance(end, WindowsEnd)
    assert len(windows) == end.num_windows == 6
    assert end.num_faces == 1
    assert words in end.message
    for window in windows:
        assert window.crops[0][4:28, 4:28].mean(axis=(0, 1)) == pytest.approx((230, 20, 20), abs=12)  # upright, and it
    upright = np.array([[LEFT, TOP, LEFT + SIDE, TOP + SIDE]], np.float32)
    expected = turned_back(upright, (4 - turns) % 4, 160 if turns == 2 else 120, 120 if turns == 2 else 160)
    # In the file as it is shown: where the turn put it.
    assert windows[0].box == pytest.approx(expected_box(turns), abs=2)
    assert expected.shape == (1, 4)
    boxes = [item for item in found if isinstance(item, FaceBoxes)]
    assert boxes[0].boxes_xyxy[0].tolist() == pytest.approx(expected_box(turns), abs=2)


def expected_box(turns: int) -> tuple[float, float, float, float]:
    """The box in the picture that np.rot90 made of the upright one, by looking."""
    rows, columns = np.nonzero(np.rot90(frames_with_face(1)[0], turns)[..., 0] == 230)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


class SurestOnItsHead:
    """Finds a face in every picture, and is sure of it in those whose first pixel was the last."""

    name, batch_size = "surest_on_its_head", 1

    def __call__(self, frames: FrameArray) -> list[list[FaceBox]]:
        points = ((1.0, 1.0), (2.0, 1.0), (1.5, 1.5), (1.0, 2.0), (2.0, 2.0))
        return [[FaceBox(0, 0, 4, 4, 0.999 if frame[0, 0, 0] == 9 else 0.95, points)] for frame in frames]


def test_the_turn_with_the_surest_faces_is_taken_where_each_shows_some() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[-1, -1] = 9
    assert quarter_turns_with_faces([picture, picture], SurestOnItsHead()) == 2


class FindsAll(OneWayUp):
    """Finds red squares whichever way they are up, and is sure of those below a blue one."""

    name, sure_score = "finds_all", 0.999

    def _faces(self, frame: np.ndarray) -> list[FaceBox]:
        for turns in range(4):
            found = super()._faces(np.rot90(frame, turns))
            if found:
                (x1, y1, x2, y2), points = expected_box(0), FixedBox.LANDMARKS
                rows, columns = np.nonzero((frame[..., 0] > 180) & (frame[..., 2] < 90))
                x1, y1, x2, y2 = map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
                landmarks = tuple((x1 + x * (x2 - x1), y1 + y * (y2 - y1)) for x, y in points)
                return [FaceBox(x1, y1, x2, y2, score=0.97 if turns else 1.0, landmarks=landmarks)]
        return []


@pytest.mark.parametrize(("turns", "words"), [(1, "turn to the right"), (2, "half turn"), (3, "turn to the left")])
def test_faces_that_are_found_on_their_side_are_given_up_where_turned_ones_are_surer(
    tmp_path: Path, turns: int, words: str
) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.ascontiguousarray(np.rot90(frames_with_face(), turns, axes=(1, 2))), fps=25)
    found = list(stream_windows(path, FindsAll(), EXTRACTION, WindowSettings(clip_len=4)))
    windows, end = [item for item in found if isinstance(item, FaceWindow)], found[-1]
    assert isinstance(end, WindowsEnd)
    assert (len(windows), end.num_faces) == (6, 1)
    assert words in end.message
    assert windows[0].box == pytest.approx(expected_box(turns), abs=2)


def test_a_face_that_is_sure_is_looked_at_no_more_often_and_its_windows_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames_with_face(), fps=25)
    detector = FindsAll()
    end = list(stream_windows(path, detector, EXTRACTION, WindowSettings(clip_len=4)))[-1]
    assert isinstance(end, WindowsEnd)
    assert (end.message, end.num_faces, detector.num_pictures) == ("", 1, 6)


def test_unsure_faces_stay_where_no_turn_makes_them_surer(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames_with_face(), fps=25)
    detector = OneWayUp()
    detector.sure_score = 2.0  # never reached
    found = list(stream_windows(path, detector, EXTRACTION, WindowSettings(clip_len=4)))
    assert sum(isinstance(item, FaceWindow) for item in found) == 6
    assert isinstance(found[-1], WindowsEnd)
    assert found[-1].message == ""


def test_a_picture_with_faces_is_looked_at_no_more_often(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames_with_face(), fps=25)
    detector = OneWayUp()
    end = list(stream_windows(path, detector, EXTRACTION, WindowSettings(clip_len=4)))[-1]
    assert isinstance(end, WindowsEnd)
    assert end.message == ""
    assert detector.num_pictures == 6  # every fifth of 24 frames, and the last


def test_a_video_without_a_face_is_looked_at_a_bounded_number_of_times_more(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.full((200, 64, 64, 3), 120, np.uint8), fps=25)
    detector = OneWayUp()
    with pytest.raises(NoFaceFound, match="upright and turned by quarters"):
        list(stream_windows(path, detector, EXTRACTION, WindowSettings(clip_len=4, max_windows=None)))
    assert detector.num_pictures <= 41 + 3 * 6


def test_no_face_says_what_helps() -> None:
    dark = [np.full((90, 160, 3), 8, np.uint8)]
    assert "the picture is dark (mean brightness 8 of 255): lighten it" in no_face_message(
        5, dark, OneWayUp(), EXTRACTION
    )
    light = [np.full((90, 160, 3), 120, np.uint8)]
    said = no_face_message(5, light, OneWayUp(), EXTRACTION)
    assert "face_detector=one_way_up face_detector.threshold=N" in said
    assert "or try another face_detector" in said


def test_a_lower_threshold_is_named_as_it_is_given_with_the_one_there_was() -> None:
    black = np.zeros((90, 160, 3), np.uint8)
    said = no_face_message(1, [black], build_detector("mtcnn", threshold=0.8, min_face_fraction=0.3), EXTRACTION)
    assert "(face_detector=mtcnn face_detector.threshold=N, N below 0.8)" in said


def test_small_faces_are_found_by_the_option_that_is_named(shared_field: Path) -> None:
    from dfd.video.decode import VideoReader

    with VideoReader(shared_field / "in14.mp4", max_side=1920) as reader:
        frames = reader.frames([0, 25])
    said = no_face_message(50, list(frames), build_detector("mtcnn"), ExtractionSettings())
    # The detector is named, too: predict.py takes options of a detector only with a choice of one.
    assert "face_detector=mtcnn face_detector.min_face_fraction=0.0" in said
    fraction = float(said.partition("min_face_fraction=")[2].split()[0])
    extractor = FaceExtractor(build_detector("mtcnn", min_face_fraction=fraction), ExtractionSettings())
    list(extractor.run([(0, frames)]))
    assert extractor.num_with_face == extractor.num_key_frames == 2


def test_each_part_of_a_video_that_changes_its_size_has_tracks_of_its_own(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.mkv", [(160, 96), (96, 160)])
    detector = build_detector("fixed_box", x1=0.25, y1=0.25, x2=0.75, y2=0.75)
    found = list(stream_windows(path, detector, EXTRACTION, WindowSettings(clip_len=5)))
    boxes = {(item.track, item.box) for item in found if isinstance(item, FaceWindow)}
    assert boxes == {(0, (40.0, 24.0, 120.0, 72.0)), (1, (24.0, 40.0, 72.0, 120.0))}
    end = found[-1]
    assert isinstance(end, WindowsEnd)
    assert "the picture changes its size, first at 0.40 s: 160 x 96, then 96 x 160" in end.message


def test_a_face_larger_than_the_frame_is_one_track() -> None:
    """A detector finds now this and now that much of what lies outside."""
    tracker = Tracker()
    landmarks = tuple((80.0, 60.0) for _ in range(5))
    boxes = [(-10, -30, 170, 150), (-90, -200, 260, 330), (-5, -10, 166, 130), (-140, -100, 300, 210)]
    for number, corners in enumerate(boxes):
        tracker.update(10 * number, [FaceBox(*map(float, corners), score=1.0, landmarks=landmarks)], size=(160, 120))
    tracker.end_shot()
    assert len(tracker.tracks) == 1


def test_a_store_s_clips_of_a_picture_on_its_side_are_upright(tmp_path: Path) -> None:
    from dfd.base.types import Label
    from dfd.data.prepare.video import PreparationSettings, prepare_video
    from dfd.data.sources.row import VideoRow
    from dfd.data.store.folders import read_geometry, video_folder
    from dfd.video.decode import VideoReader

    path = tmp_path / "a.mp4"
    write_video(path, np.ascontiguousarray(np.rot90(frames_with_face(), 1, axes=(1, 2))), fps=25)
    row = VideoRow(path=path, label=Label.REAL, dataset="tiny", method="", source_ids=("a",), name="a.mp4")
    record = prepare_video(row, tmp_path / "store", PreparationSettings({"name": "fixed_box"}, EXTRACTION), OneWayUp())
    assert "lies on its side" in record.message
    assert [track.num_frames for track in record.tracks] == [24]
    folder = video_folder(tmp_path / "store", row)
    with VideoReader(folder / record.tracks[0].file) as reader:
        assert reader.frames([3])[0][4:28, 4:28].mean(axis=(0, 1)) == pytest.approx((230, 20, 20), abs=12)
    geometry = read_geometry(folder / record.tracks[0].file)
    assert geometry.boxes_xyxy[0].tolist() == pytest.approx(expected_box(1), abs=2)
    left_eye, right_eye = geometry.landmarks[0, :2]
    assert abs(left_eye[0] - right_eye[0]) < 2 < abs(left_eye[1] - right_eye[1])  # one above the other, as shown
