"""Presentation of jobs, the detector and the service, for pages and the API."""

import json
from collections.abc import Mapping
from typing import Any

from django.urls import reverse

from dfd.report.page.wording import training_words, visible
from dfd.web.models import FRAGMENT_NAME, RESULT_NAME, Job, Worker, options
from dfd.web.pages import wording
from dfd.web.queue import Queue

UNKNOWN = "unknown"
LABELS = ("real", "fake")
METRIC_NAMES = {"auc": "AUC", "f1": "F1"}
AS_STORED = ("file_name", "size_bytes", "state", "stage", "attempts", "error", "prob_fake", "confidence", "message")


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
    }


def shown(job: Job, queue: Queue) -> dict[str, Any]:
    """Data of a job for a page: its state as values, as a sentence and as a badge, and its links."""
    state = state_of(job, queue)
    line, badge = wording.line(state, num_workers=queue.num_workers), wording.badge(state)
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
    calibrated = "no: its probabilities rank videos, but 0.9 does not mean that nine of ten are fake"
    if temperature is not None:
        calibrated = f"yes, temperature {temperature:.3g}" + (f", fitted to {fitted} videos" if fitted else "")
    trained = training_words(described.get("data"))
    return [
        ("Detector", visible(str(described.get("name") or UNKNOWN))),
        ("Network for each frame", visible(str(described.get("backbone") or UNKNOWN))),
        ("Over the frames", visible(str(described.get("temporal") or UNKNOWN))),
        ("Examines", f"{clip_len} frames of {image_size} pixels at a time" if clip_len and image_size else UNKNOWN),
        ("Fake from", UNKNOWN if threshold is None else f"a probability of {threshold:.3g} on"),
        ("Uncertain", f"from {band[0]:.3g} to {band[1]:.3g}" if band and band[0] < band[1] else "no band"),
        ("Calibrated", calibrated if described else UNKNOWN),
        ("Trained on", UNKNOWN if trained == "not known" else trained),
    ]


def detector_metrics(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Metrics on the validation videos, measured in training."""
    metrics = described.get("metrics") or {}
    numbers = {visible(str(k)).removeprefix("val/"): value for k, value in metrics.items()}
    return [(METRIC_NAMES.get(k, k), f"{value:.3f}") for k, value in numbers.items() if isinstance(value, int | float)]


def business() -> dict[str, Any]:
    """Load of the service."""
    queue = Queue()
    return {
        "waiting": len(queue.places),
        "running": queue.num_running,
        "workers": queue.num_workers,
        "wait_seconds": queue.wait_seconds(len(queue.places) + 1),
    }


def limits() -> dict[str, Any]:
    """Limits on uploads, and how long results are kept."""
    given = options()
    return {name: getattr(given, name) for name in ("max_upload_mb", "max_upload_bytes", "max_files", "keep_hours")}


def links(job: Job) -> dict[str, str]:
    """URLs of a job's page and its actions."""
    names = ("job", "job-state", "report", "result", "delete", "retry")
    return {name.replace("-", "_"): reverse(name, args=[job.pk]) for name in names}
