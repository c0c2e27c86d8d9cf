"""Cuts a face out of a frame, in the same way for training and for prediction.

Each kind of crop is a class with its options, :data:`CROPS` names them, and ``conf/crop`` has a file for each. A crop
is always a square picture; what it shows of the face, and how it was resampled, is what a network learns from, so a
published detector needs the crop that its authors used.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dfd.base.untrusted import option_problems, shown
from dfd.faces.crop.aligned import Eyes, FivePoints
from dfd.faces.crop.base import Crop
from dfd.faces.crop.rectangles import Box, Letterbox, Native, WholeFrame
from dfd.faces.crop.square import Square

__all__ = ["CROPS", "Box", "Crop", "Eyes", "FivePoints", "Letterbox", "Native", "Square", "WholeFrame", "crop_of"]

CROPS: dict[str, type[Crop]] = {
    crop.kind: crop for crop in (Square, FivePoints, Letterbox, Box, WholeFrame, Native, Eyes)
}
"""Kinds of crop by name."""


def crop_of(options: Mapping[str, Any]) -> Crop:
    """Build the crop that plain values describe, which may come from a stranger: ``{"kind": "square", "size": 112}``.

    Raises:
        ValueError: when the kind or an option is unknown, or a value is out of range.
    """
    given = dict(options)
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in CROPS:
        raise ValueError(f"crop.kind must be one of {', '.join(CROPS)}, got {shown(kind)}")
    known = [item.name for item in fields(CROPS[kind])]
    problems = [f"there is no option {shown(key)}" for key in given if key not in known]
    if problems := problems or option_problems(CROPS[kind].__init__, given):
        raise ValueError(f"crop {kind}: {'; '.join(problems)}")
    return CROPS[kind](**given)
