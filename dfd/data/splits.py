"""Dividing videos into train, val and test so that no person and no source video is on two sides.

Videos that share a source id, directly or through others, form a component. It stays whole, unless it is too large for
that: then its people are divided, and a video with people of two sides is in no split. A detector tested on people it
was trained on recognises the people, and its score says little about new ones. The modes ``official`` and
``random_video`` give this up, and say so.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from dfd.data.cuts import Member, common_side, divide_sources
from dfd.data.placing import Piece, Stratum, place, shuffle_key
from dfd.errors import SplitError, SplitLeak
from dfd.types import Label

SPLITS = ("train", "val", "test")
UNUSED = "unused"
"""What an assignment gives to a video that must be in no split."""
RANDOM_VIDEO = "random_video"
SPLIT_MODES = ("source", "official", RANDOM_VIDEO)
FAR = 0.1
"""A share of the videos this far from the wanted one is not what was asked for."""
MIN_CUT_SHARE = 0.2
"""A component is cut only if it holds more than this of a data set's real or fake videos, and they come out badly with
it whole. Five parts of a fifth can still be dealt out three to one to one, within ``FAR`` of the usual divisions."""
MIN_CUT_VIDEOS, MIN_CUT_SOURCES = 30, 6
"""A component with fewer cannot be cut into three that have both labels and several people each."""
MIN_KEPT = 0.25
"""A cut that keeps less is no division. People who are all swapped with all others, divided evenly, keep a third."""
MAX_NAMED = 10
"""So many leaks are spelt out in a message; the rest are counted."""

logger = logging.getLogger(__name__)


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse what is no division into train, val and test.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1.
    """
    if len(fractions) != len(SPLITS) or not all(math.isfinite(f) and 0 <= f <= 1 for f in fractions):
        raise ValueError(f"fractions must be three numbers from 0 to 1 (train, val, test), got {list(fractions)}")
    if abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must add up to 1, got {list(fractions)}, together {sum(fractions):g}")


class HasSplit(Protocol):
    """What an audit looks at; a manifest's row and a store's are such."""

    @property
    def video_id(self) -> str:
        """Unique in a store."""

    @property
    def source_ids(self) -> tuple[str, ...]:
        """People and source videos that it is made of."""

    @property
    def split(self) -> str:
        """Of ``SPLITS``, ``UNUSED``, or empty."""


class Splittable(HasSplit, Protocol):
    """What an assignment looks at."""

    @property
    def label(self) -> Label:
        """Real or fake."""

    @property
    def dataset(self) -> str:
        """Where it comes from."""


def components(rows: Iterable[HasSplit]) -> list[list[str]]:
    """Video ids grouped by shared source ids; each group sorted, and the groups by their first id."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    video_ids: set[str] = set()
    for row in rows:
        video_ids.add(row.video_id)
        # Prefixes keep a source id that is spelt like a video id apart from it.
        nodes = [f"v:{row.video_id}", *(f"s:{source_id}" for source_id in row.source_ids)]
        for node in nodes:
            parent.setdefault(node, node)
            parent[root(node)] = root(nodes[0])
    groups: dict[str, list[str]] = defaultdict(list)
    for video_id in sorted(video_ids):
        groups[root(f"v:{video_id}")].append(video_id)
    return list(groups.values())


def check_given_splits(rows: Iterable[HasSplit]) -> None:
    """Refuse rows whose given splits divide a component; rows without a split may join any.

    Raises:
        SplitLeak: naming the videos and what they share.
    """
    rows = list(rows)
    _sides_of_groups(components(rows), {row.video_id: row for row in rows}, _fixed_splits(rows, {}), set())


def assign_splits(
    rows: Sequence[Splittable],
    *,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    frozen: Mapping[str, str] | None = None,
    mode: str = "source",
    official: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of every video, by ``video_id``: one of ``SPLITS``, or ``UNUSED``.

    Modes:
        source: no source id is on two sides. Each (data set, label) is divided by ``fractions`` (train, val, test) as
            nearly as whole components allow, and each split gets both labels where that is possible; where not, a
            warning says so. A component that is too large for its data set to be divided so is cut: its source ids are
            divided, a video with ids of two sides is ``UNUSED``, and a warning counts these.
        official: what the data sets' owners say, to the letter. Where they name no val, it is carved out of their
            train, as ``source`` would divide that: choosing the epoch on their test would be training on it. A video
            that they do not mention joins the side of its ids, is ``UNUSED`` if they are on two, and is else placed as
            by ``source``. If the owners have people on two sides, a warning counts them.
        random_video: the videos of each (data set, label) are shuffled and divided by ``fractions``, whoever they show.
            People are then on all sides, and the scores too good; it exists to show by how much.

    The same rows in any order and the same ``seed`` give the same answer. A row's own ``split`` is kept, and so is a
    video's in ``frozen``, ``UNUSED`` too: an earlier answer to which rows are being added. Give the earlier rows again,
    too, for they tie the new ones to their side. In a component that was cut before, new videos follow their ids.

    Args:
        rows: the videos.
        fractions: wanted shares of train, val and test.
        seed: of all that is left to chance.
        frozen: the earlier answer.
        mode: of ``SPLIT_MODES``.
        official: what the owners say, by ``video_id``; without an entry they do not say.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1, or there is no such ``mode``.
        SplitLeak: given or frozen splits have an id on two sides, or divide a component that was not cut.
        SplitError: ``mode`` is official, and the owners of a data set name no split, or another than is given or
            frozen.
    """
    check_fractions(fractions)
    shares = dict(zip(SPLITS, fractions, strict=True))
    frozen = frozen or {}
    match mode:
        case "source":
            splits = _by_source(rows, shares, seed, frozen)
        case "official":
            splits = _by_official(rows, shares, seed, frozen, official or {})
        case "random_video":
            splits = _by_video(rows, shares, seed, frozen)
        case _:
            raise ValueError(f"mode must be one of {', '.join(SPLIT_MODES)}, got {mode!r}")
    if splits.keys() - frozen.keys():  # else all was said when it was assigned
        _warn_of_unused(rows, splits)
        _warn_of_shares(rows, splits, shares, mode)
        _warn_of_overlap(rows, splits, mode)
    return dict(sorted(splits.items()))


def overlap(rows: Iterable[HasSplit]) -> dict[str, dict[str, int]]:
    """What each pair of splits shares, as plain values: all zeros if no source id is on two sides.

    For ``train-test``: how many source ids are in both, and how many videos of test have an id that train has, too.

    >>> from dfd.data.manifest import VideoRow, Path
    >>> row = lambda name, split, *ids: VideoRow(Path(name), name, Label.REAL, source_ids=ids, split=split)
    >>> overlap([row("1", "train", "a"), row("2", "test", "a"), row("3", "test", "a", "b")])["train-test"]
    {'num_source_ids': 1, 'num_videos': 2}
    """
    rows = list(rows)
    found = {}
    for first, second in combinations(SPLITS, 2):
        shared = shared_sources(rows, first, second)
        videos = {row.video_id for row in rows if row.split == second and shared.intersection(row.source_ids)}
        found[f"{first}-{second}"] = {"num_source_ids": len(shared), "num_videos": len(videos)}
    return found


def shared_sources(rows: Iterable[HasSplit], first: str, second: str) -> set[str]:
    """The source ids that two splits have in common."""
    ids: dict[str, set[str]] = {first: set(), second: set()}
    for row in rows:
        if row.split in ids:
            ids[row.split].update(row.source_ids)
    return ids[first] & ids[second]


def audit(rows: Iterable[HasSplit]) -> None:
    """Refuse any overlap: no source id and no video is in two splits. Rows in no split are not looked at.

    Raises:
        SplitLeak: naming the ids and the videos that carry them.
    """
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.split in SPLITS:
            for key in (f"video {row.video_id!r}", *(f"source id {source_id!r}" for source_id in row.source_ids)):
                holders[key].setdefault(row.split, row.video_id)
    leaks = [
        f"{key} is in " + " and in ".join(f"{split} (video {where[split]!r})" for split in SPLITS if split in where)
        for key, where in holders.items()
        if len(where) > 1
    ]
    if leaks:
        raise SplitLeak(_listed("the splits overlap", sorted(leaks)))


def _by_source(
    rows: Sequence[Splittable],
    shares: Mapping[str, float],
    seed: int,
    frozen: Mapping[str, str],
    tied: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """See :func:`assign_splits`. ``tied`` are source ids whose side others decide; UNUSED: those that are on two.

    Raises:
        SplitLeak: see there.
    """
    tied = tied or {}
    by_id = {row.video_id: row for row in rows}
    fixed = _fixed_splits(rows, frozen)
    groups = components(rows)
    unused = {video_id for video_id, found in fixed.items() if found.split == UNUSED}
    unused |= {
        row.video_id
        for row in rows
        if row.video_id not in fixed and UNUSED in (tied.get(source_id) for source_id in row.source_ids)
    }
    # A group with a video that is in no split was cut: there, people on different sides are as it should be.
    torn = {video_id for group in groups if not unused.isdisjoint(group) for video_id in group}
    torn |= {row.video_id for row in rows if not tied.keys().isdisjoint(row.source_ids)}
    if UNUSED in frozen.values():
        # The videos that tied a cut component together may not be among the rows: what is in no split is not prepared,
        # and a store knows its videos by what it has prepared.
        torn |= {video_id for video_id, known in fixed.items() if known.is_frozen}
    groups = components(row for row in rows if row.video_id not in unused)
    sides = _sides_of_groups(groups, by_id, fixed, torn, tied)
    pieces: list[Piece] = []
    for group, known in zip(groups, sides, strict=True):
        found = set(known.values())
        if len(found) > 1:
            pieces += _cut(group, by_id, shares, seed, known)
        else:
            pieces.append(Piece(group, found.pop() if found else None, known))
    strata = {row.video_id: _stratum(row) for row in rows}
    splits = place(pieces, strata, shares, seed=seed)
    if by_id.keys() - frozen.keys():
        whole = len(pieces)
        division = _Division(by_id, splits)
        pieces = [part for piece in pieces for part in _cut_if_better(piece, by_id, division, shares, seed)]
        if len(pieces) > whole:
            splits = place(pieces, strata, shares, seed=seed)
    return splits | dict.fromkeys(by_id.keys() - splits.keys(), UNUSED)


def _by_official(
    rows: Sequence[Splittable],
    shares: Mapping[str, float],
    seed: int,
    frozen: Mapping[str, str],
    official: Mapping[str, str],
) -> dict[str, str]:
    """See :func:`assign_splits`.

    Raises:
        SplitLeak, SplitError: see there.
    """
    fixed = _fixed_splits(rows, frozen)
    by_dataset: dict[str, list[Splittable]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.video_id):
        by_dataset[row.dataset].append(row)
    # What is frozen is an answer and no opinion: val may have been carved. What a manifest gives is one.
    said = {row.video_id: official.get(row.video_id, "") for row in rows}
    said |= {video_id: known.split for video_id, known in fixed.items() if not (said[video_id] or known.is_frozen)}
    _check_official(by_dataset, said, fixed)
    splits: dict[str, str] = {}
    for members in by_dataset.values():
        named = {row.video_id: said[row.video_id] for row in members if said[row.video_id]}
        splits |= named
        train = [row for row in members if named.get(row.video_id) == "train"]
        if "val" not in named.values():
            val = shares["val"] / (shares["train"] + shares["val"]) if shares["val"] else 0.0
            splits |= _by_source(train, {"train": 1 - val, "val": val, "test": 0.0}, seed, frozen)
    tied: dict[str, str] = {}
    for row in rows:
        if (split := splits.get(row.video_id, UNUSED)) != UNUSED:
            for source_id in row.source_ids:
                tied[source_id] = split if tied.setdefault(source_id, split) == split else UNUSED
    unlisted = [row for row in rows if row.video_id not in splits]
    return splits | _by_source(unlisted, shares, seed, frozen, tied)


def _check_official(
    by_dataset: Mapping[str, Sequence[Splittable]], said: Mapping[str, str], fixed: Mapping[str, "_Fixed"]
) -> None:
    """Raises:
    SplitError: a data set has no official split, or one that is not this module's, or videos are elsewhere already.
    """
    silent, problems = [], []
    for dataset, members in by_dataset.items():
        named = {said[row.video_id] for row in members} - {""}
        if not named and any(row.video_id not in fixed for row in members):
            silent.append(f"{dataset} ({len(members)} videos)")
        for row in members:
            split, known = said[row.video_id], fixed.get(row.video_id)
            carved = known and known.is_frozen and split == "train" and "val" not in named
            allowed = {split, "val", UNUSED} if carved else {split}
            if split and split not in SPLITS:
                problems.append(f"video {row.video_id!r} has official_split {split!r}, not {', '.join(SPLITS)}")
            elif split and known and known.split not in allowed:
                problems.append(f"video {row.video_id!r} is {split} by the owners' list and {known.why}: {known.split}")
    if silent:
        raise SplitError(
            f"split=official: no video of {', '.join(sorted(silent))} has an official split; give the owners' lists "
            "where they have any, leave these data sets out, or take split=source"
        )
    if problems:
        raise SplitError(
            _listed("the official split contradicts another (splits.csv and split.json can be deleted)", problems)
        )


def _by_video(
    rows: Sequence[Splittable], shares: Mapping[str, float], seed: int, frozen: Mapping[str, str]
) -> dict[str, str]:
    """See :func:`assign_splits`.

    Raises:
        SplitLeak: a given split is not the frozen one.
    """
    splits = {video_id: known.split for video_id, known in _fixed_splits(rows, frozen).items()}
    strata: dict[tuple[str, Label], set[str]] = defaultdict(set)
    for row in rows:
        strata[row.dataset, row.label].add(row.video_id)
    for video_ids in strata.values():
        have = Counter(splits[video_id] for video_id in video_ids if video_id in splits)
        wanted = {split: share * len(video_ids) for split, share in shares.items()}
        for video_id in sorted(video_ids - splits.keys(), key=lambda video_id: shuffle_key(seed, video_id)):
            split = max(SPLITS, key=lambda split: round(wanted[split] - have[split], 6))
            splits[video_id] = split
            have[split] += 1
    return splits


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A video's split that is not to be chosen: it is ``is_frozen``, or given by the manifest."""

    split: str
    is_frozen: bool

    @property
    def why(self) -> str:
        return "assigned before" if self.is_frozen else "given"


def _stratum(row: Splittable) -> Stratum:
    return row.dataset, str(row.label)


def _cut(
    group: Sequence[str],
    by_id: Mapping[str, Splittable],
    shares: Mapping[str, float],
    seed: int,
    known: Mapping[str, str],
) -> list[Piece]:
    """Divide a group's source ids where their side is not ``known``; videos of two sides are in none of the pieces."""
    members = [Member(by_id[video_id].source_ids, _stratum(by_id[video_id])) for video_id in group]
    sides = divide_sources(members, shares, seed=seed, fixed=known)
    pieces: dict[str, list[str]] = defaultdict(list)
    for video_id in group:
        side = common_side(by_id[video_id].source_ids, sides)
        if side is not None:
            pieces[side].append(video_id)
    return [Piece(videos, split, sides) for split, videos in sorted(pieces.items())]


def _cut_if_better(
    piece: Piece, by_id: Mapping[str, Splittable], division: "_Division", shares: Mapping[str, float], seed: int
) -> list[Piece]:
    """The parts of a piece, if it is why a data set is divided badly, and a cut mends it."""
    rows = [by_id[video_id] for video_id in piece.videos]
    if len(rows) < MIN_CUT_VIDEOS or len({i for row in rows for i in row.source_ids}) < MIN_CUT_SOURCES:
        return [piece]
    num_videos = Counter(row.dataset for row in rows)
    too_large = [
        stratum
        for stratum, number in Counter(map(_stratum, rows)).items()
        if num_videos[stratum[0]] >= MIN_CUT_VIDEOS and number > MIN_CUT_SHARE * division.total(stratum)
    ]
    if not any(division.is_bad(stratum, shares) for stratum in too_large):
        return [piece]
    parts = _cut(piece.videos, by_id, shares, seed, piece.sides)
    if sum(len(part.videos) for part in parts) < MIN_KEPT * len(rows):
        return [piece]
    # All on one side of a cut is no cut: every side gets what the whole had.
    labels = {row.label for row in rows}
    wanted = {(split, label) for split, share in shares.items() for label in labels if share > 0}
    given = {(part.split, by_id[video_id].label) for part in parts for video_id in part.videos}
    return parts if wanted <= given else [piece]


class _Division:
    """How many videos of each (data set, label) are in each split."""

    def __init__(self, by_id: Mapping[str, Splittable], splits: Mapping[str, str]) -> None:
        self.counts = Counter((_stratum(by_id[video_id]), split) for video_id, split in splits.items())

    def total(self, stratum: Stratum) -> int:
        return sum(self.counts[stratum, split] for split in SPLITS)

    def is_bad(self, stratum: Stratum, shares: Mapping[str, float]) -> bool:
        """True if a split lacks the stratum, or has far from its share of it."""
        return any(
            abs(self.counts[stratum, split] / self.total(stratum) - share) > FAR
            or (share > 0 and not self.counts[stratum, split])
            for split, share in shares.items()
        )


def _fixed_splits(rows: Iterable[HasSplit], frozen: Mapping[str, str]) -> dict[str, _Fixed]:
    """The splits that are not to be chosen, by video.

    Raises:
        SplitLeak: a row's own is not the frozen one.
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
    """The side of each source id that has one, for each group.

    Raises:
        SplitLeak: a group that is not ``torn`` has two sides, or an id has.
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


def _warn_of_unused(rows: Iterable[Splittable], splits: Mapping[str, str]) -> None:
    total = Counter(row.dataset for row in rows)
    unused = Counter(row.dataset for row in rows if splits[row.video_id] == UNUSED)
    if unused:
        logger.warning(
            "in no split: %s. They show people or sources of two sides: a group of people who are swapped with one "
            "another throughout had to be divided between the splits",
            ", ".join(
                f"{number} of {total[dataset]} videos of {dataset}" for dataset, number in sorted(unused.items())
            ),
        )


def _warn_of_shares(
    rows: Sequence[Splittable], splits: Mapping[str, str], shares: Mapping[str, float], mode: str
) -> None:
    """Say so when a split lacks a label, or is not what was asked for; a handful of videos cannot be near it."""
    used = [row for row in rows if splits[row.video_id] != UNUSED]
    groups = components(used)
    present = {(splits[row.video_id], row.label) for row in used}
    for split, label in [(split, label) for split in SPLITS for label in sorted({row.label for row in rows})]:
        if shares[split] > 0 and (split, label) not in present:
            logger.warning(
                "split %r has no %s video (%d videos, in %d groups that share people or sources)",
                split,
                label,
                len(used),
                len(groups),
            )
    sizes = Counter(splits[row.video_id] for row in used)
    is_far = any(abs(sizes[split] / len(used) - share) > FAR for split, share in shares.items()) if used else False
    if mode == "source" and len(used) >= 20 and is_far:
        logger.warning(
            "the splits hold %s of %d videos, where fractions %s were asked for; the largest group that shares people "
            "or sources and is on one side has %d videos",
            ", ".join(f"{split} {sizes[split]}" for split in SPLITS),
            len(used),
            list(shares.values()),
            max(map(len, groups)),
        )


def _warn_of_overlap(rows: Iterable[Splittable], splits: Mapping[str, str], mode: str) -> None:
    found = overlap([_Sided(row.video_id, row.source_ids, splits[row.video_id]) for row in rows])
    if any(pair["num_source_ids"] for pair in found.values()):
        logger.warning(
            "split=%s has people or sources on two sides: %s. A detector that knows them from training scores better "
            "on them than on new ones",
            mode,
            describe_overlap(found),
        )


def describe_overlap(found: Mapping[str, Mapping[str, int]]) -> str:
    """What :func:`overlap` found, in words.

    >>> describe_overlap({"train-val": {"num_source_ids": 0, "num_videos": 0},
    ...                   "train-test": {"num_source_ids": 2, "num_videos": 7}})
    'train and test share 2 source ids (7 videos of test have one of them)'
    """
    return "; ".join(
        f"{' and '.join(pair.split('-'))} share {numbers['num_source_ids']} source ids "
        f"({numbers['num_videos']} videos of {pair.split('-')[1]} have one of them)"
        for pair, numbers in found.items()
        if numbers["num_source_ids"]
    )


@dataclass(frozen=True, slots=True)
class _Sided:
    """A row with the split that it was assigned."""

    video_id: str
    source_ids: tuple[str, ...]
    split: str


def _describe(
    videos: Sequence[str], by_id: Mapping[str, HasSplit], fixed: Mapping[str, _Fixed], num_videos: int
) -> str:
    """Which two videos of a component are on different sides, and what joins them."""
    a, b = videos[:2]
    shared = sorted(set(by_id[a].source_ids) & set(by_id[b].source_ids))
    link = f"both have source id {shared[0]!r}" if shared else f"joined through others of their {num_videos} videos"
    sides = [f"video {video_id!r} ({fixed[video_id].why}: {fixed[video_id].split})" for video_id in (a, b)]
    return f"{sides[0]} and {sides[1]}: {link}"


def _listed(headline: str, items: Sequence[str]) -> str:
    more = [f"and {len(items) - MAX_NAMED} more"] if len(items) > MAX_NAMED else []
    return "\n  ".join([f"{headline}:", *items[:MAX_NAMED], *more])
