"""Settings by which the windows of a video are chosen."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfd.faces.crop import Crop
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import WindowSettings
from dfd.faces.settings import extraction_of, face_detector_of
from dfd.models.files.card import DetectorCard


def look_settings(
    card: DetectorCard,
    *,
    name: str,
    face_detector: Mapping[str, Any] | None = None,
    crop: Crop | None = None,
    **windows: Any,
) -> tuple[dict[str, Any], ExtractionSettings, WindowSettings]:
    """The arguments of :func:`~dfd.scoring.look.workers.start_worker` for a detector with this card, which ``name``
    names in errors.

    ``face_detector`` is its name and options, ``crop`` what is cut out of a frame; None: those that the detector was
    trained with. ``windows`` are options of :class:`WindowSettings`.

    Raises:
        CheckpointError: the card says things that are unknown here.
        ValueError: an option is out of range.
    """
    extraction = extraction_of(card.crop, name=name)
    if crop is not None:
        extraction = replace(extraction, crop=crop)
    settings = WindowSettings(clip_len=card.clip_len, clip_stride=card.clip_stride, **windows)
    return dict(face_detector or face_detector_of(card.crop, name=name)), extraction, settings
