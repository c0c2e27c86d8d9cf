"""GANprintR's autoencoder (Neves and others 2020, arXiv 1911.05351), trained on real faces only.

A picture that passes through it keeps its content and loses the fine regular traces of the generator or of the
up-sampling that made it. The smaller its code, the more is lost.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import CheckpointError
from dfd.base.files import file_sha256, write_bytes
from dfd.base.untrusted import decode, parse_json, refuse_other_than_plain
from dfd.models.tensor_files import load_exactly, read_tensor_file, refuse_hollow

CODE_SIZE = 32
"""Channels of the code in the paper."""
CODE_SIZES = (256, 64, 32, 8, 4)
"""Code sizes of a robustness evaluation, in order of increasing loss."""
SHRINKS = 8
"""Factor from the side of a picture to that of its code."""
CARD_KEY = "dfd_autoencoders"
"""Key of the card in the header of the file."""
MAX_CODE_SIZE = 1024
MAX_AUTOENCODERS = 16
"""In one file."""
_FIRST_BIAS = 0.5
_FRAMES_AT_ONCE = 16


class Autoencoder(nn.Module):
    """Maps pictures ``(N, 3, H, W)`` in 0..1 to their reconstructions of the same shape, 0 or more.

    Four 3x3 convolutions to 32, 64, 128 and ``code_size`` channels, with max-pooling after the first three; then their
    mirror, in which each un-pooling puts values where the pooling of the same size has found its maxima. A ReLU follows
    each layer, the last one included. The paper is silent about the first weights: they are He's, except that the
    last bias is 0.5, as otherwise that ReLU can leave a colour without a gradient.

    Args:
        code_size: channels of the code.

    Raises:
        ValueError: it is not a whole number from 1 to ``MAX_CODE_SIZE``.
    """

    def __init__(self, code_size: int = CODE_SIZE) -> None:
        super().__init__()
        if isinstance(code_size, bool) or not isinstance(code_size, int) or not 1 <= code_size <= MAX_CODE_SIZE:
            raise ValueError(f"code_size must be a whole number from 1 to {MAX_CODE_SIZE}, got {code_size!r}")
        self.code_size = code_size
        widths = (3, 32, 64, 128, code_size)
        steps = [*pairwise(widths)]
        self.encoder = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in steps])
        self.decoder = nn.ModuleList([nn.ConvTranspose2d(b, a, 3, padding=1) for a, b in reversed(steps)])
        for layer in [*self.encoder, *self.decoder]:
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            assert layer.bias is not None
            mode: Literal["fan_in", "fan_out"] = (
                "fan_in" if isinstance(layer, nn.Conv2d) else "fan_out"
            )  # of torch's axes
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            nn.init.constant_(layer.bias, _FIRST_BIAS if layer is self.decoder[-1] else 0)

    def encode(self, images_NCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the code ``(N, code_size, H / 8, W / 8)``, and the places of the maxima, largest map first.

        Raises:
            ValueError: when a side of the pictures is not divisible by 8.
        """
        if any(side % SHRINKS for side in images_NCHW.shape[-2:]):
            height, width = images_NCHW.shape[-2:]
            raise ValueError(
                f"the autoencoder takes pictures with sides divisible by {SHRINKS}, got {width} x {height} px"
            )
        places = []
        hidden = images_NCHW
        for layer in self.encoder[:-1]:
            hidden, place = F.max_pool2d(layer(hidden).relu(), 2, return_indices=True)
            places.append(place)
        return self.encoder[-1](hidden).relu(), places

    def decode(self, code_NCHW: Tensor, places: list[Tensor]) -> Tensor:
        """Compute pictures ``(N, 3, H, W)`` of codes and the places of the maxima."""
        hidden: Tensor = self.decoder[0](code_NCHW).relu()
        for layer, place in zip(self.decoder[1:], reversed(places), strict=True):
            hidden = layer(F.max_unpool2d(hidden, place, [2, 2])).relu()
        return hidden

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute the reconstruction.

        Raises:
            ValueError: when a side of the pictures is not divisible by 8.
        """
        return self.decode(*self.encode(images_NCHW))


@torch.no_grad()
def resynthesised(autoencoder: Autoencoder, frames_TCHW: Tensor) -> Tensor:
    """Pass a clip, uint8 (T, 3, H, W), through an autoencoder, frame by frame; keeps shape and type.

    Sides that are not divisible by 8 are padded by repeating their last row, and cropped again.
    """
    height, width = frames_TCHW.shape[-2:]
    ends = (0, -width % SHRINKS, 0, -height % SHRINKS)
    parts = []
    for part in torch.split(frames_TCHW, _FRAMES_AT_ONCE):
        padded = F.pad(part.float().div(255), ends, mode="replicate")
        parts.append(autoencoder(padded)[..., :height, :width].mul(255).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class AutoencoderFacts:
    """How one autoencoder was trained, and what that came to.

    Raises:
        ValueError: an entry is out of range.
    """

    num_steps: Annotated[int, (0, 2**40)]
    psnr: float | None
    """On held-back real faces, in dB: the mean over pictures."""


@dataclass(frozen=True, slots=True)
class AutoencoderCard:
    """Card of a file of autoencoders."""

    autoencoders: Mapping[str, AutoencoderFacts]
    """By code size."""
    dfd_version: str
    data: Mapping[str, Any]
    """Store, hashes and numbers of pictures."""
    training: Mapping[str, Any]
    """Options of the training."""


@dataclass(frozen=True, slots=True)
class Autoencoders:
    """Autoencoders of one file by their code sizes, the largest first."""

    networks: Mapping[int, Autoencoder]
    card: AutoencoderCard

    def of_size(self, code_size: int) -> Autoencoder:
        """One of them.

        Raises:
            CheckpointError: the file has none of this code size.
        """
        if code_size not in self.networks:
            raise CheckpointError(
                f"there is no autoencoder with a code of {code_size} channels; the file has {_listed(self.networks)}: "
                "make them all with dfd fingerprint store=DIR output=FILE"
            )
        return self.networks[code_size]


def write_autoencoders(path: Path, autoencoders: Autoencoders) -> None:
    """Write the weights and the card as one ``.safetensors`` file, completely or not at all."""
    tensors = {
        f"{size}.{name}": tensor.detach().cpu().contiguous()
        for size, network in autoencoders.networks.items()
        for name, tensor in network.state_dict().items()
    }
    card = json.dumps(asdict(autoencoders.card), sort_keys=True, allow_nan=False)
    write_bytes(path, save(tensors, {CARD_KEY: card}))


def read_autoencoders(path: str | Path) -> Autoencoders:
    """Read a file of :func:`write_autoencoders`, in evaluation mode and without gradients; kept in memory once read.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind.
    """
    path = Path(path).expanduser()
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise CheckpointError(
            f"{path}: no file of autoencoders ({error.strerror}); dfd fingerprint store=DIR output={path} makes one"
        ) from error
    return _read(path, changed)


def autoencoders_sha256(path: str | Path) -> str:
    """The SHA-256 of a file of autoencoders, as hex digits."""
    return file_sha256(Path(path).expanduser())


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Autoencoders:
    try:
        tensors, header = read_tensor_file(path)
        if CARD_KEY not in header:
            raise ValueError("it has no card of autoencoders")
        refuse_hollow(tensors, path)
        plain = parse_json(header[CARD_KEY], finite=True)
        refuse_other_than_plain(plain, max_values=1000, max_characters=100_000)
        card = decode(AutoencoderCard, plain)
        sizes = sorted((int(size) for size in card.autoencoders), reverse=True)
        if len(sizes) > MAX_AUTOENCODERS:
            raise ValueError(f"it names more than {MAX_AUTOENCODERS} autoencoders")
        known = {f"{size}." for size in sizes}
        if others := [name for name in tensors if f"{name.partition('.')[0]}." not in known]:
            raise ValueError(f"it holds tensors of no autoencoder on its card, such as {others[0]}")
        networks = {}
        for size in sizes:
            networks[size] = Autoencoder(size).eval().requires_grad_(requires_grad=False)
            start = f"{size}."
            load_exactly(networks[size], {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not a file of autoencoders ({error}); dfd fingerprint store=DIR output=FILE makes one"
        ) from error
    return Autoencoders(networks, card)


def _listed(sizes: Mapping[int, Any]) -> str:
    return ", ".join(map(str, sizes)) or "none"
