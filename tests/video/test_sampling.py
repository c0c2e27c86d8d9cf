import random

import numpy as np
import pytest

from dfd.video.sampling import clip_frame_indices, random_start, window_starts


def test_a_clip_is_consecutive_or_strided_frames_from_its_start():
    assert clip_frame_indices(100, clip_len=4, start=7) == [7, 8, 9, 10]
    assert clip_frame_indices(100, clip_len=4, stride=5, start=7) == [7, 12, 17, 22]


@pytest.mark.parametrize("num_frames", [1, 3, 9])
def test_a_short_video_repeats_its_last_frame(num_frames):
    indices = clip_frame_indices(num_frames, clip_len=10)
    assert indices == [*range(num_frames), *[num_frames - 1] * (10 - num_frames)]


@pytest.mark.parametrize("num_frames", [1, 9, 10, 11, 57, 1000])
@pytest.mark.parametrize("num_windows", [1, 2, 5, 64])
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_are_distinct_and_span_the_video_from_end_to_end(num_frames, num_windows, stride):
    starts = window_starts(num_frames, clip_len=10, stride=stride, num_windows=num_windows)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert 1 <= len(starts) <= num_windows
    if len(starts) > 1:
        assert clip_frame_indices(num_frames, clip_len=10, stride=stride, start=starts[-1])[-1] == num_frames - 1
        gaps = np.diff(starts)
        assert gaps.max() - gaps.min() <= 1


def test_random_starts_reach_every_place_where_a_clip_fits_and_repeat_with_their_draw():
    draw, again = random.Random(0).randrange, random.Random(0).randrange
    starts = [random_start(15, clip_len=4, stride=3, draw=draw) for _ in range(200)]
    assert set(starts) == {0, 1, 2, 3, 4, 5}
    assert starts == [random_start(15, clip_len=4, stride=3, draw=again) for _ in range(200)]


def test_a_video_shorter_than_a_clip_starts_at_its_first_frame():
    assert random_start(3, clip_len=10, draw=random.Random(0).randrange) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 0, "clip_len": 4}, "num_frames must be 1 or more, got 0"),
        ({"num_frames": 5, "clip_len": 0}, "clip_len must be 1 or more, got 0"),
        ({"num_frames": 5, "clip_len": 4, "stride": -1}, "stride must be 1 or more, got -1"),
        ({"num_frames": 5, "clip_len": 4, "start": 5}, "start must be in 0..4"),
    ],
)
def test_an_argument_out_of_range_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        clip_frame_indices(**arguments)
