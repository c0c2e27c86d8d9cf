"""The three networks of MTCNN, in NumPy: for a process that finds faces, importing torch takes longer than the faces.

Pictures are ``(K, H, W, C)``, so that each row of a convolution's window lies in one piece of memory. Convolutions are
matrix products over blocks of rows: memory stays small however large the picture is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from safetensors.numpy import load_file

from dfd.base.types import FloatArray

BLOCK_BYTES = 2**21
"""Windows and outputs of a convolution that are computed at once; smaller blocks cost more calls."""

AT_ONCE = 32
"""Candidates that go through a network together."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layers of a network of the cascade, by the numbers and names that the file of weights gives them.

    ``pools`` has the side of the max pool with stride 2 after each convolution, 0 for none. ``dense`` is the number of
    the layer after them, if there is one. The first of ``outputs`` gives two logits: no face, and face.
    """

    pools: tuple[int, ...]
    dense: int | None
    outputs: tuple[str, ...]


LAYOUTS = {
    "pnet": Layout((2, 0, 0), None, ("conv4_1", "conv4_2")),
    "rnet": Layout((3, 3, 0), 4, ("dense5_1", "dense5_2")),
    "onet": Layout((3, 3, 2, 0), 5, ("dense6_1", "dense6_2", "dense6_3")),
}


class Convolution:
    """Convolution without padding, and PReLU.

    Args:
        weight: as the file has it, ``(O, C, k, k)``.
        bias: offsets ``(O,)``.
        slope: of the PReLU ``(O,)``.
    """

    def __init__(self, weight: FloatArray, bias: FloatArray, slope: FloatArray) -> None:
        self.side = weight.shape[-1]
        # The offsets are weights of a one that follows each window: one pass over the outputs less.
        self.weight = np.vstack([weight.transpose(2, 3, 1, 0).reshape(-1, len(bias)), bias])
        self.slope = slope

    def __call__(self, x_KHWC: FloatArray) -> FloatArray:
        """Compute ``(K, H - k + 1, W - k + 1, O)``."""
        count, height, width, channels = x_KHWC.shape
        rows, columns = height - self.side + 1, width - self.side + 1
        num_weights, num_outputs = self.weight.shape
        x_KHWC = np.ascontiguousarray(x_KHWC)
        per_picture, per_row, per_pixel, per_value = x_KHWC.strides
        # One row of a window is k * C values in a piece.
        shape = (count, rows, columns, self.side, self.side * channels)
        windows = as_strided(x_KHWC, shape, (per_picture, per_row, per_pixel, per_row, per_value), writeable=False)
        found = np.empty((count, rows, columns * num_outputs), np.float32)
        slope = np.tile(self.slope, columns)
        fit = max(1, BLOCK_BYTES // (columns * 4 * (num_weights + 2 * num_outputs)))
        pictures, step = max(1, fit // rows), min(fit, rows)
        laid_out = np.ones((pictures * step * columns, num_weights), np.float32)
        pitch = laid_out.strides[0]
        for first in range(0, count, pictures):
            for top in range(0, rows, step):
                block = windows[first : first + pictures, top : top + step]
                number = block.shape[0] * block.shape[1] * columns
                strides = (block.shape[1] * columns * pitch, columns * pitch, pitch, self.side * channels * 4, 4)
                as_strided(laid_out, block.shape, strides)[...] = block
                target = found[first : first + pictures, top : top + step]
                np.matmul(laid_out[:number], self.weight, out=target.reshape(number, num_outputs))
                activate(target, slope)
        return found.reshape(count, rows, columns, num_outputs)


def activate(x: FloatArray, slope: FloatArray) -> None:
    """Apply PReLU in place: values below zero are multiplied by a slope.

    >>> x = np.array([[-2.0, -2, -2], [1, 1, 1]])
    >>> activate(x, np.array([0.5, -0.5, 2]))
    >>> x.tolist()
    [[-1.0, 1.0, -4.0], [1.0, 1.0, 1.0]]
    """
    sloped = x * slope
    steep = slope > 1  # for any other slope, PReLU is the larger of the two
    lower = np.minimum(x[..., steep], sloped[..., steep]) if steep.any() else None
    np.maximum(x, sloped, out=x)
    if lower is not None:
        x[..., steep] = lower


def pooled(x_KHWC: FloatArray, side: int) -> FloatArray:
    """Maximum of windows of this side, 2 apart; the last ones may reach over the edge.

    >>> pooled(np.arange(10, dtype=np.float32).reshape(1, 2, 5, 1), 2)[0, ..., 0].tolist()
    [[6.0, 8.0, 9.0]]
    """
    rows = _pooled_rows(x_KHWC, side)
    return _pooled_rows(rows.transpose(0, 2, 1, 3), side).transpose(0, 2, 1, 3)


def _pooled_rows(x_KHWC: FloatArray, side: int) -> FloatArray:
    number = -(-(x_KHWC.shape[1] - side) // 2) + 1
    largest = x_KHWC[:, : 2 * number : 2].copy()
    for offset in range(1, side):
        values = x_KHWC[:, offset : offset + 2 * number : 2]
        np.maximum(largest[:, : values.shape[1]], values, out=largest[:, : values.shape[1]])
    return largest


class Network:
    """A network of the cascade; ``weights`` are those of the file, by their names in it without the network's."""

    def __init__(self, layout: Layout, weights: Mapping[str, FloatArray]) -> None:
        self.layout = layout
        self.convolutions = [
            Convolution(
                weights[f"conv{number}.weight"], weights[f"conv{number}.bias"], weights[f"prelu{number}.weight"]
            )
            for number in range(1, len(layout.pools) + 1)
        ]
        self.dense: tuple[FloatArray, FloatArray, FloatArray] | None = None
        if (number := layout.dense) is not None:
            self.dense = *_linear(weights, f"dense{number}"), weights[f"prelu{number}.weight"]
        self.outputs = [_linear(weights, name) for name in layout.outputs]

    def __call__(self, x_KHWC: FloatArray) -> list[FloatArray]:
        """Compute all outputs but the first, and then that one as probabilities ``(..., 2)``.

        They are ``(K, n)``, or ``(K, rows, columns, n)`` where no dense layer makes one place of all.
        """
        if len(x_KHWC) <= AT_ONCE:
            return self._compute(x_KHWC)
        parts = [self._compute(x_KHWC[first : first + AT_ONCE]) for first in range(0, len(x_KHWC), AT_ONCE)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _compute(self, x_KHWC: FloatArray) -> list[FloatArray]:
        for convolution, pool in zip(self.convolutions, self.layout.pools, strict=True):
            x_KHWC = convolution(x_KHWC)
            if pool:
                x_KHWC = pooled(x_KHWC, pool)
        if self.dense is not None:
            weight, bias, slope = self.dense
            flat = x_KHWC.transpose(0, 2, 1, 3).reshape(len(x_KHWC), -1)  # columns first, as in training
            x_KHWC = flat @ weight + bias
            activate(x_KHWC, slope)
        logits, *others = (x_KHWC @ weight + bias for weight, bias in self.outputs)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return [*others, powers / powers.sum(axis=-1, keepdims=True)]


def _linear(weights: Mapping[str, FloatArray], name: str) -> tuple[FloatArray, FloatArray]:
    weight = weights[f"{name}.weight"]
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T), weights[f"{name}.bias"]


def load_networks(path: Path) -> list[Any]:
    """The three networks of a file of weights, in their order."""
    return [Network(layout, parts) for layout, parts in parts_of(load_file(path))]


def parts_of(weights: Mapping[str, Any]) -> Sequence[tuple[Layout, dict[str, Any]]]:
    """Layout and weights of each network."""
    return [
        (layout, {key.partition(".")[2]: value for key, value in weights.items() if key.startswith(f"{name}.")})
        for name, layout in LAYOUTS.items()
    ]
