"""Worker processes in which a task may hang, crash or be killed at the cost of that task alone.

Video is decoded in such processes: no exception handler catches a decoder that loops for ever or takes its process
with it. pebble keeps the pool; this module adds what it leaves open: which failure becomes which status, errors while
workers start, a bound on the tasks in flight, and the death of workers whose parent is gone.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from dfd.errors import DfdError
from dfd.types import Status

T = TypeVar("T")
R = TypeVar("R")

# How often in a row workers may die before taking a task until we give up on starting more.
_MAX_FALSE_STARTS = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """What a task ended in instead of a result: a status for its row and a message for the person."""

    status: Status
    message: str


class WorkerPool:
    """A pool of processes, each task with a deadline. A context manager; leaving it stops what still runs.

    Workers are spawned, not forked: their start imports the modules they need, and a script that makes a pool must do
    so below ``if __name__ == "__main__":``. Each worker should hold to one core (``torch.set_num_threads(1)``,
    ``cv2.setNumThreads(1)``); that is for ``initializer`` to do, which knows what it imports.

    Args:
        num_workers: processes.
        deadline_seconds: the most that one task may take, counted from its start. Starting a worker does not count.
        initializer: called with ``initargs`` in each process before its first task, to load a model for instance.
            If it raises, :meth:`map` raises the same error in the parent.

    Raises:
        ValueError: ``num_workers`` or ``deadline_seconds`` is not positive.
    """

    def __init__(
        self,
        *,
        num_workers: int,
        deadline_seconds: float,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be 1 or more, got {num_workers}")
        if not deadline_seconds > 0:
            raise ValueError(f"deadline_seconds must be positive, got {deadline_seconds}")
        self._num_workers = num_workers
        self._deadline_seconds = deadline_seconds
        self._initializer = initializer
        self._initargs = initargs
        self._pool: Any = None
        self._num_false_starts = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers, at once and whatever they do."""
        self._closed = True
        self._stop()

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R | Failure]]:
        """``function(task)`` for each task, as (task, result or :class:`Failure`), in the order in which they finish.

        ``function`` must be importable (not a lambda), tasks and results must pickle. ``tasks`` is drawn from as
        workers become free, two per worker ahead, so it may be endless. A :class:`~dfd.errors.DfdError` in the worker
        gives a failure of its status; any other exception, a crash or a kill one of status error; the deadline one
        of status timeout.

        Raises:
            DfdError: workers cannot be started.
            Exception: whatever ``initializer`` raised; one that does not pickle comes as a DfdError.
        """
        if self._closed:
            raise ValueError("the pool is closed")
        waiting = iter(tasks)
        in_flight: dict[Any, tuple[T, bytes]] = {}
        try:
            while True:
                while len(in_flight) < 2 * self._num_workers:
                    try:
                        task = next(waiting)
                    except StopIteration:
                        break
                    payload = pickle.dumps((function, task))
                    in_flight[self._schedule(payload)] = task, payload
                if not in_flight:
                    return
                done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                unbegun = []
                for future in done:
                    task, payload = in_flight.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        unbegun.append((task, payload))
                    else:
                        self._num_false_starts = 0
                        yield task, self._outcome(future.result() if error is None else error)
                if unbegun:
                    # A worker died between tasks, and pebble gives up on the whole pool. No task is to blame.
                    self._restart()
                    unbegun += [in_flight.pop(future) for future in list(in_flight) if not future.done()]
                    in_flight |= {self._schedule(payload): (task, payload) for task, payload in unbegun}
        finally:
            for future in in_flight:
                future.cancel()

    def _schedule(self, payload: bytes) -> Any:
        if self._pool is None:
            from pebble import ProcessPool

            self._pool = ProcessPool(
                max_workers=self._num_workers,
                initializer=_start,
                initargs=(self._initializer, self._initargs),
                context=multiprocessing.get_context("spawn"),
            )
        try:
            return self._pool.schedule(_run, args=(payload,), timeout=self._deadline_seconds)
        except RuntimeError:  # pebble has given up on the pool: say it in the way in which it tells running tasks
            future: Future[bytes] = Future()
            future.set_exception(BrokenProcessPool())
            return future

    def _restart(self) -> None:
        self._num_false_starts += 1
        self._stop()
        if self._num_false_starts >= _MAX_FALSE_STARTS:
            raise DfdError(
                "worker processes die before they take a task; memory may be short (try fewer workers), "
                "or the script lacks `if __name__ == '__main__':`"
            )

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _outcome(self, result: bytes | BaseException) -> Any:
        from pebble import ProcessExpired

        if isinstance(result, bytes):
            value = pickle.loads(result)  # noqa: S301 - made by _run below
            if isinstance(value, _StartFailed):
                raise value.error
            return value
        if isinstance(result, TimeoutError):
            return Failure(
                Status.TIMEOUT, f"took longer than the deadline of {self._deadline_seconds:g} seconds and was stopped"
            )
        if isinstance(result, ProcessExpired):
            return Failure(Status.ERROR, f"the worker process died ({_describe_exit(result.exitcode)})")
        raise result


@dataclass(frozen=True, slots=True)
class _StartFailed:
    error: Exception


_start_error: Exception | None = None


def _start(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """In the worker, before its first task."""
    global _start_error
    # pebble's own handler runs in Python, which a decoder that hangs never gives a turn; the default one just ends.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        try:
            initializer(*initargs)
        except Exception as error:  # noqa: BLE001 - it crosses to the parent with the first task's result
            _start_error = error


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers; the pipe it leaves behind tells them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(payload: bytes) -> bytes:
    """In the worker: unpickle, call, pickle, so that whatever goes wrong is this task's failure."""
    if _start_error is not None:
        return pickle.dumps(_StartFailed(_portable(_start_error)))
    try:
        function, task = pickle.loads(payload)  # noqa: S301 - made by map() above
        return pickle.dumps(function(task))
    except DfdError as error:
        return pickle.dumps(Failure(error.status, str(error)))
    except Exception as error:  # noqa: BLE001 - the edge of the process: every error becomes a row
        return pickle.dumps(Failure(Status.ERROR, _describe(error)))


def _portable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else one with its words."""
    # An exception's __init__ or __reduce__ may raise anything; losing its type is all that may come of it.
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
        return error
    return DfdError(str(error) if isinstance(error, DfdError) else _describe(error))


def _describe(error: Exception) -> str:
    """Type, message and place of an unexpected error, in one line.

    >>> _describe(KeyError("fps"))
    "KeyError: 'fps'"
    """
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{text} (in {frames[-1].name}, {os.path.basename(frames[-1].filename)}:{frames[-1].lineno})"
        if frames
        else text
    )


def _describe_exit(code: int | None) -> str:
    """An exit code in words.

    >>> _describe_exit(-9)
    'exit code -9, SIGKILL: was memory short?'
    >>> _describe_exit(1)
    'exit code 1'
    """
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"exit code {code}, {name}" + (": was memory short?" if name == "SIGKILL" else "")


def num_cores() -> int:
    """Cores that this process may use: on a shared machine, fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hold_to_one_core() -> None:
    """For an initializer, before it imports anything else: the workers themselves are the parallelism."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
    import cv2

    cv2.setNumThreads(1)
