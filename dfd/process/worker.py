"""Code that runs in a worker process of :class:`~dfd.process.pool.WorkerPool`."""

import contextlib
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker, spawn
from multiprocessing.connection import Client
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from dfd.base import machine as memory
from dfd.base.errors import DfdError
from dfd.base.machine import end_with, without_secrets
from dfd.process.failure import Failure
from dfd.process.inbox import Item

T = TypeVar("T")


R = TypeVar("R")


_main_lock = threading.Lock()


class _WorkerProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        """Start the worker without the caller's script, which multiprocessing would run again.

        So a script needs no ``if __name__ == "__main__":``, and a worker does not import what only the script needs.

        Workers inherit no secrets, since they read files from strangers.

        SIGINT is blocked: Ctrl-C reaches all processes of a terminal, and the parent ends its workers. pebble makes
        workers ignore it, but only after their imports, and until then each would print a traceback.
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
    """Block SIGINT in this thread meanwhile, and permanently in the processes that it starts."""
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
    """Prepare a worker before its first task."""
    # pebble's handler is written in Python and never runs while a decoder hangs; the default one ends the process.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        end_with(parent.pid)
    if initializer is not None:
        _call_at_start(initializer, initargs)


def _prepare(preparation: bytes) -> None:
    """Run the pool's preparation before a task, unless this worker has done so."""
    global _prepared
    if preparation != _prepared and _start_error is None:
        _prepared = preparation
        function, arguments = pickle.loads(preparation)  # noqa: S301 - made by WorkerPool.prepare()
        _call_at_start(function, arguments)


def _call_at_start(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    global _start_error
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - the first task's result carries it to the parent
        _start_error = error


def _only_item(function: Callable[[T], R], task: T) -> Iterator[R]:
    yield function(task)


def _run(number: int, preparation: bytes, payload: bytes, address: Any, key: bytes) -> bytes:
    """Run a task in the worker: unpickle it, call it, and send each item pickled.

    Any error becomes this task's failure, sent after its items, so that these are not lost.
    """
    _prepare(preparation)
    if _start_error is not None:
        return pickle.dumps(_StartFailed(_portable(_start_error)))
    memory.begin_task()
    try:
        function, task = pickle.loads(payload)  # noqa: S301 - made by _events() above
        with Client(address, authkey=key) as connection:
            connection.send_bytes(str(number).encode())  # starts the task's clock; imports are done
            end = None
            try:
                for item in function(task):
                    connection.send_bytes(pickle.dumps(Item(item)))
            except Exception as error:  # noqa: BLE001 - the edge of the process: every error becomes a row
                end = Failure.of(error)
            connection.send_bytes(pickle.dumps(end))
        return pickle.dumps(None)
    except Exception as error:  # noqa: BLE001 - the task did not start, or the connection is closed
        return pickle.dumps(Failure.of(error))


def _portable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else a DfdError with its message."""
    # An exception's __init__ or __reduce__ may raise anything; the only loss should be its type.
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
        return error
    return DfdError(Failure.of(error).message)
