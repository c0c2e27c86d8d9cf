"""Life cycle of a job: created, claimed, changed, finished, requeued, deleted."""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, count
from typing import Any

from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from dfd.web.intake import admission
from dfd.web.intake.uploads import ReceivedVideo, remove_abandoned_parts
from dfd.web.models import Job, UploadCount, Worker, jobs_folder, options
from dfd.web.tasks import score

MAX_ATTEMPTS = 2
AT_THE_START = {"stage": "", "progress": 0.0}
ORPHAN_SECONDS = 3600
"""Age below which a folder without a row is kept, since its row may be about to be written."""
DIED_TWICE = (
    "The process that scored this video died at both attempts. The video may need more memory than is available, or "
    "crash a decoder."
)

logger = logging.getLogger(__name__)


QUEUE_LOCK = 0x64666451
"""Key of the PostgreSQL advisory lock that is held while a job is added, until the end of its transaction."""


class QueueFull(Exception):
    """The queue has no place for another job."""


class JobLost(Exception):
    """The job is no longer this worker's: it was deleted, or requeued because the worker seemed dead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sender wants to have looked at, and with which other videos it was sent.

    ``span`` is a part of the video in seconds; ``is_full``: every window.
    """

    span: tuple[float, float] | None = None
    is_full: bool = False
    batch: uuid.UUID | None = None


NOTHING_ASKED = Asked()


def create(owner: str, video: ReceivedVideo, asked: Asked = NOTHING_ASKED) -> Job:
    """Create and queue a job for a received video.

    Raises:
        QueueFull: the last places were taken meanwhile.
    """
    job = _made(owner, video.shown_name, asked, size_bytes=video.size_bytes, sha256=video.sha256)
    _queue(job, lambda: video.take(job.upload_path))
    return job


def look_again(former: Job, asked: Asked) -> Job:
    """Create and queue a job for the video of another one, which is still stored.

    Raises:
        QueueFull: all places are taken.
        FileNotFoundError: the video is no longer stored.
    """
    same = {"size_bytes": former.size_bytes, "sha256": former.sha256}
    job = _made(former.owner, former.file_name, replace(asked, batch=None), **same)
    _queue(job, lambda: os.link(former.upload_path, job.upload_path))
    return job


def _made(owner: str, name: str, asked: Asked, **values: Any) -> Job:
    start, end = asked.span or (None, None)
    return Job(
        owner=owner,
        batch=asked.batch,
        file_name=_distinct(name, owner, asked.batch) if asked.batch else name,
        span_start=start,
        span_end=end,
        is_full=asked.is_full,
        expires=timezone.now() + timedelta(hours=options().keep_hours),
        **values,
    )


def _distinct(name: str, owner: str, batch: uuid.UUID) -> str:
    """A file's name, with a number if another video of the batch has it: their report must tell them apart."""
    taken = set(Job.objects.filter(owner=owner, batch=batch).values_list("file_name", flat=True))
    stem, dot, suffix = name.rpartition(".")
    numbered = (f"{stem or name} ({number}){dot if stem else ''}{suffix if stem else ''}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _queue(job: Job, bring: Callable[[], object]) -> None:
    """Save and queue a job, whose video ``bring`` puts into its place.

    Raises:
        QueueFull: the last places were taken meanwhile.
    """
    jobs_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    job.folder.mkdir(mode=0o700)
    try:
        bring()
        with transaction.atomic():
            if connection.vendor == "postgresql":  # SQLite has only one writer at a time anyway
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [QUEUE_LOCK])
            if admission.is_full():
                raise QueueFull
            job.save(force_insert=True)
            score.enqueue(str(job.pk))
    except BaseException:
        job.remove_files()
        raise
    logger.info("job created", extra={"job": str(job.pk), "size_bytes": job.size_bytes})


def claim(pk: str, worker: str) -> Job | None:
    """Claim a job for this worker and mark it as running; None if it is not waiting."""
    now = timezone.now()
    waiting = Job.objects.filter(pk=pk, state=Job.State.QUEUED)
    job = waiting.first()
    if job is None:
        return None
    values = {"worker": worker, "started": job.started or now, "attempts": job.attempts + 1, **AT_THE_START}
    claimed = waiting.filter(attempts=job.attempts).update(**values, state=Job.State.RUNNING, heartbeat=now)
    return Job.objects.get(pk=pk) if claimed else None


def change(job: Job, **values: Any) -> None:
    """Write to a job that this worker has claimed.

    Raises:
        JobLost: the job is no longer this worker's.
    """
    # A video's tag may contain a NUL, which PostgreSQL does not store.
    values = {name: value.replace("\0", "") if isinstance(value, str) else value for name, value in values.items()}
    if not unchanged(job).update(heartbeat=timezone.now(), **values):
        raise JobLost
    for name, value in values.items():
        setattr(job, name, value)


def give_back(job: Job) -> None:
    """Return a job to the queue when its worker is told to stop; this does not count as an attempt."""
    _queue_again(job, unchanged(job), attempts=job.attempts - 1)


def take_again() -> int:
    """Requeue jobs of dead workers once, and fail them the second time; returns their number."""
    silent_since = timezone.now() - timedelta(seconds=options().lease_seconds)
    dead = Job.objects.filter(state=Job.State.RUNNING, heartbeat__lt=silent_since)
    number = 0
    for job in dead:
        if job.attempts >= MAX_ATTEMPTS:
            failed = {"state": Job.State.FAILED, "error": DIED_TWICE, "stage": "", "finished": timezone.now()}
            number += unchanged(job).update(**failed)
            logger.error("job failed", extra={"job": str(job.pk), "reason": "the worker died twice"})
        else:
            number += _queue_again(job, unchanged(job))
            logger.warning("job taken again", extra={"job": str(job.pk), "worker": job.worker})
    return number


def enqueue_lost() -> int:
    """Add tasks for waiting jobs without one, whose worker died between taking task and job; returns their number."""
    number = 0
    ready = DBTaskResult.objects.ready()
    waiting = Job.objects.filter(state=Job.State.QUEUED)
    for job in waiting.filter(queued__lt=timezone.now() - timedelta(seconds=options().lease_seconds)):
        if not ready.filter(args_kwargs__args__0=str(job.pk)).exists():
            score.enqueue(str(job.pk))
            number += 1
    return number


def retry(job: Job) -> bool:
    """Put a failed job back at the end of the queue, as if new; False if it has not failed or its video is gone."""
    if not job.upload_path.is_file():
        return False
    as_new = {"attempts": 0, "error": "", "started": None, "finished": None, "queued": timezone.now()}
    failed = Job.objects.filter(pk=job.pk, state=Job.State.FAILED)
    return bool(_queue_again(job, failed, priority=0, **as_new))


def _queue_again(job: Job, rows: "QuerySet[Job]", *, priority: int = 1, **values: Any) -> int:
    """Queue a job again if it is still among ``rows``; by default it keeps its place ahead of all waiting jobs."""
    with transaction.atomic():
        changed = rows.update(state=Job.State.QUEUED, worker="", **AT_THE_START, **values)
        if changed:
            score.using(priority=priority).enqueue(str(job.pk))
    return changed


def unchanged(job: Job) -> "QuerySet[Job]":
    """The row of a running job, or no row if another worker has claimed it since ``job`` was read."""
    return Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, worker=job.worker, attempts=job.attempts)


def delete(job: Job) -> None:
    """Delete a job's row, so that its worker notices and stops, and then its files."""
    pk = str(job.pk)
    Job.objects.filter(pk=pk).delete()
    job.remove_files()
    logger.info("job deleted", extra={"job": pk})


def tidy() -> None:
    """Periodic maintenance by any process: expired jobs, dead workers, and files left on disk."""
    now = timezone.now()
    for job in Job.objects.filter(expires__lt=now):
        delete(job)
    take_again()
    enqueue_lost()
    Worker.objects.filter(heartbeat__lt=now - timedelta(days=1)).delete()
    UploadCount.objects.filter(hour__lt=now - timedelta(hours=2)).delete()
    Session.objects.filter(expire_date__lt=now).delete()
    DBTaskResult.objects.finished().filter(finished_at__lt=now - timedelta(hours=1)).delete()
    DBTaskResult.objects.running().filter(started_at__lt=now - timedelta(days=1)).delete()
    for job in Job.objects.filter(state=Job.State.DONE) if not options().keep_uploads else ():
        job.upload_path.unlink(missing_ok=True)  # left if the worker was killed right after finishing the job
    remove_abandoned_parts()
    remove_orphans()


def remove_orphans(*, older_than_seconds: float = ORPHAN_SECONDS) -> int:
    """Delete folders without a job, to which a worker may have written during deletion; returns their number."""
    number = 0
    for folder in jobs_folder().glob("*"):
        try:
            pk = uuid.UUID(folder.name)
            is_young = time.time() - folder.stat().st_mtime < older_than_seconds
        except (ValueError, FileNotFoundError):
            continue
        if not is_young and not Job.objects.filter(pk=pk).exists():
            shutil.rmtree(folder, ignore_errors=True)
            number += 1
    return number
