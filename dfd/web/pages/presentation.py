"""Presentation of jobs, the detector and the service, for pages and the API."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from dfd.base.types import Status
from dfd.report.page.wording import counted, training_words, visible
from dfd.report.videos.facts import full_name
from dfd.video.sampling import span_words
from dfd.web.models import FRAGMENT_NAME, RESULT_NAME, Job, Worker, options
from dfd.web.pages import wording
from dfd.web.queue import Queue

UNKNOWN = "unknown"
LABELS = ("real", "fake")
AS_STORED = (
    *("file_name", "size_bytes", "state", "stage", "attempts", "error", "prob_fake", "confidence", "message"),
    "annotated_message",
)


def state_of(job: Job, queue: Queue) -> dict[str, Any]:
    """State of a job as plain values; times are ISO 8601 in UTC."""
    place = queue.places.get(job.pk) if job.state == Job.State.QUEUED else None
    times = {name: getattr(job, name) for name in ("created", "started", "finished", "expires")}
    return {
        "id": str(job.pk),
        **{name: getattr(job, name) for name in AS_STORED},
        **{name: time and time.isoformat(timespec="seconds") for name, time in times.items()},
        "place": place,
        "wait_seconds": queue.wait_seconds(place) if place else None,
        "progress": round(job.progress, 4),
        "outcome": job.outcome or None,
        "verdict": job.verdict or None,
        "batch": job.batch and str(job.batch),
        "span": span_words(job.span) if job.span else None,
        "full": job.is_full,
        "can_look_again": job.is_over and job.is_kept,
    }


def shown(job: Job, queue: Queue) -> dict[str, Any]:
    """Data of a job for a page: its state as values, as a sentence and as a badge, and its links."""
    state = state_of(job, queue)
    line = wording.line(state, num_workers=queue.num_workers, is_starting=queue.is_starting)
    badge = wording.badge(state)
    return {"state": state, "line": line, "badge": badge, "links": links(job)}


def result_of(job: Job) -> dict[str, Any] | None:
    """Complete score, as in docs/predictions.md, with the facts of its ``run``; None until the job is done."""
    path = job.result_folder / RESULT_NAME
    if job.state != Job.State.DONE or not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def fragment_of(job: Job) -> str:
    """HTML fragment of the result, which the worker rendered with escaping; empty until the job is done."""
    path = job.result_folder / FRAGMENT_NAME
    return path.read_text("utf-8") if job.state == Job.State.DONE and path.is_file() else ""


def detector() -> Mapping[str, Any] | None:
    """Description of the live workers' detector, from ``Detector.describe``."""
    worker = Worker.alive().first()
    return worker.detector if worker else None


def detector_facts(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts about a detector for people; "unknown" if its file does not say."""
    clip_len, image_size = described.get("clip_len"), described.get("image_size")
    threshold, band, temperature = (described.get(key) for key in ("threshold", "uncertain_band", "temperature"))
    calibration = described.get("calibration") or {}
    fitted = " and ".join(f"{calibration[f'num_{label}']} {label}" for label in LABELS if f"num_{label}" in calibration)
    frames = counted(clip_len, "frame") if isinstance(clip_len, int) else ""
    if no_verdict := described.get("no_verdict"):
        threshold = band = None
    calibrated = "no: its probabilities rank videos, but 0.9 does not mean that nine of ten are fake"
    if no_verdict and temperature is not None:  # fitted to blends, or to videos of the training's kind
        calibrated = "not to real forgeries"
    elif temperature is not None:
        calibrated = f"yes, temperature {temperature:.3g}" + (f", fitted to {fitted} videos" if fitted else "")
    trained = training_words(described.get("data"))
    return [
        ("Detector", full_name(described, str(described.get("name") or "")) if described else UNKNOWN),
        ("Network for each frame", visible(str(described.get("backbone") or UNKNOWN))),
        ("Over the frames", visible(str(described.get("temporal") or UNKNOWN))),
        ("Examines", f"{frames} of {image_size} pixels at a time" if frames and image_size else UNKNOWN),
        *([("Verdicts", f"none: {visible(str(no_verdict))}")] if no_verdict else _thresholds(threshold, band)),
        ("Calibrated", calibrated if described else UNKNOWN),
        ("Trained on", UNKNOWN if trained == "not known" else trained),
    ]


def _thresholds(threshold: float | None, band: Any) -> Iterator[tuple[str, str]]:
    yield "Signs of a fake", UNKNOWN if threshold is None else f"from a score of {threshold:.3g} on"
    yield "Cannot tell", f"from {band[0]:.3g} to {band[1]:.3g}" if band and band[0] < band[1] else "no band"


def each_detector(described: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Descriptions of the detectors that are loaded: several, or one, or none."""
    each = (described or {}).get("detectors")
    if isinstance(each, list):
        return [one for one in each if isinstance(one, Mapping)]
    return [described] if described else []


def business() -> dict[str, Any]:
    """Load of the service."""
    queue = Queue()
    return {
        "waiting": len(queue.places),
        "running": queue.num_running,
        "workers": queue.num_workers,
        "is_starting": queue.is_starting,
        "wait_seconds": queue.next_wait_seconds,
    }


def troubles() -> dict[str, int]:
    """Number of jobs that were scored and that failed in the last hour: of failures inside, not of bad videos."""
    recent = Job.objects.filter(finished__gt=timezone.now() - timedelta(hours=1))
    is_failed = Q(state=Job.State.FAILED) | Q(outcome=Status.ERROR)
    failed = recent.filter(is_failed).count()
    return {"failed_last_hour": failed, "scored_last_hour": recent.count() - failed}


def limits() -> dict[str, Any]:
    """Limits on uploads, and how long results are kept."""
    given = options()
    names = ("max_upload_mb", "max_upload_bytes", "max_files", "keep_hours", "full_look", "keep_uploads", "annotate")
    return {name: getattr(given, name) for name in names}


def links(job: Job) -> dict[str, str]:
    """URLs of a job's page and its actions."""
    names = ("job", "job-state", "report", "result", "annotated", "delete", "retry", "look-again")
    return {name.replace("-", "_"): reverse(name, args=[job.pk]) for name in names}


def asked_words(job: Job) -> str:
    """What was asked to be looked at, where that is not the usual; else empty."""
    part = f"only {span_words(job.span)}" if job.span else ""
    return ", ".join(words for words in (part, "every window" if job.is_full else "") if words)
