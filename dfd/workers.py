"""Worker processes in which a task may hang, crash or be killed at the cost of that task alone.

Video is decoded in such processes: no exception handler catches a decoder that loops for ever or takes its process
with it. pebble keeps the pool; this module adds what it leaves open: results that come while a task still works, which
failure becomes which status, errors while workers start, a bound on the tasks in flight, and the death of workers whose
parent is gone.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from multiprocessing import resource_tracker, spawn
from multiprocessing.connection import Client
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType
from typing import Any, Self, TypeVar

from dfd import memory
from dfd.environment import without_secrets
from dfd.errors import DfdError
from dfd.inbox import Inbox, Item, Settled
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

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """What an error makes of the video at hand: a DfdError has a status and words of its own, any other a bug's.

        A task that needs more memory than its process may take says so.

        >>> Failure.of(KeyError("fps"))
        Failure(status=<Status.ERROR: 'error'>, message="KeyError: 'fps'")
        """
        if isinstance(error, DfdError):
            return cls(error.status, str(error))
        if isinstance(error, MemoryError) and memory.task_bytes() is not None:
            return cls(Status.TOO_LARGE, f"reading it takes more memory than a worker may use: {memory.in_words()}")
        return cls(Status.ERROR, _describe(error))


@dataclass(frozen=True, slots=True)
class Again:
    """A task had to be begun anew through no fault of its own: its items so far do not count."""


@dataclass(slots=True)
class _Running:
    task: Any
    payload: bytes
    future: Any = None


class WorkerPool:
    """A pool of processes, each task with a deadline. A context manager; leaving it stops what still runs.

    Workers are spawned, not forked, and do not run the caller's script again: their start imports the modules they
    need, so functions and tasks must be importable from elsewhere. Each worker should hold to one core
    (``torch.set_num_threads(1)``, ``cv2.setNumThreads(1)``); that is for ``initializer`` to do, which knows what it
    imports.

    Args:
        num_workers: processes.
        deadline_seconds: the most that one task may take, counted from its start, without the time in which it waits
            for its items to be taken. Starting a worker does not count.
        stall_seconds: the most that may pass between two items of :meth:`stream`; None: no limit of its own.
        initializer: called with ``initargs`` in each process before its first task, to load a model for instance.
            If it raises, :meth:`map` raises the same error in the parent.
        max_waiting: items of :meth:`stream` that may wait to be taken. When there are so many, workers wait.

    Raises:
        ValueError: a number is not positive.
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
        self._inbox = Inbox(max_waiting)
        self._numbers = count()
        self._num_false_starts = 0
        self._is_streaming = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes now, and not with the first task: they import and initialize while the parent does."""
        self._started().active  # noqa: B018 - pebble starts a pool that is asked

    def prepare(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have each worker call ``function(*arguments)`` before its next task, once; for what ``initializer`` could not
        know yet. An error that it raises comes as one of ``initializer`` does.
        """
        if (function, *arguments) == self._prepared:
            return
        self._forget_ahead()
        self._prepared = (function, *arguments)
        self._preparation = pickle.dumps((function, arguments))

    def begin(self, function: Callable[[T], Iterable[R]], tasks: Iterable[T]) -> None:
        """Begin the first two of these tasks per worker now. A :meth:`stream` of ``function`` that comes to a task
        equal to one of them takes its items from there; those that the next stream has no use for are given up.
        """
        for task in islice(tasks, 2 * self.num_workers - len(self._ahead)):
            self._ahead.append((function, *self._begin(_Running(task, pickle.dumps((function, task))))))

    def close(self) -> None:
        """Stop all workers, at once and whatever they do."""
        self._closed = True
        self._stop()
        self._inbox.close()

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R | Failure]]:
        """``function(task)`` for each task, as (task, result or :class:`Failure`), in the order in which they finish.

        As :meth:`stream` in all else.
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
        """The items of ``function(task)`` as they come, for each task, as (task, item).

        A task's items come in order, those of several tasks in any; after the last comes (task, None). A task that
        fails ends in a :class:`Failure` instead; if its process dies, some of the items before it may be missing.

        ``function`` must be importable (not a lambda), tasks and items must pickle. ``tasks`` is drawn from as workers
        become free, two per worker ahead, so it may be endless. A :class:`~dfd.errors.DfdError` in the worker gives a
        failure of its status; any other exception, a crash or a kill one of status error; the deadline one of status
        timeout.

        Raises:
            DfdError: workers cannot be started.
            Exception: whatever ``initializer`` raised; one that does not pickle comes as a DfdError.
        """
        for _, task, event in self._events(function, tasks):
            yield task, event.value if isinstance(event, Item) else event

    def _events(
        self, function: Callable[[T], Iterable[R]], tasks: Iterable[T]
    ) -> Iterator[tuple[int, T, Item | Failure | Again | None]]:
        """What happens to each task, by a number of its own: two tasks may be equal."""
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
                        # A worker died between tasks, and pebble gives up on the whole pool. No task is to blame.
                        self._restart()
                        for lost in [n for n, (_, one) in running.items() if _is_lost(one.future)]:
                            key, one = running.pop(lost)
                            number, _ = self._begin(one)
                            running[number] = key, one
                            yield key, one.task, Again()
                        continue
                    if outcome is None:
                        continue  # its last items are on their way, and then its end
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
        """A task under way: begun ahead, or begun now."""
        for place, (its_function, number, one) in enumerate(self._ahead):
            if its_function == function and one.task == task:
                del self._ahead[place]
                return number, one
        self._forget_ahead()  # they would take the workers from what is wanted
        return self._begin(_Running(task, pickle.dumps((function, task))))

    def _forget_ahead(self) -> None:
        for _, number, one in self._ahead:
            self._give_up(number, one)
        self._ahead.clear()

    def _give_up(self, number: int, one: _Running) -> None:
        self._inbox.forget(number)
        one.future.cancel()  # pebble then ends the worker, if it is at it

    def _started(self) -> Any:
        if self._pool is None:
            from pebble import ProcessPool

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
        except RuntimeError:  # pebble has given up on the pool: say it in the way in which it tells running tasks
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
        """None if a task says itself how it ended, else its failure, or that the pool is broken."""
        from pebble import ProcessExpired

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
    """True if the task went down with its pool."""
    return not future.done() or future.cancelled() or isinstance(future.exception(), BrokenProcessPool)


_main_lock = threading.Lock()


class _WorkerProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        """Start it without the caller's script, which multiprocessing would run again in each worker.

        So a script needs no ``if __name__ == "__main__":``, and a worker does not import what only the script needs.

        Nor does it inherit secrets: it will read what strangers sent.

        SIGINT is blocked in it: Ctrl-C reaches all processes of a terminal, and the parent ends its workers. pebble has
        them ignore it, but only after they have imported what they need, and until then each would print a traceback.
        """
        original = spawn.get_preparation_data

        def without_main(name: str) -> dict[str, Any]:
            return {key: value for key, value in original(name).items() if not key.startswith("init_main")}

        with _main_lock:
            spawn.get_preparation_data = without_main
            try:
                with _blocked_interrupt(), without_secrets():
                    return SpawnProcess._Popen(process_obj)
            finally:
                spawn.get_preparation_data = original


@contextlib.contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """SIGINT waits, for this thread and, for good, for what it starts."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _SpawnWithoutMain(SpawnContext):
    Process = _WorkerProcess


@dataclass(frozen=True, slots=True)
class _StartFailed:
    error: Exception


_start_error: Exception | None = None
_prepared = b""


def _start(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """In the worker, before its first task."""
    # pebble's own handler runs in Python, which a decoder that hangs never gives a turn; the default one just ends.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        _call_at_start(initializer, initargs)


def _prepare(preparation: bytes) -> None:
    """In the worker, before each task: what its pool has been told to prepare, if that is not done."""
    global _prepared
    if preparation != _prepared and _start_error is None:
        _prepared = preparation
        function, arguments = pickle.loads(preparation)  # noqa: S301 - made by WorkerPool.prepare()
        _call_at_start(function, arguments)


def _call_at_start(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    global _start_error
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - it crosses to the parent with the first task's result
        _start_error = error


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers; the pipe it leaves behind tells them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _only_item(function: Callable[[T], R], task: T) -> Iterator[R]:
    yield function(task)


def _run(number: int, preparation: bytes, payload: bytes, address: Any, key: bytes) -> bytes:
    """In the worker: unpickle, call, send each item pickled, so that whatever goes wrong is this task's failure.

    A failure is sent as the items are, behind them: what was found before it is not lost.
    """
    _prepare(preparation)
    if _start_error is not None:
        return pickle.dumps(_StartFailed(_portable(_start_error)))
    memory.begin_task()
    try:
        function, task = pickle.loads(payload)  # noqa: S301 - made by _events() above
        with Client(address, authkey=key) as connection:
            connection.send_bytes(str(number).encode())  # from here on its time counts; importing modules is done
            end = None
            try:
                for item in function(task):
                    connection.send_bytes(pickle.dumps(Item(item)))
            except Exception as error:  # noqa: BLE001 - the edge of the process: every error becomes a row
                end = Failure.of(error)
            connection.send_bytes(pickle.dumps(end))
        return pickle.dumps(None)
    except Exception as error:  # noqa: BLE001 - it came not even to the task, or nobody listens
        return pickle.dumps(Failure.of(error))


def _portable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else one with its words."""
    # An exception's __init__ or __reduce__ may raise anything; losing its type is all that may come of it.
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
        return error
    return DfdError(Failure.of(error).message)


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
