"""Training of the autoencoders that take a generator's fingerprint out of pictures, on real faces only."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam

from dfd.base.errors import ConfigError
from dfd.models.networks.systems.autoencoder import SHRINKS, Autoencoder, resynthesised

_LEAST_MSE = 1e-10


NUM_PATCHES = 8
"""Patches of a batch."""


@dataclass(frozen=True, slots=True)
class Resynthesis:
    """Options of the training.

    The loss (mean squared error), the optimizer (Adam) and the rate are the paper's. It trains on batches of 128 whole
    pictures of 224 px for 100 epochs. Here batches are patches of the crops at their own resolution, so that
    resampling adds no trace: the network is fully convolutional, and patches need a tenth of the time.

    Raises:
        ConfigError: an option is out of range.
    """

    num_steps: int = 5000
    batch_size: int = NUM_PATCHES
    patch: int = 64
    """Side of a patch in pixels; smaller where the crops are."""
    rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "patch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.patch % SHRINKS:
            raise ConfigError(f"patch must be divisible by {SHRINKS}, got {self.patch}")
        if not self.rate > 0:
            raise ConfigError(f"rate must be above 0, got {self.rate}")


def fit_autoencoder(
    pictures_NCHW: Tensor,
    code_size: int,
    options: Resynthesis,
    *,
    on_step: Callable[[float], None] = lambda loss: None,
    device: torch.device | str = "cpu",
) -> Autoencoder:
    """Train an autoencoder on random patches of pictures, uint8 (N, 3, H, W), mirrored half of the time.

    Equal arguments give equal weights on one machine.

    Args:
        pictures_NCHW: real faces, all of one size.
        code_size: channels of the code.
        options: options of the training.
        on_step: called after each step with its loss.
        device: where to train.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        ConfigError: the pictures are smaller than 8 px.
    """
    side = min(options.patch, *pictures_NCHW.shape[-2:]) // SHRINKS * SHRINKS
    if not side:
        raise ConfigError(f"the autoencoder needs crops of {SHRINKS} px and more, got {tuple(pictures_NCHW.shape)}")
    generator = torch.Generator().manual_seed(options.seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)
        network = Autoencoder(code_size).to(device).train()
    optimizer = Adam(network.parameters(), lr=options.rate)
    for _ in range(options.num_steps):
        patches_NCHW = _patches(pictures_NCHW, options.batch_size, side, generator).to(device).float().div(255)
        loss = F.mse_loss(network(patches_NCHW), patches_NCHW)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        on_step(float(loss.detach()))
    return network.cpu().eval()


def psnr_of(network: Autoencoder, pictures_NCHW: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of each picture, uint8 (N, 3, H, W), after the autoencoder."""
    difference_NCHW = (resynthesised(network, pictures_NCHW).float() - pictures_NCHW.float()) / 255
    mse_N = difference_NCHW.square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_MSE)
    values: list[float] = (-10 * mse_N.log10()).tolist()
    return values


def _patches(pictures_NCHW: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    height, width = pictures_NCHW.shape[-2:]
    patches = []
    for number in torch.randint(len(pictures_NCHW), (count,), generator=generator).tolist():
        top = int(torch.randint(height - side + 1, (), generator=generator))
        left = int(torch.randint(width - side + 1, (), generator=generator))
        patch = pictures_NCHW[number, :, top : top + side, left : left + side]
        patches.append(patch.flip(-1) if torch.rand((), generator=generator) < 0.5 else patch)
    return torch.stack(patches)
