"""The stages of a pipeline inside one process: where the time goes, and one that works ahead of the next."""

import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """``items``, up to ``depth`` of them made in a thread while an earlier one is in use.

    What making one raises is raised here, in its turn. Close it before what it reads from is closed: it then waits for
    the one in the making.

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
                yield item  # type: ignore[misc]  # it is no end
        finally:
            for one in coming:
                one.cancel()
