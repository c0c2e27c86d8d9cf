"""MTCNN's networks in NumPy, so that a process that looks for faces on a CPU need not import torch.

Importing torch takes each process more than a second and 280 MB of its own; these three networks are as fast in NumPy
as the rest of the detector leaves them time to be. Arrays have the channels first and then the pictures, so that a
convolution is one matrix product over all pictures, and its input is collected row by row.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

WEIGHTS = Path(__file__).parent / "weights" / "mtcnn.safetensors"
Floats = NDArray[np.float32]
Run = Callable[[Floats], list[Floats]]
"""A network: pictures ``(3, K, H, W)`` in -1..1 to its outputs, the probabilities of no face and of a face last.

P-net gives maps ``(C, K, H, W)``: 4 offsets of a box and 2 probabilities. R-net gives ``(K, 4)`` and ``(K, 2)``, O-net
landmarks ``(K, 10)`` between them.
"""


def load_networks() -> tuple[Run, Run, Run]:
    """P-net, R-net and O-net."""
    arrays: dict[str, Floats] = load_file(WEIGHTS)

    def of(network: str) -> dict[str, Floats]:
        return {name.removeprefix(f"{network}."): array for name, array in arrays.items() if name.startswith(network)}

    return _Pnet(of("pnet")), _Classifier(of("rnet"), pools=(3, 3), dense=4), _Classifier(of("onet"), (3, 3, 2), 5)


class _Pnet:
    """Three convolutions, and one of 1 x 1 for each output."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._weights = weights

    def __call__(self, pixels: Floats) -> list[Floats]:
        x = _convolutions(pixels, self._weights, num_layers=3, pools=(2,))
        logits, offsets = (_convolution(x, self._weights, name) for name in ("conv4_1", "conv4_2"))
        return [offsets, _softmax(logits, axis=0)]


class _Classifier:
    """R-net or O-net: convolutions, a dense layer, and a linear map for each output."""

    def __init__(self, weights: Mapping[str, Floats], pools: Sequence[int], dense: int) -> None:
        self._weights, self._pools, self._dense = weights, pools, dense

    def __call__(self, pixels: Floats) -> list[Floats]:
        x = _convolutions(pixels, self._weights, num_layers=self._dense - 1, pools=self._pools)
        # Columns first, as in training.
        flat = x.transpose(1, 3, 2, 0).reshape(x.shape[1], -1)
        features = self._linear(flat, f"dense{self._dense}")
        features = _prelu(features, self._weights[f"prelu{self._dense}.weight"])
        names = sorted({name.partition(".")[0] for name in self._weights if f"dense{self._dense + 1}_" in name})
        logits, *others = (self._linear(features, name) for name in names)
        return [*others, _softmax(logits, axis=1)]

    def _linear(self, x: Floats, name: str) -> Floats:
        return np.asarray(x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"], np.float32)


def _convolutions(x: Floats, weights: Mapping[str, Floats], *, num_layers: int, pools: Sequence[int]) -> Floats:
    """Convolutions with PReLU, the first of them followed by maxima over so many pixels squared."""
    for number in range(1, num_layers + 1):
        x = _convolution(x, weights, f"conv{number}")
        x = _prelu(x, weights[f"prelu{number}.weight"][:, None, None, None])
        if number <= len(pools):
            x = _pool(x, pools[number - 1])
    return x


def _convolution(x: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    """Convolve ``(C, K, H, W)`` without padding."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    num_channels, num_inputs, height, width = kernel.shape
    _, number, rows, columns = x.shape
    rows, columns = rows - height + 1, columns - width + 1
    patches = np.empty((num_inputs, height, width, number, rows, columns), np.float32)
    for row in range(height):
        for column in range(width):
            patches[:, row, column] = x[:, :, row : row + rows, column : column + columns]
    product = kernel.reshape(num_channels, -1) @ patches.reshape(num_inputs * height * width, -1)
    product += bias[:, None]
    return np.asarray(product.reshape(num_channels, number, rows, columns), np.float32)


def _prelu(x: Floats, slopes: Floats) -> Floats:
    """``x`` where it is positive, else times its channel's slope; written over ``x``."""
    x += np.minimum(x, 0) * (slopes - 1)
    return x


def _pool(x: Floats, size: int) -> Floats:
    """Maxima over squares of ``size`` pixels, two apart; those over the edge count only what is inside."""
    rows, columns = (-(-(length - size) // 2) + 1 for length in x.shape[2:])
    height, width = 2 * (rows - 1) + size, 2 * (columns - 1) + size
    if (height, width) != x.shape[2:]:
        padded = np.full((*x.shape[:2], height, width), -np.inf, np.float32)
        padded[:, :, : x.shape[2], : x.shape[3]] = x
        x = padded
    highest = np.maximum(x[:, :, : 2 * rows - 1 : 2], x[:, :, 1 : 2 * rows : 2])
    if size == 3:
        np.maximum(highest, x[:, :, 2::2], out=highest)
    widest = np.maximum(highest[..., : 2 * columns - 1 : 2], highest[..., 1 : 2 * columns : 2])
    if size == 3:
        np.maximum(widest, highest[..., 2::2], out=widest)
    return widest


def _softmax(logits: Floats, axis: int) -> Floats:
    exponents = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=axis, keepdims=True), np.float32)
