"""Heartbeat of a worker, and periodic maintenance."""

import contextlib
import json
import threading
import time

from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from dfd.web.jobs import life as jobs
from dfd.web.jobs.scorer import Scorer, logger
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
