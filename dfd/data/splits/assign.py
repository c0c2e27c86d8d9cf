"""Assignment of videos to train, val and test such that no person and no source is on two sides."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dfd.base.errors import SplitError
from dfd.base.types import Label
from dfd.data.splits import people
from dfd.data.splits.known import _Fixed, _fixed_splits, _sides_of_groups
from dfd.data.splits.large_groups import FAR, _cut, _cut_if_better, _Division, _stratum
from dfd.data.splits.people import DEFAULT_FRACTIONS, SOURCE, SPLITS, UNUSED, Splittable
from dfd.data.splits.placing import Piece, Wanted, place, shuffle_key

logger = logging.getLogger(__name__)


def assign_splits(
    rows: Sequence[Splittable],
    *,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    frozen: Mapping[str, str] | None = None,
    mode: str = SOURCE,
    official: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assign a split to every video, by ``video_id``: one of ``SPLITS``, or ``UNUSED``.

    Modes:
        source: no source id is on two sides. Each (data set, label) is divided by ``fractions`` (train, val, test) as
            closely as whole components allow, and each split gets both labels where possible; otherwise a warning is
            logged. A component that is too large for that is cut: its source ids are divided, videos with ids on two
            sides become ``UNUSED``, and a warning gives their number.
        official: the exact splits of the data sets' owners. If they have no val, it is taken from their train, divided
            as in mode ``source``; choosing the epoch on their test would be training on it. A video that they do not
            list joins the side of its ids, is ``UNUSED`` if these are on two sides, and is otherwise placed as in mode
            ``source``. If the owners have people on two sides, a warning gives their number.
        random_video: the videos of each (data set, label) are shuffled and divided by ``fractions``, whoever they show.
            People are then on all sides and scores too good; the mode exists to show by how much.

    The result does not depend on the order of the rows, only on ``seed``. A row's own ``split`` is kept, and so is that
    in ``frozen``, including ``UNUSED``. When adding videos to an earlier result, pass the earlier rows as well, since
    they tie the new ones to their side. In a component that was cut before, new videos follow their ids.

    Args:
        rows: the videos.
        fractions: wanted shares of train, val and test.
        seed: seed of all random choices.
        frozen: earlier result.
        mode: one of ``SPLIT_MODES``.
        official: the owners' splits, by ``video_id``; videos that they do not list have no entry.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1, or ``mode`` is unknown.
        SplitLeak: given or frozen splits put an id on two sides, or divide a component that was not cut.
        SplitError: ``mode`` is official, and a data set has no official split, or one that contradicts a given or
            frozen one.
    """
    people.check_fractions(fractions)
    wanted = Wanted(dict(zip(SPLITS, fractions, strict=True)), seed)
    frozen = frozen or {}
    match mode:
        case "source":
            splits = _by_source(rows, wanted, frozen)
        case "official":
            splits = _by_official(rows, wanted, frozen, official or {})
        case "random_video":
            splits = _by_video(rows, wanted, frozen)
        case _:
            raise ValueError(f"mode must be one of {', '.join(people.SPLIT_MODES)}, got {mode!r}")
    if splits.keys() - frozen.keys():  # otherwise the warnings were logged when the splits were assigned
        _warn_of_unused(rows, splits)
        _warn_of_shares(rows, splits, wanted.shares, mode)
        _warn_of_overlap(rows, splits, mode)
    return dict(sorted(splits.items()))


def _by_source(
    rows: Sequence[Splittable], wanted: Wanted, frozen: Mapping[str, str], tied: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Assign splits by source; ``tied`` gives the sides of source ids fixed elsewhere, UNUSED for those on two.

    Raises:
        SplitLeak: given or frozen splits put an id on two sides, or divide a component that was not cut.
    """
    tied = tied or {}
    by_id = {row.video_id: row for row in rows}
    fixed = _fixed_splits(rows, frozen)
    groups = people.components(rows)
    unused = {video_id for video_id, found in fixed.items() if found.split == UNUSED}
    unused |= {
        row.video_id
        for row in rows
        if row.video_id not in fixed and UNUSED in (tied.get(source_id) for source_id in row.source_ids)
    }
    # A group with an unused video was cut, so its people may be on different sides.
    torn = {video_id for group in groups if not unused.isdisjoint(group) for video_id in group}
    torn |= {row.video_id for row in rows if not tied.keys().isdisjoint(row.source_ids)}
    if UNUSED in frozen.values():
        # The videos that tied a cut component together may be missing from the rows: unused videos are not prepared,
        # and a store knows only prepared videos.
        torn |= {video_id for video_id, known in fixed.items() if known.is_frozen}
    groups = people.components(row for row in rows if row.video_id not in unused)
    sides = _sides_of_groups(groups, by_id, fixed, torn, tied)
    pieces: list[Piece] = []
    for group, known in zip(groups, sides, strict=True):
        found = set(known.values())
        if len(found) > 1:
            pieces += _cut(group, by_id, wanted, known)
        else:
            pieces.append(Piece(group, found.pop() if found else None, known))
    strata = {row.video_id: _stratum(row) for row in rows}
    splits = place(pieces, strata, wanted.shares, seed=wanted.seed)
    if by_id.keys() - frozen.keys():
        whole = len(pieces)
        division = _Division(by_id, splits)
        pieces = [part for piece in pieces for part in _cut_if_better(piece, by_id, division, wanted)]
        if len(pieces) > whole:
            splits = place(pieces, strata, wanted.shares, seed=wanted.seed)
    return splits | dict.fromkeys(by_id.keys() - splits.keys(), UNUSED)


def _by_official(
    rows: Sequence[Splittable], wanted: Wanted, frozen: Mapping[str, str], official: Mapping[str, str]
) -> dict[str, str]:
    """Assign the owners' splits, and places for videos that they do not list.

    Raises:
        SplitLeak, SplitError: as in :func:`assign_splits`.
    """
    fixed = _fixed_splits(rows, frozen)
    by_dataset: dict[str, list[Splittable]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.video_id):
        by_dataset[row.dataset].append(row)
    # Splits given by a manifest count as official; frozen ones do not, since their val may have been taken from train.
    said = {row.video_id: official.get(row.video_id, "") for row in rows}
    said |= {video_id: known.split for video_id, known in fixed.items() if not (said[video_id] or known.is_frozen)}
    _check_official(by_dataset, said, fixed)
    splits: dict[str, str] = {}
    for members in by_dataset.values():
        named = {row.video_id: said[row.video_id] for row in members if said[row.video_id]}
        splits |= named
        train = [row for row in members if named.get(row.video_id) == "train"]
        if "val" not in named.values():
            train_share, val = wanted.shares["train"], wanted.shares["val"]
            val = val / (train_share + val) if val else 0.0
            of_train = Wanted({"train": 1 - val, "val": val, "test": 0.0}, wanted.seed)
            splits |= _by_source(train, of_train, frozen)
    tied: dict[str, str] = {}
    for row in rows:
        if (split := splits.get(row.video_id, UNUSED)) != UNUSED:
            for source_id in row.source_ids:
                tied[source_id] = split if tied.setdefault(source_id, split) == split else UNUSED
    unlisted = [row for row in rows if row.video_id not in splits]
    return splits | _by_source(unlisted, wanted, frozen, tied)


def _check_official(
    by_dataset: Mapping[str, Sequence[Splittable]], said: Mapping[str, str], fixed: Mapping[str, "_Fixed"]
) -> None:
    """Check the official splits of each data set.

    Raises:
        SplitError: a data set has no official split, an unknown one, or one that contradicts a given or frozen one.
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
            people._listed(
                "the official split contradicts another (splits.csv and split.json can be deleted)", problems
            )
        )


def _by_video(rows: Sequence[Splittable], wanted: Wanted, frozen: Mapping[str, str]) -> dict[str, str]:
    """Assign splits at random within each (data set, label), whoever the videos show.

    Raises:
        SplitLeak: a given split differs from the frozen one.
    """
    splits = {video_id: known.split for video_id, known in _fixed_splits(rows, frozen).items()}
    strata: dict[tuple[str, Label], set[str]] = defaultdict(set)
    for row in rows:
        strata[row.dataset, row.label].add(row.video_id)
    for video_ids in strata.values():
        have = Counter(splits[video_id] for video_id in video_ids if video_id in splits)
        quota = {split: share * len(video_ids) for split, share in wanted.shares.items()}
        for video_id in sorted(video_ids - splits.keys(), key=lambda video_id: shuffle_key(wanted.seed, video_id)):
            split = max(SPLITS, key=lambda split: round(quota[split] - have[split], 6))
            splits[video_id] = split
            have[split] += 1
    return splits


def _warn_of_unused(rows: Iterable[Splittable], splits: Mapping[str, str]) -> None:
    total = Counter(row.dataset for row in rows)
    unused = Counter(row.dataset for row in rows if splits[row.video_id] == UNUSED)
    if unused:
        logger.warning(
            "in no split: %s. They show people or sources of two sides, because a group of people who are all swapped "
            "with one another had to be divided between the splits",
            ", ".join(
                f"{number} of {total[dataset]} videos of {dataset}" for dataset, number in sorted(unused.items())
            ),
        )


def _warn_of_shares(
    rows: Sequence[Splittable], splits: Mapping[str, str], shares: Mapping[str, float], mode: str
) -> None:
    """Warn if a split lacks a label or, with enough videos, is far from the wanted fractions."""
    used = [row for row in rows if splits[row.video_id] != UNUSED]
    groups = people.components(used)
    present = {(splits[row.video_id], row.label) for row in used}
    for split, label in [(split, label) for split in SPLITS for label in sorted({row.label for row in rows})]:
        if shares[split] > 0 and (split, label) not in present:
            logger.warning(
                f"split {split!r} has no {label} video ({len(used)} videos, in {len(groups)} groups that share people "
                "or sources)"
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
    found = people.overlap([_Sided(row.video_id, row.source_ids, splits[row.video_id]) for row in rows])
    if any(pair["num_source_ids"] for pair in found.values()):
        logger.warning(
            f"split={mode} has people or sources on two sides: {people.describe_overlap(found)}. A detector scores "
            "better on people that it has seen in training than on new ones"
        )


@dataclass(frozen=True, slots=True)
class _Sided:
    """A row with its assigned split."""

    video_id: str
    source_ids: tuple[str, ...]
    split: str
