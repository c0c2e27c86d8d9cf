"""Disturbances of whole clips at rising strength, like those that platforms and phones apply to videos.

Each is a deterministic function of a clip, uint8 (T, 3, H, W), a strength and a generator, and returns a clip of the
same shape and type. :data:`DISTURBANCES` lists those that detectors are tested under, with five levels each;
:mod:`dfd.data.augment.transforms` uses the same functions in training.

H.264 and HEVC clips are encoded by x264 and x265 themselves, with inter-frame prediction as in shared files: the
blocks, lost detail and smeared motion differ from what JPEG does to each frame.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dfd.base.names import plugins
from dfd.data.augment.fingerprint import HOW, without_fingerprint
from dfd.data.augment.recode import _check_clip, check_encoder, recode
from dfd.models.networks.systems.autoencoder import CODE_SIZES, autoencoders_sha256, read_autoencoders

NUM_LEVELS = 5
PLATFORM_CRF = 28
"""x264 CRF at every level of ``platform``: shared videos are both smaller and more compressed."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One way to change a clip.

    Raises:
        ValueError: ``levels`` does not have ``NUM_LEVELS`` entries.
    """

    name: str
    strength: str
    """Name of the quantity in ``levels``."""
    levels: tuple[float, ...]
    """Strength of levels 1, 2, ..., in order of increasing change. Level 0 is the unchanged clip."""
    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    """Function of a clip, uint8 (T, 3, H, W), a strength and a generator; keeps shape and type."""
    codec: str | None = None
    """Required codec, a key of ``CODECS``."""
    weights: str | None = None
    """File of autoencoders, of the disturbance ``fingerprint``."""

    def __post_init__(self) -> None:
        if len(self.levels) != NUM_LEVELS:
            raise ValueError(f"{self.name} must have {NUM_LEVELS} levels, got {self.levels}")

    def at(self, level: int) -> float | None:
        """Strength of a level; None at level 0.

        Raises:
            ValueError: ``level`` is not from 0 to ``NUM_LEVELS``.
        """
        if not 0 <= level <= NUM_LEVELS:
            raise ValueError(f"a level is from 0 to {NUM_LEVELS}, got {level}")
        return self.levels[level - 1] if level else None

    def disturb(self, level: int) -> "Disturb":
        """The disturbance at one level."""
        return Disturb(self.name, level, self.weights)

    @property
    def version(self) -> str:
        """Hash of the weights, on which the result depends; empty without weights."""
        return "" if self.weights is None else autoencoders_sha256(self.weights)[:16]


@dataclass(frozen=True, slots=True)
class Disturb:
    """A disturbance at one level, for a data set of clips.

    Random draws (the noise) depend only on the disturbance and the clip's name. They are the same in every run and at
    every level, so levels differ in strength only.
    """

    name: str
    level: int
    weights: str | None = None
    """File of autoencoders, of the disturbance ``fingerprint``."""

    def __call__(self, frames_TCHW: Tensor, clip: str) -> Tensor:
        """Disturb the clip named ``clip``, uint8 (T, 3, H, W).

        Raises:
            DisturbanceError: an encoder is missing or failed.
            CheckpointError: the file of autoencoders cannot be read.
        """
        disturbance = by_name(self.weights)[self.name]
        strength = disturbance.at(self.level)
        if strength is None:
            return frames_TCHW
        digest = hashlib.sha256(f"{self.name}\0{clip}".encode(errors="surrogateescape")).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return disturbance.apply(frames_TCHW, strength, generator)


def resized(frames_TCHW: Tensor, scale: float, *, codec: str | None = None, crf: int = PLATFORM_CRF) -> Tensor:
    """Downscale a clip and scale it back; with ``codec``, encode the small version in between, as platforms do.

    Downscaling is antialiased bicubic, FFmpeg's default; upscaling is bilinear, as in players. Each side keeps at
    least one pixel.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        scale: factor for both sides, above 0 and at most 1.
        codec: codec name as in :func:`~dfd.data.augment.recode.recode`; None skips encoding.
        crf: constant rate factor of the encoding.

    Raises:
        ValueError: ``scale`` is out of range, or as in :func:`~dfd.data.augment.recode.recode`.
        DisturbanceError: as in :func:`~dfd.data.augment.recode.recode`.
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
    """Gaussian blur with ``sigma`` in pixels and a kernel radius of three sigma.

    Raises:
        ValueError: ``sigma`` is not positive, or the clip has another shape or type.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    _check_clip(frames_TCHW)
    smooth: Tensor = tv.gaussian_blur(frames_TCHW, [2 * max(1, round(3 * sigma)) + 1] * 2, [sigma, sigma])
    return smooth


def noisy(frames_TCHW: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise, drawn independently for each frame, pixel and channel, like a sensor's.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        std: standard deviation in levels of 255, 0 or more; the same for the whole clip.
        generator: source of randomness; None uses torch's global generator.

    Raises:
        ValueError: ``std`` is negative, or the clip has another shape or type.
    """
    if not std >= 0:
        raise ValueError(f"std must be at least 0, got {std}")
    _check_clip(frames_TCHW)
    noise = torch.randn(frames_TCHW.shape, generator=generator)
    return frames_TCHW.float().add_(noise, alpha=std).round_().clamp_(0, 255).to(torch.uint8)


def with_gamma(frames_TCHW: Tensor, gamma: float) -> Tensor:
    """Map each value ``x`` in 0..1 to ``x ** gamma``: darker above 1, brighter below.

    Raises:
        ValueError: ``gamma`` is not positive, or the clip has another shape or type.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, got {gamma}")
    _check_clip(frames_TCHW)
    curve = (torch.arange(256).div(255) ** gamma * 255).round().to(torch.uint8)
    return curve[frames_TCHW.long()]


def jpeg(frames_TCHW: Tensor, quality: int) -> Tensor:
    """Encode each frame as a JPEG of ``quality`` 1 to 100 and decode it.

    Raises:
        ValueError: ``quality`` is out of range, or the clip has another shape or type.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    _check_clip(frames_TCHW)
    compressed: Tensor = tv.jpeg(frames_TCHW, quality)
    return compressed


# Level 5 is the worst that is still common: a face in a 144p copy, a video reshared many times, a dark room. The scales
# of `platform` lead from 1080 lines to 720, 480, 360, 240 and 144.
_ALL = (
    Disturbance(
        "h264", "crf", (23, 28, 33, 38, 43), lambda x, strength, _: recode(x, codec="h264", crf=int(strength)), "h264"
    ),
    # x265 at CRF 28 should look like x264 at 23 (FFmpeg's wiki, Encode/H.265).
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
"""Disturbances by name, in the order of tables and figures."""


FINGERPRINT = "fingerprint"
"""Disturbance that needs weights: GANprintR's autoencoders with codes of 256 to 4 channels."""


def by_name(fingerprint_weights: str | None = None) -> dict[str, Disturbance]:
    """All disturbances: dfd's, and those of plug-ins, each the result of a function without arguments.

    A plug-in's is called by the dotted name of that function, whatever ``name`` says.

    Args:
        fingerprint_weights: file of the autoencoders; None: without ``fingerprint``.
    """
    own = dict(DISTURBANCES)
    if fingerprint_weights is not None:
        file = fingerprint_weights
        own[FINGERPRINT] = Disturbance(
            *(FINGERPRINT, "code size", CODE_SIZES, lambda x, strength, _: without_fingerprint(x, int(strength), file)),
            weights=file,
        )
    others = {name: replace(make(), name=name) for name, make in plugins.parts("disturbance").items()}
    return {**own, **others}


def chosen(names: Sequence[str] | None, *, fingerprint_weights: str | Path | None = None) -> list[Disturbance]:
    """Disturbances with the given names, in the given order; None returns all of dfd's.

    Args:
        names: names of disturbances; a plug-in's are dotted.
        fingerprint_weights: file of the autoencoders of ``fingerprint``, which is left out without.

    Raises:
        ValueError: a name is unknown, or ``names`` is empty, or ``fingerprint`` has no weights.
        CheckpointError: the file of autoencoders is missing or damaged, or lacks one of the code sizes.
        DisturbanceError: the installed PyAV lacks an encoder that one of them needs.
    """
    file = None if fingerprint_weights is None else str(fingerprint_weights)
    if file is None and FINGERPRINT in (names or ()):
        raise ValueError(f"the disturbance fingerprint needs the weights of autoencoders: {HOW}")
    known = by_name(file)
    unknown = [name for name in names or () if name not in known]
    if unknown or (names is not None and not names):
        hint = next((f"; {plugins.remedy(name)}" for name in unknown if "." in name), "")
        listed = ", ".join(dict.fromkeys([*known, FINGERPRINT]))
        raise ValueError(f"disturbances must be some of {listed}, got {', '.join(unknown) or 'none'}{hint}")
    found = [
        known[name]
        for name in dict.fromkeys([*known][: len(DISTURBANCES) + (file is not None)] if names is None else names)
    ]
    for disturbance in found:
        for code_size in disturbance.levels if disturbance.weights is not None else ():
            read_autoencoders(disturbance.weights or "").of_size(int(code_size))
        if disturbance.codec is not None:
            check_encoder(disturbance.codec)
    return found
