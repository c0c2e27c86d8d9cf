"""Draws for meta-learning: steps that hold one domain of fakes, and some people, out of the rest of the batch.

A domain is a method or a data set of fakes. Each batch is a row of pairs, a fake and then a real clip, with equally
many pairs of each domain; the last domain of a batch is the one that is held out. Nobody is on both sides of a batch:
neither the people of its fakes nor those of its real clips.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from torch.utils.data import Sampler

from dfd.base.errors import ConfigError, StoreError
from dfd.base.types import Label
from dfd.data.splits.people import components

By = Literal["method", "dataset"]
_MOST_TRIES = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Domains:
    """Which fakes make a domain, and how many domains are in a batch.

    Raises:
        ConfigError: an option is out of range.
    """

    by: By = "method"
    num_domains: int = 4

    def __post_init__(self) -> None:
        if self.by not in ("method", "dataset"):
            raise ConfigError(f"strategy: domains must be method or dataset, got {self.by!r}")
        if self.num_domains < 2:
            raise ConfigError(f"strategy: num_domains must be 2 or more, got {self.num_domains}")


@dataclass(frozen=True, slots=True)
class _Video:
    video_id: str
    split: str
    source_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Clip:
    number: int
    domain: str
    dataset: str
    group: int


class DomainSampler(Sampler[tuple[int, int]]):
    """Sampler of batches with one domain held out: ``(number, seed)`` of fake, real, fake, real ...

    The domains are held out in turn, in an order that is new in each epoch. For each batch everyone is put on one of
    two sides, anew: a person of the held-out domain is on its side, a person of each of the other domains on the other,
    and chance decides about the rest. The real clip of a pair is of its fake's people; a fake without one borrows a
    real clip from its own side, of its own data set if there is one.

    Args:
        rows: rows of the index of ``train``, a row for each item.
        domains: what a domain is.
        batch_size: clips in a batch, a multiple of twice the number of domains in it.
        seed: seed of all draws.
        epoch: epoch of the first iteration; later ones follow, unless :meth:`set_epoch` says otherwise.
        rank: number of this process, from 0.
        num_processes: processes that share the batches.

    Raises:
        ConfigError: ``batch_size`` does not suit the number of domains.
        StoreError: there are too few domains or people.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        domains: Domains,
        *,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        videos = [
            _Video(name, "train", tuple(sources.split(";")))
            for name, sources in zip(rows["video_id"], rows["source_ids"], strict=True)
        ]
        group_of = {name: place for place, group in enumerate(components(videos)) for name in group}
        names = rows[domains.by]
        clips = [
            _Clip(number, str(name) if label == str(Label.FAKE) else "", dataset, group_of[video])
            for number, (name, label, dataset, video) in enumerate(
                zip(names, rows["label"], rows["dataset"], rows["video_id"], strict=True)
            )
        ]
        self.fakes: dict[str, dict[int, list[_Clip]]] = defaultdict(lambda: defaultdict(list))
        self.reals: dict[int, list[_Clip]] = defaultdict(list)
        for clip, label in zip(clips, rows["label"], strict=True):
            (self.reals if label == str(Label.REAL) else self.fakes[clip.domain])[clip.group].append(clip)
        self.groups = sorted({clip.group for clip in clips})
        if len(self.fakes) < 2:
            named = ", ".join(sorted(self.fakes)) or "none"
            raise StoreError(
                f"strategy=meta holds one {domains.by} of fakes out of each step, and the training split has "
                f"{len(self.fakes)} ({named}); add fakes of other kinds, or leave the strategy out"
            )
        self.num_domains = min(domains.num_domains, len(self.fakes))
        if batch_size % (2 * self.num_domains):
            raise ConfigError(
                f"strategy=meta: data.batch_size={batch_size} is not divisible by {2 * self.num_domains}, a fake and a "
                f"real clip of each of the {self.num_domains} domains in a batch; change it or strategy.num_domains"
            )
        self.pairs_each = batch_size // (2 * self.num_domains)
        self.num_batches = max(1, len(rows) // (batch_size * num_processes))
        self.batch_size, self.seed, self.epoch = batch_size, seed, epoch
        self.rank, self.num_processes = rank, num_processes
        draw = random.Random(f"{seed}/held out")
        self.held_out = [name for name in sorted(self.fakes) if self._sides(name, draw)]
        if not self.held_out:
            raise StoreError(
                "strategy=meta: no domain can be held out, since each shares its people with all others or too few "
                "people have real videos; the training split needs more people"
            )
        if never := sorted(set(self.fakes) - set(self.held_out)):
            logger.warning("strategy=meta: %s cannot be held out, for it shares its people", ", ".join(never))

    def __len__(self) -> int:
        return self.num_batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(self.held_out)
        random.Random(f"{self.seed}/{self.epoch}").shuffle(order)
        for batch in range(self.rank, self.num_batches * self.num_processes, self.num_processes):
            yield from self.batch(order[batch % len(order)], random.Random(f"{self.seed}/{self.epoch}/{batch}"))
        self.epoch += 1

    def batch(self, held_out: str, draw: random.Random) -> list[tuple[int, int]]:
        """Draw one batch, whose last pairs are of the domain ``held_out``."""
        sides = self._sides(held_out, draw)
        assert sides, "domains that cannot be held out are left out"
        others, is_held_out = sides
        items = []
        for domain in [*others, held_out]:
            side = domain == held_out
            groups = [group for group in self.fakes[domain] if is_held_out[group] == side]
            real = [clip for group in self.groups if is_held_out[group] == side for clip in self.reals.get(group, ())]
            for fake in _drawn([clip for group in groups for clip in self.fakes[domain][group]], self.pairs_each, draw):
                own = self.reals.get(fake.group) or [clip for clip in real if clip.dataset == fake.dataset] or real
                items += [(clip.number, draw.getrandbits(62)) for clip in (fake, draw.choice(own))]
        return items

    def _sides(self, held_out: str, draw: random.Random) -> tuple[list[str], dict[int, bool]] | None:
        """Draw the other domains, and for each group of people whether it is on the held-out side; None: impossible."""
        for _ in range(_MOST_TRIES):
            sides = {draw.choice(sorted(self.fakes[held_out])): True}
            if not self._add_real(sides, draw, side=True):
                continue
            others: list[str] = []
            for domain in draw.sample(sorted(set(self.fakes) - {held_out}), len(self.fakes) - 1):
                free = [group for group in sorted(self.fakes[domain]) if not sides.get(group)]
                if free and len(others) < self.num_domains - 1:
                    sides.setdefault(draw.choice(free), False)
                    others.append(domain)
            if len(others) == self.num_domains - 1 and self._add_real(sides, draw, side=False):
                return others, {group: sides.get(group, draw.random() < 0.5) for group in self.groups}
        return None

    def _add_real(self, sides: dict[int, bool], draw: random.Random, *, side: bool) -> bool:
        """Make sure that someone on a side has a real clip; False if nobody is left."""
        if any(is_held_out == side and group in self.reals for group, is_held_out in sides.items()):
            return True
        free = [group for group in sorted(self.reals) if group not in sides]
        if free:
            sides[draw.choice(free)] = side
        return bool(free)


def _drawn(clips: Sequence[_Clip], count: int, draw: random.Random) -> list[_Clip]:
    """``count`` clips, each at most once more often than another."""
    found: list[_Clip] = []
    while len(found) < count:
        found += draw.sample(clips, min(len(clips), count - len(found)))
    return found
