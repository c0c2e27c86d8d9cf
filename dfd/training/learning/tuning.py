"""Choice of what a run learns, and how fast: fixed stages, normalisation layers alone, rates that fall with depth."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from dfd.base.errors import ConfigError
from dfd.models.backbones import Backbone
from dfd.models.networks.lora import is_lora
from dfd.training.learning.gradients import keep_constraints

Learns = Literal["all", "norms"]
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is learned of a backbone; everything after it always is.

    Args:
        learns: ``all`` its weights, or ``norms``: those of its normalisation layers alone (GenD's recipe).
        freeze_stages: number of its stages, from the input on, whose weights are fixed; the first is the stem. Their
            batch normalisation keeps its statistics.
        layer_decay: factor of the learning rate from one stage to the one before it, 1 for the same rate everywhere.
        backbone_rate: factor of the backbone's learning rate; the layers after it learn at the optimizer's rate.

    Raises:
        ConfigError: an option is out of range.
    """

    learns: Learns = "all"
    freeze_stages: int = 0
    layer_decay: float = 1.0
    backbone_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.learns not in get_args(Learns):
            raise ConfigError(f"tuning.learns={self.learns} is not one of {', '.join(get_args(Learns))}")
        if self.freeze_stages < 0:
            raise ConfigError(f"tuning.freeze_stages must be 0 or more, got {self.freeze_stages}")
        for name in ("layer_decay", "backbone_rate"):
            if not 0 < getattr(self, name) <= 1000:
                raise ConfigError(f"tuning.{name} must be above 0, got {getattr(self, name)}")

    def fix(self, backbone: Backbone) -> None:
        """Fix the weights that are not to be learned.

        Raises:
            ConfigError: the backbone has fewer stages, no normalisation layers, or is frozen as a whole.
        """
        if self.learns == "all" and not self.freeze_stages:
            return
        if backbone.frozen:
            raise ConfigError(
                "backbone.freeze=true fixes the whole backbone; leave out tuning.learns and freeze_stages"
            )
        stages = stages_of(backbone.network)
        if self.freeze_stages >= len(stages):
            raise ConfigError(
                f"tuning.freeze_stages={self.freeze_stages}: the backbone has {len(stages)} stages; to fix all of "
                "them use backbone.freeze=true"
            )
        parameters = dict(backbone.network.named_parameters())
        norms = set(_norm_parameters(backbone.network))
        if self.learns == "norms" and not norms:
            raise ConfigError("tuning.learns=norms: the backbone has no normalisation layers")
        fixed = {name for stage in stages[: self.freeze_stages] for name in stage}
        fixed |= {name for name in parameters if self.learns == "norms" and name not in norms and not is_lora(name)}
        for name in fixed:
            parameters[name].requires_grad = False

    def optimizer(self, make: Callable[[Any], Optimizer], module: nn.Module, backbone: Backbone) -> Optimizer:
        """Optimizer of the trained parameters of a module, in groups if their rates differ; it keeps constraints."""
        groups = self.groups(module, backbone)
        if len({group["rate"] for group in groups}) < 2:
            optimizer = make(parameter for parameter in module.parameters() if parameter.requires_grad)
        else:
            optimizer = make(groups)
            for group in optimizer.param_groups:
                group["lr"] *= group["rate"]
        keep_constraints(optimizer, module)
        return optimizer

    def groups(self, module: nn.Module, backbone: Backbone) -> list[dict[str, Any]]:
        """Groups of the trained parameters for an optimizer, each with the factor ``rate`` of its learning rate.

        The first group is of all that does not lie in the backbone, unless there is nothing else.

        Args:
            module: whose parameters are trained.
            backbone: part of it.
        """
        named = dict(backbone.network.named_parameters())
        stages = stages_of(backbone.network) if self.layer_decay != 1 else [[*named]]
        inside = {id(parameter) for parameter in backbone.parameters()}
        rest = [each for each in module.parameters() if each.requires_grad and id(each) not in inside]
        found = [{"params": rest, "rate": 1.0}]
        for depth, stage in enumerate(reversed(stages)):
            learned = [named[name] for name in stage if named[name].requires_grad]
            found.append({"params": learned, "rate": self.backbone_rate * self.layer_decay**depth})
        return [group for group in found if group["params"]]


def keep_fixed_statistics(backbone: Backbone) -> None:
    """Put batch normalisation whose weights are fixed into evaluation mode, in which its statistics stay."""
    for module in backbone.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()


def stages_of(network: nn.Module) -> list[list[str]]:
    """Names of a network's parameters by stage, from the input to the output.

    A timm network says its stages itself: of a ViT each block is one. Of others each child with weights is one.
    """
    names = [name for name, _ in network.named_parameters()]
    matcher = getattr(network, "group_matcher", None)
    stages: dict[int, list[str]] = {}
    if matcher is not None:
        from timm.models import group_parameters

        plain = [name for name in names if not is_lora(name)]
        number = group_parameters(network, matcher(coarse=True), reverse=True)
        last = max(number.values())
        for name in plain:
            stages.setdefault(number.get(name, last), []).append(name)
        for name in sorted(set(names) - set(plain)):  # with the layer that they change
            stages[number.get(re.sub(r"lora_\w+$", "weight", name), last)].append(name)
        return [stages[key] for key in sorted(stages)]
    children = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
    for name in names:
        child = name.partition(".")[0]
        stages.setdefault(children.index(child) if child in children else 0, []).append(name)
    return [stages[key] for key in sorted(stages)]


def _norm_parameters(network: nn.Module) -> Iterator[str]:
    for path, module in network.named_modules():
        # timm's normalisation layers for channels that come last, and some of its own, are known by their names.
        if isinstance(module, NORMS) or re.search(r"(Layer|Rms|Batch|Group|Frn)Norm", type(module).__name__):
            yield from (f"{path}.{name}".removeprefix(".") for name, _ in module.named_parameters(recurse=False))
