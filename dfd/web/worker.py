"""The process that scores: it loads a detector once, and takes jobs from the queue until it is told to stop."""

import contextlib
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone
from django_tasks_db.management.commands.db_worker import Worker as TaskWorker

from dfd.errors import ConfigError
from dfd.host import wait_without_spinning
from dfd.scoring import detector_options, predict_config, run_facts, settings_of
from dfd.starter import checkpoint_path
from dfd.web import jobs
from dfd.web.models import Job, Worker, options
from dfd.web.presentation import FRAGMENT_NAME, RESULT_NAME

if TYPE_CHECKING:
    from dfd.types import VideoScore

SHOW_SECONDS = 0.5
"""Between two notes of how far a job is."""
TIDY_SECONDS = 30.0
SCORING, WRITING = "looking at the faces", "writing the report"
SHARE_OF_SCORING = 0.97
WORK = "work-"
DATABASE_PAUSE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Stopping(Exception):
    """This worker is told to stop."""


class Scorer:
    """A detector, and what it makes of a job.

    Raises:
        ConfigError: there is no checkpoint, or an option does not fit.
        CheckpointError: the checkpoint is missing, damaged, or of another program.
    """

    def __init__(self, name: str) -> None:
        wait_without_spinning()
        from dfd.inference import Detector

        if not options().checkpoint:
            raise ConfigError("DFD_WEB_CHECKPOINT is not set: give it the file of a detector, as train.py writes it")
        self.name = name
        self.config = predict_config(options().checkpoint, shlex.split(options().detector))
        checkpoint = checkpoint_path(self.config.checkpoint)
        self.detector = Detector.load(checkpoint, **detector_options(self.config))
        self.settings = settings_of(self.config, self.detector)
        self.is_stopping = False
        self.current: Job | None = None
        """The job in hand, which the pulse keeps alive."""
        self.interrupted: Job | None = None
        """A job that the database was lost over."""

    def score(self, pk: str) -> None:
        """Take a job, score it, and write down what became of it. Whatever goes wrong becomes the job's error."""
        job = jobs.claim(pk, self.name)
        if job is None:
            return
        logger.info("job started", extra={"job": pk, "worker": self.name, "attempt": job.attempts})
        work = job.folder / f"{WORK}{job.attempts}"
        self.current = job
        try:
            remove_works(job)
            self._score(job, work)
        except jobs.JobLost:
            logger.info("job was deleted or taken over", extra={"job": pk})
            if not Job.objects.filter(pk=pk).exists():
                job.remove_files()
        except (Stopping, SystemExit, KeyboardInterrupt):
            jobs.give_back(job)
            logger.info("job given back", extra={"job": pk})
            raise
        except (OperationalError, InterfaceError):
            self.interrupted = job  # nothing can be written down now
            raise
        except Exception as error:  # the edge: one bad job becomes one failed row
            self.detector.close()  # its processes may be in any state
            logger.exception("job failed", extra={"job": pk})
            self._fail(job, error)
        finally:
            self.current = None
            remove_works(job)

    def give_back_interrupted(self) -> None:
        """Once the database is there again: it was not the job's fault."""
        if self.interrupted is not None:
            jobs.give_back(self.interrupted)
            self.interrupted = None

    def _fail(self, job: Job, error: Exception) -> None:
        # The video has no name of its sender's on disk, but it has a path, which is nobody's business.
        text = f"{type(error).__name__}: {error}".replace(str(job.upload_path), job.file_name)
        with contextlib.suppress(jobs.JobLost):  # deleted meanwhile
            jobs.change(job, state=Job.State.FAILED, error=text[:2000], stage="", finished=timezone.now())

    def _score(self, job: Job, work: Path) -> None:
        jobs.change(job, stage=SCORING)
        score = self.detector.score(job.upload_path, on_progress=self._noting(job))
        jobs.change(job, stage=WRITING, progress=SHARE_OF_SCORING)
        message = _without_path(score.message, job)
        policy = self.write(replace(score, path=job.file_name, message=message), work)
        if job.result_folder.exists():
            shutil.rmtree(job.result_folder)
        work.rename(job.result_folder)
        jobs.change(
            job,
            state=Job.State.DONE,
            stage="",
            progress=1.0,
            finished=timezone.now(),
            outcome=str(score.status),
            verdict=str(score.verdict) if score.verdict else "",
            prob_fake=score.prob_fake,
            confidence=score.confidence,
            message=message,
            report_policy=policy,
        )
        job.upload_path.unlink(missing_ok=True)
        facts = {"job": str(job.pk), "outcome": job.outcome, "verdict": job.verdict, "seconds": job.seconds}
        logger.info("job done", extra=facts)

    def _noting(self, job: Job) -> Callable[[Path, float], None]:
        """Writes down how far a job is, and stops it if it was deleted or the worker is to stop."""
        last = time.monotonic()

        def note(_: Path, share: float) -> None:
            nonlocal last
            if self.is_stopping:
                raise Stopping
            if time.monotonic() - last > SHOW_SECONDS:
                jobs.change(job, progress=SHARE_OF_SCORING * min(share, 1.0))
                last = time.monotonic()

        return note

    def write(self, score: "VideoScore", folder: Path) -> str:
        """What predict.py writes of a video, and what the job's page shows; the policy of the report."""
        from dfd.predictions import PredictionWriter, read_scores, write_run
        from dfd.report.fragment import render_result
        from dfd.report.policy import report_policy
        from dfd.report.videos import write_videos_report

        facts = run_facts(replace(self.config, input=score.path), self.detector, self.settings)
        with PredictionWriter(folder, model=self.detector.name, settings=self.settings) as writer:
            write_run(folder, facts)
            writer.write(score)
        report = write_videos_report([folder], folder, title=score.path)
        (folder / FRAGMENT_NAME).write_text(render_result(folder), encoding="utf-8")
        (value,) = read_scores(folder).values()
        # The pictures are in the report; their places on this disk are of no use to anyone.
        value["moments"] = [{k: v for k, v in one.items() if k not in ("crop", "heatmap")} for one in value["moments"]]
        del value["thumbnail"]
        (folder / RESULT_NAME).write_text(json.dumps(value | {"run": facts}), encoding="utf-8")
        return report_policy(report.read_text("utf-8"))


def remove_works(job: Job) -> None:
    """Delete what an attempt that was killed has left of its work."""
    for folder in job.folder.glob(f"{WORK}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _without_path(message: str, job: Job) -> str:
    """A message with the file called as its sender called it."""
    return re.sub(rf"{re.escape(str(job.upload_path))}:?\s*", "", message)


class ScoreWorker(TaskWorker):
    """Django's worker, that gives its job back at the first signal instead of finishing what may take an hour."""

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
        """Take no other job, and give this one back at its next step."""
        self.scorer.is_stopping = True
        super().shutdown(signum, frame)


class Pulse:
    """Says that this worker is alive, and tidies up, in a thread of its own: a video may take an hour."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.name = scorer, scorer.name
        # A card may be a stranger's. PostgreSQL stores no NUL.
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
            mine = Job.objects.filter(pk=job.pk, worker=self.name, state=Job.State.RUNNING, attempts=job.attempts)
            mine.update(heartbeat=now)

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
                logger.exception("no sign of life could be given")


_scorer: Scorer | None = None


def score_job(pk: str) -> None:
    """What the queue's task does.

    Raises:
        RuntimeError: this process is no worker.
    """
    if _scorer is None:
        raise RuntimeError("jobs are scored by `python -m dfd.web worker` only")
    _scorer.score(pk)


def run_worker(*, batch: bool = False) -> None:
    """Score jobs until told to stop; in a ``batch``, until none is waiting."""
    global _scorer
    name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
    scorer = _scorer = Scorer(name)
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
        _scorer = None
        logger.info("worker ended", extra=facts)
