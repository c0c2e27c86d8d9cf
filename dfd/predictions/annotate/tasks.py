"""The scored videos of a folder that are still to be drawn, as tasks for worker processes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfd.base.machine import begin_task, hold_to_one_core, limit_tasks
from dfd.predictions.annotate.face import Rules
from dfd.predictions.annotate.still import annotate_still
from dfd.predictions.annotate.video import annotate_video
from dfd.predictions.layout import ANNOTATED_NAME
from dfd.predictions.pictures import BOXES_NAME, evidence_place, read_boxes
from dfd.predictions.rows import read_scores, score_of
from dfd.video.file.container import VideoLimits
from dfd.video.still import is_still

_MAX_STEM_BYTES = 180  # of the 255 that a name may have


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
    """In a worker: draw one video or picture; what of it is not in the result."""
    hold_to_one_core()
    limit_tasks(task.limits.task_bytes)
    begin_task()
    target = task.target
    target.parent.mkdir(parents=True, exist_ok=True)
    score = score_of(task.value)
    boxes = read_boxes(task.folder, score.path) or {}
    if target.suffix == ".jpg":
        annotate_still(score.path, target, score, boxes, rules=task.rules, limits=task.limits)
        return ""
    done = annotate_video(
        *(score.path, target, score, boxes), rules=task.rules, limits=task.limits, video_stream=task.video_stream
    )
    return done.message
