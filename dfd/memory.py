"""Bounds on the memory of a process that reads strangers' files; they hold where :func:`limit_tasks` was called."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_task_bytes: int | None = None


def limit_tasks(num_bytes: int | None) -> None:
    """For a worker process: what a task may take above what the process has when the task begins. None: no bound.

    What counts is address space, which the system can bound (on Linux; elsewhere this does nothing). A GPU's driver
    takes terabytes of it at will, so a process that uses one must not be bound.
    """
    global _task_bytes
    _task_bytes = num_bytes if sys.platform == "linux" else None


def task_bytes() -> int | None:
    """What a task may take in this process; None: no bound."""
    return _task_bytes


def in_words() -> str:
    """The bound, for a message.

    >>> in_words()
    'without a bound'
    """
    return "without a bound" if _task_bytes is None else f"{_task_bytes / 2**30:.1f} GB above what it has when idle"


def begin_task() -> None:
    """Set the bound anew, above what the process has by now."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = hard if _task_bytes is None else _at_most(_address_space() + _task_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def bounded(num_bytes: int) -> Iterator[None]:
    """Within a task that is bounded at all, a tighter bound for a while: beyond it, MemoryError."""
    if _task_bytes is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_at_most(_address_space() + num_bytes, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _at_most(wanted: int, limit: int) -> int:
    return wanted if limit < 0 else min(wanted, limit)  # RLIM_INFINITY is -1


def _address_space() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
