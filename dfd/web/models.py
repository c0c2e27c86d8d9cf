"""Database models: jobs, live workers, and the number of uploads per address."""

import shutil
import uuid
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

from dfd.web.options import WebOptions

RESULT_NAME, FRAGMENT_NAME = "result.json", "fragment.html"
UPLOAD_NAME = "upload"
DRAWN_FOLDER = "drawn"
"""Folder of the annotated video or picture among the results."""


class Job(models.Model):
    """One video to be scored; the row holds the state, and a task in the queue only points to it.

    The job's files lie in their own folder, which is named after the random ``id`` and never served.
    """

    class State(models.TextChoices):
        """State of a job. DONE means that scoring ended, with or without a score: see ``outcome``."""

        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.UUIDField(null=True, blank=True, db_index=True, help_text="shared by videos that were sent together")
    owner = models.CharField(max_length=64, db_index=True, help_text="a hash of who sent it; no name, no address")
    file_name = models.CharField(max_length=255, help_text="as the sender called it; only ever shown")
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, default="", blank=True, db_index=True)
    span_start = models.FloatField(null=True, blank=True, help_text="seconds: only this part is looked at")
    span_end = models.FloatField(null=True, blank=True)
    is_full = models.BooleanField(default=False, help_text="every window is looked at")
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED, db_index=True)
    stage = models.CharField(max_length=40, default="", blank=True)
    progress = models.FloatField(default=0.0, help_text="share of the work that is done, 0 to 1")
    attempts = models.PositiveSmallIntegerField(default=0)
    worker = models.CharField(max_length=64, default="", blank=True)
    error = models.TextField(default="", blank=True)

    created = models.DateTimeField(default=timezone.now, db_index=True)
    queued = models.DateTimeField(default=timezone.now, help_text="what its place in the queue goes by")
    started = models.DateTimeField(null=True, blank=True)
    heartbeat = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)
    expires = models.DateTimeField(db_index=True)

    outcome = models.CharField(max_length=12, default="", blank=True, help_text="status of the video: ok, no_face, …")
    verdict = models.CharField(max_length=9, default="", blank=True)
    prob_fake = models.FloatField(null=True, blank=True)
    confidence = models.FloatField(null=True, blank=True)
    message = models.TextField(default="", blank=True)
    report_policy = models.TextField(default="", blank=True)
    annotated = models.CharField(
        max_length=20, default="", blank=True, help_text="name of the file with the scores drawn in"
    )
    annotated_message = models.TextField(default="", blank=True)

    class Meta:
        """Newest first."""

        ordering = ("-created",)
        indexes = (models.Index(fields=["state", "queued"]),)

    def __str__(self) -> str:
        return str(self.id)

    @property
    def folder(self) -> Path:
        """Folder of all files of the job."""
        return jobs_folder() / self.id.hex

    @property
    def upload_path(self) -> Path:
        """Uploaded video, which exists until it is scored."""
        return self.folder / UPLOAD_NAME

    @property
    def result_folder(self) -> Path:
        """Folder of the results: the files that predict.py writes, and the HTML fragment of the job's page."""
        return self.folder / "result"

    @property
    def annotated_path(self) -> Path | None:
        """Annotated video or picture; None if there is none, or none yet."""
        if self.state != self.State.DONE or not self.annotated:
            return None
        return self.result_folder / DRAWN_FOLDER / self.annotated

    @property
    def span(self) -> tuple[float, float] | None:
        """Part of the video that is looked at, in seconds; None: all of it."""
        return None if self.span_start is None or self.span_end is None else (self.span_start, self.span_end)

    @property
    def is_kept(self) -> bool:
        """Whether the video can be looked at again."""
        return self.upload_path.is_file()

    @property
    def is_over(self) -> bool:
        """Whether the job is done or failed; only expiry follows by itself."""
        return self.state in (Job.State.DONE, Job.State.FAILED)

    @property
    def seconds(self) -> float | None:
        """Seconds from the first attempt's start to the end; None before that."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()

    def remove_files(self) -> None:
        """Delete all files of the job."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Worker(models.Model):
    """A scoring process, and the detector that it has loaded."""

    name = models.CharField(max_length=64, primary_key=True)
    started = models.DateTimeField(default=timezone.now)
    heartbeat = models.DateTimeField(default=timezone.now)
    detector = models.JSONField(default=dict, help_text="what dfd.scoring.detector.Detector.describe() says")

    class Meta:
        """Newest first."""

        ordering = ("-started",)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def alive(cls) -> "models.QuerySet[Worker]":
        """Workers with a heartbeat within the lease."""
        return cls.objects.filter(heartbeat__gt=timezone.now() - timedelta(seconds=options().lease_seconds))


class UploadCount(models.Model):
    """Number of files sent by an address within an hour; only a keyed hash of address and hour is kept."""

    key = models.CharField(max_length=64, primary_key=True)
    number = models.PositiveIntegerField(default=0)
    hour = models.DateTimeField(db_index=True)


def options() -> WebOptions:
    """Options that this process was started with."""
    found: WebOptions = settings.OPTIONS
    return found


def jobs_folder() -> Path:
    """Parent folder of all jobs' folders."""
    return options().data / "jobs"


def incoming_folder() -> Path:
    """Folder of uploads in progress, on the same disk as the jobs so that a rename moves them."""
    return options().data / "incoming"
