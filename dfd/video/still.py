"""A still picture read as a video of one frame, so that photographs of faces go the same way as videos do."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dfd.errors import MissingVideo, UnreadableVideo, VideoTooLarge
from dfd.types import FrameArray
from dfd.video.container import DEFAULT_LIMITS, VideoInfo, VideoLimits

STILL_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Pillow's names of what is read."""

_FPS = 30.0
"""A clip file must have a rate, and a picture has none."""


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 bits in 8; another as it is. Pillow cuts off what is above 255, which leaves it white."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))


class StillReader:
    """One picture as shown (EXIF orientation applied), in the manner of :class:`dfd.video.decode.VideoReader`.

    Args:
        path: of the picture.
        max_side: a larger picture is shrunk to it, longest side in pixels; ``source_scale`` is by how much.
        limits: larger pictures are refused before they are decoded.

    Raises:
        UnreadableVideo: it is no picture, is damaged or moves; MissingVideo: there is no such file.
        VideoTooLarge: it exceeds ``limits``.
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
                    raise UnreadableVideo(f"{path}: a picture of several frames; convert it to a video or to stills")
                shown = _in_8_bits(ImageOps.exif_transpose(picture)).convert("RGB")
        except UnidentifiedImageError as error:
            raise UnreadableVideo(
                f"{path}: not a picture that is read ({', '.join(STILL_FORMATS)}); videos are read without stills=true"
            ) from error
        except FileNotFoundError as error:
            raise MissingVideo(f"{path}: no such file; correct its name in the list, or put the file there") from error
        # Pillow tells of damaged pictures by any of these, by format.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def scale_at(self, index: int) -> float:
        """``source_scale``, as of every frame of a video."""
        return self.source_scale

    def size_at(self, index: int) -> tuple[int, int]:
        """Width and height, as decoded."""
        return self._frames.shape[2], self._frames.shape[1]

    def chunks(self, ranges: Sequence[range] | None = None) -> Iterator[tuple[int, FrameArray]]:
        """``(0, (1, H, W, 3))`` if frame 0 is wanted (None: it is)."""
        if ranges is None or any(0 in wanted for wanted in ranges):
            yield 0, self._frames
