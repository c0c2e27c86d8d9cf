"""Drawing a study's videos: so many real and as many fake ones of each data set, in each split its share of them."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dfd.data.placing import shuffle_key
from dfd.data.splits import SPLITS, check_fractions
from dfd.errors import SplitError
from dfd.types import Label

logger = logging.getLogger(__name__)


class Drawable(Protocol):
    """What a draw looks at; a manifest's row and a store's video are such."""

    @property
    def video_id(self) -> str:
        """Unique in a store."""

    @property
    def label(self) -> Label:
        """Real or fake."""

    @property
    def dataset(self) -> str:
        """Where it comes from."""

    @property
    def method(self) -> str:
        """How a fake was made; empty for a real video."""


def draw_balanced(
    videos: Iterable[Drawable],
    splits: Mapping[str, str],
    *,
    per_label: int | Mapping[str, int],
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    allow_fewer: bool = False,
    equal: bool = True,
) -> dict[str, str]:
    """The split of each drawn video, by ``video_id``: as many real as fake ones per data set and split.

    The videos of a data set's fakes are taken from its methods in turn; where one has no more, from the others. Which
    come first is decided by ``seed`` and each video's id alone, so adding or removing others changes no more than it
    must. No video changes its split.

    Args:
        videos: to draw from.
        splits: of the videos; those in none of ``SPLITS`` are not drawn.
        per_label: number of real, and of fake, videos of each data set, or by the data set's name (then those without a
            number are not used).
        fractions: of train, val and test: how each number is shared out, the largest remainders rounded up.
        seed: of the draw.
        allow_fewer: take what there is, as many real as fake ones; each shortage is logged.
        equal: False takes what there is of each label by itself, which is for a stock to draw from again later.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1, or a number of videos is below 1.
        SplitError: ``per_label`` names a data set that is not there, or there are fewer videos than asked for; every
            shortage is named.
    """
    check_fractions(fractions)
    strata: dict[tuple[str, str, Label], list[Drawable]] = defaultdict(list)
    datasets = set()
    for video in videos:
        datasets.add(video.dataset)
        strata[video.dataset, splits.get(video.video_id, ""), video.label].append(video)
    drawn: dict[str, str] = {}
    shortages = []
    for dataset, number in sorted(_numbers(per_label, datasets).items()):
        for split, wanted in zip(SPLITS, quotas(number, fractions), strict=True):
            here = {label: strata[dataset, split, label] for label in Label}
            shortages += [
                f"{dataset}, {split}: {len(found)} {label} videos of {wanted}"
                for label, found in here.items()
                if len(found) < wanted
            ]
            most = min(wanted, *map(len, here.values())) if equal else wanted
            for label in Label:
                drawn |= dict.fromkeys(_in_turn(here[label], seed)[:most], split)
    if shortages and not allow_fewer:
        raise SplitError(
            "\n  ".join(
                [
                    "there are fewer videos than per_label and fractions ask for:",
                    *shortages,
                    "ask for fewer (per_label), for other fractions, take what there is, still half real and half fake "
                    "(allow_fewer=true), or prepare more videos",
                ]
            )
        )
    if shortages:
        kept = "as many real as fake ones are taken" if equal else "all of these are taken"
        logger.warning("there are fewer videos than asked for, and %s: %s", kept, "; ".join(shortages))
    return dict(sorted(drawn.items()))


def quotas(number: int, fractions: Sequence[float]) -> list[int]:
    """``number`` shared out by ``fractions``; the largest remainders are rounded up, so nothing is lost.

    >>> quotas(1500, [0.6, 0.1, 0.3]), quotas(5, [0.7, 0.15, 0.15])
    ([900, 150, 450], [3, 1, 1])
    """
    shares = [round(number * fraction, 6) for fraction in fractions]
    found = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: found[index] - shares[index])
    for index in by_remainder[: number - sum(found)]:
        found[index] += 1
    return found


def check_per_label(per_label: object) -> None:
    """Refuse what is no number of videos, for all data sets or by their names.

    Raises:
        ValueError: it is neither.
    """
    numbers = list(per_label.values()) if isinstance(per_label, Mapping) else [per_label]
    if not numbers or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers):
        raise ValueError(f"per_label must be a whole number from 1, for all data sets or by name, got {per_label!r}")


def _numbers(per_label: int | Mapping[str, int], datasets: set[str]) -> dict[str, int]:
    """How many videos of each label to draw, by data set.

    Raises:
        ValueError, SplitError: see :func:`draw_balanced`.
    """
    check_per_label(per_label)
    if isinstance(per_label, Mapping):
        numbers = {str(dataset): number for dataset, number in per_label.items()}
    else:
        numbers = dict.fromkeys(datasets, per_label)
    missing = sorted(numbers.keys() - datasets)
    if missing:
        raise SplitError(
            f"per_label names {', '.join(missing)}, and there is no such data set; there are: "
            f"{', '.join(sorted(datasets)) or 'none'}"
        )
    return numbers


def _in_turn(videos: Iterable[Drawable], seed: int) -> list[str]:
    """Video ids in the order in which they are drawn: shuffled, the methods taking turns."""
    queues: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        queues[video.method].append(video.video_id)
    turns = []
    for method, video_ids in queues.items():
        shuffled = sorted(video_ids, key=lambda video_id: shuffle_key(seed, video_id))
        turns += [(turn, shuffle_key(seed, method), video_id) for turn, video_id in enumerate(shuffled)]
    return [video_id for *_, video_id in sorted(turns)]
