"""What happens to a video on its way through platforms and phones: disturbances of whole clips, at rising strength.

Each is a function of a clip, uint8 (T, 3, H, W), a strength and a generator, and gives a clip of the same shape and
type; nothing else decides what it does. :data:`DISTURBANCES` has those that a detector is tested under, with five
levels each; :mod:`dfd.data.transforms` draws from the same functions in training.

H.264 and HEVC are encoded and decoded by x264 and x265 themselves, frames after the first from those before them, as in
the files that people pass on: blocks, lost detail and smeared motion differ from what JPEG does to each frame.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dfd.errors import DisturbanceError
from dfd.types import FrameArray

NUM_LEVELS = 5
PLATFORM_CRF = 28
"""x264's quality for every rung of ``platform``: what is passed on is small as well as compressed."""
_TIME_BASE = Fraction(1, 25)  # the rate matters to the encoders' rate control only, and crf has none


@dataclass(frozen=True, slots=True)
class _Codec:
    encoder: str
    decoder: str
    options: dict[str, str]
    min_side: int


# One thread and no look at neighbours' rows, so that the same clip gives the same pixels in every run; `mbtree` reads
# past the end of narrow rows (see dfd.video.encode). x265 refuses sides below 16, and writes past the end of its memory
# at 48 x 48 and below (x265 of PyAV 18.1.0, found with glibc's MALLOC_CHECK_; not at 50 x 50 and above).
CODECS = {
    "h264": _Codec("libx264", "h264", {"x264-params": "mbtree=0"}, 16),
    "hevc": _Codec("libx265", "hevc", {"x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0"}, 64),
}
"""By the name of the format: which encoder writes it and which decoder reads it."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One way in which a clip is changed.

    Raises:
        ValueError: there are not ``NUM_LEVELS`` levels.
    """

    name: str
    strength: str
    """What the numbers of ``levels`` are."""
    levels: tuple[float, ...]
    """The strength of level 1, 2, ...: each is further from the clip than the one before. Level 0 is the clip."""
    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    """From uint8 (T, 3, H, W) and a strength to the same shape and type."""
    codec: str | None = None
    """The name in ``CODECS`` that it needs."""

    def __post_init__(self) -> None:
        if len(self.levels) != NUM_LEVELS:
            raise ValueError(f"{self.name} must have {NUM_LEVELS} levels, got {self.levels}")

    def at(self, level: int) -> float | None:
        """The strength of a level; None at level 0.

        Raises:
            ValueError: there is no such level.
        """
        if not 0 <= level <= NUM_LEVELS:
            raise ValueError(f"a level is from 0 to {NUM_LEVELS}, got {level}")
        return self.levels[level - 1] if level else None


@dataclass(frozen=True, slots=True)
class Disturb:
    """A disturbance at a level, for a data set of clips.

    What is drawn (the noise) depends on the disturbance and on the name of the clip alone: it is the same at every
    level, so that levels differ in strength and in nothing else, and in every run.
    """

    name: str
    level: int

    def __call__(self, frames_TCHW: Tensor, clip: str) -> Tensor:
        """The clip called ``clip``, uint8 (T, 3, H, W), disturbed.

        Raises:
            DisturbanceError: an encoder is missing, or failed.
        """
        disturbance = DISTURBANCES[self.name]
        strength = disturbance.at(self.level)
        if strength is None:
            return frames_TCHW
        digest = hashlib.sha256(f"{self.name}\0{clip}".encode(errors="surrogateescape")).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return disturbance.apply(frames_TCHW, strength, generator)


def recode(frames_TCHW: Tensor, *, codec: str, crf: int) -> Tensor:
    """Encode a clip and decode it again, in memory: 4:2:0, BT.709, preset ``veryfast``.

    A side that is odd, or too short for the encoder (16 pixels; x265: 64), is filled up with its last row of pixels for
    it, and cut off again.

    Args:
        frames_TCHW: uint8 (T, 3, H, W), RGB, T at least 1.
        codec: ``h264`` or ``hevc``.
        crf: constant rate factor, 0 to 51; of two encoders, equal numbers are not equal qualities.

    Raises:
        ValueError: ``codec`` or ``crf`` is out of range, or the clip is of another shape or type.
        DisturbanceError: the encoder is missing, or gave back another number of frames.
    """
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}")
    if not 0 <= crf <= 51:
        raise ValueError(f"crf must be from 0 to 51, got {crf}")
    _check_clip(frames_TCHW)
    height, width = frames_TCHW.shape[-2:]
    right, below = (max(CODECS[codec].min_side, side + side % 2) - side for side in (width, height))
    frames = frames_TCHW
    if right or below:
        frames = F.pad(frames.float(), (0, right, 0, below), mode="replicate").to(torch.uint8)
    decoded = _recode(frames.permute(0, 2, 3, 1).contiguous().numpy(), CODECS[codec], crf)
    if len(decoded) != len(frames_TCHW):
        raise DisturbanceError(
            f"{CODECS[codec].encoder} gave back {len(decoded)} of {len(frames_TCHW)} frames of {width} x {height} "
            f"pixels at crf {crf}"
        )
    return torch.from_numpy(decoded)[:, :height, :width].permute(0, 3, 1, 2).contiguous()


def resized(frames_TCHW: Tensor, scale: float, *, codec: str | None = None, crf: int = PLATFORM_CRF) -> Tensor:
    """A clip made smaller and brought back to its size; with ``codec``, encoded in between, as platforms do.

    Down by an antialiased bicubic filter, the default of FFmpeg's scaler; up by a bilinear one, as players do. A side
    keeps at least one pixel.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        scale: of the sides, above 0 and at most 1.
        codec: as in :func:`recode`, with its ``crf``; None: none.
        crf: of that encoding.

    Raises:
        ValueError: ``scale`` is out of range, or as in :func:`recode`.
        DisturbanceError: as in :func:`recode`.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be above 0 and at most 1, got {scale}")
    _check_clip(frames_TCHW)
    size = list(frames_TCHW.shape[-2:])
    if scale == 1:
        return frames_TCHW if codec is None else recode(frames_TCHW, codec=codec, crf=crf)
    small = tv.resize(
        frames_TCHW, [max(1, round(side * scale)) for side in size], InterpolationMode.BICUBIC, antialias=True
    )
    if codec is not None:
        small = recode(small, codec=codec, crf=crf)
    whole: Tensor = tv.resize(small, size, InterpolationMode.BILINEAR, antialias=True)
    return whole


def blurred(frames_TCHW: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, ``sigma`` in pixels, over a kernel that reaches three of them to each side.

    Raises:
        ValueError: ``sigma`` is not positive, or the clip is of another shape or type.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    _check_clip(frames_TCHW)
    smooth: Tensor = tv.gaussian_blur(frames_TCHW, [2 * max(1, round(3 * sigma)) + 1] * 2, [sigma, sigma])
    return smooth


def noisy(frames_TCHW: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of deviation ``std``, in levels of 255, drawn anew for each frame, pixel and colour.

    Of one strength throughout the clip; it is new in each frame, as a sensor's is.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        std: 0 or more.
        generator: of the draw; None: torch's global one.

    Raises:
        ValueError: ``std`` is negative, or the clip is of another shape or type.
    """
    if not std >= 0:
        raise ValueError(f"std must be at least 0, got {std}")
    _check_clip(frames_TCHW)
    noise = torch.randn(frames_TCHW.shape, generator=generator)
    return frames_TCHW.float().add_(noise, alpha=std).round_().clamp_(0, 255).to(torch.uint8)


def with_gamma(frames_TCHW: Tensor, gamma: float) -> Tensor:
    """Each value ``x`` of 0..1 becomes ``x ** gamma``: darker above 1, brighter below.

    Raises:
        ValueError: ``gamma`` is not positive, or the clip is of another shape or type.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, got {gamma}")
    _check_clip(frames_TCHW)
    curve = (torch.arange(256).div(255) ** gamma * 255).round().to(torch.uint8)
    return curve[frames_TCHW.long()]


def jpeg(frames_TCHW: Tensor, quality: int) -> Tensor:
    """Each frame as a JPEG of ``quality`` 1 to 100, decoded again.

    Raises:
        ValueError: ``quality`` is out of range, or the clip is of another shape or type.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    _check_clip(frames_TCHW)
    compressed: Tensor = tv.jpeg(frames_TCHW, quality)
    return compressed


# Level 5 is what is still met: a face in a 144p copy, a video that was passed on many times, a dark room. The scales of
# `platform` are those from 1080 lines to 720, 480, 360, 240 and 144.
_ALL = (
    Disturbance(
        "h264", "crf", (23, 28, 33, 38, 43), lambda x, strength, _: recode(x, codec="h264", crf=int(strength)), "h264"
    ),
    # x265's 28 should look like x264's 23 (FFmpeg's wiki, Encode/H.265).
    Disturbance(
        "hevc", "crf", (28, 32, 36, 40, 44), lambda x, strength, _: recode(x, codec="hevc", crf=int(strength)), "hevc"
    ),
    Disturbance(
        "platform", "scale", (0.667, 0.444, 0.333, 0.222, 0.133), lambda x, s, _: resized(x, s, codec="h264"), "h264"
    ),
    Disturbance("scale", "scale", (0.667, 0.5, 0.333, 0.222, 0.15), lambda x, strength, _: resized(x, strength)),
    Disturbance("blur", "sigma", (0.5, 1.0, 1.5, 2.0, 3.0), lambda x, strength, _: blurred(x, strength)),
    Disturbance("noise", "std", (4, 8, 12, 20, 30), noisy),
    Disturbance("jpeg", "quality", (80, 60, 40, 25, 12), lambda x, strength, _: jpeg(x, int(strength))),
    Disturbance("gamma", "gamma", (1.2, 1.4, 1.7, 2.0, 2.5), lambda x, strength, _: with_gamma(x, strength)),
)
DISTURBANCES = {disturbance.name: disturbance for disturbance in _ALL}
"""By name; the order is that of tables and figures."""


def chosen(names: Sequence[str] | None) -> list[Disturbance]:
    """The disturbances of these names, in their order; None: all.

    Raises:
        ValueError: there is no such disturbance, or none is named.
        DisturbanceError: this PyAV cannot encode for one of them.
    """
    unknown = [name for name in names or () if name not in DISTURBANCES]
    if unknown or (names is not None and not names):
        raise ValueError(f"disturbances must be some of {', '.join(DISTURBANCES)}, got {', '.join(unknown) or 'none'}")
    found = [DISTURBANCES[name] for name in dict.fromkeys(DISTURBANCES if names is None else names)]
    for disturbance in found:
        if disturbance.codec is not None:
            check_encoder(disturbance.codec)
    return found


def check_encoder(codec: str) -> None:
    """Find out before the work begins whether a format can be written.

    Raises:
        ValueError: there is no such format.
        DisturbanceError: this PyAV was built without its encoder.
    """
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}")
    _encoder(CODECS[codec])


def _encoder(codec: _Codec) -> VideoCodecContext:
    try:
        context = av.CodecContext.create(codec.encoder, "w")
    except UnknownCodecError as error:
        raise DisturbanceError(
            f"PyAV {av.__version__} has no encoder {codec.encoder}, so nothing can be encoded as {codec.decoder}; "
            "install PyAV's own wheel (pip install --force-reinstall av), or leave out what needs it: codec_names of "
            "an augmentation, disturbances of an evaluation"
        ) from error
    assert isinstance(context, VideoCodecContext)
    return context


def _recode(frames: FrameArray, codec: _Codec, crf: int) -> FrameArray:
    """Frames (T, H, W, 3), of even sides, as the decoder gives them back; whatever their number."""
    encoder = _encoder(codec)
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base, encoder.framerate = _TIME_BASE, 1 / _TIME_BASE
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", **codec.options}
    decoder = av.CodecContext.create(codec.decoder, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoded: list[VideoFrame] = []
    try:
        for place in range(len(frames) + 1):
            frame = None
            if place < len(frames):
                frame = VideoFrame.from_ndarray(frames[place], format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
                frame.pts, frame.time_base = place, _TIME_BASE
            for packet in encoder.encode(frame):
                decoded += decoder.decode(packet)
        decoded += decoder.decode(None)
    except FFmpegError as error:
        raise DisturbanceError(
            f"{codec.encoder} failed on {len(frames)} frames of {frames.shape[2]} x {frames.shape[1]} pixels at crf "
            f"{crf}: {error}"
        ) from error
    # The frame itself says BT.601 or nothing, as it does not come from a file.
    rgb = [frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray() for frame in decoded]
    return np.stack(rgb).astype(np.uint8, copy=False) if rgb else frames[:0]


def _check_clip(frames_TCHW: Tensor) -> None:
    if frames_TCHW.dtype != torch.uint8 or frames_TCHW.ndim != 4 or frames_TCHW.shape[1] != 3 or not len(frames_TCHW):
        raise ValueError(
            f"a clip must be uint8 (T, 3, H, W) with a frame at least, got {frames_TCHW.dtype} "
            f"{tuple(frames_TCHW.shape)}"
        )
