"""Chooses the frames of a clip, and the starts of clips in a video; works on numbers only, without decoding."""

from collections.abc import Callable

import numpy as np


def clip_frame_indices(num_frames: int, *, clip_len: int, stride: int = 1, start: int = 0) -> list[int]:
    """Indices of one clip's frames, ``stride`` frames apart, beginning at ``start``.

    If the video ends early, its last frame is repeated, so that a clip always has ``clip_len`` entries:

    >>> clip_frame_indices(5, clip_len=4, stride=2)
    [0, 2, 4, 4]

    Raises:
        ValueError: when an argument is out of range; the message names it and its value.
    """
    _check_positive(num_frames=num_frames, clip_len=clip_len, stride=stride)
    if not 0 <= start < num_frames:
        raise ValueError(f"start must be in 0..{num_frames - 1} for a video of {num_frames} frames, got {start}")
    return [min(start + position * stride, num_frames - 1) for position in range(clip_len)]


def window_starts(num_frames: int, *, clip_len: int, stride: int = 1, num_windows: int) -> list[int]:
    """Start frames of ``num_windows`` clips spread evenly over the whole video.

    The first clip starts at frame 0 and the last one ends at the last frame. Starts are distinct and ascending: a short
    video gets fewer, but at least one. A single window starts at 0.

    >>> window_starts(100, clip_len=10, num_windows=4)
    [0, 30, 60, 90]
    >>> window_starts(12, clip_len=10, num_windows=4)
    [0, 1, 2]
    >>> window_starts(7, clip_len=10, num_windows=4)
    [0]

    Raises:
        ValueError: when an argument is out of range; the message names it and its value.
    """
    _check_positive(num_windows=num_windows)
    last = _last_start(num_frames, clip_len=clip_len, stride=stride)
    return sorted({int(start) for start in np.rint(np.linspace(0, last, num_windows))})


def random_start(num_frames: int, *, clip_len: int, stride: int = 1, draw: Callable[[int], int]) -> int:
    """Start frame drawn uniformly from all at which the whole clip fits; 0 if it fits nowhere.

    ``draw(n)`` gives a number in 0..n-1.

    >>> random_start(12, clip_len=10, draw=lambda n: n - 1)
    2

    Raises:
        ValueError: when an argument is out of range; the message names it and its value.
    """
    return draw(_last_start(num_frames, clip_len=clip_len, stride=stride) + 1)


def _last_start(num_frames: int, *, clip_len: int, stride: int) -> int:
    _check_positive(num_frames=num_frames, clip_len=clip_len, stride=stride)
    span = (clip_len - 1) * stride + 1
    return max(0, num_frames - span)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
