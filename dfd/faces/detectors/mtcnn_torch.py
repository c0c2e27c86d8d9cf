"""MTCNN's networks in torch, for GPUs; on a CPU :mod:`dfd.faces.detectors.mtcnn_networks` needs no torch."""

from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.faces.detectors.device import check_device
from dfd.faces.detectors.mtcnn_networks import WEIGHTS, Floats, Run


def load_networks(device: str) -> tuple[Run, Run, Run]:
    """P-net, R-net and O-net on this device.

    Raises:
        ConfigError: when torch does not know or see the device.
    """
    check_device(device)
    networks = nn.ModuleDict({"pnet": _pnet(), "rnet": _rnet(), "onet": _onet()})
    networks.load_state_dict(load_file(WEIGHTS))
    pnet, rnet, onet = networks.eval().requires_grad_(requires_grad=False).to(device).values()
    return _Running(pnet, device), _Running(rnet, device), _Running(onet, device)


class _Running:
    """A network that takes and gives arrays."""

    def __init__(self, network: nn.Module, device: str) -> None:
        self._network, self._device = network, device

    def __call__(self, pixels: Floats) -> list[Floats]:
        """Outputs for pictures ``(3, K, H, W)``; see :data:`dfd.faces.detectors.mtcnn_networks.Run`."""
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(1, 0, 2, 3))).to(self._device)
        with torch.inference_mode():
            outputs = self._network(batch)
        arrays = [output.cpu().numpy() for output in outputs]
        return [array.swapaxes(0, 1) if array.ndim == 4 else array for array in arrays]


class _Cascade(nn.Module):
    """Convolutions with PReLU, an optional dense layer, and a linear map for each output.

    ``layers`` are named as in the files of weights; the first of ``outputs`` gives two logits: no face, and face.
    """

    def __init__(self, layers: Mapping[str, nn.Module], outputs: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.num_layers = len(layers)
        for name, module in {**layers, **outputs}.items():
            self.add_module(name, module)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the other outputs, and then the first one as probabilities."""
        layers = list(self.children())
        x = pixels
        for layer in layers[: self.num_layers]:
            x = layer(x)
        prob, *others = (layer(x) for layer in layers[self.num_layers :])
        return *others, prob.softmax(dim=1)


class _Flatten(nn.Module):
    """Flattens ``(K, C, H, W)`` to ``(K, W * H * C)``, columns first, as in training."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


def _convolutions(
    *channels: int, kernels: tuple[int, ...], pools: tuple[nn.Module | None, ...]
) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    for number, (kernel, pool) in enumerate(zip(kernels, pools, strict=True), 1):
        layers[f"conv{number}"] = nn.Conv2d(channels[number - 1], channels[number], kernel)
        layers[f"prelu{number}"] = nn.PReLU(channels[number])
        if pool is not None:
            layers[f"pool{number}"] = pool
    return layers


def _dense(number: int, inputs: int, outputs: int) -> dict[str, nn.Module]:
    return {"flatten": _Flatten(), f"dense{number}": nn.Linear(inputs, outputs), f"prelu{number}": nn.PReLU(outputs)}


def _pool(kernel: int) -> nn.Module:
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)


def _pnet() -> _Cascade:
    layers = _convolutions(3, 10, 16, 32, kernels=(3, 3, 3), pools=(_PairPool(), None, None))
    return _Cascade(layers, {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)})


def _rnet() -> _Cascade:
    layers = _convolutions(3, 28, 48, 64, kernels=(3, 3, 2), pools=(_pool(3), _pool(3), None))
    return _Cascade(layers | _dense(4, 576, 128), {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)})


def _onet() -> _Cascade:
    layers = _convolutions(3, 32, 64, 64, 128, kernels=(3, 3, 3, 2), pools=(_pool(3), _pool(3), _pool(2), None))
    outputs = {f"dense6_{number}": nn.Linear(256, size) for number, size in ((1, 2), (2, 4), (3, 10))}
    return _Cascade(layers | _dense(5, 1152, 256), outputs)


class _PairPool(nn.Module):
    """``MaxPool2d(2, 2, ceil_mode=True)`` by strided slices: four times as fast on P-net's ten channels.

    >>> x = torch.rand(1, 2, 5, 8)
    >>> torch.equal(_PairPool()(x), nn.MaxPool2d(2, 2, ceil_mode=True)(x))
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        # If the last window reaches over the edge, the edge pixel is repeated; it is in the window already.
        x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")
        rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])
