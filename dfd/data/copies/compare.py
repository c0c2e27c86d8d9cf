"""Search for copies of videos: equal files, equal frames, and re-encoded, scaled or trimmed versions.

Near copies are recognised by their motion. Two fingerprints (:mod:`dfd.data.copies.content`) are aligned at each shift
in time and compared in windows of ``WINDOW_SECONDS``: the mean picture is subtracted, and what remains, the motion, is
correlated. A copy moves like its original, whereas two clips of one interview share the background but move
differently. Videos without motion cannot be compared.

The thresholds were chosen on the demonstration and on 74 videos of 74 people talking, in pieces of 150 frames. Among 12
copies with enough motion, the lowest likeness was 0.84 after x264 at crf 42, 0.91 at crf 35, 0.94 at half the size and
0.78 with a twentieth cut off each side. The highest among 2,701 pairs of people was 0.51. Among 67 pairs of pieces of
one video (one person and background at different times), the highest was 0.60 with three seconds or more in common, and
0.90 with two, since two seconds may match by chance. Results are in docs/leaks.md.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray
from dfd.data.copies.content import NUM_FREQUENCIES, RATE, Fingerprint

BYTES, PICTURES, NEAR = "bytes", "pictures", "near"
"""Kinds of copies: the same file, the same decoded frames, the same video re-encoded."""
EQUAL = (BYTES, PICTURES)

WINDOW_SECONDS = 1.0
MIN_COMMON_SECONDS = 2.0
"""Shortest overlap that is searched for; shorter ones would match by chance."""
MIN_LIKENESS = 0.75
"""Correlation of the motion that at least half of the windows must reach."""
SHORT_SECONDS, MIN_SHORT_LIKENESS = 3.0, 0.93
"""Overlaps shorter than ``SHORT_SECONDS`` need the higher likeness."""
MIN_MOTION = 0.3
"""Motion in grey levels (length of a vector) below which a window shows only encoder noise."""
MIN_MEAN_LIKENESS = 0.85
"""Cosine between the mean pictures of some two seconds of each video from which the videos are compared."""

_WINDOW = round(WINDOW_SECONDS * RATE)
_MIN_COMMON, _SHORT = round(MIN_COMMON_SECONDS * RATE), round(SHORT_SECONDS * RATE)
_SEGMENT = 2 * RATE
_BLOCK_ENTRIES = 8_000_000
# Mirroring negates the horizontally odd frequencies; see `dfd.data.copies.content` for their order.
_MIRROR = np.where(np.arange(1, NUM_FREQUENCIES**2) % NUM_FREQUENCIES % 2, -1, 1).astype(np.float32)

COLUMNS = ("video_id", "copy_id", "kind", "shift_seconds", "likeness", "mirrored")


@dataclass(frozen=True, slots=True)
class Copy:
    """Two videos with the same content, by id.

    ``kind`` is one of ``BYTES``, ``PICTURES``, ``NEAR``. A near copy begins ``shift_seconds`` after the beginning of
    the video (before it if negative), has a ``likeness`` (1: identical motion throughout), and may be ``mirrored``.
    """

    video_id: str
    copy_id: str
    kind: str
    shift_seconds: float = 0.0
    likeness: float = 1.0
    mirrored: bool = False

    def __str__(self) -> str:
        """Describe in words what the two videos have in common."""
        if self.kind == BYTES:
            return "are the same file, byte for byte"
        if self.kind == PICTURES:
            return "show the same pictures, frame for frame"
        mirrored = " mirrored" if self.mirrored else ""
        shift = f", {abs(self.shift_seconds):g} s apart" if self.shift_seconds else ""
        return f"show nearly the same video{mirrored}{shift} (likeness {self.likeness:.2f})"


@dataclass(frozen=True, slots=True)
class Seen:
    """A video with the SHA-256 of its file and the fingerprint of its frames."""

    video_id: str
    sha256: str
    fingerprint: Fingerprint


def find_copies(videos: Iterable[Seen]) -> list[Copy]:
    """Sorted pairs of videos with the same content.

    In a group of equal videos, each is paired only with the first. A near copy of one of them is paired with each.
    """
    by_id = {video.video_id: video for video in sorted(videos, key=lambda video: video.video_id)}
    groups: dict[str, list[Seen]] = defaultdict(list)
    first_of_file: dict[str, Seen] = {}
    for video in by_id.values():
        # Equal bytes are equal pictures, even if another machine's decoder rounded differently.
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
    """Likeness of the motion of two videos, with vectors ``(T, D)`` and ``(U, D)``, and the best shift.

    The likeness is the median correlation over the common windows, or 0 if it is too low at every shift. The shift is
    the position in seconds at which ``other`` begins in ``one``.
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
    """Sums of each window's vectors, ``(T - W + 1, D)``, and summed squared deviations from its mean."""
    sums = np.cumsum(np.pad(vectors, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    squares = np.cumsum(np.pad((vectors * vectors).sum(axis=1), (1, 0)), dtype=np.float64)
    window_sums = sums[_WINDOW:] - sums[:-_WINDOW]
    motion = squares[_WINDOW:] - squares[:-_WINDOW] - (window_sums * window_sums).sum(axis=1) / _WINDOW
    return window_sums, np.maximum(motion, 0)


def _near_copies(vectors: Mapping[str, FloatArray]) -> Iterator[Copy]:
    """Near copies among videos with at least ``MIN_COMMON_SECONDS`` of vectors."""
    ids = [video_id for video_id, found in vectors.items() if len(found) >= _MIN_COMMON]
    for mirrored in (False, True):
        for first, second in _candidates([vectors[video_id] for video_id in ids], mirrored):
            one, other = vectors[ids[first]], vectors[ids[second]]
            likeness, shift = compare(one, other * _MIRROR if mirrored else other)
            if likeness:
                yield Copy(ids[first], ids[second], NEAR, shift, round(likeness, 3), mirrored)


def _candidates(vectors: Sequence[FloatArray], mirrored: bool) -> Iterator[tuple[int, int]]:
    """Ordered pairs of positions with similar mean pictures.

    All pairs, perhaps a hundred million, are compared by blockwise matrix products.
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
        # The first of a pair precedes the second, so columns before the block are done.
        begin = int(np.searchsorted(owner, owner[start]))
        one, other = (rows[start : start + size] @ columns[:, begin:] >= MIN_MEAN_LIKENESS).nonzero()
        found = np.stack([owner[one + start], owner[other + begin]], axis=1)
        pairs.append(np.unique(found[found[:, 0] < found[:, 1]], axis=0))
    yield from np.unique(np.concatenate(pairs), axis=0).tolist()


def table_rows(copies: Iterable[Copy]) -> list[list[object]]:
    """Cells of a table of copies, in the order of ``COLUMNS``."""
    return [[c.video_id, c.copy_id, c.kind, f"{c.shift_seconds:g}", f"{c.likeness:.3f}", c.mirrored] for c in copies]


def parse_copies(text: str) -> list[Copy]:
    """Parse the CSV text of a table of copies.

    Raises:
        ValueError: the table is damaged.
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
