"""Stages of a pipeline within one process: time measurement, and a stage that works ahead of the next."""

import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Sums the time spent in named stages.

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
        """Count the time of the ``with`` block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Iterate over ``items``, and count the time that producing each takes."""
        iterator = iter(items)
        while True:
            with self(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """Iterate over ``items``, with up to ``depth`` of them produced ahead in a thread.

    Errors in producing an item are raised here in its turn. Close this iterator before its source: closing waits for
    the item being produced.
    >>> list(ahead(range(5), depth=2))
    [0, 1, 2, 3, 4]
    """
    end = object()
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = deque(thread.submit(next, iterator, end) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, iterator, end))
                yield item  # type: ignore[misc]  # it is not ``end``
        finally:
            for one in coming:
                one.cancel()
