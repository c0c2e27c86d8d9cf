"""Worker process, which loads a detector once and takes jobs from the queue until it is told to stop."""

import os
import secrets
import socket
import time
from types import FrameType
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django_tasks_db.management.commands.db_worker import Worker as TaskWorker

from dfd.web import tasks
from dfd.web.jobs import life as jobs
from dfd.web.jobs.pulse import Pulse
from dfd.web.jobs.scorer import Scorer, Stopping, logger

DATABASE_PAUSE_SECONDS = 5.0


class ScoreWorker(TaskWorker):
    """Django's worker, except that it gives its job back at the first signal, since finishing may take an hour."""

    def __init__(self, scorer: Scorer, *, batch: bool = False) -> None:
        super().__init__(
            queue_names=["default"],
            interval=0.5,
            batch=batch,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=scorer.name,
            excluded_queue_names=[],
        )
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
