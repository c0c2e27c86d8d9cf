"""Disturbances of whole clips at rising strength, like those that platforms, phones and people apply to videos.

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

from dfd.base.names import plugins
from dfd.data.augment.chains import CHAINS, Chain
from dfd.data.augment.changes import blurred, dropped, held, jpeg, mirror_cropped, noisy, resized, with_gamma
from dfd.data.augment.fingerprint import HOW, without_fingerprint
from dfd.data.augment.overlays import overlaid
from dfd.data.augment.recode import check_encoder, recode
from dfd.models.networks.systems.autoencoder import CODE_SIZES, autoencoders_sha256, read_autoencoders

NUM_LEVELS = 5


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
    chain: Chain | None = None
    """Steps of a chain, whose strengths are the levels 1, 2, ..."""
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
        """Hash of what the strength does not tell: the weights, or a chain's steps; empty without them."""
        if self.chain is not None:
            return hashlib.sha256(repr(self.chain.steps).encode()).hexdigest()[:8]
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
    Disturbance("frame_rate", "rate", (0.8, 0.5, 0.333, 0.25, 0.167), lambda x, strength, _: held(x, strength)),
    Disturbance("frame_drop", "fraction", (0.1, 0.2, 0.35, 0.5, 0.7), dropped),
    Disturbance("mirror_crop", "area", (0.9, 0.8, 0.7, 0.6, 0.5), mirror_cropped),
    Disturbance("overlay", "coverage", (0.06, 0.12, 0.2, 0.3, 0.4), overlaid),
)
_SINGLE = {disturbance.name: disturbance for disturbance in _ALL}
_STEPS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    **{name: disturbance.apply for name, disturbance in _SINGLE.items()},
    "crop": lambda x, strength, generator: mirror_cropped(x, strength, generator, mirror=False),
}
"""Functions that the steps of a chain name."""


def _along(chain: Chain) -> Callable[[Tensor, float, torch.Generator], Tensor]:
    """Function that takes a clip through the steps of a chain, whose strength is a level."""

    def apply(frames_TCHW: Tensor, level: float, generator: torch.Generator) -> Tensor:
        for name, strengths in chain.steps:
            frames_TCHW = _STEPS[name](frames_TCHW, strengths[int(level) - 1], generator)
        return frames_TCHW

    return apply


_CHAINED = [
    Disturbance(chain.name, "level", tuple(range(1, NUM_LEVELS + 1)), _along(chain), "h264", chain) for chain in CHAINS
]
DISTURBANCES = {**_SINGLE, **{disturbance.name: disturbance for disturbance in _CHAINED}}
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
