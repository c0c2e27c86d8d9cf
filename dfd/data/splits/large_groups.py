"""Cutting groups of videos that are too large for one side of a split."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from dfd.data.splits.cuts import Member, common_side, divide_sources
from dfd.data.splits.people import SPLITS, Splittable
from dfd.data.splits.placing import Piece, Stratum, Wanted

FAR = 0.1
"""Distance from the wanted share above which a split counts as badly divided."""


MIN_CUT_SHARE = 0.2
"""Share of a data set's real or fake videos above which a component is cut, if it leaves them badly divided.

Five components of a fifth each can be placed three to one to one, within ``FAR`` of the usual fractions.
"""


MIN_CUT_VIDEOS, MIN_CUT_SOURCES = 30, 6
"""Fewest videos and source ids of a component that can be cut into three parts with both labels and several people."""


MIN_KEPT = 0.25
"""Share of videos that a cut must keep. If all people are swapped with all others, an even cut keeps a third."""


def _stratum(row: Splittable) -> Stratum:
    return row.dataset, str(row.label)


def _cut(
    group: Sequence[str], by_id: Mapping[str, Splittable], wanted: Wanted, known: Mapping[str, str]
) -> list[Piece]:
    """Divide a group's source ids, keeping ``known`` sides; videos on two sides are in none of the pieces."""
    members = [Member(by_id[video_id].source_ids, _stratum(by_id[video_id])) for video_id in group]
    sides = divide_sources(members, wanted.shares, seed=wanted.seed, fixed=known)
    pieces: dict[str, list[str]] = defaultdict(list)
    for video_id in group:
        side = common_side(by_id[video_id].source_ids, sides)
        if side is not None:
            pieces[side].append(video_id)
    return [Piece(videos, split, sides) for split, videos in sorted(pieces.items())]


def _cut_if_better(piece: Piece, by_id: Mapping[str, Splittable], division: "_Division", wanted: Wanted) -> list[Piece]:
    """Parts of a piece, if it causes a bad division that cutting improves; otherwise the piece itself."""
    rows = [by_id[video_id] for video_id in piece.videos]
    if len(rows) < MIN_CUT_VIDEOS or len({i for row in rows for i in row.source_ids}) < MIN_CUT_SOURCES:
        return [piece]
    num_videos = Counter(row.dataset for row in rows)
    too_large = [
        stratum
        for stratum, number in Counter(map(_stratum, rows)).items()
        if num_videos[stratum[0]] >= MIN_CUT_VIDEOS and number > MIN_CUT_SHARE * division.total(stratum)
    ]
    if not any(division.is_bad(stratum, wanted.shares) for stratum in too_large):
        return [piece]
    parts = _cut(piece.videos, by_id, wanted, piece.sides)
    if sum(len(part.videos) for part in parts) < MIN_KEPT * len(rows):
        return [piece]
    # A cut counts only if every side gets all labels of the whole.
    labels = {row.label for row in rows}
    needed = {(split, label) for split, share in wanted.shares.items() for label in labels if share > 0}
    given = {(part.split, by_id[video_id].label) for part in parts for video_id in part.videos}
    return parts if needed <= given else [piece]


class _Division:
    """Number of videos of each (data set, label) in each split."""

    def __init__(self, by_id: Mapping[str, Splittable], splits: Mapping[str, str]) -> None:
        self.counts = Counter((_stratum(by_id[video_id]), split) for video_id, split in splits.items())

    def total(self, stratum: Stratum) -> int:
        return sum(self.counts[stratum, split] for split in SPLITS)

    def is_bad(self, stratum: Stratum, shares: Mapping[str, float]) -> bool:
        """Whether a split lacks the stratum or is far from its share of it."""
        return any(
            abs(self.counts[stratum, split] / self.total(stratum) - share) > FAR
            or (share > 0 and not self.counts[stratum, split])
            for split, share in shares.items()
        )
