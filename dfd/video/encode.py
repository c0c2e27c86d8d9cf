"""Writes the face-only videos of a clip store: H.264 in MP4, good enough to keep the traces that detectors look for.

The defaults were chosen on 8 face crops of 112 x 112 pixels from real videos (FaceForensics++ c23, DFDC, HDTF and
others, 150 frames each), decoded by decord and compared with the crops before encoding. RGB PSNR is the mean over
clips (and the worst clip); "detail kept" is the energy of the Laplacian relative to the crops, where forgeries leave
their traces:

===================  ============  ===========  ====================  ==================
pixel format, crf    PSNR dB       detail kept  bytes per 150 frames  key frame every
===================  ============  ===========  ====================  ==================
yuv444p 6            45.5 (43.7)         1.016               393 000  15 frames
yuv444p 8            44.5 (42.6)         1.013               312 000  15
yuv444p 10           43.5 (41.5)         1.009               244 000  15
yuv444p 12           42.4 (40.4)         1.003               189 000  15
yuv444p 14           41.4 (39.3)         0.993               147 000  15
yuv444p 18           39.2 (37.0)         0.968                89 000  15
yuv420p 6            39.5 (37.5)         1.123               368 000  15
yuv420p 10           38.9 (37.2)         1.114               239 000  15
yuv420p 18           37.0 (35.9)         1.069                90 000  15
yuv444p 10           43.1 (41.5)         1.023               287 000  5
yuv444p 10           43.6 (41.6)         1.016               236 000  30
yuv444p 10           43.5 (41.5)         1.017               229 000  250
===================  ============  ===========  ====================  ==================

Full chroma costs no bytes and gains 4 dB, since every pixel of colour counts at this size. From crf 14 detail is lost;
below 10 each decibel costs a quarter more. A key frame every 15 frames costs 3 % more bytes than one every 30, and
halves the frames to be decoded before a random start.

``fast_decode`` is x264's tuning of that name. On 14 such crops at crf 10, measured alternately: 42.6 dB (worst 39.4)
instead of 42.8 (39.7), detail 0.992 instead of 0.993, 10 % more bytes; ten frames from a random start take 0.7 of the
time.

These tables were made with the preset ``medium``. ``veryfast`` at crf 8 has its quality at crf 10 for 27 % more bytes
and 0.4 of the time: on 8 other crops of 100 frames 42.4 dB (worst 41.4) in place of 42.3 (41.4), detail 1.000 in place
of 0.997.
"""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream

from dfd.base.types import FrameArray
from dfd.video.pictures.colours import BT709, FULL_CHROMA, full_chroma_frame
from dfd.video.sound import SoundCopy

PIXEL_FORMATS = (FULL_CHROMA, "yuv420p")
"""Pixel formats that can be written, by FFmpeg's names."""
# All shortcuts of the scaler are off, so that colours decoded by decord differ by rounding only.
_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
_MIN_FPS, _MAX_FPS = 0.1, 1000.0
_FINE_TIME_BASE = Fraction(1, 90_000)  # of MPEG systems (ISO/IEC 13818-1, 2.4.2); divisible by the usual frame rates


class VideoWriter:
    """Context manager that writes RGB frames to an H.264 file; if its body raises, no file is left.

    The same frames and options give the same bytes on any number of cores. Colour is BT.709, limited range, and tagged
    accordingly.

    Args:
        path: the file, ``.mp4`` or ``.mkv``; overwritten if it exists.
        width: width of the frames in pixels; ``height`` likewise.
        fps: frames per second; clamped to 0.1..1000, since files lose frames beyond.
        crf: x264's quality, from 0 (lossless except for the colour conversion) to 51.
        pixel_format: ``yuv444p``, or ``yuv420p`` for players that support nothing else: it needs an even size, and
            decodes 1 level darker.
        keyframe_interval: maximum distance of key frames in frames. Groups are closed: each key frame is a start.
        preset: x264's preset.
        fast_decode: leave out what is slowest to decode (CABAC, the loop filter, weighted prediction), for files that
            are read many times.
        timed: show each frame at the time given to ``write`` instead of at a constant ``fps``.
        faststart: write the index first, so that a player can start before it has the whole file.
        sound: copied into the file, in step with the frames; the caller opens and closes it.

    Raises:
        ValueError: when an argument is out of range, or the size is odd where it must be even.
        OSError: when the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        width: int,
        height: int,
        fps: float,
        crf: int = 8,
        pixel_format: str = "yuv444p",
        keyframe_interval: int = 15,
        preset: str = "veryfast",
        fast_decode: bool = True,
        timed: bool = False,
        faststart: bool = False,
        sound: SoundCopy | None = None,
    ) -> None:
        if width < 1 or height < 1:
            raise ValueError(f"a frame must have pixels, got {width} x {height}")
        if not (np.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be positive, got {fps}")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf must be in 0..51, got {crf}")
        if keyframe_interval < 1:
            raise ValueError(f"keyframe_interval must be 1 or more, got {keyframe_interval}")
        if pixel_format not in PIXEL_FORMATS:
            raise ValueError(f"pixel_format must be one of {', '.join(PIXEL_FORMATS)}, got {pixel_format!r}")
        if pixel_format == "yuv420p" and (width % 2 or height % 2):
            raise ValueError(f"yuv420p needs an even width and height, got {width} x {height}; use yuv444p")
        self.path = Path(path)
        self._shape = (height, width, 3)
        self._pixel_format = pixel_format
        self._num_frames = 0
        self._closed = False
        # Recovers 30000/1001 and similar rates exactly from their decimals.
        rate = Fraction(min(max(fps, _MIN_FPS), _MAX_FPS)).limit_denominator(1001)
        self._timed = timed
        self._time_base = _FINE_TIME_BASE if timed else 1 / rate
        self._frame_ticks = round(1 / rate / self._time_base)
        self._last_pts = -1
        self._sound = sound
        # bitexact: the file names neither a library version nor a date.
        options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if faststart else {})
        self._container = av.open(str(self.path.absolute()), "w", container_options=options)
        try:
            options_of_x264 = {"crf": str(crf), "preset": preset, "g": str(keyframe_interval)}
            if fast_decode:
                options_of_x264["tune"] = "fastdecode"
            self._stream = self._add_stream(rate, options_of_x264)
            if sound is not None:
                sound.join(self._container)
        except (FFmpegError, ValueError):
            self._abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._abandon()

    def write(self, frames: FrameArray, *, seconds: Sequence[float] | None = None) -> None:
        """Append frames, uint8 ``(N, H, W, 3)`` RGB; N may be 0.

        Args:
            frames: the frames.
            seconds: time of each frame; required by a ``timed`` writer, and refused by others.

        Raises:
            ValueError: when the type, size or times are wrong, times do not increase, or the writer is closed.
        """
        if self._closed:
            raise ValueError(f"{self.path}: the writer is closed")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != self._shape:
            raise ValueError(f"{self.path}: frames must be uint8 (N, {self._shape}), got {frames.dtype} {frames.shape}")
        if (seconds is not None) != self._timed or (seconds is not None and len(seconds) != len(frames)):
            raise ValueError(f"{self.path}: seconds must be given for each frame by a timed writer, and only by one")
        for place, rgb in enumerate(frames):
            pts = self._last_pts + 1 if seconds is None else round(seconds[place] / self._time_base)
            if pts <= self._last_pts:
                raise ValueError(f"{self.path}: a frame at {pts * self._time_base:.6f} s is not after the one before")
            frame = self._in_yuv(np.ascontiguousarray(rgb))
            frame.pts = self._last_pts = pts
            frame.time_base = self._time_base
            if self._timed:
                frame.duration = self._frame_ticks
            self._num_frames += 1
            if self._sound is not None:
                self._sound.copy_until(float(pts * self._time_base))
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; closing twice does nothing.

        Raises:
            ValueError: when no frame was written; no file is left.
        """
        if self._closed:
            return
        if not self._num_frames:
            self._abandon()
            raise ValueError(f"{self.path}: a video needs at least one frame")
        self._container.mux(self._stream.encode(None))
        if self._sound is not None:
            self._sound.copy_until()
        self._closed = True
        self._container.close()

    def _in_yuv(self, rgb: FrameArray) -> VideoFrame:
        """Frame of a picture ``(H, W, 3)`` in the file's pixel format."""
        if self._pixel_format == FULL_CHROMA:
            return full_chroma_frame(rgb)
        return VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=self._pixel_format,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=_EXACT,
        )

    def _add_stream(self, rate: Fraction, options: Mapping[str, str]) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=rate)
        stream.height, stream.width = self._shape[:2]
        stream.pix_fmt = self._pixel_format
        stream.options = {
            **options,
            "threads": "1",
            # The macroblock tree reads past the end of narrow rows (7 macroblocks at 112 pixels), and the memory there
            # affects the output: three encodings of one clip gave three different files.
            "x264-params": "mbtree=0",
        }
        context = stream.codec_context
        if self._timed:
            context.time_base = self._time_base
        context.thread_count = 1  # the output would depend on how threads divide the work
        context.colorspace = BT709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.open()  # refuses a preset that x264 does not know now, not at the first frame
        return stream

    def _abandon(self) -> None:
        self._closed = True
        self._container.close()
        self.path.unlink(missing_ok=True)


def write_video(path: str | os.PathLike[str], frames: FrameArray, *, fps: float, **options: Any) -> None:
    """Write all ``frames``, uint8 ``(N, H, W, 3)`` RGB, to an H.264 file; options as in :class:`VideoWriter`.

    Raises:
        ValueError: when there is no frame, or an argument is out of range.
    """
    if frames.ndim != 4:
        raise ValueError(f"{path}: frames must be uint8 (N, H, W, 3), got {frames.dtype} {frames.shape}")
    with VideoWriter(path, width=frames.shape[2], height=frames.shape[1], fps=fps, **options) as writer:
        writer.write(frames)
