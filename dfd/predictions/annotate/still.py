"""A still picture with its scores drawn in: each face's box and score, and below the picture the verdict."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from dfd.base.files import written_whole
from dfd.base.types import FrameArray, VideoScore
from dfd.predictions.annotate.face import Clock, FaceBoxes, Rules
from dfd.predictions.annotate.painter import Painter
from dfd.video.file.container import DEFAULT_LIMITS, VideoLimits
from dfd.video.still import StillReader

JPEG_QUALITY = 92


def annotate_still(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    score: VideoScore,
    boxes: Mapping[int, FaceBoxes],
    *,
    rules: Rules,
    max_side: int = 2048,
    limits: VideoLimits | None = None,
) -> FrameArray:
    """Write the picture ``source`` with ``score`` drawn in to ``target``, a JPEG file, and return it, ``(h, w, 3)``.

    Args:
        source: the picture that was scored.
        target: the file to write; overwritten if it exists.
        score: of the picture, with its tracks.
        boxes: by track; a picture is frame 0.
        rules: by which scores are told.
        max_side: longest side of the picture in pixels; the strip below it comes on top.
        limits: see :class:`dfd.video.still.StillReader`.

    Raises:
        UnreadableVideo, VideoTooLarge: from the reader.
        ValueError: ``target`` is ``source`` or does not end in .jpg, or boxes do not belong to the picture.
        OSError: ``target`` cannot be written.
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() != ".jpg":
        raise ValueError(f"{target}: an annotated picture is a JPEG file; let its name end in .jpg")
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target}: would overwrite the picture it is made of; give another name")
    if max_side < 2:
        raise ValueError(f"max_side must be 2 pixels or more, got {max_side}")
    with StillReader(source, max_side=max_side, limits=limits or DEFAULT_LIMITS) as reader:
        clock = Clock(reader)
        ((_, frames),) = reader.chunks()
        drawn = Painter(reader, clock, score, boxes, rules).paint(0, 0.0, np.array(frames[0]))
    with written_whole(target) as unfinished:
        Image.fromarray(drawn).save(unfinished, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return drawn
