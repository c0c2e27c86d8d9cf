"""Given and earlier splits, and the sides that they imply for other videos."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from dfd.base.errors import SplitLeak
from dfd.data.splits.people import UNUSED, HasSplit, _listed, components


def check_given_splits(rows: Iterable[HasSplit]) -> None:
    """Refuse given splits that divide a component; rows without a split may join any.

    Raises:
        SplitLeak: a component is divided; the message names the videos and what they share.
    """
    rows = list(rows)
    _sides_of_groups(components(rows), {row.video_id: row for row in rows}, _fixed_splits(rows, {}), set())


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Fixed split of a video: frozen earlier (``is_frozen``) or given by the manifest."""

    split: str
    is_frozen: bool

    @property
    def why(self) -> str:
        return "assigned before" if self.is_frozen else "given"


def _fixed_splits(rows: Iterable[HasSplit], frozen: Mapping[str, str]) -> dict[str, _Fixed]:
    """Fixed splits by video id.

    Raises:
        SplitLeak: a row's own split differs from the frozen one.
    """
    fixed: dict[str, _Fixed] = {}
    leaks = []
    for row in rows:
        earlier = frozen.get(row.video_id, "")
        if earlier and row.split and earlier != row.split:
            leaks.append(
                f"video {row.video_id!r} was assigned to {earlier} before and is given as {row.split} now; "
                "keep the earlier split or make a new store"
            )
        if earlier or row.split:
            fixed[row.video_id] = _Fixed(earlier or row.split, is_frozen=bool(earlier))
    if leaks:
        raise SplitLeak(_listed("the given splits are not those of the store", leaks))
    return fixed


def _sides_of_groups(
    groups: Sequence[Sequence[str]],
    by_id: Mapping[str, HasSplit],
    fixed: Mapping[str, _Fixed],
    torn: Set[str],
    tied: Mapping[str, str] | None = None,
) -> list[dict[str, str]]:
    """Sides of the source ids that have one, for each group.

    Raises:
        SplitLeak: a group that was not cut (``torn``), or a source id, is on two sides.
    """
    tied = tied or {}
    found: list[dict[str, str]] = []
    leaks = []
    for group in groups:
        ids = {source_id for video_id in group for source_id in by_id[video_id].source_ids}
        sides = {source_id: tied[source_id] for source_id in ids if tied.get(source_id, UNUSED) != UNUSED}
        first: dict[str, dict[str, str]] = defaultdict(dict)
        is_torn = not torn.isdisjoint(group)
        for video_id in group:
            if video_id in fixed:
                for key in by_id[video_id].source_ids if is_torn else [""]:
                    first[key].setdefault(fixed[video_id].split, video_id)
                sides |= dict.fromkeys(by_id[video_id].source_ids, fixed[video_id].split)
        conflicts = [holders for _, holders in sorted(first.items()) if len(holders) > 1]
        if conflicts:
            leaks.append(_describe(list(conflicts[0].values()), by_id, fixed, len(group)))
        found.append(sides)
    if leaks:
        headline = (
            "the splits divide videos that share people or sources; in the manifest or its folders, put both of each "
            "pair on one side, or leave one out"
        )
        raise SplitLeak(_listed(headline, leaks))
    return found


def _describe(
    videos: Sequence[str], by_id: Mapping[str, HasSplit], fixed: Mapping[str, _Fixed], num_videos: int
) -> str:
    """Describe two videos of a component on different sides, and what connects them."""
    a, b = videos[:2]
    shared = sorted(set(by_id[a].source_ids) & set(by_id[b].source_ids))
    link = f"both have source id {shared[0]!r}" if shared else f"joined through others of their {num_videos} videos"
    sides = [f"video {video_id!r} ({fixed[video_id].why}: {fixed[video_id].split})" for video_id in (a, b)]
    return f"{sides[0]} and {sides[1]}: {link}"
