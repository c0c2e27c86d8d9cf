import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dfd.base.types import FaceBox
from dfd.faces.tracks.matching import best_pairs, without_duplicates
from dfd.faces.tracks.track import Tracker, TrackSummary, confirmed, main_track


def face(x, y, size=40.0, score=0.99):
    points = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.3, 0.75), (0.7, 0.75))
    return FaceBox(
        x - size / 2, y - size / 2, x + size / 2, y + size / 2, score,
        tuple((x + (px - 0.5) * size, y + (py - 0.5) * size) for px, py in points),
    )  # fmt: skip


def follow(detections, **options):
    """Runs a tracker over {frame: faces}; {track: {frame: (centre x, centre y, size, score)}} and the tracker."""
    tracker = Tracker(**options)
    spans = [span for frame, faces in detections.items() for span in tracker.update(frame, faces)]
    spans += tracker.end_shot()
    found = {}
    for span in spans:
        for i, (box, score) in enumerate(zip(span.boxes_xyxy, span.scores, strict=True)):
            frames = found.setdefault(span.track, {})
            assert span.start_frame + i not in frames, "a frame was handed out twice"
            frames[span.start_frame + i] = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], score)
    return found, tracker


def test_every_frame_between_detections_is_filled_in_on_the_line_between_them():
    found, _ = follow({0: [face(100, 50)], 10: [face(120, 50, score=0.89)]})
    assert sorted(found) == [0]
    assert list(found[0]) == list(range(11))
    for frame, (x, y, size, score) in found[0].items():
        assert (x, y, size) == pytest.approx((100 + 2 * frame, 50, 40), abs=1e-3)
        assert score == pytest.approx(0.99 - 0.01 * frame, abs=1e-5)


def test_smoothing_does_not_lag_behind_steady_motion():
    found, _ = follow({t: [face(100 + 3 * t, 60 + t, 40 + 0.2 * t)] for t in (0, 10, 20, 30, 37)}, smoothing=1.0)
    for frame, (x, y, size, _) in found[0].items():
        assert (x, y, size) == pytest.approx((100 + 3 * frame, 60 + frame, 40 + 0.2 * frame), abs=1e-3)


def test_smoothing_takes_the_jitter_of_a_still_face_and_leaves_real_motion():
    wobble = {t: [face(100 + (0.2 if t % 20 else -0.2), 60)] for t in range(0, 100, 10)}
    found, _ = follow(wobble, smoothing=0.5)
    assert max(abs(found[0][t][0] - 100) for t in range(10, 81)) < 0.05
    nod = {t: [face(100, 60 + (10 if t % 20 else -10))] for t in range(0, 100, 10)}
    found, _ = follow(nod, smoothing=0.5)
    assert all(abs(found[0][t][1] - 60) > 9 for t in range(0, 100, 10))


def test_two_faces_that_cross_keep_their_tracks():
    detections = {t: [face(60 + 2.5 * t, 100), face(260 - 2.5 * t, 110)] for t in range(0, 81, 10)}
    found, _ = follow(detections)
    assert sorted(found) == [0, 1]
    assert found[0][0][0] == pytest.approx(60)
    assert found[0][80][0] == pytest.approx(260)
    assert found[1][80][0] == pytest.approx(60)


def test_two_faces_that_cross_keep_their_tracks_though_one_hides_the_other():
    detections = {t: [face(60 + 2.5 * t, 100), face(260 - 2.5 * t, 104)] for t in range(0, 81, 10)}
    detections[40] = detections[40][:1]
    found, _ = follow(detections)
    assert sorted(found) == [0, 1]
    assert {round(found[track][80][0]) for track in found} == {60, 260}
    assert all(list(frames) == list(range(81)) for frames in found.values())


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 3), (3, 5), (6, 4)])
def test_pairs_are_those_of_the_largest_likeness_in_sum(shape):
    generator = np.random.default_rng(0)
    num_ambiguous = 0
    for share in np.linspace(0, 0.6, 100):  # of pairs that are possible: none, one for each, several
        likeness = generator.uniform(0.1, 2, shape) * (generator.uniform(size=shape) < share)
        rows, columns = linear_sum_assignment(likeness, maximize=True)
        expected = {(i, j) for i, j in zip(rows, columns, strict=True) if likeness[i, j]}
        assert set(best_pairs(likeness)) == expected
        num_ambiguous += len(expected) < (likeness > 0).sum()
    assert bool(num_ambiguous > 10) is (shape != (1, 1))


def test_a_worker_that_sees_faces_apart_does_not_wait_for_scipy():
    code = (
        "import sys\n"
        "from dfd.faces.tracks.track import Tracker\n"
        "from dfd.base.types import FaceBox\n"
        "def face(x): return FaceBox(x, 50, x + 40, 90, 0.9, ((x + 20, 70),) * 5)\n"
        "tracker = Tracker()\n"
        "for frame in (0, 10, 20): tracker.update(frame, [face(50 + frame), face(200)])\n"
        "print([len(tracker.live_tracks), tracker.live_tracks[1].num_detections, 'scipy' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[2, 3, False]"


def test_a_face_missed_once_is_filled_in():
    found, tracker = follow({0: [face(100, 50)], 10: [], 20: [face(130, 50)]}, max_missed=1)
    assert list(found[0]) == list(range(21))
    assert found[0][10][0] == pytest.approx(115)
    assert tracker.tracks[0].num_detections == 2


def test_a_face_that_leaves_and_comes_back_later_is_a_new_track_and_nothing_is_made_up_between():
    seen = {0, 10, 40, 50}
    found, tracker = follow({t: [face(100, 50)] if t in seen else [] for t in range(0, 60, 10)}, max_missed=1)
    assert [(t.first_frame, t.last_frame, t.num_frames) for t in tracker.tracks] == [(0, 10, 11), (40, 50, 11)]
    assert list(found[0]) == list(range(11))
    assert list(found[1]) == list(range(40, 51))


def test_a_face_that_comes_late_begins_at_its_first_detection():
    found, _ = follow({0: [], 10: [], 20: [face(100, 50)], 30: [face(101, 50)]})
    assert list(found[0]) == list(range(20, 31))


def test_a_jump_by_less_than_a_face_is_the_same_face_and_a_longer_one_another():
    assert len(follow({0: [face(100, 50)], 10: [face(135, 50)]})[0]) == 1
    assert len(follow({0: [face(100, 50)], 10: [face(190, 50)]})[0]) == 2


def test_a_small_face_in_front_of_a_large_one_is_not_the_same():
    assert len(follow({0: [face(100, 100, size=150)], 10: [face(100, 100, size=40)]})[0]) == 2


def test_one_face_found_twice_is_one_face():
    faces = [face(100, 100, 60, 0.95), face(102, 101, 62, 0.99), face(100, 105, 30, 0.93), face(160, 100, 60, 0.91)]
    assert [f.score for f in without_duplicates(faces)] == [0.99, 0.91]
    found, _ = follow({t: faces for t in (0, 10, 20)})
    assert len(found) == 2


def test_a_cut_ends_every_track_and_nothing_is_filled_in_across_it():
    tracker = Tracker()
    tracker.update(0, [face(100, 50)])
    spans = tracker.update(9, [face(100, 50)]) + tracker.end_shot()
    assert sum(len(span.scores) for span in spans) == 10
    assert tracker.oldest_needed_frame is None
    tracker.update(10, [face(100, 50)])
    tracker.end_shot()
    assert [(t.first_frame, t.last_frame) for t in tracker.tracks] == [(0, 9), (10, 10)]


def test_a_track_goes_on_behind_a_gap_in_the_frames_but_is_not_filled_in_there():
    tracker = Tracker()
    spans = tracker.update(0, [face(100, 50)]) + tracker.update(9, [face(102, 50)]) + tracker.end_segment()
    spans += tracker.update(500, [face(110, 52)]) + tracker.update(509, [face(111, 52)]) + tracker.end_shot()
    (track,) = tracker.tracks
    assert (track.first_frame, track.last_frame, track.num_frames, track.num_detections) == (0, 509, 20, 4)
    frames = [span.start_frame + i for span in spans for i in range(len(span.scores))]
    assert frames == [*range(10), *range(500, 510)]


@pytest.mark.parametrize("max_missed", [0, 1, 3])
def test_no_more_frames_are_asked_for_than_the_gap_that_may_be_filled_in(max_missed):
    generator = np.random.default_rng(0)
    tracker = Tracker(max_missed=max_missed)
    for frame in range(0, 2000, 10):
        tracker.update(frame, [face(100 + generator.normal(), 50)] if generator.random() < 0.7 else [])
        oldest = tracker.oldest_needed_frame
        assert oldest is None or frame - oldest < 10 * (max_missed + 1)


def test_key_frames_out_of_order_are_refused():
    tracker = Tracker()
    tracker.update(10, [])
    with pytest.raises(ValueError, match="got 10 after 10"):
        tracker.update(10, [])


def test_a_summary_counts_frames_detections_and_area():
    _, tracker = follow({0: [face(100, 50, 40, 0.9)], 10: [], 20: [face(100, 50, 40, 0.8)]})
    (track,) = tracker.tracks
    assert track == TrackSummary(0, 0, 20, 21, 2, 3, pytest.approx(0.85), pytest.approx(21 * 1600))


def summary(track, area, num_detections, num_key_frames):
    return TrackSummary(track, 0, 9, 10, num_detections, num_key_frames, 0.9, area)


def test_the_main_track_is_the_one_with_the_largest_total_area():
    assert main_track([summary(0, 10.0, 3, 3), summary(1, 30.0, 3, 3), summary(2, 30.0, 3, 3)]) == 1
    assert main_track([]) is None


def test_a_face_seen_once_where_it_could_have_been_seen_again_is_not_confirmed():
    tracks = [summary(0, 1, 1, 5), summary(1, 1, 2, 5), summary(2, 1, 1, 1)]
    assert [track.track for track in confirmed(tracks)] == [1, 2]
