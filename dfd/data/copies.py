"""Which videos show the same: byte for byte, frame for frame, or as what encoding, scaling or trimming leaves of it.

A near copy is told by how its picture changes. Of two fingerprints (:mod:`dfd.data.content`) laid over each other at
some shift in time, every piece of ``WINDOW_SECONDS`` is compared: its mean picture is taken off, and what is left, the
motion, is correlated. A copy moves like its original; two clips of one interview have the background in common, and
move differently. Where nothing moves, nothing can be told.

The thresholds were chosen on the demonstration and on 74 videos of 74 people talking, in pieces of 150 frames. Of 12
copies that moved enough, the least alike had 0.84 after x264 at crf 42, 0.91 at crf 35, 0.94 at half the size and 0.78
with a twentieth cut off each side. The most alike of 2,701 pairs of people had 0.51. Of 67 pairs of pieces of one
video, which show one person before one background at different times, the most alike had 0.60 where three seconds or
more were in common, and 0.90 where it was two: chance finds two seconds that move alike. docs/leaks.md has what is
found.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd.data.content import NUM_FREQUENCIES, RATE, Fingerprint
from dfd.types import FloatArray

BYTES, PICTURES, NEAR = "bytes", "pictures", "near"
"""Kinds of copies: the same file, the same decoded frames, the same video encoded anew."""
EQUAL = (BYTES, PICTURES)

WINDOW_SECONDS = 1.0
MIN_COMMON_SECONDS = 2.0
"""Less in common is not looked for: chance would find it elsewhere."""
MIN_LIKENESS = 0.75
"""A correlation of the motion, of which half of the windows must have as much."""
SHORT_SECONDS, MIN_SHORT_LIKENESS = 3.0, 0.93
"""What has less in common than this must be more alike."""
MIN_MOTION = 0.3
"""In grey levels, as the length of a vector: less in a window is an encoder's noise."""
MIN_MEAN_LIKENESS = 0.85
"""Two videos are compared if the mean pictures of some two seconds of each are as alike as this (a cosine)."""

_WINDOW = round(WINDOW_SECONDS * RATE)
_MIN_COMMON, _SHORT = round(MIN_COMMON_SECONDS * RATE), round(SHORT_SECONDS * RATE)
_SEGMENT = 2 * RATE
_BLOCK_ENTRIES = 8_000_000
# Frequencies that are odd across change their sign in a mirror; see `dfd.data.content` for their order.
_MIRROR = np.where(np.arange(1, NUM_FREQUENCIES**2) % NUM_FREQUENCIES % 2, -1, 1).astype(np.float32)

COLUMNS = ("video_id", "copy_id", "kind", "shift_seconds", "likeness", "mirrored")


@dataclass(frozen=True, slots=True)
class Copy:
    """Two videos that show the same, by id.

    ``kind`` is one of ``BYTES``, ``PICTURES``, ``NEAR``. A near copy begins ``shift_seconds`` after the beginning of
    the video (before it if negative), is alike by ``likeness`` (1: moves in the same way throughout), and may be
    ``mirrored``.
    """

    video_id: str
    copy_id: str
    kind: str
    shift_seconds: float = 0.0
    likeness: float = 1.0
    mirrored: bool = False

    def __str__(self) -> str:
        """What they have in common, in words."""
        if self.kind == BYTES:
            return "are the same file, byte for byte"
        if self.kind == PICTURES:
            return "show the same pictures, frame for frame"
        mirrored = " mirrored" if self.mirrored else ""
        shift = f", {abs(self.shift_seconds):g} s apart" if self.shift_seconds else ""
        return f"show nearly the same video{mirrored}{shift} (likeness {self.likeness:.2f})"


@dataclass(frozen=True, slots=True)
class Seen:
    """A video, the SHA-256 of its file, and what its frames look like."""

    video_id: str
    sha256: str
    fingerprint: Fingerprint


def find_copies(videos: Iterable[Seen]) -> list[Copy]:
    """The pairs of videos that show the same, sorted.

    Of a group of equal videos each is paired with its first alone. A near copy of one of them is a near copy of all,
    and is paired with each.
    """
    by_id = {video.video_id: video for video in sorted(videos, key=lambda video: video.video_id)}
    groups: dict[str, list[Seen]] = defaultdict(list)
    first_of_file: dict[str, Seen] = {}
    for video in by_id.values():
        # The same bytes are the same pictures, though another machine's decoder may have rounded otherwise.
        alike = first_of_file.setdefault(video.sha256, video)
        groups[alike.fingerprint.pixels_sha256].append(video)
    copies = []
    vectors: dict[str, FloatArray] = {}
    members: dict[str, list[str]] = {}
    for first, *others in groups.values():
        copies += [
            Copy(first.video_id, other.video_id, BYTES if other.sha256 == first.sha256 else PICTURES)
            for other in others
        ]
        members[first.video_id] = [first.video_id, *(other.video_id for other in others)]
        vectors[first.video_id] = first.fingerprint.vectors()
    for near in _near_copies(vectors):
        pairs = {(one, near.copy_id) for one in members[near.video_id]}
        pairs |= {(near.video_id, other) for other in members[near.copy_id]}
        copies += [Copy(*pair, NEAR, near.shift_seconds, near.likeness, near.mirrored) for pair in pairs]
    return sorted(copies, key=lambda copy: (copy.video_id, copy.copy_id))


def compare(one: FloatArray, other: FloatArray) -> tuple[float, float]:
    """How alike two videos move, and at which shift: their vectors are ``(T, D)`` and ``(U, D)``.

    The likeness is the median correlation over the windows in common, 0 where it is too low at every shift; the shift
    is in seconds, where ``other`` begins in ``one``.
    """
    if min(len(one), len(other)) < _MIN_COMMON:
        return 0.0, 0.0
    (sums_one, motion_one), (sums_other, motion_other) = _windows(one), _windows(other)
    products = one @ other.T
    rows, columns = len(sums_one), len(sums_other)
    covariance = sum((products[i : i + rows, i : i + columns] for i in range(_WINDOW)), np.zeros((rows, columns)))
    covariance -= sums_one @ sums_other.T / _WINDOW
    least = MIN_MOTION**2 * _WINDOW
    moves = np.logical_and.outer(motion_one >= least, motion_other >= least)
    correlation = covariance / np.sqrt(np.maximum(np.outer(motion_one, motion_other), least**2))
    shifts = np.subtract.outer(np.arange(rows), np.arange(columns)) + columns - 1
    num_shifts = rows + columns - 1
    num_windows = np.bincount(shifts.ravel(), minlength=num_shifts)
    least_alike = np.where(num_windows > _SHORT - _WINDOW, MIN_LIKENESS, MIN_SHORT_LIKENESS)
    num_moving = np.bincount(shifts.ravel(), moves.ravel(), num_shifts)
    num_alike = np.bincount(shifts.ravel(), (moves & (correlation >= least_alike[shifts])).ravel(), num_shifts)
    is_common = num_windows > _MIN_COMMON - _WINDOW
    found = (is_common & (2 * num_moving >= num_windows) & (2 * num_alike > num_moving)).nonzero()[0]
    medians = [(float(np.median(correlation[moves & (shifts == shift)])), int(shift) - columns + 1) for shift in found]
    likeness, shift = max(medians, key=lambda median: (median[0], -abs(median[1])), default=(0.0, 0))
    return likeness, shift / RATE


def _windows(vectors: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum of each window's vectors ``(T - W + 1, D)``, and their squared lengths without its mean, summed."""
    sums = np.cumsum(np.pad(vectors, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    squares = np.cumsum(np.pad((vectors * vectors).sum(axis=1), (1, 0)), dtype=np.float64)
    window_sums = sums[_WINDOW:] - sums[:-_WINDOW]
    motion = squares[_WINDOW:] - squares[:-_WINDOW] - (window_sums * window_sums).sum(axis=1) / _WINDOW
    return window_sums, np.maximum(motion, 0)


def _near_copies(vectors: Mapping[str, FloatArray]) -> Iterator[Copy]:
    """The near copies among videos with at least ``MIN_COMMON_SECONDS`` of vectors."""
    ids = [video_id for video_id, found in vectors.items() if len(found) >= _MIN_COMMON]
    for mirrored in (False, True):
        for first, second in _candidates([vectors[video_id] for video_id in ids], mirrored):
            one, other = vectors[ids[first]], vectors[ids[second]]
            likeness, shift = compare(one, other * _MIRROR if mirrored else other)
            if likeness:
                yield Copy(ids[first], ids[second], NEAR, shift, round(likeness, 3), mirrored)


def _candidates(vectors: Sequence[FloatArray], mirrored: bool) -> Iterator[tuple[int, int]]:
    """Pairs with alike mean pictures, by place, in order.

    All pairs are looked at, by products of matrices in blocks, for there may be a hundred million.
    """
    if len(vectors) < 2:
        return
    means, owners = [], []
    for place, found in enumerate(vectors):
        segments = [part.mean(axis=0) for part in np.array_split(found, max(1, round(len(found) / _SEGMENT)))]
        means += segments
        owners += [place] * len(segments)
    rows = np.stack(means).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    columns = np.ascontiguousarray((rows * _MIRROR if mirrored else rows).T)
    owner = np.array(owners)
    pairs: list[NDArray[np.int64]] = []
    size = max(1, _BLOCK_ENTRIES // len(rows))
    for start in range(0, len(rows), size):
        # The first of a pair is before the second, so what is before the block's first is done.
        begin = int(np.searchsorted(owner, owner[start]))
        one, other = (rows[start : start + size] @ columns[:, begin:] >= MIN_MEAN_LIKENESS).nonzero()
        found = np.stack([owner[one + start], owner[other + begin]], axis=1)
        pairs.append(np.unique(found[found[:, 0] < found[:, 1]], axis=0))
    yield from np.unique(np.concatenate(pairs), axis=0).tolist()


def table_rows(copies: Iterable[Copy]) -> list[list[object]]:
    """The cells of a table with ``COLUMNS``."""
    return [[c.video_id, c.copy_id, c.kind, f"{c.shift_seconds:g}", f"{c.likeness:.3f}", c.mirrored] for c in copies]


def parse_copies(text: str) -> list[Copy]:
    """The copies in the text of such a table.

    Raises:
        ValueError: it is damaged.
    """
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if tuple(header) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    return [
        Copy(video_id, copy_id, kind, float(shift), float(likeness), mirrored == "True")
        for video_id, copy_id, kind, shift, likeness, mirrored in rows
    ]
