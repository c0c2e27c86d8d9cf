"""Finds out why a video shows no face, and what helps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfd.faces.detect import FaceDetector
from dfd.faces.extract import ExtractionSettings, detection_side, shrink

Image = NDArray[np.uint8]

_DARK = 40.0
"""Mean brightness, 0..255, below which a picture counts as dark."""
_SMALLER = (0.04, 0.02)
_MAX_LOOKED_AT = 3


def no_face_message(
    num_frames: int, faceless: Sequence[Image], detector: FaceDetector, settings: ExtractionSettings
) -> str:
    """Message that says what was tried, and the remedy for the probable cause.

    Args:
        num_frames: number of frames on which the detector ran.
        faceless: some of the key frames, in full size.
        detector: detector that found no face, upright or turned.
        settings: settings that it was used with.
    """
    tried = (
        f"no face in any of {num_frames} frames looked at, upright and turned by quarters (detector {detector.name})"
    )
    fraction = getattr(detector, "min_face_fraction", None)
    if fraction is not None:
        tried = f"{tried[:-1]}, faces from {fraction:g} of the picture's shorter side on)"
        found = _smaller_faces(faceless, detector, fraction, settings)
        if found is not None:
            size, helps = found
            return (
                f"{tried}; there are smaller ones, of about {size:.3f} of it: "
                f"face_detector={detector.name} face_detector.min_face_fraction={helps:g} finds them"
            )
    # The remedy names the detector: if the checkpoint chose it, its options cannot be set without the name.
    threshold = getattr(detector, "threshold", None)
    lower = f"face_detector={detector.name} face_detector.threshold=N" + (
        f", N below {threshold:g}" if threshold is not None else ""
    )
    brightness = float(np.mean([picture.mean() for picture in faceless])) if faceless else 255.0
    if brightness < _DARK:
        return (
            f"{tried}; the picture is dark (mean brightness {brightness:.0f} of 255): lighten it, for instance with "
            f"ffmpeg -i IN -vf eq=gamma=2.5 OUT.mp4, or accept less certain faces ({lower})"
        )
    return (
        f"{tried}; if there is one, it is covered, seen from behind or blurred: accept less certain faces ({lower}) or "
        "try another face_detector"
    )


def _smaller_faces(
    faceless: Sequence[Image], detector: FaceDetector, fraction: float, settings: ExtractionSettings
) -> tuple[float, float] | None:
    """Size of the smallest face found by looking closer, as a fraction, and the min_face_fraction that finds it."""
    step = max(1, len(faceless) // _MAX_LOOKED_AT)
    for closer in _SMALLER:
        if closer >= fraction:
            continue
        finer = detector.with_min_face_fraction(closer)  # type: ignore[attr-defined]
        pictures = [
            shrink(picture, detection_side(picture, finer, settings)) for picture in faceless[::step][:_MAX_LOOKED_AT]
        ]
        sizes = [
            min(face.x2 - face.x1, face.y2 - face.y1) / min(picture.shape[:2])
            for picture in pictures
            for face in finer(picture[None])[0]
        ]
        if sizes:
            return min(sizes), closer
    return None
