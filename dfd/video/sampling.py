"""Chooses the frames of a clip, and the starts of clips in a video; works on numbers only, without decoding."""

import re
from collections.abc import Callable

import numpy as np

from dfd.base.errors import ConfigError

_CLOCK = r"(?:(?:(\d{1,3}):)?(\d{1,3}):)?(\d{1,6}(?:\.\d{1,3})?)"
_SPAN = re.compile(rf"\s*{_CLOCK}\s*[-\u2013]\s*{_CLOCK}\s*")


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


def read_span(text: str) -> tuple[float, float]:
    """Start and end in seconds of a part of a video, written as ``START-END`` in seconds, m:ss or h:mm:ss.

    >>> read_span("0:40-1:00"), read_span("12.5 - 1:02:03")
    ((40.0, 60.0), (12.5, 3723.0))

    Raises:
        ConfigError: when it is not written so, or does not end after it starts.
    """
    found = _SPAN.fullmatch(str(text))
    if found is None:
        raise ConfigError(f"span={text}: write start and end as 0:40-1:00, or in seconds as 40-60")
    numbers = [float(part or 0) for part in found.groups()]
    start, end = (3600 * hours + 60 * minutes + seconds for hours, minutes, seconds in (numbers[:3], numbers[3:]))
    if end <= start:
        raise ConfigError(f"span={text}: it must end after it starts")
    return start, end


def span_words(span: tuple[float, float]) -> str:
    """A part of a video as ``m:ss-m:ss``, which :func:`read_span` reads.

    >>> span_words((40.0, 62.5)), span_words((3599.0, 3723.0))
    ('0:40-1:02.5', '59:59-1:02:03')
    """
    return "-".join(map(_clock, span))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest / 1000:06.3f}".rstrip("0").rstrip(".")
    return f"{hours}:{minutes:02}:{shown}" if hours else f"{minutes}:{shown}"
