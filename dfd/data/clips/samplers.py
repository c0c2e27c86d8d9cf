"""Samplers that decide which clips are drawn, in which order and by which process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler


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


def balanced_weights(labels: Sequence[int]) -> Tensor:
    """Sampling weights that draw both labels equally often, float64 (N,).

    >>> balanced_weights([0, 0, 0, 1]).tolist()[-2:]
    [0.3333333333333333, 1.0]
    """
    values = torch.tensor(labels)
    return 1.0 / torch.bincount(values)[values].double()
