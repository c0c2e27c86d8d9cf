"""Worker processes in which a task may hang, crash or be killed without harm to other tasks.

Videos are decoded in such processes: no exception handler catches a decoder that loops for ever or crashes. pebble
manages the pool; this module adds results that arrive while a task runs, the status of each kind of failure, errors
during the start of workers, a limit on the tasks in flight, and the end of workers whose parent is gone.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from dfd.base.errors import DfdError
from dfd.base.types import Status
from dfd.process.failure import Failure, _describe_exit
from dfd.process.inbox import Inbox, Item, Settled
from dfd.process.worker import R, T, _only_item, _run, _SpawnWithoutMain, _start, _StartFailed

# Number of times in a row that workers may die before taking a task.
_MAX_FALSE_STARTS = 3


@dataclass(frozen=True, slots=True)
class Again:
    """A task was started again through no fault of its own: its items so far do not count."""


@dataclass(slots=True)
class _Running:
    task: Any
    payload: bytes
    future: Any = None


class WorkerPool:
    """Context manager for a pool of processes with a deadline per task; leaving it stops all running tasks.

    Workers are spawned, not forked, and do not run the caller's script: they import the modules that they need, so
    functions and tasks must be importable from elsewhere. Each worker should use one core
    (``torch.set_num_threads(1)``, ``cv2.setNumThreads(1)``); this is left to ``initializer``, which knows what it
    imports.

    Args:
        num_workers: number of processes.
        deadline_seconds: maximum time for one task, without starting the worker and waiting for room for its items.
        stall_seconds: maximum time between two items of :meth:`stream`; None: no limit.
        initializer: called with ``initargs`` in each process before its first task, for instance to load a model. If it
            raises, :meth:`map` and :meth:`stream` raise the same error in the parent.
        max_waiting: number of items of :meth:`stream` that may wait to be taken; beyond, workers wait.
        max_waiting_bytes: of small items more may wait, up to this size of them all.

    Raises:
        ValueError: when a number is not positive.
    """

    def __init__(
        self,
        *,
        num_workers: int,
        deadline_seconds: float,
        stall_seconds: float | None = None,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        max_waiting: int = 64,
        max_waiting_bytes: int = 0,
    ) -> None:
        for name, value in {
            "num_workers": num_workers,
            "deadline_seconds": deadline_seconds,
            "stall_seconds": stall_seconds,
            "max_waiting": max_waiting,
        }.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        self.num_workers = num_workers
        self._deadline_seconds = deadline_seconds
        self._stall_seconds = stall_seconds
        self._initializer = initializer
        self._initargs = initargs
        self._preparation = b""
        self._prepared: tuple[Any, ...] = ()
        self._ahead: list[tuple[Any, int, _Running]] = []
        self._pool: Any = None
        self._inbox = Inbox(max_waiting, max_waiting_bytes)
        self._numbers = count()
        self._num_false_starts = 0
        self._is_streaming = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes now instead of with the first task, so that they import while the parent does."""
        self._started().active  # noqa: B018 - reading it makes pebble start the pool

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Make each worker call ``function(*arguments)`` once before its next task.

        This is for settings that are not known yet when the pool is made; errors are handled as for ``initializer``.
        """
        if (function, *arguments) == self._prepared:
            return
        self._forget_ahead()
        self._prepared = (function, *arguments)
        self._preparation = pickle.dumps((function, arguments))

    def begin(self, function: Callable[[T], Iterable[R]], tasks: Iterable[T]) -> None:
        """Begin the first two of these tasks per worker now.

        A later :meth:`stream` of ``function`` takes over those equal to its own tasks; the others are given up.
        """
        for task in islice(tasks, 2 * self.num_workers - len(self._ahead)):
            self._ahead.append((function, *self._begin(_Running(task, pickle.dumps((function, task))))))

    def close(self) -> None:
        """Stop all workers at once, whatever they are doing."""
        self._closed = True
        self._stop()
        self._inbox.close()

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R | Failure]]:
        """Call ``function(task)`` for each task; yields (task, result or failure) in the order of completion.

        See :meth:`stream` for everything else.
        """
        results: dict[int, R] = {}
        for key, task, event in self._events(partial(_only_item, function), tasks):
            match event:
                case Item(value):
                    results[key] = value
                case Failure():
                    yield task, event
                case None:
                    yield task, results.pop(key)

    def stream(
        self, function: Callable[[T], Iterable[R]], tasks: Iterable[T]
    ) -> Iterator[tuple[T, R | Failure | Again | None]]:
        """Iterate over the items of ``function(task)`` for each task as they arrive, as (task, item).

        A task's items come in order, those of several tasks interleaved; (task, None) marks the end of a task. A failed
        task ends with a :class:`~dfd.process.failure.Failure` instead; if its process died, some earlier items may be
        missing. (task, :class:`Again`) cancels the task's earlier items, as it was started again.

        ``function`` must be importable (not a lambda); tasks and items must be picklable. ``tasks`` may be endless: it
        is consumed as workers become free, two per worker ahead. A :class:`~dfd.base.errors.DfdError` in the worker
        gives a failure with its status; other exceptions, crashes and kills give status error; the deadline gives
        status timeout.

        Raises:
            DfdError: when workers cannot be started.
            Exception: when ``initializer`` raises it; one that cannot be pickled becomes a DfdError.
        """
        for _, task, event in self._events(function, tasks):
            yield task, event.value if isinstance(event, Item) else event

    def _events(
        self, function: Callable[[T], Iterable[R]], tasks: Iterable[T]
    ) -> Iterator[tuple[int, T, Item | Failure | Again | None]]:
        """Events of each task, with a number that distinguishes equal tasks."""
        if self._closed:
            raise ValueError("the pool is closed")
        if self._is_streaming:
            raise RuntimeError("this pool has tasks under way; take or close their results first, or use another pool")
        self._is_streaming = True
        waiting = enumerate(tasks)
        running: dict[int, tuple[int, _Running]] = {}  # by the number of the attempt
        try:
            while True:
                while len(running) < 2 * self.num_workers:
                    key, task = next(waiting, (None, None))
                    if key is None:
                        break
                    number, one = self._begun(function, task)
                    running[number] = key, one
                if not running:
                    return
                number, event = self._inbox.take()
                if number in running and isinstance(event, Settled):
                    outcome = self._outcome(running[number][1].future)
                    if isinstance(outcome, BrokenProcessPool):
                        # A worker died between tasks, so pebble closes the whole pool. No task is at fault.
                        self._restart()
                        for lost in [n for n, (_, one) in running.items() if _is_lost(one.future)]:
                            key, one = running.pop(lost)
                            number, _ = self._begin(one)
                            running[number] = key, one
                            yield key, one.task, Again()
                        continue
                    if outcome is None:
                        continue  # its last items and then its end are still to come
                    event = outcome
                if number in running:
                    self._num_false_starts = 0
                    key, one = running[number]
                    if not isinstance(event, Item):
                        del running[number]
                    yield key, one.task, event
                for late in list(running):
                    overdue = self._inbox.overdue(late, self._deadline_seconds, self._stall_seconds)
                    if overdue:
                        key, one = running.pop(late)
                        self._give_up(late, one)
                        yield key, one.task, Failure(Status.TIMEOUT, overdue)
        finally:
            self._is_streaming = False
            self._forget_ahead()
            for number, (_, one) in running.items():
                self._give_up(number, one)

    def _begin(self, one: _Running) -> tuple[int, _Running]:
        number = next(self._numbers)
        one.future = self._schedule(number, one.payload)
        one.future.add_done_callback(lambda _: self._inbox.put(number, Settled()))
        return number, one

    def _begun(self, function: Callable[..., Any], task: Any) -> tuple[int, _Running]:
        """A running task: begun ahead, or begun now."""
        for place, (its_function, number, one) in enumerate(self._ahead):
            if its_function == function and one.task == task:
                del self._ahead[place]
                return number, one
        self._forget_ahead()  # they would occupy workers that this task needs
        return self._begin(_Running(task, pickle.dumps((function, task))))

    def _forget_ahead(self) -> None:
        for _, number, one in self._ahead:
            self._give_up(number, one)
        self._ahead.clear()

    def _give_up(self, number: int, one: _Running) -> None:
        self._inbox.forget(number)
        one.future.cancel()  # pebble then ends the worker, if it is on this task

    def _started(self) -> Any:
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self.num_workers,
                initializer=_start,
                initargs=(self._initializer, self._initargs),
                context=_SpawnWithoutMain(),
            )
        return self._pool

    def _schedule(self, number: int, payload: bytes) -> Any:
        try:
            return self._started().schedule(_run, args=(number, self._preparation, payload, *self._inbox.address()))
        except RuntimeError:  # pebble has closed the pool: report it as for running tasks
            future: Future[bytes] = Future()
            future.set_exception(BrokenProcessPool())
            return future

    def _restart(self) -> None:
        self._num_false_starts += 1
        self._stop()
        if self._num_false_starts >= _MAX_FALSE_STARTS:
            raise DfdError("worker processes die before they take a task; memory may be short: try fewer workers")

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _outcome(self, future: Any) -> Any:
        """Outcome of a settled task: None if it reports its end itself, else its failure or the broken pool."""
        error = future.exception()
        if error is None:
            value = pickle.loads(future.result())  # noqa: S301 - made by _run below
            if isinstance(value, _StartFailed):
                raise value.error
            return value
        if isinstance(error, BrokenProcessPool):
            return error
        if isinstance(error, ProcessExpired):
            return Failure(Status.ERROR, f"the worker process died ({_describe_exit(error.exitcode)})")
        raise error


def _is_lost(future: Any) -> bool:
    """Whether the task was lost with its pool."""
    return not future.done() or future.cancelled() or isinstance(future.exception(), BrokenProcessPool)
