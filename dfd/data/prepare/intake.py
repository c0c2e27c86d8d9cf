"""Selection of the videos that enter a clip store: the drawn ones, without fakes whose picture was not altered.

Every video that is left out is recorded with the reason, for ``left_out.csv``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfd.base.types import Label
from dfd.data.prepare.audio_only import DEFAULT_THRESHOLD, PairVerdict
from dfd.data.sources import LeftOut
from dfd.data.sources.row import VideoRow
from dfd.data.splits.draw import draw_balanced
from dfd.data.splits.people import DEFAULT_FRACTIONS, UNUSED

Compare = Callable[[Sequence[VideoRow], Mapping[str, Path]], list[PairVerdict]]
"""Comparison of fakes with their originals; see :func:`dfd.data.prepare.audio_only.compare_with_originals`."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Videos to prepare, in the order of their ids, and videos left out."""

    rows: list[VideoRow]
    left_out: list[LeftOut]
    unaltered: list[VideoRow]
    """Fakes left out because they show their original's picture."""
    not_compared: list[PairVerdict]
    """Fakes that could not be compared with their original; they are kept."""


def take_in(
    rows: Sequence[VideoRow],
    splits: Mapping[str, str],
    *,
    per_label: int | Mapping[str, int] | None = None,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    audio_only_threshold: float | None = DEFAULT_THRESHOLD,
    compare: Compare | None = None,
) -> Intake:
    """Choose the videos that this shard prepares from ``rows`` and their ``splits``.

    A video in no split (its people are on two sides) is left out. With ``per_label``, at most that many real and that
    many fake videos of each data set are drawn by :func:`dfd.data.splits.draw.draw_balanced`, independently for each
    label, since training balances them later. A fake that names its ``original`` and differs from it by less than
    ``audio_only_threshold`` was altered only in its sound: it is left out, and the draw takes the next one.

    Args:
        rows: videos listed by a source or a manifest.
        splits: split of every row, by ``video_id``.
        per_label: videos per label, for all data sets or by their names; None takes all.
        fractions: shares of train, val and test in the draw.
        seed: seed of the draw.
        shard: (i, n) selects every n-th video in the order of ids, starting at the i-th.
        audio_only_threshold: see :func:`dfd.data.prepare.audio_only.picture_difference`; None compares nothing.
        compare: comparison of fakes with originals; needed unless ``audio_only_threshold`` is None.

    Raises:
        SplitError: ``per_label`` names an unknown data set.
    """
    left_out = [
        LeftOut(row.name, "unused", f"its people are on two sides of the split: {';'.join(row.source_ids)}")
        for row in rows
        if splits[row.video_id] == UNUSED
    ]
    candidates = [row for row in rows if splits[row.video_id] != UNUSED]
    # By position among all listed videos: a comparison that fails in one shard only may change its choice, and no video
    # may fall between the shards because of that.
    mine = {row.video_id for row in sorted(rows, key=lambda row: row.video_id)[shard[0] :: shard[1]]}
    originals = {row.name: row.path for row in rows if row.label is Label.REAL}
    verdicts: dict[str, PairVerdict] = {}
    found: set[str] = set()
    while True:
        chosen = sorted(candidates, key=lambda row: row.video_id)
        if per_label is not None:
            how: dict[str, Any] = {"fractions": fractions, "seed": seed, "allow_fewer": True, "equal": False}
            drawn = draw_balanced(chosen, splits, per_label=per_label, **how)
            chosen = [row for row in chosen if row.video_id in drawn]
        else:
            # Without a draw, each shard compares only its own videos; a draw needs the results for all.
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
            f"differs from {verdicts[name].original} by {verdicts[name].difference:.2f}; an altered picture differs by "
            f"{audio_only_threshold:g} or more",
        )
        for name in sorted(found)
    ]
    if per_label is not None:
        for row in candidates:
            if row.video_id not in drawn:
                is_named = isinstance(per_label, int) or row.dataset in per_label
                detail = "per_label was reached" if is_named else "per_label does not name its data set"
                left_out.append(LeftOut(row.name, "not_drawn", detail))
        chosen = [row for row in chosen if row.video_id in mine]
    return Intake(
        chosen,
        left_out,
        [row for row in rows if row.name in found],
        [verdict for verdict in verdicts.values() if verdict.difference is None],
    )


def _is_unaltered(verdict: PairVerdict, threshold: float) -> bool:
    return verdict.difference is not None and verdict.difference < threshold
