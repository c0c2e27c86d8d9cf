"""Detection of fakes in which only the sound was altered and the picture is the original's, re-encoded.

DFDC has such videos. For a face detector their label is wrong, so they are found by comparing decoded frames with the
original's, and left out (:mod:`dfd.data.prepare.intake`).

Re-encoding changes fine detail everywhere but hardly the brightness of a 16-pixel patch, whereas a manipulated face
changes such patches in one place. For each frame, the colours of one picture are fitted to the other (files with
different colour matrices may show the same picture), the difference is averaged over patches, and the most changed
500th of the patches is divided by the common difference of patches in this frame. The frame with the largest value
counts, since a forged mouth may show in a few frames only.
"""

import csv
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfd.base.errors import DfdError
from dfd.base.machine import hold_to_one_core, limit_tasks, num_cores
from dfd.base.types import FloatArray, FrameArray
from dfd.data.sources.row import VideoRow
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.video.decode import VideoReader
from dfd.video.file.container import DEFAULT_LIMITS
from dfd.video.sampling import window_starts

NUM_FRAMES = 16
"""Number of frames compared per video."""

# Measured by benchmarks/audio_only.py on 36 videos (FaceForensics++, DFDC, HDTF and others, 256 to 1920 pixels wide),
# 48 frames of each encoded again by x264, and on 6 fakes with their originals. The constants below were chosen on the
# same videos; x265 (crf 32), VP9 (crf 40) and MPEG-4, tried afterwards on 10 of them, gave at most 2.02, 1.33 and 3.57.
#
#   encoded again         median  largest      fake                  difference
#   medium, crf 18          0.61     0.92      NeuralTextures              5.76  (4.35 to 8.99 over choices of frames)
#   medium, crf 28          1.19     1.70      GHOST            7.73 12.37 13.64
#   medium, crf 23 then 28  1.31     1.64      Deepfakes                  19.78
#   medium, crf 34          1.66     2.73      FaceSwap                   22.17
#   veryfast, crf 34        2.04     2.61
#   medium, crf 40          2.37     3.73
#   veryfast, crf 40        3.01     4.26  (3 of 36 above 4: a picture in ruins, and its fake is kept)
#
# Up to crf 34 the smallest value of a fake is 2.1 times the largest of a copy, and 4 is their geometric mean. That fake
# changes only the mouth, and its original was itself heavily compressed.
DEFAULT_THRESHOLD = 4.0
"""Smallest :func:`picture_difference` of an altered picture; re-encoding alone stays below it."""

VERSION = 1
"""Part of a result's key in the cache; raise it when the same videos give other differences."""

_MAX_SIDE = 1920
_MAX_ASPECT_CHANGE = 0.02  # an encoder rounds sizes to even numbers

# Patches are 4 x 4 cells of 4 x 4 pixels: the size of a macroblock, whose mean an encoder preserves best.
_CELL_PIXELS, _PATCH_CELLS = 4, 4
_STRONGEST = 0.002
# Common difference of patches: the 70th percentile, plus 2 levels so that a single flaw of a clean copy does not stand
# out, and at most 6 levels, since a swapped face may fill the picture.
_COMMON_QUANTILE, _COMMON_OFFSET, _MAX_COMMON = 0.7, 2.0, 6.0
_COLOUR_FIT_SIDE, _COLOUR_FIT_SHARE = 96, 0.8
# Y, Cb and Cr of RGB, ITU-R BT.601.
_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)

_COLUMNS = ("version", "num_frames", "name", "original", "size_bytes", "original_size_bytes", "difference")


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Difference between a fake's picture and its original's, with the names of both.

    ``difference`` is that of :func:`picture_difference`, or None if the videos could not be compared; ``message`` then
    says why.
    """

    name: str
    original: str
    difference: float | None
    message: str = ""


def picture_difference(path: Path, original: Path, *, num_frames: int = NUM_FRAMES) -> float:
    """Largest local difference between the pictures of two videos; see :func:`frames_difference`.

    Frames with the same index are compared, spread over the shorter video. Pictures with different aspect ratios differ
    infinitely; those of different size are scaled to the smaller one. The measure is symmetric.

    Raises:
        UnreadableVideo, VideoTooLarge: one of the videos cannot be decoded.
        ValueError: ``num_frames`` is not positive.
    """
    with VideoReader(path, max_side=_MAX_SIDE) as one, VideoReader(original, max_side=_MAX_SIDE) as other:
        if abs(one.width * other.height / (one.height * other.width) - 1) > _MAX_ASPECT_CHANGE:
            return float("inf")
        first = max(one.first_frame, other.first_frame)
        length = max(1, min(one.num_frames, other.num_frames) - first)
        indices = [first + start for start in window_starts(length, clip_len=1, num_windows=num_frames)]
        # One at a time, since sixteen large frames of each video would take 200 MB.
        return max(frames_difference(one.frames([index]), other.frames([index])) for index in indices)


def frames_difference(frames: FrameArray, originals: FrameArray) -> float:
    """Largest difference between corresponding frames, ``(N, H, W, 3)`` each; H and W may differ.

    The value has no unit: 0 for equal frames, around 1 for good encodings, above :data:`DEFAULT_THRESHOLD` for swapped
    faces.
    """
    return max(_frame_difference(one, other) for one, other in zip(frames, originals, strict=True))


def _frame_difference(frame: FrameArray, original: FrameArray) -> float:
    one, other = (np.asarray(picture, np.float32) for picture in (frame, original))
    if one.shape != other.shape:
        height, width = min(one.shape[:2], other.shape[:2])
        one, other = (
            np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.float32)
            for picture in (one, other)
        )
    return (_strongest_change(one, other) + _strongest_change(other, one)) / 2


def _strongest_change(frame: FloatArray, reference: FloatArray) -> float:
    """Ratio of the strongest to the common change of patches, after the colours of ``frame`` are fitted."""
    change = cv2.transform(frame, _colour_fit(frame, reference)) - cv2.transform(reference, _YCBCR)
    cells = cv2.resize(change, _scaled(frame, 1 / _CELL_PIXELS), interpolation=cv2.INTER_AREA)
    patches = cv2.blur(cells, (_PATCH_CELLS, _PATCH_CELLS))
    levels = np.sort(np.linalg.norm(patches, axis=-1), axis=None)[::-1]
    strongest = levels[: max(1, round(_STRONGEST * levels.size))].mean()
    common = levels[int((1 - _COMMON_QUANTILE) * levels.size)]
    return float(strongest / min(common + _COMMON_OFFSET, _MAX_COMMON))


def _colour_fit(frame: FloatArray, reference: FloatArray) -> FloatArray:
    """Robust affine fit (3, 4) from RGB of ``frame`` to YCbCr of ``reference``."""
    size = _scaled(frame, min(1.0, _COLOUR_FIT_SIDE / max(frame.shape[:2])))
    rgb, wanted = (
        np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32).reshape(-1, 3)
        for picture in (frame, reference)
    )
    wanted = wanted @ _YCBCR.T
    inputs = np.column_stack([rgb, np.ones(len(rgb), np.float32)])
    fitted = np.linalg.lstsq(inputs, wanted, rcond=None)[0]
    # A swapped face must not distort the fit, so the second fit uses only pixels that the first explains well.
    errors = np.abs(inputs @ fitted - wanted).sum(axis=1)
    good = errors <= np.quantile(errors, _COLOUR_FIT_SHARE)
    return np.asarray(np.linalg.lstsq(inputs[good], wanted[good], rcond=None)[0].T, np.float32)


def _scaled(picture: FloatArray, scale: float) -> tuple[int, int]:
    """Width and height of ``picture`` times ``scale``."""
    return max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))


def compare_with_originals(
    rows: Sequence[VideoRow],
    originals: Mapping[str, Path],
    cache: Path,
    *,
    num_workers: int | None = None,
    deadline_seconds: float = 120.0,
    on_pair: Callable[[PairVerdict], None] | None = None,
) -> list[PairVerdict]:
    """Compare each fake with the video it was made from, in worker processes.

    Args:
        rows: fakes; ``extra["original"]`` of each is a key of ``originals``.
        originals: paths of the originals, by name.
        cache: CSV file to which results are appended. Cached pairs are measured again only if a file's size has
            changed; failed comparisons are not cached and are tried again.
        num_workers: number of processes; None for one per core.
        deadline_seconds: time limit for one pair.
        on_pair: called with each verdict as soon as it is known, cached ones first.

    Returns:
        A verdict for each row, in order.

    Raises:
        DfdError: the file at ``cache`` is not such a cache.
    """
    known = _read_cache(cache)
    verdicts: dict[str, PairVerdict] = {}

    def note(row: VideoRow, difference: float | None, message: str = "") -> None:
        verdicts[row.video_id] = PairVerdict(row.name, row.extra["original"], difference, message)
        if on_pair:
            on_pair(verdicts[row.video_id])

    waiting: dict[str, tuple[VideoRow, tuple[str, ...]]] = {}
    for row in rows:
        key = _key(row, originals[row.extra["original"]])
        if key in known:
            note(row, known[key])
        else:
            waiting[row.video_id] = row, key
    if waiting:
        tasks = [(video_id, row.path, originals[row.extra["original"]]) for video_id, (row, _) in waiting.items()]
        workers = min(num_workers or num_cores(), len(tasks))
        cache.parent.mkdir(parents=True, exist_ok=True)
        with (
            cache.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file,
            WorkerPool(num_workers=workers, deadline_seconds=deadline_seconds, initializer=_start_worker) as pool,
        ):
            for (video_id, _, _), result in pool.map(_compare, tasks):
                row, key = waiting[video_id]
                if isinstance(result, Failure):
                    note(row, None, result.message)
                    continue
                file.write(_line([*key, repr(result)]))
                file.flush()
                note(row, result)
    return [verdicts[row.video_id] for row in rows]


def _start_worker() -> None:
    hold_to_one_core()
    limit_tasks(2 * DEFAULT_LIMITS.task_bytes)  # two videos at once


def _compare(task: tuple[str, Path, Path]) -> float:
    _, path, original = task
    return picture_difference(path, original)


def _key(row: VideoRow, original: Path) -> tuple[str, ...]:
    """Cells of a cache line except the result."""
    sizes = [str(path.stat().st_size) if path.is_file() else "" for path in (row.path, original)]
    return (str(VERSION), str(NUM_FRAMES), row.name, row.extra["original"], *sizes)


def _read_cache(path: Path) -> dict[tuple[str, ...], float]:
    """Cached differences by :func:`_key`; a last line that was only partly written is removed from the file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    whole = data[: data.rfind(b"\n") + 1]
    if not whole:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_line(_COLUMNS), encoding="utf-8")
        return {}
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    lines = csv.reader(io.StringIO(whole.decode("utf-8", "surrogateescape"), newline=""))
    if next(lines, None) != list(_COLUMNS):
        raise DfdError(f"{path}: is not a list of compared videos ({','.join(_COLUMNS)}); move it away")
    # A damaged line is measured again.
    return {
        tuple(cells[:-1]): float(cells[-1]) for cells in lines if len(cells) == len(_COLUMNS) and _is_number(cells[-1])
    }


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _line(cells: Sequence[Any]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
