"""Encoding and decoding of clips in memory, as platforms re-encode videos."""

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

from dfd.base.errors import DisturbanceError
from dfd.base.types import FrameArray

_TIME_BASE = Fraction(1, 25)  # only rate control depends on it, and constant rate factor has none


@dataclass(frozen=True, slots=True)
class _Codec:
    encoder: str
    decoder: str
    options: dict[str, str]
    min_side: int


# One thread and no parallel rows, so that the same clip gives the same pixels in every run; `mbtree` reads past the end
# of narrow rows (see dfd.video.encode). x265 refuses sides below 16, and writes past the end of its memory at 48 x 48
# and below (x265 of PyAV 18.1.0, found with glibc's MALLOC_CHECK_; not at 50 x 50 and above).
CODECS = {
    "h264": _Codec("libx264", "h264", {"x264-params": "mbtree=0"}, 16),
    "hevc": _Codec("libx265", "hevc", {"x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0"}, 64),
}
"""Encoder, decoder and options by codec name."""


def recode(frames_TCHW: Tensor, *, codec: str, crf: int) -> Tensor:
    """Encode a clip and decode it again, in memory: 4:2:0, BT.709, preset ``veryfast``.

    A side that is odd or too short for the encoder (16 pixels; x265: 64) is padded by repeating its last row and
    cropped again after decoding.

    Args:
        frames_TCHW: uint8 (T, 3, H, W), RGB, T at least 1.
        codec: ``h264`` or ``hevc``.
        crf: constant rate factor, 0 to 51; equal values of different encoders do not mean equal quality.

    Raises:
        ValueError: ``codec`` or ``crf`` is out of range, or the clip has another shape or type.
        DisturbanceError: the encoder is missing or returned another number of frames.
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


def check_encoder(codec: str) -> None:
    """Check that the installed PyAV can encode with a codec, before any work begins.

    Raises:
        ValueError: the codec is unknown.
        DisturbanceError: PyAV was built without its encoder.
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
    """Encode and decode frames (T, H, W, 3) with even sides; the decoder may return another number of them."""
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
    # Decoded frames carry no colour space, since they do not come from a file.
    rgb = [frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray() for frame in decoded]
    return np.stack(rgb).astype(np.uint8, copy=False) if rgb else frames[:0]


def _check_clip(frames_TCHW: Tensor) -> None:
    if frames_TCHW.dtype != torch.uint8 or frames_TCHW.ndim != 4 or frames_TCHW.shape[1] != 3 or not len(frames_TCHW):
        raise ValueError(
            f"a clip must be uint8 (T, 3, H, W) with at least one frame, got {frames_TCHW.dtype} "
            f"{tuple(frames_TCHW.shape)}"
        )
