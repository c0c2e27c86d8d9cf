"""Augmentations that move pixels, and landmarks and masks with them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv


class Moving(nn.Module, ABC):
    """Step that moves pixels, applied with a probability."""

    def __init__(self, prob: float) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, frames_TCHW: Tensor) -> Tensor:
        """Move the clip's pixels; keeps shape and type."""
        return self.together({"frames": frames_TCHW})["frames"]

    def together(self, clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Move ``frames`` (T, C, H, W), and ``landmarks`` (T, 5, 2) and ``masks`` (T, H, W) with them."""
        return self.moved(clip) if float(torch.rand(1)) < self.prob else dict(clip)

    @abstractmethod
    def moved(self, clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Move all parts of a clip with one draw."""


class Mirror(Moving):
    """Horizontal flip, after which the left eye is the one that was the right eye."""

    MIRRORED = (1, 0, 2, 4, 3)
    """Landmarks of :class:`dfd.base.types.FaceBox` in the order that they have in a mirror."""

    def moved(self, clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Flip all parts of a clip."""
        parts = {name: part if name == "landmarks" else part.flip(-1) for name, part in clip.items()}
        if "landmarks" in parts:
            x, y = parts["landmarks"][:, self.MIRRORED].unbind(-1)
            parts["landmarks"] = torch.stack([clip["frames"].shape[-1] - x, y], dim=-1)
        return parts


class ResizedCrop(Moving):
    """torchvision's RandomResizedCrop, resized to the clip's own size."""

    def __init__(self, scale: tuple[float, float], ratio: tuple[float, float], prob: float = 1.0) -> None:
        super().__init__(prob)
        self.scale = scale
        self.ratio = ratio

    def moved(self, clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Crop all parts of a clip alike, and resize them to the size that it had."""
        size = list(clip["frames"].shape[-2:])
        box = v2.RandomResizedCrop(size, self.scale, self.ratio).make_params([clip["frames"]])
        parts = {
            name: part if name == "landmarks" else tv.resized_crop(part, **box, size=size, antialias=True)
            for name, part in clip.items()
        }
        if "landmarks" in parts:
            corner, extent = (torch.tensor([box[x], box[y]]) for x, y in (("left", "top"), ("width", "height")))
            zoom = torch.tensor(size[::-1]) / extent
            parts["landmarks"] = (parts["landmarks"] - corner) * zoom
        return parts
