"""Worker process, which loads a detector once and takes jobs from the queue until it is told to stop."""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from types import FrameType
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone
from django_tasks_db.management.commands.db_worker import Worker as TaskWorker

from dfd.web import tasks
from dfd.web.jobs import life as jobs
from dfd.web.jobs.scorer import Scorer, Stopping, logger
from dfd.web.models import Worker, options

TIDY_SECONDS = 30.0


class Pulse:
    """Thread that writes the worker's heartbeat and does maintenance, since a video may take an hour."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.name = scorer, scorer.name
        # The card may come from an untrusted file, and PostgreSQL does not store NUL.
        self.detector = json.loads(json.dumps(scorer.detector.describe(), default=str).replace("\\u0000", ""))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Pulse":
        self._say_alive()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10)
        with contextlib.suppress(DatabaseError):
            Worker.objects.filter(name=self.name).delete()

    def _say_alive(self) -> None:
        now = timezone.now()
        Worker.objects.update_or_create(name=self.name, defaults={"heartbeat": now, "detector": self.detector})
        job = self.scorer.current
        if job is not None:
            jobs.unchanged(job).update(heartbeat=now)

    def _beat(self) -> None:
        tidied = time.monotonic() - TIDY_SECONDS
        while not self._ended.wait(min(options().lease_seconds / 5, TIDY_SECONDS)):
            try:
                close_old_connections()
                self._say_alive()
                if time.monotonic() - tidied > TIDY_SECONDS:
                    jobs.tidy()
                    tidied = time.monotonic()
            except DatabaseError:
                logger.exception("the heartbeat could not be written")


DATABASE_PAUSE_SECONDS = 5.0


class ScoreWorker(TaskWorker):
    """Django's worker, except that it gives its job back at the first signal, since finishing may take an hour."""

    def __init__(self, scorer: Scorer, *, batch: bool = False) -> None:
        queue: dict[str, Any] = {"queue_names": ["default"], "backend_name": "default", "excluded_queue_names": []}
        when: dict[str, Any] = {"interval": 0.5, "startup_delay": False, "max_tasks": None, "batch": batch}
        super().__init__(worker_id=scorer.name, **queue, **when)
        self.scorer = scorer

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        """Take no further job, and give the current one back at its next step."""
        self.scorer.is_stopping = True
        super().shutdown(signum, frame)


def run_worker(*, batch: bool = False) -> None:
    """Score jobs until told to stop or, with ``batch``, until none is waiting."""
    name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
    scorer = Scorer(name)
    tasks.do = scorer.score
    worker = ScoreWorker(scorer, batch=batch)
    facts: dict[str, Any] = {"worker": name, "detector": scorer.detector.name}
    try:
        with Pulse(scorer), scorer.detector:
            logger.info("worker ready", extra=facts)
            jobs.tidy()
            if not batch:
                worker.configure_signals()
            while not scorer.is_stopping:
                try:
                    scorer.give_back_interrupted()
                    worker.run()
                    break
                except (OperationalError, InterfaceError):
                    logger.exception("the database does not answer")
                    connection.close()
                    time.sleep(DATABASE_PAUSE_SECONDS)
    except (Stopping, SystemExit):
        pass
    finally:
        tasks.do = tasks.refuse
        logger.info("worker ended", extra=facts)
