"""Queue positions and expected waiting times, for pages and the API."""

import time
from functools import cached_property
from uuid import UUID

from django.db.models import Avg, F

from dfd.web.models import Job, Worker

NUM_RECENT = 20
GUESSED_SECONDS = 30.0
"""Assumed duration of a job until one has been done."""
STARTING_SECONDS = 60.0
"""Time that a worker may take to load its detector after the start of the pages."""
_BEGAN = time.monotonic()
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 10, 3600


class Queue:
    """Current state of the queue, looked up lazily and once for all jobs of a page."""

    @cached_property
    def places(self) -> dict[UUID, int]:
        """Place of each waiting job; 1 is next."""
        waiting = Job.objects.filter(state=Job.State.QUEUED).order_by("queued").values_list("pk", flat=True)
        return {pk: place for place, pk in enumerate(waiting, start=1)}

    @cached_property
    def num_running(self) -> int:
        """Number of jobs being scored."""
        return Job.objects.filter(state=Job.State.RUNNING).count()

    @cached_property
    def num_workers(self) -> int:
        """Number of live workers."""
        return Worker.alive().count()

    @cached_property
    def seconds_each(self) -> float:
        """Mean duration of the last jobs, without those that needed two attempts."""
        recent = Job.objects.filter(state=Job.State.DONE, attempts=1).order_by("-finished").values("pk")[:NUM_RECENT]
        known = Job.objects.filter(pk__in=[row["pk"] for row in recent])
        mean = known.aggregate(mean=Avg(F("finished") - F("started")))["mean"]
        return GUESSED_SECONDS if mean is None else float(mean.total_seconds())

    @property
    def is_starting(self) -> bool:
        """Whether no worker is alive yet because the service has just been started."""
        return not self.num_workers and time.monotonic() - _BEGAN < STARTING_SECONDS

    @property
    def next_wait_seconds(self) -> int:
        """Approximate time until a video that is sent now has its turn: 0 if a worker is free."""
        busy = len(self.places) + self.num_running
        return 0 if busy < self.num_workers else self.wait_seconds(len(self.places) + 1)

    def wait_seconds(self, place: int) -> int:
        """Approximate waiting time of a job at ``place``, in seconds."""
        return int(place * self.seconds_each / max(1, self.num_workers))

    @property
    def retry_seconds(self) -> int:
        """Seconds until a place may be free."""
        return min(max(self.wait_seconds(1), MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
