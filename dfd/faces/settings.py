"""Settings of face detection, tracking and cropping; reads them from a card, with checks, as it may be a stranger's."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.untrusted import option_problems, shown
from dfd.faces.crop import Crop, Square, crop_of
from dfd.faces.detect import factory
from dfd.faces.tracks.track import MAX_MISSED, SMOOTHING

logger = logging.getLogger(__name__)

LARGEST_EXTRACTION = {
    "key_frame_stride": 100,
    "detection_side": 4096,
    "max_missed": 10,
    "whole_every": 100,
}
MAX_HELD_FRAMES = 200
"""Maximum of whole frames that a worker holds at once: key_frame_stride * (max_missed + 2)."""
LEAST_FACE_FRACTION = 0.005
"""Minimum of min_face_fraction: to find small faces, pictures are enlarged accordingly."""
MAX_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """Settings of face detection, tracking and cropping; equal settings give equal crops.

    Args:
        crop: what of the face is cut out, and how it is resampled.
        key_frame_stride: frames from one detection to the next.
        detection_side: longer side in pixels of the detector's input; larger frames are shrunk to it.
        whole_every: key frames from one that is looked at as a whole to the next. In those between, detectors that can
            do so look where faces were and where the picture has changed. 1: all are looked at as a whole.
        max_missed: consecutive key frames on which a face may be missed without ending its track.
        smoothing: 0..1, see :class:`dfd.faces.tracks.track.Tracker`.

    Raises:
        ValueError: when a setting is out of range.
    """

    crop: Crop = field(default_factory=Square)
    key_frame_stride: int = 10
    detection_side: int = 640
    max_missed: int = MAX_MISSED
    smoothing: float = SMOOTHING
    whole_every: int = 8

    def __post_init__(self) -> None:
        for name, least in (("key_frame_stride", 1), ("detection_side", 32), ("max_missed", 0), ("whole_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.smoothing <= 1:
            raise ValueError(f"smoothing must be in 0..1, got {self.smoothing}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for records and cards; a square crop is written as in version 0.1, which knew no other."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "crop"}
        if isinstance(self.crop, Square):
            return {"crop_size": self.crop.size, "margin_fraction": self.crop.margin_fraction, **own}
        return {"crop": self.crop.to_dict(), **own}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote, which may come from a stranger.

        Raises:
            ValueError: when a setting is unknown, of a wrong type or out of range.
        """
        own = dict(values)
        crop = own.pop("crop", None)
        if crop is not None and not isinstance(crop, Mapping):
            raise ValueError(f"crop must be a mapping, got {shown(crop)}")
        if crop is None:
            names = {"crop_size": "size", "margin_fraction": "margin_fraction"}
            crop = {"kind": "square", **{new: own.pop(old) for old, new in names.items() if old in own}}
        if problems := option_problems(cls.__init__, own):
            raise ValueError("; ".join(problems))
        return cls(crop=crop_of(crop), **own)


def extraction_of(crop: Mapping[str, Any], *, name: str) -> ExtractionSettings:
    """Extraction settings in a card's ``crop``; ``name`` is the detector's, for errors.

    Raises:
        CheckpointError: when a setting is unknown, of a wrong type, or out of range.
    """
    options = crop.get("extraction", {})
    try:
        if not isinstance(options, Mapping):
            raise ValueError(f"extraction must be a mapping, got {shown(options)}")
        settings = ExtractionSettings.from_dict(options)
        problems = [
            f"{key} must be at most {most}, got {getattr(settings, key)}"
            for key, most in LARGEST_EXTRACTION.items()
            if getattr(settings, key) > most
        ]
        if problems:
            raise ValueError("; ".join(problems))
        if settings.key_frame_stride * (settings.max_missed + 2) > MAX_HELD_FRAMES:
            raise ValueError(f"key_frame_stride * (max_missed + 2) must be at most {MAX_HELD_FRAMES}")
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: its card has settings for cropping faces that do not fit: {error}") from error
    return settings


def face_detector_of(crop: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """Name and options of the face detector in a card's ``crop``, without any file; MTCNN if it names none.

    Raises:
        CheckpointError: when the detector or an option is unknown, or an option is out of range.
    """
    found = crop.get("face_detector") or {"name": "mtcnn"}
    remedy = "name the detector yourself: face_detector=mtcnn"
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
        raise CheckpointError(f"{name}: its card names a face detector that is unknown here ({shown(found)}); {remedy}")
    try:
        chosen = factory(found["name"])
    except ConfigError as error:
        said = f"its card names a face detector that is unknown here ({shown(found)}): {error}"
        raise CheckpointError(f"{name}: {said}; or {remedy}") from error
    options = {key: value for key, value in found.items() if key != "name"}
    if options.pop("weights", None) is not None:
        logger.warning(
            f"{name}: its card names a file of weights for the face detector. A card must not choose files on this "
            f"machine, so the published weights are used. To use others: face_detector={found['name']} "
            "face_detector.weights=FILE"
        )
    known = chosen.__kwdefaults__ or {}
    problems = [f"there is no option {shown(key)}" for key in options if key not in known]
    problems += option_problems(chosen, options)
    if not problems and options.get("min_face_fraction", 1.0) < LEAST_FACE_FRACTION:
        problems.append(f"min_face_fraction must be at least {LEAST_FACE_FRACTION}")
    if not problems and not 1 <= options.get("batch_size", 1) <= MAX_BATCH_SIZE:
        problems.append(f"batch_size must be in 1..{MAX_BATCH_SIZE}")
    if problems:
        raise CheckpointError(
            f"{name}: its card's options of the face detector {found['name']} cannot be used: {'; '.join(problems)}; "
            f"{remedy}"
        )
    return {"name": found["name"], **options}
