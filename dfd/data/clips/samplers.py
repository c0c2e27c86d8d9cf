"""Samplers that decide which clips are drawn, in which order and by which process."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

from dfd.base.types import Label

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repeat:
    """Item requested once more to make the shares of several processes equal; metrics must not count it."""

    number: int


class ClipSampler(Sampler[tuple[int, int]]):
    """Sampler of every item once per epoch, shuffled, each with the seed of its draw.

    The order and the seeds depend only on ``seed`` and the epoch, so they are the same in every process of a
    distributed run and after a resume. Lightning sets the epoch; without Lightning it advances by itself. With
    ``weights``, one per item, the same number of items is drawn with replacement, in proportion to the weights.
    """

    def __init__(self, num_items: int, *, seed: int = 0, epoch: int = 0, weights: Tensor | None = None) -> None:
        self.num_items = num_items
        self.seed = seed
        self.epoch = epoch
        self.weights = weights

    def __len__(self) -> int:
        return self.num_items

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Generators seeded with similar numbers start with similar draws; hashing spreads the seeds.
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        self.epoch += 1
        if self.weights is None:
            order = torch.randperm(self.num_items, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.num_items, replacement=True, generator=generator)
        seeds = torch.randint(2**62, (self.num_items,), generator=generator)
        return iter(list(zip(order.tolist(), seeds.tolist(), strict=True)))


class TrainingShare(DistributedSampler[Any]):
    """One process's share of an epoch: every ``num_replicas``-th item of the sampler, starting at ``rank``.

    All shares have the same size, since the processes step together; the last ones are padded with items from the start
    of the epoch. The batches of a step together equal one process's batch of the summed size.

    Args:
        sampler: sampler that draws the same order in every process.
        num_replicas: number of processes.
        rank: number of this process, from 0.
    """

    def __init__(self, sampler: ClipSampler, *, num_replicas: int, rank: int) -> None:
        super().__init__(sampler, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.sampler = sampler

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        whole = islice(cycle(list(self.sampler)), self.total_size)
        return islice(whole, self.rank, None, self.num_replicas)


class EvalShare(DistributedSampler[Any]):
    """One process's share of a split: every ``num_replicas``-th item, starting at ``rank``, each counted exactly once.

    Lightning's loop needs the same number of batches in each process (a process without any would leave the loop, and
    the others would wait). Shares are padded with :class:`Repeat` items, which the metrics leave out.

    Args:
        num_items: number of items in the split; may be smaller than the number of processes.
        num_replicas: number of processes.
        rank: number of this process, from 0.
    """

    def __init__(self, num_items: int, *, num_replicas: int, rank: int) -> None:
        super().__init__(range(num_items), num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.num_items = num_items

    def __iter__(self) -> Iterator[Any]:
        for position in range(self.rank, self.total_size, self.num_replicas):
            yield position if position < self.num_items else Repeat(position % self.num_items)


class FakeAndReal(Sampler[tuple[int, int]]):
    """Sampler of pairs: each fake that another sampler draws, and a real clip that shares a source with it.

    Both have the same seed, and so the same augmentation.

    Args:
        draws: sampler of places in ``fakes``.
        fakes: numbers of the fakes.
        relatives: for each fake, numbers of the real clips that it may be paired with.
    """

    def __init__(
        self, draws: Sampler[tuple[int, int]], fakes: Sequence[int], relatives: Sequence[Sequence[int]]
    ) -> None:
        self.draws = draws
        self.fakes = fakes
        self.relatives = relatives

    def __len__(self) -> int:
        return 2 * len(self.draws)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.draws.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for place, seed in self.draws:
            yield self.fakes[place], seed
            yield self.relatives[place][seed % len(self.relatives[place])], seed


def relatives_of(labels: Sequence[int], source_ids: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Numbers of the fakes, and for each those of the real clips that share a source.

    A fake without such a clip has all real clips, which is logged.

    >>> relatives_of([0, 1, 0, 1], ["a", "a;b", "b", "c"])
    ([1, 3], [[0, 2], [0, 2]])
    """
    real: dict[str, list[int]] = defaultdict(list)
    for number, (label, sources) in enumerate(zip(labels, source_ids, strict=True)):
        for source in sources.split(";") if label == Label.REAL else ():
            real[source].append(number)
    everyone = [number for number, label in enumerate(labels) if label == Label.REAL]
    fakes = [number for number, label in enumerate(labels) if label == Label.FAKE]
    own = [sorted({other for source in source_ids[fake].split(";") for other in real[source]}) for fake in fakes]
    if alone := sum(not found for found in own):
        logger.warning("%d of %d fakes share no source with a real video, and are paired with any", alone, len(fakes))
    return fakes, [found or everyone for found in own]


def drawing_weights(
    datasets: Sequence[str],
    labels: Sequence[int],
    methods: Sequence[str],
    *,
    proportions: Mapping[str, float] | None = None,
    balance_labels: bool = False,
    balance_methods: bool = False,
) -> Tensor:
    """Sampling weights of clips, float64 (N,), with the sum 1.

    Each level divides the weight of the one before it: the data sets by ``proportions``, the labels of a data set
    equally, the methods of a label equally; a level that is not asked for, and the clips of a method, by their numbers.

    >>> drawing_weights(["a", "a", "a", "b"], [0, 0, 1, 1], ["", "", "x", "y"], proportions={"a": 1, "b": 1}).tolist()
    [0.16666666666666666, 0.16666666666666666, 0.16666666666666666, 0.5]
    """
    levels: list[Sequence[object]] = []
    levels += [datasets] if proportions is not None else []
    levels += [labels] if balance_labels else []
    levels += [methods] if balance_methods else []
    weights = [1.0] * len(labels)
    parents: list[tuple[object, ...]] = [()] * len(labels)
    for level in levels:
        groups = [(*parent, key) for parent, key in zip(parents, level, strict=True)]
        clips, of_parent = Counter(groups), Counter(parents)
        siblings = Counter(group[:-1] for group in clips)
        for place, group in enumerate(groups):
            share = 1 / siblings[group[:-1]]
            if proportions is not None and level is datasets:
                share = proportions[datasets[place]] / sum(proportions[str(name)] for (name,) in clips)
            weights[place] *= share * of_parent[group[:-1]] / clips[group]
        parents = groups
    weight = torch.tensor(weights, dtype=torch.float64)
    return weight / weight.sum()


def _check_proportions(proportions: object) -> None:
    if not isinstance(proportions, Mapping) or not all(
        isinstance(name, str) and isinstance(weight, int | float) and not isinstance(weight, bool)
        for name, weight in proportions.items()
    ):
        raise ValueError(f"proportions must be a weight for each data set, {{name: number}}, got {proportions!r}")
    weights = dict(proportions)
    if not (all(weight >= 0 for weight in weights.values()) and sum(weights.values()) > 0):
        raise ValueError(f"proportions must be weights from 0, some above it, got {weights}")


@dataclass(frozen=True, slots=True)
class Drawing:
    """How often which clips are drawn in training: the data sets, the labels in them and the methods of a label.

    Args:
        proportions: weights of data sets by their names; None: by their numbers of clips.
        balance_labels: draw both labels equally often.
        balance_methods: draw the methods equally often.

    Raises:
        ValueError: ``proportions`` are no weights.
    """

    proportions: Mapping[str, float] | None = None
    balance_labels: bool = False
    balance_methods: bool = False

    def __post_init__(self) -> None:
        if self.proportions is not None:
            _check_proportions(self.proportions)

    def weights(self, datasets: Sequence[str], labels: Sequence[int], methods: Sequence[str]) -> Tensor | None:
        """Sampling weights of clips, float64 (N,); None if each is drawn once."""
        return drawing_weights(datasets, labels, methods, **self.facts()) if self.facts() else None

    def facts(self) -> dict[str, Any]:
        """Options that are not the default ones."""
        given = {"proportions": self.proportions, "balance_labels": self.balance_labels}
        given["balance_methods"] = self.balance_methods
        facts = {name: value for name, value in given.items() if value}
        return {**facts, "proportions": dict(self.proportions)} if self.proportions else facts
