"""Layers with weights in the layout of oneDNN's kernels: the same function, sooner on a CPU, for scoring.

Nearly all of a vision transformer's work is in its linear layers. MKL, which torch calls for them, rearranges the
weights in each call; oneDNN takes weights that were rearranged once, and applies the activation in the same pass. For
convolutions torch calls oneDNN itself, but with weights as they are stored: an eighth of the time of ResNeXt50.
"""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.machine import leave_in_file, return_freed_memory
from dfd.scoring.runtimes.folding import clipped_by

LEAST_WEIGHTS = 2**18
"""Weights from which a layer is packed: a smaller one takes no time that would be noticed."""
ROWS = 1028
"""Rows of the input that oneDNN chooses a layout for: four pictures of 257 tokens. Other numbers work as well."""
QUICK = 1.702
"""Factor of the approximate GELU of CLIP, x * sigmoid(1.702 x)."""


def is_mostly_linear(network: nn.Module) -> bool:
    """Whether most of a network's weights are in linear layers that can be packed here."""
    packed = sum(module.weight.numel() for module in network.modules() if _fits(module))
    return can_pack() and 2 * packed > sum(parameter.numel() for parameter in network.parameters())


def can_pack() -> bool:
    """Whether this torch has oneDNN and the operators, which torch's own compiler uses and does not document."""
    names = ("_reorder_linear_weight", "_linear_pointwise", "_reorder_convolution_weight", "_convolution_pointwise")
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_onednn and all(hasattr(torch.ops.mkldnn, name) for name in names)


def pack_linear(network: nn.Module, kind: "type[PackedLinear] | None" = None) -> int:
    """Pack large linear layers of a network on the CPU in place; returns how many were packed.

    ``kind`` takes the place of the layers; None: :class:`PackedLinear`, which computes the same.

    The network's parameters then lack these weights. Gradients still go through to the layers before, for heat maps.
    The other parameters are copied, so that a file that all of them were mapped from can be let go.

    Raises:
        ValueError: when the network is in training mode, as packed weights cannot be trained.
    """
    if network.training:
        raise ValueError("linear layers can be packed in evaluation mode only")
    if not can_pack():
        return 0
    join_biases(network)
    kind, fused = kind or PackedLinear, _fused_activations(network)
    names = [name for name, module in network.named_modules() if _fits(module)]
    for name in names:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        network.set_submodule(name, kind(layer, **fused.get(name, {})))
        leave_in_file(layer.weight.data_ptr(), layer.weight.nbytes)
    if names:
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.clone()
        return_freed_memory()
    return len(names)


def pack_convolutions(network: nn.Module) -> int:
    """Pack convolutions of a network on the CPU in place; returns how many were packed.

    Those with a kind of padding that oneDNN does not know are left as they are. Where an activation alone follows, it
    becomes part of the convolution. Everything else is as for :func:`pack_linear`.

    Raises:
        ValueError: when the network is in training mode, as packed weights cannot be trained.
    """
    if network.training:
        raise ValueError("convolutions can be packed in evaluation mode only")
    if not can_pack():
        return 0
    names = [name for name, module in network.named_modules() if name and _is_plain_convolution(module)]
    clipped = clipped_by(network)
    for name in names:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        after = network.get_submodule(clipped[name]) if name in clipped else None
        network.set_submodule(name, PackedConv2d(layer, None if after is None else _POINTWISE[type(after)]))
        if after is not None:
            network.set_submodule(clipped[name], _UnlessFused(after))
        leave_in_file(layer.weight.data_ptr(), layer.weight.nbytes)
    return len(names)


_POINTWISE: dict[type[nn.Module], tuple[str, list[float]]] = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}


class _UnlessFused(nn.Module):
    """Activation after a packed convolution, which has applied it already unless gradients are wanted."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation where the convolution has not."""
        y: Tensor = self.activation(x) if torch.is_grad_enabled() and x.requires_grad else x
        return y


class _Packed(nn.Module):
    """Layer whose weights are in oneDNN's layout."""

    packed: Tensor
    offset: Tensor | None

    @property
    def weight(self) -> Tensor:
        """Weights as the layer had them, unpacked anew each time: for networks that do not call the layer."""
        unpacked: Tensor = self.packed.to_dense()
        return unpacked

    @property
    def bias(self) -> Tensor | None:
        """Offset of each output."""
        return self.offset


class PackedConv2d(_Packed):
    """Convolution whose weights are in oneDNN's layout.

    Args:
        layer: convolution to take the weights of.
        activation: oneDNN's name of the activation that is applied as well where no gradient is wanted, and its limits;
            None: none.
    """

    def __init__(self, layer: nn.Conv2d, activation: tuple[str, list[float]] | None = None) -> None:
        super().__init__()
        self.activation = activation or ("none", [])
        assert not isinstance(layer.padding, str)
        self.padding, self.stride, self.dilation = list(layer.padding), list(layer.stride), list(layer.dilation)
        self.groups = layer.groups
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(
            layer.weight.detach(), self.padding, self.stride, self.dilation, self.groups
        )
        bias: Tensor | None = layer.bias
        self.offset = None if bias is None else bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution of ``(N, C, H, W)``."""
        if torch.is_grad_enabled() and x.requires_grad:
            return F.conv2d(x, self.weight, self.offset, self.stride, self.padding, self.dilation, self.groups)
        geometry = self.padding, self.stride, self.dilation, self.groups
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, self.offset, *geometry, *self.activation, ""
        )
        return y


def _is_plain_convolution(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.weight.dtype is torch.float32
        and module.weight.device.type == "cpu"
    )


def join_biases(network: nn.Module) -> None:
    """Put biases of queries, keys and values that timm's attention holds apart into their linear layer.

    Such an attention takes the layer's weights, instead of calling it.
    """
    for module in network.modules():
        parts = [getattr(module, f"{which}_bias", None) for which in "qkv"]
        biases = [part.detach() for part in parts if isinstance(part, Tensor)]
        layer = getattr(module, "qkv", None)
        if isinstance(layer, nn.Linear) and getattr(layer, "bias", None) is None and len(biases) == 3:
            layer.bias = nn.Parameter(torch.cat(biases))
            for which in "qkv":
                setattr(module, f"{which}_bias", None)


class PackedLinear(_Packed):
    """Linear layer whose weights are in oneDNN's layout, and the activation after it.

    Args:
        layer: layer to take the weights of.
        activation: ``none``, ``gelu`` (exact) or ``swish`` (x * sigmoid(x)), applied to the output.
        input_scale: factor of the input, which the weights take up.
        output_scale: factor of the output before the activation, which weights and bias take up.
    """

    def __init__(
        self, layer: nn.Linear, *, activation: str = "none", input_scale: float = 1.0, output_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.activation = layer.in_features, layer.out_features, activation
        scale, weight = input_scale * output_scale, layer.weight.detach()
        weight = weight if scale == 1 else weight * scale
        self.packed = self._pack(weight)
        # torch's stubs do not say that a layer can be without a bias.
        bias: Tensor | None = layer.bias
        self.offset = None if bias is None else self._typed(bias.detach() * output_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer's output and its activation, ``(..., out_features)``."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return self._product(x, self.activation)
        y: Tensor = _Differentiable.apply(x, self)
        if self.activation == "none":
            return y
        return F.gelu(y) if self.activation == "gelu" else F.silu(y)

    def extra_repr(self) -> str:
        """Sizes and activation, for ``print``."""
        return f"in_features={self.in_features}, out_features={self.out_features}, activation={self.activation}"

    def _pack(self, weight: Tensor) -> Tensor:
        """Rearrange weights of shape (out_features, in_features) for the product."""
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        return packed

    def _typed(self, offset: Tensor) -> Tensor:
        """Give offsets the type that the product takes."""
        return offset

    def _product(self, x: Tensor, activation: str) -> Tensor:
        algorithm = "none" if activation == "gelu" else ""  # not the approximation by tanh
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.offset, activation, [], algorithm)
        return y


class _Differentiable(torch.autograd.Function):
    """Product with packed weights; they are unpacked for the moment in which the gradient is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PackedLinear) -> Tensor:
        """Compute the product."""
        ctx.layer = layer
        return layer._product(x, "none").clone()  # of which a network may change the values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Compute the gradient of the input."""
        return gradients[0] @ ctx.layer.weight, None


def _fits(module: nn.Module) -> TypeGuard[nn.Linear]:
    return (
        type(module) is nn.Linear
        and module.weight.dtype is torch.float32
        and module.weight.device.type == "cpu"
        and module.weight.numel() >= LEAST_WEIGHTS
    )


def _fused_activations(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Take the activations out of timm's two-layer perceptrons; returns options of their packed layers by name."""
    fused: dict[str, dict[str, Any]] = {}
    for name, block in list(network.named_modules()):
        # Told by name, as importing timm takes seconds.
        if type(block).__name__ != "Mlp" or not type(block).__module__.startswith("timm.layers."):
            continue
        kind = type(act := block.get_submodule("act")).__name__
        if not (_fits(block.get_submodule("fc1")) and _fits(block.get_submodule("fc2"))):
            continue
        first, second = (f"{name}.{layer}".removeprefix(".") for layer in ("fc1", "fc2"))
        if kind == "QuickGELU":  # x * sigmoid(1.702 x) is swish(1.702 x) / 1.702
            fused[first] = {"activation": "swish", "output_scale": QUICK}
            fused[second] = {"input_scale": 1 / QUICK}
        elif kind == "SiLU" or (kind == "GELU" and getattr(act, "approximate", "none") == "none"):
            fused[first] = {"activation": "swish" if kind == "SiLU" else "gelu"}
        else:
            continue
        block.set_submodule("act", nn.Identity())
    return fused
