"""Appearances: one for each face in each shot, whole where a face was hidden, and numbered without holes."""

import numpy as np
import pytest

from dfd.base.types import FaceBox
from dfd.faces.tracks.appearances import Appearance, Sightings, numbered
from dfd.faces.tracks.track import Tracker, confirmed

WIDTH, HEIGHT, FPS = 320, 180, 25.0


def picture(*faces: tuple[float, int]) -> np.ndarray:
    """A grey frame with a patterned square of 40 pixels for each face: its left edge, and which person it is."""
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for left, person in faces:
        pattern = np.random.default_rng(person).integers(0, 255, (8, 8, 3), np.uint8).repeat(5, 0).repeat(5, 1)
        x1, x2 = max(0, round(left)), min(WIDTH, round(left) + 40)
        frame[60:100, x1:x2] = pattern[:, x1 - round(left) : x2 - round(left)]
    return frame


def box(left: float, score: float = 0.99) -> FaceBox:
    return FaceBox(left, 60.0, left + 40, 100.0, score, ((left + 20, 80.0),) * 5)


def appearances_of(
    shots: list[list[list[tuple[float, int]]]], *, score: float = 0.99, threshold: float = 0.9, stride: int = 10
) -> list[Appearance]:
    """Appearances in a video of which each key frame is given, by its faces, and which is cut between the shots."""
    tracker, sightings = Tracker(), Sightings()
    index = -stride
    frames: dict[int, np.ndarray] = {}
    for shot in shots:
        for faces in shot:
            index += stride
            frames |= {index - step: picture(*faces) for step in range(stride)}
            spans = tracker.update(index, [box(left, score) for left, _ in faces], size=(WIDTH, HEIGHT))
            for span in spans:
                shown = [frames[span.start_frame + step] for step in range(len(span.boxes_xyxy))]
                sightings.add(span.track, span.start_frame, shown, span.boxes_xyxy)
        for span in tracker.end_shot():
            shown = [frames[span.start_frame + step] for step in range(len(span.boxes_xyxy))]
            sightings.add(span.track, span.start_frame, shown, span.boxes_xyxy)
    found = sightings.appearances(confirmed(tracker.tracks), fps=FPS, threshold=threshold)
    return numbered(found, scored=[track for one in found for track in one.tracks])


HERE, HIDDEN, ELSEWHERE = [(100.0, 1)], [], [(240.0, 1)]


def test_a_face_that_is_hidden_for_a_moment_is_one_appearance() -> None:
    found = appearances_of([[HERE] * 3 + [HIDDEN] * 4 + [HERE] * 3])
    assert [one.tracks for one in found] == [(0, 1)]


def test_a_cut_begins_a_new_appearance_even_of_the_same_face_at_the_same_place() -> None:
    found = appearances_of([[HERE] * 3, [HERE] * 3, [HERE] * 3])
    assert [(one.number, one.shot) for one in found] == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([(240.0, 1)], "another place"),
        ([(100.0, 2)], "another face"),
    ],
)
def test_what_may_be_someone_else_is_not_joined(after: list[tuple[float, int]], why: str) -> None:
    found = appearances_of([[HERE] * 3 + [HIDDEN] * 4 + [after] * 3])
    assert len(found) == 2, why


def test_a_long_absence_is_not_joined() -> None:
    found = appearances_of([[HERE] * 3 + [HIDDEN] * 40 + [HERE] * 3])
    assert len(found) == 2


def test_nothing_is_joined_where_two_faces_may_be_the_one_that_was_hidden() -> None:
    twins = [(90.0, 1), (132.0, 1)]
    found = appearances_of([[[(110.0, 1)]] * 3 + [HIDDEN] * 4 + [twins] * 3])
    assert len(found) == 3


def test_numbers_have_no_holes_and_begin_with_what_was_scored() -> None:
    found = [Appearance(0, (track,), 0, 1.0, 0.0) for track in (0, 2, 5, 7)]
    ordered = numbered(found, scored={5, 7})
    assert [(one.number, one.tracks) for one in ordered] == [(0, (5,)), (1, (7,)), (2, (0,)), (3, (2,))]


def test_a_face_is_cut_off_by_the_frame_s_edge_only_where_a_part_of_it_is_outside() -> None:
    (inside,) = appearances_of([[[(100.0, 1)]] * 4])
    (outside,) = appearances_of([[[(WIDTH - 25.0, 1)]] * 4])
    (leaving,) = appearances_of([[[(WIDTH - 60.0 + 10 * step, 1)] for step in range(5)]])
    assert (inside.edge_fraction, outside.edge_fraction) == (0, 1)
    assert 0 < leaving.edge_fraction < 0.5


@pytest.mark.parametrize(("score", "threshold", "is_sure"), [(0.97, 0.9, True), (0.94, 0.9, False), (0.8, 0.5, True)])
def test_a_face_is_sure_where_its_score_is_nearer_to_one_than_to_the_threshold(
    score: float, threshold: float, is_sure: bool
) -> None:
    (found,) = appearances_of([[HERE] * 3], score=score, threshold=threshold)
    assert found.face_score == pytest.approx(score)
    assert found.is_sure is is_sure
