"""Removal of a generator's fingerprint from clips, by the autoencoders that ``dfd fingerprint`` has trained."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dfd.data.augment.recode import _check_clip
from dfd.models.networks.systems.autoencoder import read_autoencoders, resynthesised

HOW = "make them with dfd fingerprint store=DIR output=FILE, and give fingerprint_weights=FILE"


def without_fingerprint(frames_TCHW: Tensor, code_size: int, weights: str | Path) -> Tensor:
    """Pass a clip, uint8 (T, 3, H, W), through the autoencoder with this code size.

    Raises:
        CheckpointError: the file of weights is missing or damaged, or has no such autoencoder.
        ValueError: the clip has another shape or type.
    """
    _check_clip(frames_TCHW)
    return resynthesised(read_autoencoders(weights).of_size(code_size), frames_TCHW)


class RandomAutoencoder(nn.Module):
    """One of the autoencoders of a file, drawn for each clip.

    Raises:
        CheckpointError: the file is missing or damaged.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        self.weights = weights
        self.code_sizes = [*read_autoencoders(weights).networks]

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Pass the clip through an autoencoder; keeps shape and type."""
        drawn = int(torch.randint(len(self.code_sizes), ()))
        return without_fingerprint(frames_TCHW, self.code_sizes[drawn], self.weights)
