"""Balanced drawing of videos: equal numbers of real and fake ones from each data set, shared out over the splits."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dfd.base.errors import SplitError
from dfd.base.types import Label
from dfd.data.splits.people import DEFAULT_FRACTIONS, SPLITS, Splittable, check_fractions
from dfd.data.splits.placing import shuffle_key

logger = logging.getLogger(__name__)


class Drawable(Splittable, Protocol):
    """Video that can be drawn, such as a manifest's row or a store's video."""

    @property
    def method(self) -> str:
        """Method of a fake; empty for a real video."""


def draw_balanced(
    videos: Iterable[Drawable],
    splits: Mapping[str, str],
    *,
    per_label: int | Mapping[str, int],
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    allow_fewer: bool = False,
    equal: bool = True,
) -> dict[str, str]:
    """Draw as many real as fake videos per data set and split; returns the split of each by ``video_id``.

    Fakes are taken from a data set's methods in turn, skipping exhausted ones. The order depends only on ``seed`` and
    each video's id, so adding or removing other videos changes the draw as little as possible. No video changes its
    split.

    Args:
        videos: videos to draw from.
        splits: splits of the videos; those in none of ``SPLITS`` are not drawn.
        per_label: number of real and of fake videos for each data set, or a mapping by its name (data sets without a
            number are not used).
        fractions: shares of train, val and test in each number, the largest remainders rounded up.
        seed: seed of the draw.
        allow_fewer: accept fewer videos, still as many real as fake ones; each shortage is logged.
        equal: False draws each label independently, for a store from which training draws again.

    Raises:
        ValueError: ``fractions`` are not three numbers from 0 to 1 that add up to 1, or a number of videos is below 1.
        SplitError: ``per_label`` names an unknown data set, or there are fewer videos than requested; every shortage is
            named.
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
        remedy = (
            "ask for fewer (per_label) or other fractions, accept fewer, still half real and half fake "
            "(allow_fewer=true), or prepare more videos"
        )
        headline = "there are fewer videos than per_label and fractions ask for:"
        raise SplitError("\n  ".join([headline, *shortages, remedy]))
    if shortages:
        kept = "as many real as fake ones are taken" if equal else "all of these are taken"
        logger.warning("there are fewer videos than asked for; %s: %s", kept, "; ".join(shortages))
    return dict(sorted(drawn.items()))


def quotas(number: int, fractions: Sequence[float]) -> list[int]:
    """Divide ``number`` by ``fractions``, rounding the largest remainders up so that the sum is kept.

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
    """Check a number of videos, for all data sets or by their names.

    Raises:
        ValueError: ``per_label`` is neither.
    """
    numbers = list(per_label.values()) if isinstance(per_label, Mapping) else [per_label]
    if not numbers or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers):
        raise ValueError(f"per_label must be a whole number from 1, for all data sets or by name, got {per_label!r}")


def _numbers(per_label: int | Mapping[str, int], datasets: set[str]) -> dict[str, int]:
    """Number of videos of each label to draw, by data set.

    Raises:
        ValueError, SplitError: as in :func:`draw_balanced`.
    """
    check_per_label(per_label)
    if isinstance(per_label, Mapping):
        numbers = {str(dataset): number for dataset, number in per_label.items()}
    else:
        numbers = dict.fromkeys(datasets, per_label)
    missing = sorted(numbers.keys() - datasets)
    if missing:
        raise SplitError(
            f"per_label names {', '.join(missing)}, but there is no such data set; there are: "
            f"{', '.join(sorted(datasets)) or 'none'}"
        )
    return numbers


def _in_turn(videos: Iterable[Drawable], seed: int) -> list[str]:
    """Video ids in drawing order: shuffled, with methods taking turns."""
    queues: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        queues[video.method].append(video.video_id)
    turns = []
    for method, video_ids in queues.items():
        shuffled = sorted(video_ids, key=lambda video_id: shuffle_key(seed, video_id))
        turns += [(turn, shuffle_key(seed, method), video_id) for turn, video_id in enumerate(shuffled)]
    return [video_id for *_, video_id in sorted(turns)]
