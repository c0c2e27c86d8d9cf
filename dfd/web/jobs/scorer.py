"""Scoring of one job: progress, results, and clean-up when it is stopped."""

import contextlib
import json
import logging
import re
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from dfd.base.errors import ConfigError, DfdError
from dfd.base.machine import wait_without_spinning
from dfd.base.types import VideoScore
from dfd.config.compose import predict_config
from dfd.config.schemas import PredictConfig, inputs_of
from dfd.faces.detect import fetch_weights
from dfd.models.files.card import num_networks, read_card
from dfd.models.starter import checkpoint_path
from dfd.predictions.rows import read_scores
from dfd.predictions.writer import PredictionWriter, write_run
from dfd.report.page.policy import report_policy
from dfd.report.videos.fragment import render_result
from dfd.report.videos.single import write_result_page
from dfd.scoring.detector import Detector
from dfd.scoring.options import detector_options, run_facts, settings_of, windows_of_one
from dfd.scoring.panel import Ensemble, Panel, load_panel
from dfd.video.sampling import span_words
from dfd.video.still import is_still
from dfd.web.jobs import life as jobs
from dfd.web.jobs.drawing import FAULT, NOT_DRAWN, Drawn, draw
from dfd.web.models import FRAGMENT_NAME, RESULT_NAME, Job, options

SHOW_SECONDS = 0.5
"""Time between two updates of a job's progress."""


SCORING, WRITING, DRAWING = "looking at the faces", "writing the report", "drawing the annotated video"


SHARE_OF_SCORING, SHARE_BEFORE_DRAWING = 0.97, 0.7
"""Progress of a job when its video is scored, without and with an annotated one to be drawn."""


LOOK_SECONDS = 30.0
"""Estimated time for which a video is looked at, where ``look_seconds`` is not given: others wait behind it."""


WORK = "work-"


FAILED = (
    "Something went wrong here while it was scored ({kind}). Whoever runs this service finds the reason in the log, "
    "under the key {key}."
)
"""Error of a job for its sender, to whom what happened inside says nothing."""


logger = logging.getLogger(__name__)


class Stopping(Exception):
    """The worker was told to stop."""


class Scorer:
    """Detector that scores jobs.

    Raises:
        ConfigError: there is no checkpoint, or an option is invalid.
        CheckpointError: the checkpoint is missing, damaged, or from another program.
    """

    def __init__(self, name: str) -> None:
        wait_without_spinning()
        if not options().checkpoints:
            raise ConfigError("DFD_WEB_CHECKPOINT is not set; set it to the file of a detector, as train.py writes it")
        self.name = name
        given = shlex.split(options().detector)
        self.config = predict_config(options().checkpoints, given)
        self.config.annotate = options().annotate
        files = [checkpoint_path(name) for name in inputs_of(self.config.checkpoint)]
        seconds = self.config.look_seconds if any(one.startswith("look_seconds=") for one in given) else LOOK_SECONDS
        looks = windows_of_one(self.config, files, look_seconds=seconds)
        self.config.max_windows, self.config.sparse_windows = looks
        self.detector = _loaded(self.config)
        fetch_weights(**self.detector.face_detector)
        self.settings = settings_of(self.config, self.detector)
        self.is_stopping = False
        self.current: Job | None = None
        """Current job, which the heartbeat keeps alive."""
        self.interrupted: Job | None = None
        """Job that was interrupted by a loss of the database."""

    def score(self, pk: str) -> None:
        """Claim a job, score it, and record the result; any failure becomes the job's error."""
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
        except (Stopping, SystemExit, KeyboardInterrupt) as stop:
            jobs.give_back(job)
            logger.info("job given back", extra={"job": pk})
            if not isinstance(stop, Stopping):  # that one ends the worker's loop without an error
                raise
        except (OperationalError, InterfaceError):
            self.interrupted = job  # nothing can be recorded now
            raise
        except Exception as error:  # one bad job becomes one failed row
            self.detector.close()  # its processes may be in any state
            # An error of the set-up, such as missing weights, names no video but paths of this machine: for the log.
            reason = {"reason": str(error)} if isinstance(error, DfdError) else {}
            logger.exception("job failed", extra={"job": pk, **reason})
            with contextlib.suppress(jobs.JobLost):  # deleted meanwhile
                text = FAILED.format(kind=type(error).__name__, key=job.id.hex[:8])
                jobs.change(job, state=Job.State.FAILED, error=text, stage="", finished=timezone.now())
        finally:
            self.current = None
            remove_works(job)

    def give_back_interrupted(self) -> None:
        """Requeue the interrupted job once the database is back."""
        if self.interrupted is not None:
            jobs.give_back(self.interrupted)
            self.interrupted = None

    def _score(self, job: Job, work: Path) -> None:
        jobs.change(job, stage=SCORING)
        changes = changes_of(job)
        ends = SHARE_BEFORE_DRAWING if options().annotate else SHARE_OF_SCORING
        score = self.detector.score(job.upload_path, on_progress=self._noting(job, 0.0, ends), **changes)
        jobs.change(job, stage=WRITING, progress=ends)
        message = without_paths(score.message, job.upload_path)
        detectors = tuple(replace(one, message=without_paths(one.message, job.upload_path)) for one in score.detectors)
        score = replace(score, path=job.file_name, message=message, detectors=detectors)
        policy = self.write(replace(score, boxes={}), work, **changes)
        drawn = self._drawn(job, score, work)
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
            annotated=drawn.name,
            annotated_message=drawn.reason,
        )
        if not options().keep_uploads:
            job.upload_path.unlink(missing_ok=True)
        facts = {"job": str(job.pk), "outcome": job.outcome, "verdict": job.verdict, "seconds": job.seconds}
        logger.info("job done", extra=facts)

    def _drawn(self, job: Job, score: VideoScore, work: Path) -> Drawn:
        """Draw the annotated video of a scored upload, if that is asked for; no failure to do so fails the job."""
        if not options().annotate or not score.boxes or score.prob_fake is None:
            return Drawn()
        jobs.change(job, stage=DRAWING)
        noting = self._noting(job, SHARE_BEFORE_DRAWING, SHARE_OF_SCORING)
        try:
            drawn = draw(
                *(self.detector, score, job.upload_path, work),
                deadline_seconds=self.config.deadline_seconds,
                on_progress=noting,
            )
        except (jobs.JobLost, Stopping, DatabaseError, InterfaceError):
            raise
        except Exception as error:
            logger.exception("the annotated video could not be drawn", extra={"job": str(job.pk)})
            drawn = Drawn(fault=str(error))
        if drawn.name:
            return replace(drawn, reason=without_paths(drawn.reason, job.upload_path))
        facts = {"job": str(job.pk), "reason": drawn.fault or drawn.reason}
        logger.warning("no annotated video", extra=facts)
        reason = FAULT.format(key=job.id.hex[:8]) if drawn.fault else without_paths(drawn.reason, job.upload_path)
        kind = "picture" if is_still(job.upload_path) else "video"
        return replace(drawn, reason=NOT_DRAWN.format(kind=kind, reason=reason.rstrip(".")))

    def _noting(self, job: Job, begins: float, ends: float) -> Callable[[Path, float], None]:
        """Callback that records a job's progress, and stops it if it was deleted or the worker is told to stop.

        ``begins`` and ``ends`` are the progress of the job at the beginning and end of what is noted.
        """
        last = time.monotonic()

        def note(_: Path, share: float) -> None:
            nonlocal last
            if self.is_stopping:
                raise Stopping
            if time.monotonic() - last > SHOW_SECONDS:
                jobs.change(job, progress=begins + (ends - begins) * min(share, 1.0))
                last = time.monotonic()

        return note

    def write(self, score: VideoScore, folder: Path, **changes: Any) -> str:
        """Write the files of predict.py and the fragment of the job's page; returns the policy of the report.

        ``changes`` are the options that differ for this video from those of the service.
        """
        settings = self.settings | {
            name: span_words(value) if name == "span" else value for name, value in changes.items()
        }
        facts = run_facts(replace(self.config, input=score.path), self.detector, settings)
        parts = self.detector.parts
        with PredictionWriter(folder, model=self.detector.name, settings=settings, detectors=parts) as writer:
            write_run(folder, facts)
            writer.write(score)
        report = write_result_page(folder)
        (folder / FRAGMENT_NAME).write_text(render_result(folder), encoding="utf-8")
        (value,) = read_scores(folder).values()
        # The pictures are in the report; their paths on this disk are useless to others.
        names = ("crop", "heatmap", "frame")
        value["moments"] = [{k: v for k, v in one.items() if k not in names} for one in value["moments"]]
        del value["thumbnail"]
        (folder / RESULT_NAME).write_text(json.dumps(value | {"run": facts}), encoding="utf-8")
        return report_policy(report.read_text("utf-8"))


def _loaded(config: PredictConfig) -> Detector | Ensemble | Panel:
    """The detector, or several, that the options name."""
    files = [checkpoint_path(name) for name in inputs_of(config.checkpoint)]
    if len(files) > 1 or num_networks(read_card(files[0])) > 1:
        return load_panel(files, weights=config.votes, **detector_options(config))
    return Detector.load(files[0], **detector_options(config))


def changes_of(job: Job) -> dict[str, Any]:
    """Options of the detector that differ for a job from those of the service."""
    full = {"max_windows": None, "sparse_windows": None} if job.is_full else {}
    return {**({"span": job.span} if job.span else {}), **full}


def without_paths(message: str, upload: Path) -> str:
    """A message about a video without its path here, which is private, and without any other path of this machine.

    >>> without_paths("/srv/a/upload: no face; see /srv/a/weights/x.onnx", Path("/srv/a/upload"))
    'no face; see x.onnx'
    """
    message = re.sub(rf"{re.escape(str(upload))}:?\s*", "", message)
    return re.sub(r"(?<![\w/.])(?:~|\.{0,2})/(?:[^\s/:;,'\"()]+/)+", "", message)


def remove_works(job: Job) -> None:
    """Delete work folders that killed attempts left."""
    for folder in job.folder.glob(f"{WORK}*"):
        shutil.rmtree(folder, ignore_errors=True)
