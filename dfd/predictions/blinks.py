"""Blinks of the largest face of a video."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dfd.base.errors import NoFaceFound, UnreadableVideo, VideoTooLarge
from dfd.base.types import Blinks
from dfd.faces.detect import FaceDetector, build_detector
from dfd.faces.detectors.eyes import EyeFinder
from dfd.faces.extract import ExtractionSettings, FaceExtractor
from dfd.signals.blinks import blinks_of, openness
from dfd.video.decode import VideoReader
from dfd.video.file.container import VideoLimits
from dfd.video.still import is_still


class BlinkCounter:
    """Decodes a whole video once more and follows the eyes of the largest face in every frame.

    Args:
        face_detector: name and options.
        max_decode_side: longer side of decoded frames, in pixels.
        limits: largest frame that is decoded.

    Raises:
        ConfigError: when the network for the eyes is not installed.
    """

    def __init__(
        self,
        face_detector: Mapping[str, Any],
        *,
        max_decode_side: int | None = None,
        limits: VideoLimits | None = None,
    ) -> None:
        self._eyes = EyeFinder()
        self._detector: FaceDetector = build_detector(**face_detector)
        self._max_side, self._limits = max_decode_side, limits or VideoLimits()

    def __call__(self, path: str | Path) -> Blinks | None:
        """Blinks of a video; None for a still picture, a video without a face or with eyes for less than 5 seconds."""
        path = Path(path)
        try:
            if is_still(path):
                return None
            with VideoReader(path, max_side=self._max_side, limits=self._limits) as reader:
                return blinks_of(self.openness(reader), reader.fps)
        except (UnreadableVideo, VideoTooLarge, NoFaceFound):
            return None

    def openness(self, reader: VideoReader) -> list[float]:
        """Mean openness of both eyes in each frame; nan where no face is."""
        found: dict[int, tuple[float, float]] = {}
        last = -1
        extractor = FaceExtractor(self._detector, ExtractionSettings())
        for piece in extractor.run(reader.chunks()):
            for place, frame in enumerate(piece.frames):
                index, (x1, y1, x2, y2) = piece.start_frame + place, piece.boxes_xyxy[place]
                last, area = max(last, index), float((x2 - x1) * (y2 - y1))
                if area <= found.get(index, (0.0, 0.0))[0]:
                    continue
                eyes = self._eyes(frame, piece.boxes_xyxy[place], piece.landmarks[place])
                found[index] = area, float(np.mean([openness(eye) for eye in eyes]))
        return [found[index][1] if index in found else float("nan") for index in range(last + 1)]
