"""Reads a still picture as a video of one frame, and a folder of pictures as a video of one frame for each."""

import os
import re
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

STILL_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff"))
"""Usual endings of their names."""

_FPS = 30.0
"""Nominal rate in frames per second: a clip file must have one."""

_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")


def is_still(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a picture of one of :data:`STILL_FORMATS` does, whatever its name.

    False for what cannot be read: whoever opens it says why.
    """
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            head = file.read(16)
    except (OSError, ValueError):
        return False
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4)
    return head.startswith(_FIRST_BYTES) or is_webp or is_bmp


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Convert a 16-bit grey picture to 8 bits, and return others as they are; Pillow would clip at 255, to white."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))


def _read(path: Path, limits: VideoLimits) -> tuple[Image.Image, str]:
    """Read a picture as shown, in RGB, with the name of its format.

    Raises:
        UnreadableVideo, MissingVideo, VideoTooLarge: as for :class:`StillReader`.
    """
    try:
        with Image.open(path, formats=STILL_FORMATS) as picture:
            if picture.width > limits.max_width or picture.height > limits.max_height:
                raise VideoTooLarge(
                    f"{path}: {picture.width} x {picture.height} pixels, more than the {limits.max_width} x "
                    f"{limits.max_height} that limits.max_width and limits.max_height allow"
                )
            # Phones add a depth map or a second exposure to a JPEG (MPO); the first picture is the photograph.
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                raise UnreadableVideo(f"{path}: it holds several pictures; convert it to a video or to stills")
            return _in_8_bits(ImageOps.exif_transpose(picture)).convert("RGB"), str(picture.format).lower()
    except UnidentifiedImageError as error:
        raise UnreadableVideo(
            f"{path}: not a supported picture ({', '.join(STILL_FORMATS)}); videos are read without stills=true"
        ) from error
    except FileNotFoundError as error:
        raise MissingVideo(f"{path}: no such file; correct its name in the list, or put the file there") from error
    # Pillow raises any of these for damaged pictures, depending on the format.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableVideo(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _shrunk(picture: Image.Image, scale: float) -> Image.Image:
    if scale <= 1:
        return picture
    size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
    return picture.resize(size, Image.Resampling.BOX)


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
    num_frames = 1
    chunk_len = 1

    def __init__(
        self, path: str | os.PathLike[str], *, max_side: int | None = None, limits: VideoLimits = DEFAULT_LIMITS
    ) -> None:
        self.path = Path(path)
        shown, codec = _read(self.path, limits)
        self.info = VideoInfo(self.path, shown.width, shown.height, _FPS, 1, None, codec, 0)
        self.source_scale = max(1.0, max(shown.size) / max_side) if max_side is not None else 1.0
        shown = _shrunk(shown, self.source_scale)
        self.width, self.height = shown.size
        self.sizes = [(0, self.info.width, self.info.height)]
        self._frames: FrameArray = np.asarray(shown, np.uint8)[None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def scale_at(self, index: int) -> float:
        """Factor from decoded to source pixels: ``source_scale``."""
        return self.source_scale

    def clock_seconds(self, indices: Sequence[int]) -> list[float]:
        """Time of each frame in seconds: 0."""
        return [0.0] * len(indices)

    def size_at(self, index: int) -> tuple[int, int]:
        """Width and height in pixels, as decoded."""
        return self._frames.shape[2], self._frames.shape[1]

    def chunks(self, ranges: Sequence[range] | None = None) -> Iterator[tuple[int, FrameArray]]:
        """Iterate once over ``(0, frames (1, H, W, 3))`` if ``ranges`` is None or contains frame 0."""
        if ranges is None or any(0 in wanted for wanted in ranges):
            yield 0, self._frames


def pictures_of(folder: str | os.PathLike[str]) -> list[Path]:
    """Pictures directly in a folder, by name, with numbers in numerical order; empty if it is no folder.

    Hidden files and files of other types are passed over.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []
    pictures = [name for name in names if os.path.splitext(name)[1].lower() in STILL_SUFFIXES]
    return [Path(folder, name) for name in sorted(pictures, key=_numerical)]


def _numerical(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


class SequenceReader:
    """Reads the pictures of one folder as the frames of a video, like :class:`dfd.video.decode.VideoReader`.

    Damaged pictures are left out and counted in ``partial``; the others close the gap. Nothing states a frame rate, so
    a nominal one is used.

    Args:
        path: the folder, which holds at least one picture.
        max_side: longest side in pixels; larger pictures are reduced, all by the factor of the first.
        limits: larger pictures are refused before they are decoded.

    Raises:
        UnreadableVideo: when the folder holds no picture that can be read.
        VideoTooLarge: when a picture exceeds ``limits``.
    """

    fps = _FPS
    first_frame = 0

    def __init__(
        self, path: str | os.PathLike[str], *, max_side: int | None = None, limits: VideoLimits = DEFAULT_LIMITS
    ) -> None:
        self.path = Path(path)
        self._limits = limits
        self._damaged: list[str] = []
        self._pictures = pictures_of(path)
        if not self._pictures:
            raise UnreadableVideo(f"{path}: a folder without pictures; a video is a file, or a folder of its frames")
        first, codec = self._first()
        self.num_frames = len(self._pictures)
        seconds = self.num_frames / _FPS
        self.info = VideoInfo(self.path, first.width, first.height, _FPS, self.num_frames, seconds, codec, 0)
        self.source_scale = max(1.0, max(first.size) / max_side) if max_side is not None else 1.0
        self.width, self.height = _shrunk(first, self.source_scale).size
        self._sizes: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def partial(self) -> str | None:
        """Reason why some frames are missing, or None; complete once all chunks have been read."""
        if not self._damaged:
            return None
        return f"{len(self._damaged)} of {len(self._pictures)} pictures are damaged ({self._damaged[0]})"

    def _first(self) -> tuple[Image.Image, str]:
        errors = []
        for picture in self._pictures:
            try:
                return _read(picture, self._limits)
            except UnreadableVideo as error:
                errors.append(error)
        raise UnreadableVideo(f"{self.path}: none of {len(errors)} pictures can be read ({errors[0]})")

    def scale_at(self, index: int) -> float:
        """Factor from decoded to source pixels: ``source_scale``."""
        return self.source_scale

    def size_at(self, index: int) -> tuple[int, int]:
        """Width and height in pixels of a frame that has been read, as decoded."""
        return self._sizes.get(index, (self.width, self.height))

    def chunks(self, ranges: Sequence[range] | None = None) -> Iterator[tuple[int, FrameArray]]:
        """Iterate over ``(index, frames (1, H, W, 3))`` of the readable pictures that ``ranges`` hold; None: all."""
        index = 0
        self._damaged = []
        for picture in self._pictures:
            if ranges is not None and all(index >= wanted.stop for wanted in ranges):
                return
            try:
                shown, _ = _read(picture, self._limits)
            except UnreadableVideo:
                self._damaged.append(picture.name)
                continue
            if ranges is None or any(index in wanted for wanted in ranges):
                small = _shrunk(shown, self.source_scale)
                self._sizes[index] = small.size
                yield index, np.asarray(small, np.uint8)[None]
            index += 1
