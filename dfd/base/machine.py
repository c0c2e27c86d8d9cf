"""Cores, memory and threads that a process uses, and the environment that it passes to workers."""

import atexit
import contextlib
import ctypes
import gc
import json
import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

if sys.platform != "win32":
    import resource

PARENT_SECONDS = 0.5
"""How often a child looks whether its parent is still there."""

_SECRET_NAME = re.compile(
    r"(^|_)(API_?KEYS?|KEYS?|SECRETS?|TOKENS?|PASS|PASSWD|PASSWORDS?|PASSPHRASE|PWD|CREDENTIALS?|COOKIES?|DSN|AUTH)(_|$)"
    r"|DATABASE_URL|CONNECTION_STRING|^(AWS|AZURE|GOOGLE|GCP|GITHUB|GITLAB|SMTP|PG|MYSQL|REDIS)_"
)
_SECRET_VALUE = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\\s]+:[^/@\\s]+@", re.IGNORECASE)
_NO_SECRETS = frozenset({"PWD", "OLDPWD", "SSH_AUTH_SOCK"})


def secret_names(environment: Mapping[str, str]) -> list[str]:
    """Environment variables whose name or value suggests a secret: keys, tokens, passwords, addresses with them.

    >>> secret_names({"WANDB_API_KEY": "1", "PWD": "/tmp", "URL": "postgres://dfd:x@db/dfd", "LANG": "C"})
    ['WANDB_API_KEY', 'URL']
    """
    return [
        name
        for name, value in environment.items()
        if name not in _NO_SECRETS
        and not name.lower().endswith("_proxy")  # needed to download weights
        and (_SECRET_NAME.search(name.upper()) or _SECRET_VALUE.match(value))
    ]


@contextmanager
def without_secrets() -> Iterator[None]:
    """Context in which started processes inherit no secrets; ``os.environ`` itself keeps them."""
    hidden = {name: os.environ[name] for name in secret_names(os.environ)}
    for name in hidden:
        os.unsetenv(name)
    try:
        yield
    finally:
        for name, value in hidden.items():
            os.putenv(name, value)


def end_with(parent: int) -> None:
    """Have this process end by SIGTERM when its parent has ended: one that is killed cannot say so.

    ``parent`` is the number of the process that started this one. Windows leaves that number as it is, so there this
    does nothing.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def python_command(code: str, *arguments: str) -> list[str]:
    """A command that runs ``code`` in a Python of its own, which ends with this process.

    It imports from where this process does, and not from the working folder; ``arguments`` are its ``sys.argv[1:]``.
    """
    places = json.dumps([*filter(None, sys.path), str(Path(__file__).resolve().parents[2])])
    begin = (
        "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from dfd.base.machine import end_with; "
        "end_with(int(sys.argv.pop(1)))"
    )
    return [sys.executable, "-P", "-c", f"{begin}\n{code}", places, str(os.getpid()), *arguments]


# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def wait_without_spinning() -> None:
    """Make threads that wait for each other sleep; OpenMP keeps their cores busy for a while by default.

    Processes that decode need the cores: with two of them on two cores the network took twice as long. Does nothing if
    the user has set OpenMP's own variables.
    """
    if "GOMP_SPINCOUNT" not in os.environ and "KMP_BLOCKTIME" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def keep_freed_memory() -> bool:
    """Make this process reuse the memory that it frees, and torch ask for large pages.

    A network allocates and frees hundreds of tensors of megabytes in each pass. glibc requests each from the system,
    and the first write to each page is a fault: on a virtual machine a quarter of ResNeXt50's training step, and a
    third of scoring with EfficientNet-Lite0. The process then keeps its peak memory, until
    :func:`return_freed_memory`. Returns False, without effect, except with glibc on Linux.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's own switch, for tensors of 2 MB and more
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def without_collection() -> Iterator[None]:
    """Context to import libraries in, without looking for garbage: there is next to none, and torch takes a tenth less.

    Python looks whenever there are many new objects, and goes through all of them.
    """
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def end_at_once(main: Callable[[], int | None]) -> NoReturn:
    """Run a program's ``main`` and end the process with its status, without taking apart what was imported.

    Threads are joined, exit hooks run and output is flushed as at every end. What follows them in Python, the clearing
    of all modules and the unloading of torch's libraries, takes half a second in which nothing is done for anybody.
    Files that ``main`` has not closed may lose what was written last. A ``main`` that raises ends as usual.
    """
    status: int | None = None

    def leave() -> None:
        if status is not None:
            with contextlib.suppress(OSError, ValueError):  # Python reports a closed output in its own way
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    atexit.register(leave)  # hooks run in reverse order: this one after those of all that main imports
    status = main() or 0
    sys.exit(status)


_MADV_DONTNEED = 4


def leave_in_file(address: int, num_bytes: int) -> None:
    """Take pages that are mapped from a file out of this process's memory; they come back when they are read again.

    Does nothing where the memory is not a file's, for then its content would be lost, or on systems other than Linux.
    """
    if sys.platform != "linux":
        return
    page = os.sysconf("SC_PAGE_SIZE")
    first, last = -(-address // page) * page, (address + num_bytes) // page * page
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, access, _, _, inode, *_ = line.split()
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= first < last <= high and inode != "0" and access.endswith("p"):
                ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_DONTNEED)


def return_freed_memory() -> None:
    """Give the system back what this process has freed and keeps for later; does nothing without glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


_task_bytes: int | None = None


def limit_tasks(num_bytes: int | None) -> None:
    """Limit the memory that a task in this worker process may take, above that of the process when the task begins.

    Address space is limited, which works on Linux only; elsewhere this does nothing. Drivers of GPUs take terabytes of
    it, so a process that uses one must not be limited. None: no limit.
    """
    global _task_bytes
    _task_bytes = num_bytes if sys.platform == "linux" else None


def task_bytes() -> int | None:
    """Limit for a task in this process, in bytes; None: no limit."""
    return _task_bytes


def in_words() -> str:
    """Limit of a task in words, for a message.

    >>> in_words()
    'without a bound'
    """
    return "without a bound" if _task_bytes is None else f"{_task_bytes / 2**30:.1f} GB above what it has when idle"


def begin_task() -> None:
    """Apply the limit again, above the current size of the process."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = hard if _task_bytes is None else _at_most(_address_space() + _task_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def bounded(num_bytes: int) -> Iterator[None]:
    """Context with a lower limit, if tasks are limited at all; beyond it, allocations raise MemoryError."""
    if _task_bytes is None:
        yield
        return
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


def num_cores() -> int:
    """Number of cores that this process may use; on a shared machine, fewer than it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hold_to_one_core() -> None:
    """Use one core in a worker; call it before other imports, as the pool provides the parallelism."""
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when imported
    import cv2
    import numpy as np  # noqa: F401 - its BLAS is loaded now, so that it can be told
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="blas")
