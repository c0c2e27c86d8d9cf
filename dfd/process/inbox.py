"""Inbox for the results that worker processes send while they work, with a clock for each task."""

import contextlib
import pickle
import queue
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from dfd.base.scratch import ScratchFolder


@dataclass(frozen=True, slots=True)
class Item:
    """A result of a task that continues."""

    value: Any


@dataclass(frozen=True, slots=True)
class Settled:
    """The pool has finished with a task; its future holds the outcome."""


@dataclass(slots=True)
class _Clock:
    """Times of one task: start, last sign of life and waiting for room; and whether it is over."""

    began: float
    last_sign: float
    waited: float = 0.0
    waits_since: float | None = None
    is_over: bool = False


class Inbox:
    """Receives what workers send while they work, over one connection per task, so that a killed worker harms no other.

    A thread reads each connection. When too many items wait to be taken it stops reading, so that the worker waits too.

    Args:
        max_waiting: number of items for which there is always room.
        max_bytes: size of pickled items for which there is, however many they are.
    """

    POLL_SECONDS = 0.25

    def __init__(self, max_waiting: int, max_bytes: int = 0) -> None:
        self._events: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._max_waiting, self._max_bytes = max_waiting, max_bytes
        self._room = threading.Condition()
        self._sizes: deque[int] = deque()
        self._num_bytes = 0
        self._clocks: dict[int, _Clock] = {}
        self._key = secrets.token_bytes(32)
        self._listener: Listener | None = None
        self._scratch: ScratchFolder | None = None
        self._closing = False

    def address(self) -> tuple[Any, bytes]:
        """Address that workers connect to, and the key that authenticates them."""
        if self._listener is None:
            try:
                # multiprocessing's own folder would be left behind if the process is killed.
                self._scratch = ScratchFolder()
                self._listener = Listener(str(self._scratch.path / "inbox"), backlog=64, authkey=self._key)
            except (OSError, AttributeError):  # a folder with a name too long for a socket; no such sockets (Windows)
                self._listener = Listener(("127.0.0.1", 0), backlog=64, authkey=self._key)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self._listener.address, self._key

    def put(self, number: int, event: Any) -> None:
        """Add an event that does not count towards the waiting items."""
        self._events.put((number, event))

    def take(self) -> tuple[int, Any]:
        """Next event and the number of its attempt, or (-1, None) if none comes in time."""
        try:
            number, event = self._events.get(timeout=self.POLL_SECONDS)
        except queue.Empty:
            return -1, None
        if isinstance(event, Item):
            with self._room:
                self._num_bytes -= self._sizes.popleft()
                self._room.notify_all()
        elif not isinstance(event, Settled):
            self._clocks.pop(number, None)
        return number, event

    def overdue(self, number: int, deadline_seconds: float, stall_seconds: float | None) -> str | None:
        """Reason to give a task up now, or None."""
        clock = self._clocks.get(number)
        if clock is None or clock.is_over:
            return None  # not begun, or finished
        now, since = time.monotonic(), clock.waits_since
        waits = 0.0 if since is None else now - since
        if now - clock.began - clock.waited - waits > deadline_seconds:
            return f"took longer than the deadline of {deadline_seconds:g} seconds and was stopped"
        if stall_seconds is not None and since is None and now - clock.last_sign > stall_seconds:
            return f"made no progress for {stall_seconds:g} seconds and was stopped"
        return None

    def forget(self, number: int) -> None:
        """Drop the clock of a task that ended without saying so."""
        self._clocks.pop(number, None)

    def close(self) -> None:
        """Make the threads end."""
        self._closing = True
        listener, self._listener = self._listener, None
        if listener is not None:
            # This wakes the thread that waits for a connection. It must not wait for an answer (to the key, for
            # instance) without a limit, as that thread may have noticed the closing and ended.
            wake = threading.Thread(target=_connect, args=(listener.address,), daemon=True)
            wake.start()
            wake.join(1.0)
            listener.close()
        if self._scratch is not None:
            self._scratch.close()

    def _accept(self, listener: Listener) -> None:
        while not self._closing:
            try:
                connection = listener.accept()
            except (OSError, EOFError, AuthenticationError):
                time.sleep(0.05)  # a worker killed while connecting, a foreign process, or no descriptors left
                continue
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: Connection) -> None:
        with connection:
            try:
                number = int(connection.recv_bytes())
                clock = self._clocks[number] = _Clock(time.monotonic(), time.monotonic())
                while True:
                    message = connection.recv_bytes()
                    event = pickle.loads(message)  # noqa: S301 - made by dfd.process.worker._run
                    clock.last_sign = time.monotonic()
                    if not isinstance(event, Item):
                        break
                    self._put_when_there_is_room(number, event, len(message), clock)
                clock.is_over = True
                self._events.put((number, event))
            except (EOFError, OSError, ValueError):
                return  # the worker is gone, and its future says why; or the inbox is closing

    def _has_room(self) -> bool:
        return len(self._sizes) < self._max_waiting or self._num_bytes < self._max_bytes

    def _put_when_there_is_room(self, number: int, item: Item, size: int, clock: _Clock) -> None:
        with self._room:
            if not self._has_room():
                clock.waits_since = time.monotonic()
                while not self._room.wait_for(self._has_room, timeout=1.0):
                    if self._closing:
                        raise EOFError
                clock.last_sign = time.monotonic()
                clock.waited += clock.last_sign - clock.waits_since
                clock.waits_since = None
            # One after the other, so that sizes leave in the order of the items.
            self._sizes.append(size)
            self._num_bytes += size
            self._events.put((number, item))


def _connect(address: Any) -> None:
    with contextlib.suppress(OSError):
        Client(address).close()
