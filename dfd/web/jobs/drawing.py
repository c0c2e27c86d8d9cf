"""Drawing of the annotated video of a scored upload, in a process of its own, within limits of time and size."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dfd.base.types import Status, VideoScore
from dfd.predictions.annotate.tasks import Drawing, drawing_task, rules_of
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.scoring.detector import Detector
from dfd.scoring.panel import Ensemble, Panel
from dfd.video.still import is_still
from dfd.web.intake.uploads import has_room
from dfd.web.models import DRAWN_FOLDER, options

PICTURE_NAME, VIDEO_NAME = "picture.jpg", "video.mp4"
NOT_DRAWN = "The annotated {kind} could not be drawn: {reason}. The result is complete without it."
FAULT = "something went wrong here; whoever runs this service finds the reason in the log, under the key {key}"
"""Reason for the sender, to whom what happened inside says nothing."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn: the name of the file in ``DRAWN_FOLDER``, empty if there is none.

    ``reason`` says why there is none, or what of the upload is not in it; ``fault`` is for the log.
    """

    name: str = ""
    reason: str = ""
    fault: str = ""


def draw(
    detector: Detector | Ensemble | Panel,
    score: VideoScore,
    upload: Path,
    folder: Path,
    *,
    deadline_seconds: float,
    on_progress: Callable[[Path, float], None],
) -> Drawn:
    """Draw the faces and scores of a video or picture into a file below ``folder``; a failure leaves no file.

    The file may be as large as an upload may be, and the disk keeps its reserve.

    Args:
        detector: what scored the upload, with boxes.
        score: its score.
        upload: the video or picture.
        folder: results of the job.
        deadline_seconds: time that it may take.
        on_progress: called with the upload and the share that is done; what it raises ends the drawing.

    Raises:
        DfdError: when no process can be started.
    """
    target = folder / DRAWN_FOLDER / (PICTURE_NAME if is_still(upload) else VIDEO_NAME)
    windows = detector.windows
    bare = replace(score, boxes={}, moments=(), thumbnail=None)
    drawing = Drawing(
        *(upload, target, bare, score.boxes, rules_of(detector)),
        limits=windows.limits,
        video_stream=windows.video_stream,
    )
    drawn = Drawn()
    try:
        with WorkerPool(num_workers=1, deadline_seconds=deadline_seconds) as pool:
            for _, step in pool.stream(drawing_task, [drawing]):
                if isinstance(step, Failure):
                    return _failed(step)
                if isinstance(step, str):
                    drawn = Drawn(target.name, step)
                elif isinstance(step, float):
                    on_progress(upload, step)
                if reason := _too_large(target.parent):
                    drawn = Drawn(reason=reason)
                    break
    finally:
        if not drawn.name:
            shutil.rmtree(target.parent, ignore_errors=True)
    return drawn


def _failed(failure: Failure) -> Drawn:
    if failure.status is Status.TIMEOUT:
        return Drawn(reason="it took too long")
    return Drawn(fault=failure.message) if failure.status is Status.ERROR else Drawn(reason=failure.message)


def _too_large(folder: Path) -> str:
    """Reason to give up the files in ``folder``, which grow; empty if there is none."""
    if not has_room():
        return "the disk is full"
    sizes = (path.stat().st_size for path in folder.glob("*") if path.is_file())
    if sum(sizes) > options().max_upload_bytes:
        return f"it would be larger than {options().max_upload_mb} MiB"
    return ""
