"""Packed linear layers with numbers of fewer bits: 16-bit floats, and 8-bit integers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dfd.scoring.runtimes.packing import PackedLinear, can_pack

ROWS_AT_ONCE = 320
"""Rows of the input that are rounded and multiplied together: what they need stays in a core's cache."""
LEVELS = 127
"""Largest magnitude of an 8-bit integer that has the same magnitudes on both sides of zero."""
MIDDLE = 128
"""Zero as an unsigned 8-bit integer: processors multiply unsigned inputs by signed weights."""


def has_int8() -> bool:
    """Whether this CPU has instructions for products of 8-bit integers (VNNI), and this torch calls them.

    Without them, sums of two products can overflow 16 bits.
    """
    facts = torch.cpu.get_capabilities()
    names = ("avx512_vnni", "avx_vnni", "amx_int8")
    return can_pack() and hasattr(torch.ops.onednn, "qlinear_prepack") and any(facts.get(name) for name in names)


def has_bf16() -> bool:
    """Whether packed products of 16-bit floats work on this CPU."""
    works: bool = can_pack() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return works


class Bf16Linear(PackedLinear):
    """Packed linear layer whose weights and input are rounded to bfloat16; sums have 32 bits.

    The output is bfloat16 inside autocast, and has the input's type elsewhere.
    """

    def _pack(self, weight: Tensor) -> Tensor:
        return super()._pack(weight.bfloat16())

    def _product(self, x: Tensor, activation: str) -> Tensor:
        y = super()._product(x.bfloat16(), activation)
        return y if torch.is_autocast_enabled("cpu") else y.to(x.dtype)

    def _typed(self, offset: Tensor) -> Tensor:
        return offset.bfloat16()

    @property
    def weight(self) -> Tensor:
        """Rounded weights as 32-bit floats."""
        return self.packed.to_dense().float()


class Int8Linear(PackedLinear):
    """Packed linear layer with 8-bit weights, rounded per output, and an input that is rounded per row as it comes.

    A row is one token of one crop, so that an output depends on no other crop of the batch, and a token with large
    values takes no accuracy from the others (Yao and others, ZeroQuant, NeurIPS 2022). Sums are exact, in 32 bits.
    """

    steps: Tensor
    """What one level of each output's weights stands for, float32 of shape (out_features,)."""

    def _pack(self, weight: Tensor) -> Tensor:
        self.steps = (weight.abs().amax(dim=1) / LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        levels = torch.div(weight, self.steps[:, None]).round_().to(torch.int8)
        packed: Tensor = torch.ops.onednn.qlinear_prepack(levels, [ROWS_AT_ONCE, weight.shape[1]])
        return packed

    @property
    def weight(self) -> Tensor:
        """Rounded weights as 32-bit floats, (out_features, in_features)."""
        return self.packed.to_dense().t().float() * self.steps[:, None]

    def _product(self, x: Tensor, activation: str) -> Tensor:
        rows = x.flatten(0, -2)
        out = torch.empty(len(rows), self.out_features)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            self._some(rows[first : first + ROWS_AT_ONCE], out[first : first + ROWS_AT_ONCE])
        y = out.view(*x.shape[:-1], self.out_features)
        if activation == "none":
            return y
        return F.gelu(y) if activation == "gelu" else F.silu(y, inplace=True)

    def _some(self, rows: Tensor, out: Tensor) -> None:
        """Compute the product of some rows, (N, in_features) to (N, out_features)."""
        low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)  # aminmax takes 20 times as long
        step = torch.maximum(low.neg_(), high).div_(LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
        # By way of signed numbers, to which floats are converted eight times as fast.
        levels = torch.div(rows, step).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(MIDDLE)
        given = (levels, 1.0, MIDDLE, self.packed, self.steps, self.zeros, None)
        sums = torch.ops.onednn.qlinear_pointwise(*given, 1.0, 0, torch.float32, "none", [], "")
        if self.offset is None:
            torch.mul(sums, step, out=out)
        else:
            torch.addcmul(self.offset, sums, step, out=out)
