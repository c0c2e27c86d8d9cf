"""Reads a still picture as a video of one frame, so that photographs of faces can be treated like videos."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dfd.base.errors import MissingVideo, UnreadableVideo, VideoTooLarge
from dfd.base.types import FrameArray
from dfd.video.file.container import DEFAULT_LIMITS, VideoInfo, VideoLimits

STILL_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Pillow's names of the formats that are read."""

_FPS = 30.0
"""Nominal rate in frames per second: a clip file must have one."""


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Convert a 16-bit grey picture to 8 bits, and return others as they are; Pillow would clip at 255, to white."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))


class StillReader:
    """Reads one picture as shown (EXIF orientation applied), like :class:`dfd.video.decode.VideoReader`.

    Args:
        path: the picture.
        max_side: longest side in pixels, to which larger pictures are reduced by the factor ``source_scale``.
        limits: larger pictures are refused before they are decoded.

    Raises:
        UnreadableVideo: when the file is not a picture, is damaged or is an animation.
        MissingVideo: when there is no such file.
        VideoTooLarge: when the picture exceeds ``limits``.
    """

    partial: str | None = None
    fps = _FPS
    first_frame = 0

    def __init__(
        self, path: str | os.PathLike[str], *, max_side: int | None = None, limits: VideoLimits = DEFAULT_LIMITS
    ) -> None:
        self.path = Path(path)
        try:
            with Image.open(self.path, formats=STILL_FORMATS) as picture:
                codec = str(picture.format).lower()
                if picture.width > limits.max_width or picture.height > limits.max_height:
                    raise VideoTooLarge(
                        f"{path}: {picture.width} x {picture.height} pixels, more than the {limits.max_width} x "
                        f"{limits.max_height} that limits.max_width and limits.max_height allow"
                    )
                if getattr(picture, "n_frames", 1) > 1:
                    raise UnreadableVideo(f"{path}: it holds several pictures; convert it to a video or to stills")
                shown = _in_8_bits(ImageOps.exif_transpose(picture)).convert("RGB")
        except UnidentifiedImageError as error:
            raise UnreadableVideo(
                f"{path}: not a supported picture ({', '.join(STILL_FORMATS)}); videos are read without stills=true"
            ) from error
        except FileNotFoundError as error:
            raise MissingVideo(f"{path}: no such file; correct its name in the list, or put the file there") from error
        # Pillow raises any of these for damaged pictures, depending on the format.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableVideo(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        self.info = VideoInfo(self.path, shown.width, shown.height, _FPS, 1, None, codec, 0)
        self.source_scale = max(1.0, max(shown.size) / max_side) if max_side is not None else 1.0
        if self.source_scale > 1:
            shown = shown.resize(
                (max(1, round(shown.width / self.source_scale)), max(1, round(shown.height / self.source_scale))),
                Image.Resampling.BOX,
            )
        self._frames: FrameArray = np.asarray(shown, np.uint8)[None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def scale_at(self, index: int) -> float:
        """Factor from decoded to source pixels: ``source_scale``."""
        return self.source_scale

    def size_at(self, index: int) -> tuple[int, int]:
        """Width and height in pixels, as decoded."""
        return self._frames.shape[2], self._frames.shape[1]

    def chunks(self, ranges: Sequence[range] | None = None) -> Iterator[tuple[int, FrameArray]]:
        """Iterate once over ``(0, frames (1, H, W, 3))`` if ``ranges`` is None or contains frame 0."""
        if ranges is None or any(0 in wanted for wanted in ranges):
            yield 0, self._frames
