"""Where the time goes: seconds that each stage of a pipeline worked, measured inside one process."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Adds up the time spent in named stages.

    >>> clock = StageClock()
    >>> with clock("detect"):
    ...     pass
    >>> list(clock.iterate("decode", [1, 2]))
    [1, 2]
    >>> sorted(clock.seconds)
    ['decode', 'detect']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time within the ``with`` block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """``items``; the time that producing each takes counts, the time until the next is asked for does not."""
        iterator = iter(items)
        while True:
            with self(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
