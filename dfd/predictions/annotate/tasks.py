"""Videos that are to be drawn, as tasks for worker processes: one, or those of a folder of scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd.base.machine import begin_task, hold_to_one_core, limit_tasks
from dfd.base.types import VideoScore
from dfd.predictions.annotate.face import FaceBoxes, Rules
from dfd.predictions.annotate.still import annotate_still
from dfd.predictions.annotate.video import annotate_steps
from dfd.predictions.layout import ANNOTATED_NAME
from dfd.predictions.pictures import BOXES_NAME, evidence_place, read_boxes
from dfd.predictions.rows import read_scores, score_of
from dfd.video.file.container import VideoLimits
from dfd.video.still import is_still

if TYPE_CHECKING:
    from dfd.scoring.detector import Detector
    from dfd.scoring.panel import Ensemble, Panel

_MAX_STEM_BYTES = 180  # of the 255 that a name may have


def rules_of(detector: Detector | Ensemble | Panel) -> Rules:
    """Rules by which the scores of a detector, or of several, are told in its annotated videos."""
    each = getattr(detector, "detectors", []) if detector.parts else []
    return Rules(
        threshold=detector.threshold if detector.gives_verdicts else None,
        uncertain_margin=detector.uncertain_margin,
        by_detector=tuple((one.name, one.threshold if one.gives_verdicts else None) for one in each),
        tells_real=detector.judge.scope is None or detector.judge.scope.may_say_real,
        caveat=detector.caveat,
    )


@dataclass(frozen=True, slots=True)
class Drawing:
    """One video or picture that is to be drawn: ``target`` ends in .mp4 or .jpg."""

    source: Path
    target: Path
    score: VideoScore
    boxes: Mapping[int, FaceBoxes]
    rules: Rules
    limits: VideoLimits
    video_stream: int | None = None


@dataclass(frozen=True, slots=True)
class AnnotateTask:
    """One video or picture of a folder of scores that is to be drawn."""

    folder: Path
    value: Mapping[str, Any]
    rules: Rules
    limits: VideoLimits
    video_stream: int | None = None

    @property
    def target(self) -> Path:
        """Named after the video, and by a part of its path's hash: two videos may have one name."""
        path = self.value["path"]
        stem = os.fsencode(Path(path).stem)[:_MAX_STEM_BYTES].rstrip(b" .")
        digest = evidence_place(path).rpartition("/")[2][:8]
        suffix = "jpg" if is_still(path) else "mp4"
        return self.folder / ANNOTATED_NAME / f"{os.fsdecode(stem)}-{digest}.{suffix}"


def to_annotate(folder: Path, **options: Any) -> list[AnnotateTask]:
    """Tasks for the scored videos of ``folder`` with boxes that have not been drawn yet; ``options`` are the task's."""
    tasks = [AnnotateTask(folder, value, **options) for value in read_scores(folder).values()]
    return [task for task in tasks if _has_boxes(folder, task.value) and not task.target.exists()]


def num_without_boxes(folder: Path) -> int:
    """Number of scored videos of ``folder`` that cannot be drawn, since their boxes were not kept."""
    scored = [value for value in read_scores(folder).values() if value["verdict"] is not None]
    return sum(not _has_boxes(folder, value) for value in scored)


def _has_boxes(folder: Path, value: Mapping[str, Any]) -> bool:
    return (folder / evidence_place(value["path"]) / BOXES_NAME).is_file()


def annotate_task(task: AnnotateTask) -> str:
    """In a worker: draw one video or picture of a folder; what of it is not in the result."""
    _begin(task.limits)
    score = score_of(task.value)
    boxes = read_boxes(task.folder, score.path) or {}
    drawing = Drawing(Path(score.path), task.target, score, boxes, task.rules, task.limits, task.video_stream)
    *_, message = _drawn(drawing)
    return str(message)


def drawing_task(drawing: Drawing) -> Iterator[float | str]:
    """In a worker: draw one video or picture; yields the share that is done, and last what of it is not in the result.

    Raises:
        UnreadableVideo, VideoTooLarge, ValueError, OSError: as for
            :func:`dfd.predictions.annotate.video.annotate_video`.
    """
    _begin(drawing.limits)
    yield from _drawn(drawing)


def _begin(limits: VideoLimits) -> None:
    hold_to_one_core()
    limit_tasks(limits.task_bytes)
    begin_task()


def _drawn(drawing: Drawing) -> Iterator[float | str]:
    drawing.target.parent.mkdir(parents=True, exist_ok=True)
    what = (drawing.source, drawing.target, drawing.score, drawing.boxes)
    if drawing.target.suffix == ".jpg":
        annotate_still(*what, rules=drawing.rules, limits=drawing.limits)
        yield ""
        return
    done = yield from annotate_steps(
        *what, rules=drawing.rules, limits=drawing.limits, video_stream=drawing.video_stream
    )
    yield done.message
