"""The HTTP server's log, in our way, and its worker, which no sender can hold up."""

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn, ThreadWorker

from dfd.base.machine import end_with
from dfd.web.intake.patience import leave, watch_head
from dfd.web.options import PARENT
from dfd.web.serve.logs import JsonFormatter, WithoutValues

MAX_LINGERING = 64
"""Connections that are waited for at their end at the same time; further ones are closed at once."""


class ServerLogger(Logger):
    """gunicorn's warnings and errors as JSON, without the addresses that it writes into them; no access log."""

    def setup(self, cfg: Any) -> None:
        """One handler for all; and the server's first process, which sets this up, ends with the launcher."""
        if parent := os.environ.pop(PARENT, ""):
            end_with(int(parent))
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        handler.addFilter(WithoutValues())
        self.error_log.handlers = [handler]
        self.error_log.propagate = False
        self.error_log.setLevel(logging.WARNING)


class Worker(ThreadWorker):
    """gunicorn's threaded worker, which ends connections beside its loop.

    Before a connection is closed, its sender has up to two seconds to see the answer and stop. gunicorn waits for that
    in the thread that accepts, for one after the other: twenty uploads that were refused and stayed kept every page
    waiting for forty seconds. A head that does not come is given up after
    :data:`~dfd.web.intake.patience.HEAD_SECONDS`, since it holds a thread.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closers: ThreadPoolExecutor | None = None
        self._places = threading.Semaphore(MAX_LINGERING)

    def init_process(self) -> None:
        """In the process that was forked for it, where threads can begin."""
        self._closers = ThreadPoolExecutor(MAX_LINGERING, thread_name_prefix="closing")
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection to a thread, and have it closed by another one."""
        conn.close = partial(self._close, conn)  # type: ignore[method-assign]
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> Any:
        """Read a request and answer it, unless its head is too slow."""
        conn.head = watch_head(conn.sock)  # type: ignore[attr-defined]
        try:
            return super().handle(conn)
        finally:
            leave(conn.head)  # type: ignore[attr-defined]

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose head is there; how long its body may take is for the page to say."""
        leave(conn.head)  # type: ignore[attr-defined]
        return super().handle_request(req, conn)

    def _close(self, conn: TConn, graceful: bool = False) -> None:
        if graceful and self._closers is not None and self._places.acquire(blocking=False):
            self._closers.submit(self._linger, conn)
        else:
            TConn.close(conn)

    def _linger(self, conn: TConn) -> None:
        try:
            TConn.close(conn, graceful=True)
        finally:
            self._places.release()
