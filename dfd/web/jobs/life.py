"""Life cycle of a job: created, claimed, changed, finished, requeued, deleted."""

import logging
import shutil
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from dfd.web.intake import admission
from dfd.web.intake.uploads import ReceivedVideo, remove_abandoned_parts
from dfd.web.models import Job, UploadCount, Worker, jobs_folder, options
from dfd.web.tasks import score

MAX_ATTEMPTS = 2
ORPHAN_SECONDS = 3600
"""Age below which a folder without a row is kept, since its row may be about to be written."""
DIED_TWICE = (
    "The process that scored this video died at both attempts. The video may need more memory than is available, or "
    "crash a decoder."
)

logger = logging.getLogger(__name__)


QUEUE_LOCK = 0x64666451
"""Key of this project's PostgreSQL advisory lock."""


class QueueFull(Exception):
    """The queue has no place for another job."""


class JobLost(Exception):
    """The job is no longer this worker's: it was deleted, or requeued because the worker seemed dead."""


def create(owner: str, video: ReceivedVideo) -> Job:
    """Create and queue a job for a received video.

    Raises:
        QueueFull: the last places were taken meanwhile.
    """
    job = Job(
        owner=owner,
        file_name=video.shown_name,
        size_bytes=video.size_bytes,
        expires=timezone.now() + timedelta(hours=options().keep_hours),
    )
    jobs_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    job.folder.mkdir(mode=0o700)
    try:
        video.take(job.upload_path)
        with transaction.atomic():
            _lock_queue()
            if admission.is_full():
                raise QueueFull
            job.save(force_insert=True)
            score.enqueue(str(job.pk))
    except BaseException:
        job.remove_files()
        raise
    logger.info("job created", extra={"job": str(job.pk), "size_bytes": job.size_bytes})
    return job


def _lock_queue() -> None:
    """Lock the queue until the end of the transaction; SQLite has only one writer at a time anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [QUEUE_LOCK])


def claim(pk: str, worker: str) -> Job | None:
    """Claim a job for this worker and mark it as running; None if it is not waiting."""
    now = timezone.now()
    job = Job.objects.filter(pk=pk, state=Job.State.QUEUED).first()
    if job is None:
        return None
    job.started = job.started or now
    job.attempts += 1
    changed = Job.objects.filter(pk=pk, state=Job.State.QUEUED, attempts=job.attempts - 1).update(
        state=Job.State.RUNNING,
        worker=worker,
        heartbeat=now,
        started=job.started,
        attempts=job.attempts,
        stage="",
        progress=0.0,
    )
    if not changed:
        return None
    job.state, job.worker = Job.State.RUNNING, worker
    return job


def change(job: Job, **values: Any) -> None:
    """Write to a job that this worker has claimed.

    Raises:
        JobLost: the job is no longer this worker's.
    """
    # A video's tag may contain a NUL, which PostgreSQL does not store.
    values = {name: value.replace("\0", "") if isinstance(value, str) else value for name, value in values.items()}
    mine = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, worker=job.worker, attempts=job.attempts)
    if not mine.update(heartbeat=timezone.now(), **values):
        raise JobLost
    for name, value in values.items():
        setattr(job, name, value)


def give_back(job: Job) -> None:
    """Return a job to the queue when its worker is told to stop; this does not count as an attempt."""
    _queue_again(job, attempts=job.attempts - 1)


def take_again() -> int:
    """Requeue jobs of dead workers once, and fail them the second time; returns their number."""
    dead = Job.objects.filter(
        state=Job.State.RUNNING, heartbeat__lt=timezone.now() - timedelta(seconds=options().lease_seconds)
    )
    number = 0
    for job in dead:
        if job.attempts >= MAX_ATTEMPTS:
            failed = {"state": Job.State.FAILED, "error": DIED_TWICE, "stage": "", "finished": timezone.now()}
            number += _unless_alive(job, **failed)
            logger.error("job failed", extra={"job": str(job.pk), "reason": "the worker died twice"})
        else:
            number += _queue_again(job)
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
    with transaction.atomic():
        changed = Job.objects.filter(pk=job.pk, state=Job.State.FAILED).update(
            state=Job.State.QUEUED,
            queued=timezone.now(),
            attempts=0,
            error="",
            worker="",
            started=None,
            finished=None,
            progress=0.0,
        )
        if changed:
            score.enqueue(str(job.pk))
    return bool(changed)


def _queue_again(job: Job, **values: Any) -> int:
    with transaction.atomic():
        changed = _unless_alive(job, state=Job.State.QUEUED, stage="", progress=0.0, worker="", **values)
        if changed:  # it keeps its place ahead of all waiting jobs
            score.using(priority=1).enqueue(str(job.pk))
    return changed


def _unless_alive(job: Job, **values: Any) -> int:
    """Change a running job unless it has changed since it was read; returns the number of changed rows."""
    unchanged = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, worker=job.worker, attempts=job.attempts)
    return unchanged.update(**values)


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
    for job in Job.objects.filter(state=Job.State.DONE):
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


def oldest_waiting() -> datetime | None:
    """Time since which the first job in the queue has been waiting; None if the queue is empty."""
    first = Job.objects.filter(state=Job.State.QUEUED).order_by("queued").first()
    return first.queued if first else None
