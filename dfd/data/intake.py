"""Which of a source's videos enter a clip store: those that are drawn, less the fakes whose picture nobody altered.

What is left out is never lost sight of: each such video is named with the reason, for ``left_out.csv``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd.data.audio_only import DEFAULT_THRESHOLD, PairVerdict
from dfd.data.manifest import VideoRow
from dfd.data.selection import draw_balanced
from dfd.data.sources import LeftOut
from dfd.data.splits import UNUSED
from dfd.types import Label

Compare = Callable[[Sequence[VideoRow], Mapping[str, Path]], list[PairVerdict]]
"""Measures fakes against their originals; see :func:`dfd.data.audio_only.compare_with_originals`."""


@dataclass(frozen=True, slots=True)
class Intake:
    """The videos to prepare, in the order of their ids, and those left out."""

    rows: list[VideoRow]
    left_out: list[LeftOut]
    unaltered: list[VideoRow]
    """Of those left out: fakes that show their original's picture."""
    not_compared: list[PairVerdict]
    """Fakes that could not be compared with their original; they are kept."""


def take_in(
    rows: Sequence[VideoRow],
    splits: Mapping[str, str],
    *,
    per_label: int | Mapping[str, int] | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    audio_only_threshold: float | None = DEFAULT_THRESHOLD,
    compare: Compare | None = None,
) -> Intake:
    """Choose from ``rows`` by their ``splits`` what this shard is to prepare.

    A video in no split (its people are on two sides) is left out. With ``per_label``, at most so many real and so many
    fake videos of each data set are drawn by :func:`dfd.data.selection.draw_balanced`, each label for itself: a store
    is a stock, from which training draws as many of each. A fake that names its ``original`` and differs from it by
    less than ``audio_only_threshold`` was altered in its sound alone: it is left out, and the draw takes the next
    instead. None compares nothing.

    Args:
        rows: listed by a source or a manifest.
        splits: of every row, by ``video_id``.
        per_label: for each data set alike, or by its name; None takes all.
        fractions: of train, val and test in the draw.
        seed: of the draw.
        shard: (i, n): of all videos in the order of their ids every n-th, beginning at the i-th.
        audio_only_threshold: see :func:`dfd.data.audio_only.picture_difference`.
        compare: measures fakes against originals; needed unless ``audio_only_threshold`` is None.

    Raises:
        SplitError: ``per_label`` names a data set that is not there.
    """
    left_out = [
        LeftOut(row.name, "unused", f"its people are on two sides of the split: {';'.join(row.source_ids)}")
        for row in rows
        if splits[row.video_id] == UNUSED
    ]
    candidates = [row for row in rows if splits[row.video_id] != UNUSED]
    # By the place among all that is listed: what is chosen may differ between shards by a comparison that failed in one
    # of them, and no video may be nobody's for that.
    mine = {row.video_id for row in sorted(rows, key=lambda row: row.video_id)[shard[0] :: shard[1]]}
    originals = {row.name: row.path for row in rows if row.label is Label.REAL}
    verdicts: dict[str, PairVerdict] = {}
    found: set[str] = set()
    while True:
        chosen = _drawn(candidates, splits, per_label, fractions, seed)
        if per_label is None:
            # Sharing out before comparing, each shard compares its own; a draw has to know them all.
            chosen = [row for row in chosen if row.video_id in mine]
        waiting = [
            row
            for row in chosen
            if row.label is Label.FAKE and row.extra.get("original") in originals and row.name not in verdicts
        ]
        if audio_only_threshold is None or not waiting:
            break
        assert compare is not None
        new = {verdict.name: verdict for verdict in compare(waiting, originals)}
        verdicts |= new
        unaltered = {name for name, verdict in new.items() if _is_unaltered(verdict, audio_only_threshold)}
        found |= unaltered
        candidates = [row for row in candidates if row.name not in unaltered]
        chosen = [row for row in chosen if row.name not in unaltered]
        if per_label is None or not unaltered:
            break
    left_out += [
        LeftOut(
            name,
            "audio_only",
            f"differs from {verdicts[name].original} by {verdicts[name].difference:.2f}, an altered picture by "
            f"{audio_only_threshold:g} or more",
        )
        for name in sorted(found)
    ]
    if per_label is not None:
        drawn = {row.video_id for row in chosen}
        left_out += [
            LeftOut(
                row.name,
                "not_drawn",
                "per_label was reached"
                if isinstance(per_label, int) or row.dataset in per_label
                else "per_label does not name its data set",
            )
            for row in candidates
            if row.video_id not in drawn
        ]
        chosen = [row for row in chosen if row.video_id in mine]
    return Intake(
        chosen,
        left_out,
        [row for row in rows if row.name in found],
        [verdict for verdict in verdicts.values() if verdict.difference is None],
    )


def _is_unaltered(verdict: PairVerdict, threshold: float) -> bool:
    return verdict.difference is not None and verdict.difference < threshold


def _drawn(
    rows: Sequence[VideoRow],
    splits: Mapping[str, str],
    per_label: int | Mapping[str, int] | None,
    fractions: Sequence[float],
    seed: int,
) -> list[VideoRow]:
    ordered = sorted(rows, key=lambda row: row.video_id)
    if per_label is None:
        return ordered
    here = {row.video_id: splits[row.video_id] for row in rows}
    drawn = draw_balanced(
        ordered, here, per_label=per_label, fractions=fractions, seed=seed, allow_fewer=True, equal=False
    )
    return [row for row in ordered if row.video_id in drawn]
