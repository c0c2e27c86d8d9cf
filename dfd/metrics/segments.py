"""Where in a video the fake is: labelled segments, proposals made of scores over time, temporal AP and AR."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dfd.metrics.formulas import Array, percentiles, resample
from dfd.metrics.videos import RESAMPLED_AT_ONCE, resamples_for

IOUS = (0.5, 0.75, 0.95)
"""Overlaps (intersection over union) from which a proposal has found a segment."""
MAX_PROPOSALS = 20
"""Proposals of a video that are counted, highest first."""
MAX_OVERLAP = 0.5
"""Overlap (IoU) from which the lower of two proposals of a video is dropped."""
LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Scores at which a video's curve is cut into proposals."""

MIN_WITH_SEGMENTS = 10
"""Smallest number of videos with segments for an interval."""

_TIME = r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)"
_SEGMENT = re.compile(rf"{_TIME}\s*[-–]\s*{_TIME}")


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a video from ``start`` to ``end``, in seconds, with the confidence that it is fake.

    Raises:
        ValueError: when it does not end after its start.
    """

    start: float
    end: float
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a segment ends after its start, got {self.start:g} to {self.end:g} seconds")

    def iou(self, other: "Segment") -> float:
        """Intersection over union with another segment.

        >>> Segment(0, 4).iou(Segment(2, 6))
        0.3333333333333333
        """
        both = min(self.end, other.end) - max(self.start, other.start)
        return max(0.0, both) / (max(self.end, other.end) - min(self.start, other.start)) if both > 0 else 0.0


def parse_segments(text: str) -> tuple[Segment, ...]:
    """Segments of a manifest's cell, in order: ``[hours:][minutes:]seconds`` to the same, separated by ``;``.

    >>> parse_segments("0:40-0:52.5; 1:00-1:05")
    (Segment(start=40.0, end=52.5, confidence=1.0), Segment(start=60.0, end=65.0, confidence=1.0))

    Raises:
        ValueError: when a part is no segment, or two overlap.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = _SEGMENT.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no segment; write start-end as in 0:40-0:52, and ; between segments")
        times = match.groups()
        found.append(Segment(_seconds(times[:3]), _seconds(times[3:])))
    found.sort(key=lambda segment: segment.start)
    for before, after in pairwise(found):
        if after.start < before.end:
            raise ValueError(f"the segments {before.start:g}-{before.end:g} and {after.start:g}-{after.end:g} overlap")
    return tuple(found)


def _seconds(parts: Sequence[str | None]) -> float:
    known = [float(part) for part in parts if part]
    return float(sum(value * 60**place for place, value in enumerate(reversed(known))))


def proposals(windows: Sequence[tuple[float, float, float]]) -> tuple[Segment, ...]:
    """Proposals made of scored windows ``(start, end, prob_fake)``, highest confidence first.

    The curve is cut at each of :data:`LEVELS`: a run of windows at or above a level is a proposal. Its confidence is
    the mean of its windows times the standard deviation between them and all others (the root of what Otsu's threshold
    of 1979 maximises), so that neither a single high window nor the whole video ranks above a segment that stands out;
    the whole video has none. Of two that overlap by :data:`MAX_OVERLAP` or more the lower one is dropped. A window
    that overlaps the next one ends where that begins.

    >>> [(p.start, p.end) for p in proposals([(0, 1, 0.1), (1, 2, 0.9), (2, 3, 0.8), (3, 4, 0.1)])][:1]
    [(1, 3)]
    """
    ordered = sorted(windows)
    if not ordered:
        return ()
    starts = [start for start, _, _ in ordered]
    ends = [min(end, after) for (_, end, _), after in zip(ordered, [*starts[1:], np.inf], strict=True)]
    probs = np.array([prob for _, _, prob in ordered])
    spans = {span for level in LEVELS for span in _runs(probs >= level, starts, ends)}
    found = []
    for first, last in sorted(spans):
        inside = np.zeros(probs.size, dtype=bool)
        inside[first : last + 1] = True
        if ends[last] > starts[first]:
            found.append(Segment(starts[first], ends[last], _confidence(probs, inside)))
    kept: list[Segment] = []
    for one in sorted(found, key=lambda segment: (-segment.confidence, segment.start)):
        if all(one.iou(other) < MAX_OVERLAP for other in kept):
            kept.append(one)
    return tuple(kept[:MAX_PROPOSALS])


def _confidence(probs: Any, inside: Any) -> float:
    if inside.all():
        return 0.0
    share, mean = inside.mean(), probs[inside].mean()
    return float(mean * np.sqrt(share * (1 - share)) * (mean - probs[~inside].mean()))


def _runs(above: Any, starts: Sequence[float], ends: Sequence[float]) -> list[tuple[int, int]]:
    """First and last window of each run; a gap in time between two windows ends a run."""
    runs: list[tuple[int, int]] = []
    for index, is_above in enumerate(above):
        if not is_above:
            continue
        follows = runs and runs[-1][1] == index - 1 and starts[index] - ends[index - 1] <= ends[index] - starts[index]
        if follows:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def temporal_metrics(
    labelled: Mapping[str, Sequence[Segment]], proposed: Mapping[str, Sequence[Segment]]
) -> dict[str, Any]:
    """Average precision and recall of proposals, over videos with known segments, fit for JSON.

    Proposals of all videos are ranked by confidence. Each, in turn, has found the segment of its video that it overlaps
    most, if that overlap reaches the IoU and no earlier proposal has found it. AP is the area under precision against
    recall, with precision raised to the highest at the same or a higher recall, as in ActivityNet's and
    AV-Deepfake1M's evaluations. AR is the share of all segments that were found by any of a video's
    :data:`MAX_PROPOSALS` proposals.

    >>> truth = {"a": [Segment(0, 4)], "b": []}
    >>> found = temporal_metrics(truth, {"a": [Segment(0, 3, 0.9)], "b": [Segment(5, 6, 0.95)]})
    >>> found["ap"], found["ar"]
    ({'0.5': 0.5, '0.75': 0.5, '0.95': 0.0}, {'0.5': 1.0, '0.75': 1.0, '0.95': 0.0})

    Args:
        labelled: segments by video; a real video has none, and its proposals are false ones.
        proposed: proposals by video.

    Returns:
        ``{"ap": {iou: value}, "ar": {iou: value}, "ap_intervals": {iou: ends}, "ar_intervals", "mean_ap", "mean_ar",
        "num_videos", "num_segments"}``; values are None without a segment. Intervals resample the videos, with and
        without segments apart; None with fewer than :data:`MIN_WITH_SEGMENTS` videos with segments, or without width.
    """
    num_segments = sum(map(len, labelled.values()))
    videos = list(labelled)
    ranked = sorted(
        ((one, place) for place, video in enumerate(videos) for one in proposed.get(video, ())[:MAX_PROPOSALS]),
        key=lambda item: (-item[0].confidence, videos[item[1]], item[0].start),
    )
    of_video = np.array([place for _, place in ranked], dtype=np.int64)
    hits = {f"{iou:g}": _hits(ranked, [labelled[video] for video in videos], iou) for iou in IOUS}
    result: dict[str, Any] = {"num_videos": len(labelled), "num_segments": num_segments}
    per_video = np.array([len(labelled[video]) for video in videos])
    whole = _values(hits, of_video, per_video, np.ones((1, len(videos))))
    draws = _draws(hits, of_video, per_video) if (per_video > 0).sum() >= MIN_WITH_SEGMENTS else None
    for name, values in whole.items():
        result[name] = {iou: float(value[0]) if num_segments else None for iou, value in values.items()}
        ends = {iou: _wide(draws[name][iou]) for iou in values} if draws else dict.fromkeys(values)
        result[f"{name}_intervals"] = ends
        result[f"mean_{name}"] = float(np.mean([*result[name].values()])) if num_segments else None
    return result


def _hits(ranked: Sequence[tuple[Segment, int]], labelled: Sequence[Sequence[Segment]], iou: float) -> Array:
    """Whether each proposal (with the place of its video) is the first to find a segment, in their order."""
    taken: set[tuple[int, int]] = set()
    hits = np.zeros(len(ranked))
    for rank, (one, place) in enumerate(ranked):
        overlaps = [(one.iou(segment), index) for index, segment in enumerate(labelled[place])]
        free = [(value, index) for value, index in overlaps if value >= iou and (place, index) not in taken]
        if free:
            taken.add((place, max(free)[1]))
            hits[rank] = 1
    return hits


def _values(
    hits: Mapping[str, Array], of_video: Array, per_video: Array, counts_RV: Array
) -> dict[str, dict[str, Array]]:
    """AP and AR at each IoU where each video is there as often as ``counts_RV`` says, as (R,)."""
    weights_RP = counts_RV[:, of_video]
    num_segments_R = np.maximum(counts_RV @ per_video, 1)
    num_ranked_RP = np.maximum(np.cumsum(weights_RP, axis=1), 1)
    found: dict[str, dict[str, Array]] = {"ap": {}, "ar": {}}
    for iou, hits_P in hits.items():
        hits_RP = weights_RP * hits_P
        precision_RP = np.cumsum(hits_RP, axis=1) / num_ranked_RP
        highest_RP = np.maximum.accumulate(precision_RP[:, ::-1], axis=1)[:, ::-1]
        found["ap"][iou] = (highest_RP * hits_RP).sum(axis=1) / num_segments_R
        found["ar"][iou] = hits_RP.sum(axis=1) / num_segments_R
    return found


def _draws(hits: Mapping[str, Array], of_video: Array, per_video: Array) -> dict[str, dict[str, Array]]:
    """AP and AR at each IoU in each resample of the videos, with and without segments apart."""
    generator = np.random.default_rng(0)
    num_resamples, size = resamples_for(per_video.size), max(1, RESAMPLED_AT_ONCE // max(1, of_video.size))
    parts = []
    for start in range(0, num_resamples, size):
        counts_RV = resample(per_video > 0, min(size, num_resamples - start), generator)
        parts.append(_values(hits, of_video, per_video, counts_RV))
    return {name: {iou: np.concatenate([part[name][iou] for part in parts]) for iou in hits} for name in ("ap", "ar")}


def _wide(values: Array) -> tuple[float, float] | None:
    ends = percentiles(values)
    return None if ends is None or ends[1] - ends[0] < 1e-9 else ends


def moments_inside(
    labelled: Mapping[str, Sequence[Segment]], windows: Mapping[str, Sequence[tuple[float, float, float]]]
) -> tuple[int, int]:
    """Number of videos with segments whose highest window lies mostly in one, and number of such videos.

    >>> moments_inside({"a": [Segment(1, 3)]}, {"a": [(0, 1, 0.2), (1, 2, 0.7)]})
    (1, 1)
    """
    right = total = 0
    for video, segments in labelled.items():
        if segments and windows.get(video):
            start, end, _ = max(windows[video], key=lambda window: window[2])
            inside = sum(max(0.0, min(end, one.end) - max(start, one.start)) for one in segments)
            right, total = right + (inside > (end - start) / 2), total + 1
    return right, total
