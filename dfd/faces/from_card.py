"""Reads from a detector's card how to detect and crop faces, with checks, as a card may come from a stranger."""

import logging
from collections.abc import Mapping
from typing import Any

from dfd.base.errors import CheckpointError
from dfd.base.untrusted import option_problems, shown
from dfd.faces.detect import DETECTORS
from dfd.faces.extract import ExtractionSettings

logger = logging.getLogger(__name__)

LARGEST_EXTRACTION = {
    "crop_size": 1024,
    "margin_fraction": 10,
    "key_frame_stride": 100,
    "detection_side": 4096,
    "max_missed": 10,
}
MAX_HELD_FRAMES = 200
"""Maximum of whole frames that a worker holds at once: key_frame_stride * (max_missed + 2)."""
LEAST_FACE_FRACTION = 0.005
"""Minimum of min_face_fraction: to find small faces, pictures are enlarged accordingly."""
MAX_BATCH_SIZE = 64


def extraction_of(crop: Mapping[str, Any], *, name: str) -> ExtractionSettings:
    """Extraction settings in a card's ``crop``; ``name`` is the detector's, for errors.

    Raises:
        CheckpointError: when a setting is unknown, of a wrong type, or out of range.
    """
    options = crop.get("extraction", {})
    try:
        if not isinstance(options, Mapping):
            raise ValueError(f"extraction must be a mapping, got {shown(options)}")
        problems = option_problems(ExtractionSettings.__init__, options)
        problems += [
            f"{key} must be at most {most}, got {options[key]}"
            for key, most in LARGEST_EXTRACTION.items()
            if not problems and options.get(key, 0) > most
        ]
        if problems:
            raise ValueError("; ".join(problems))
        settings = ExtractionSettings(**options)
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
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str) or found["name"] not in DETECTORS:
        raise CheckpointError(f"{name}: its card names a face detector that is unknown here ({shown(found)}); {remedy}")
    chosen = DETECTORS[found["name"]]
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
