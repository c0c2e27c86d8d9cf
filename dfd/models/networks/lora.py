"""LoRA (Hu and others, ICLR 2022): attention layers of a transformer learn a change of low rank, and nothing else."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.errors import ConfigError

TARGETS = ("qkv", "q", "k", "v", "q_proj", "k_proj", "v_proj", "proj")
"""Names of the linear layers in attention that are adapted."""


class LoRALinear(nn.Linear):
    """Linear layer ``W + up @ down`` with a fixed W, whose tensors keep their names.

    Args:
        base: layer whose weights it takes over.
        rank: of the change.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        with torch.device("meta"):
            super().__init__(base.in_features, base.out_features, bias=base.bias is not None)
        self.weight, self.bias = base.weight, base.bias
        options: dict[str, Any] = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.lora_down = nn.Parameter(torch.empty(rank, base.in_features, **options))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, rank, **options))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)

    def forward(self, input: Tensor) -> Tensor:
        """Compute the layer; equal to the base's output until the first step."""
        return super().forward(input) + F.linear(F.linear(input, self.lora_down), self.lora_up)

    def merged(self) -> nn.Linear:
        """Plain layer with the change added to its weights."""
        with torch.device("meta"):
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        plain.weight = nn.Parameter((self.weight + self.lora_up @ self.lora_down).detach())
        plain.bias = self.bias
        return plain


def add_lora(network: nn.Module, rank: int, *, name: str) -> None:
    """Adapt the attention layers of a transformer; all other weights of it are fixed.

    Raises:
        ConfigError: it has no attention with plain linear layers.
    """
    network.requires_grad_(requires_grad=False)
    found = 0
    for path, module in list(network.named_modules()):
        if "attn" not in path.rpartition(".")[2]:
            continue
        for child in TARGETS:
            if type(layer := getattr(module, child, None)) is nn.Linear:
                setattr(module, child, LoRALinear(layer, rank))
                found += 1
    if not found:
        raise ConfigError(f"backbone.lora={rank}: {name} has no attention layers of a transformer, such as a ViT's")


def merge_lora(network: nn.Module) -> bool:
    """Replace adapted layers by plain ones of the same result; whether there were any."""
    found = False
    for module in list(network.modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, LoRALinear):
                setattr(module, child, layer.merged())
                found = True
    return found


def is_lora(name: str) -> bool:
    """Whether a tensor's name is of a low-rank change."""
    return name.rpartition(".")[2] in ("lora_down", "lora_up")
