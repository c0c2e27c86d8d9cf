"""Limits on how long a request's head and body may take, so that slow senders do not hold the threads of the pages.

A thread that waits for bytes cannot look at a clock. One thread for all of them does, and stops the reading of a
connection that is too slow; its request then ends as if the sender had gone. Only under gunicorn, which passes its
socket on.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from django.http import HttpRequest

HEAD_SECONDS = 10.0
"""Time for the head of a request, once it has begun."""
FORM_SECONDS = 5.0
"""Time for the body of any request that is not an upload."""
LOOK_SECONDS = 60.0
"""Time over which the rate of an upload is measured."""
TICK_SECONDS = 1.0
_KEY = "dfd.patience"


@dataclass(slots=True, eq=False)
class Patience:
    """What a head or body is allowed: to be read by ``ends``, or ``rate`` bytes a second over :data:`LOOK_SECONDS`.

    ``position`` gives the number of bytes that were read so far, which grows by ``piece`` bytes at a time.
    """

    connection: socket.socket
    position: Callable[[], int]
    ends: float
    rate: float | None = None
    piece: int = 0
    is_over: bool = False
    """Whether the sender was too slow and is no longer read."""
    looked: float = field(default_factory=time.monotonic)
    was_at: int = 0

    def check(self, now: float) -> None:
        """Stop reading a body that is too slow."""
        if self.rate is None:
            is_slow = now > self.ends
        elif now - self.looked < LOOK_SECONDS:
            return
        else:
            at = self.position()
            is_slow = at - self.was_at + self.piece < self.rate * (now - self.looked)
            self.looked, self.was_at = now, at
        if is_slow and not self.is_over:
            self.is_over = True
            with suppress(OSError):  # the sender has gone meanwhile
                self.connection.shutdown(socket.SHUT_RD)


_lock = threading.Lock()
_watched: set[Patience] = set()
_is_running = False


def _watch() -> None:
    global _is_running
    while True:
        time.sleep(TICK_SECONDS)
        with _lock:
            for one in _watched:
                one.check(time.monotonic())
            if not _watched:
                _is_running = False
                return


def watch(one: Patience) -> Patience:
    """Have a head or body checked until :func:`leave`."""
    global _is_running
    with _lock:
        _watched.add(one)
        if not _is_running:
            _is_running = True
            threading.Thread(target=_watch, daemon=True, name="patience").start()
    return one


def leave(one: Patience) -> None:
    """Check it no longer, if it still is."""
    with _lock:
        _watched.discard(one)


def watch_head(connection: socket.socket) -> Patience:
    """Give the head of a request :data:`HEAD_SECONDS` from now, until :func:`leave`."""
    return watch(Patience(connection, lambda: 0, time.monotonic() + HEAD_SECONDS))


@contextmanager
def limited(request: HttpRequest) -> Iterator[None]:
    """Give a request's body :data:`FORM_SECONDS`, until :func:`allow_rate` or :func:`allow_seconds` says otherwise."""
    connection = request.META.get("gunicorn.socket")
    if connection is None or not _has_body(request):
        yield
        return
    stream = getattr(request, "_stream", None)
    one = Patience(connection, lambda: int(getattr(stream, "_pos", 0)), time.monotonic() + FORM_SECONDS)
    request.META[_KEY] = watch(one)
    try:
        yield
    finally:
        leave(one)


def allow_rate(request: HttpRequest, rate: float, *, piece: int) -> None:
    """Let a body take as long as it arrives at ``rate`` bytes a second or more; 0: as long as it likes.

    ``piece`` is the number of bytes that are read at once.
    """
    if (one := request.META.get(_KEY)) is not None:
        one.looked, one.was_at, one.rate, one.piece = time.monotonic(), one.position(), rate, piece


def allow_seconds(request: HttpRequest, seconds: float) -> None:
    """Let the rest of a body take so long."""
    if (one := request.META.get(_KEY)) is not None:
        one.ends, one.rate = time.monotonic() + seconds, None


def was_too_slow(request: HttpRequest) -> bool:
    """Whether the reading of a body was given up because it was too slow."""
    one: Patience | None = request.META.get(_KEY)
    return one is not None and one.is_over


def _has_body(request: HttpRequest) -> bool:
    return request.META.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in request.META
