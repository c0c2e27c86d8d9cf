"""Augmentation of the example: a function or module of one clip, uint8 ``(T, C, H, W)``, that keeps shape and type."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ChannelShuffle(nn.Module):
    """Puts the colour channels of a clip into another order, the same in all frames.

    Args:
        prob: how often.
    """

    def __init__(self, *, prob: float = 0.5) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Shuffle the channels; the draws come from torch's generator, which dfd seeds for each clip."""
        if float(torch.rand(())) >= self.prob:
            return frames_TCHW
        return frames_TCHW[:, torch.randperm(frames_TCHW.shape[1])].contiguous()

    def together(self, clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Shuffle the channels and leave landmarks and masks (``data.landmarks=true``), as no pixel is moved."""
        return {**clip, "frames": self(clip["frames"])}
