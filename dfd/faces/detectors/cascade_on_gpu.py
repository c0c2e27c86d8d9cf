"""The three networks of MTCNN on a GPU, in torch; :mod:`dfd.faces.detectors.cascade` computes the same on a CPU."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from dfd.base.types import FloatArray
from dfd.faces.detectors.cascade import Layout, parts_of
from dfd.faces.detectors.device import check_device


class TorchNetwork:
    """A network of the cascade on ``device``; takes and gives arrays as :class:`dfd.faces.detectors.cascade.Network`.

    Args:
        layout: its layers.
        weights: of the file, by their names in it without the network's.
        device: where it computes.
    """

    def __init__(self, layout: Layout, weights: dict[str, Tensor], device: torch.device) -> None:
        self.layout, self.device = layout, device
        self.weights = {name: weight.to(device) for name, weight in weights.items()}

    @torch.inference_mode()
    def __call__(self, x_KHWC: FloatArray) -> list[FloatArray]:
        """Compute all outputs but the first, and then that one as probabilities ``(..., 2)``."""
        x = torch.from_numpy(x_KHWC).to(self.device).permute(0, 3, 1, 2)
        for number, pool in enumerate(self.layout.pools, 1):
            x = F.conv2d(x, self.weights[f"conv{number}.weight"], self.weights[f"conv{number}.bias"])
            x = F.prelu(x, self.weights[f"prelu{number}.weight"])
            if pool:
                x = F.max_pool2d(x, pool, 2, ceil_mode=True)
        x = x.permute(0, 2, 3, 1)
        if (number := self.layout.dense or 0) > 0:
            flat = x.transpose(1, 2).flatten(1)  # columns first, as in training
            x = F.prelu(self._linear(flat, f"dense{number}"), self.weights[f"prelu{number}.weight"])
        logits, *others = (self._linear(x, name) for name in self.layout.outputs)
        return [output.cpu().numpy() for output in (*others, logits.softmax(dim=-1))]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"].flatten(1), self.weights[f"{name}.bias"])


def load_networks_on(device: str, path: Path) -> list[Any]:
    """The three networks of a file of weights, in their order, on a device.

    Raises:
        ConfigError: when torch does not know or see the device.
    """
    check_device(device)
    return [TorchNetwork(layout, parts, torch.device(device)) for layout, parts in parts_of(load_file(path))]
