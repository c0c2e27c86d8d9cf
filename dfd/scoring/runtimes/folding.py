"""Batch normalisation folded into the convolution before it: the same function in fewer steps, for scoring."""

import logging

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dfd.models.networks.paddings import PaddedConv2d

logger = logging.getLogger(__name__)


def fold_batchnorm(network: nn.Module) -> int:
    """Fold in place; returns how many were folded. A network that cannot be traced is left as it is.

    In evaluation, batch normalisation is a fixed scale and offset per channel, which the convolution's weights can
    take up (Jacob et al. 2018, section 3.2). Only where the convolution's output goes nowhere else, and not where the
    statistics are of each batch.

    Raises:
        ValueError: the network is in training mode, in which the normalisation is not fixed.
    """
    if network.training:
        raise ValueError("batch normalisation can be folded in evaluation mode only")
    pairs = _pairs(network)
    for convolution, norm in pairs:
        before, after = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(before, after)
        network.set_submodule(convolution, fused.to(memory_format=torch.channels_last))
        # timm's normalisation holds the activation that follows it.
        network.set_submodule(norm, nn.Identity() if type(after) is nn.BatchNorm2d else after.get_submodule("act"))
    return len(pairs)


def clipped_by(network: nn.Module) -> dict[str, str]:
    """Names of convolutions, and for each that of the ReLU or ReLU6 that alone takes its output.

    Each is called once, and no normalisation is left between the two. Empty for a network that cannot be traced.
    """
    calls = _calls(network)
    names = [str(node.target) for node in calls]
    found = {}
    for node in calls:
        convolution, after = str(node.target), node
        while len(after.users) == 1:
            (after,) = after.users
            module = network.get_submodule(str(after.target)) if after.op == "call_module" else None
            if type(module) is not nn.Identity:
                break
        else:
            continue
        both = convolution, str(after.target)
        if type(module) in (nn.ReLU, nn.ReLU6) and all(names.count(name) == 1 for name in both):
            found[convolution] = both[1]
    return {name: after for name, after in found.items() if _is_convolution(network.get_submodule(name))}


def _is_timms(module: nn.Module, name: str) -> bool:
    """Whether a module is of this class of timm's, told without importing timm, which takes seconds."""
    return type(module).__name__ == name and type(module).__module__.startswith("timm.layers.")


def _is_convolution(module: nn.Module) -> bool:
    return type(module) in (nn.Conv2d, PaddedConv2d) or _is_timms(module, "Conv2dSame")


def _is_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d or _is_timms(module, "BatchNormAct2d")


class _Tracer(fx.Tracer):
    """Traces down to convolutions and normalisations, those of timm and of dfd among them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step of the graph."""
        return _is_convolution(m) or _is_norm(m) or super().is_leaf_module(m, module_qualified_name)


def _calls(network: nn.Module) -> list[fx.Node]:
    """Steps in which a network calls a module; none of a network that cannot be traced."""
    graph = _traced(network)
    return [node for node in graph.nodes if node.op == "call_module"] if graph is not None else []


def _traced(network: nn.Module) -> fx.Graph | None:
    try:
        return _Tracer().trace(network)
    # What networks raise that look at values or shapes of what they are given; fx's own TraceError is a ValueError.
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
        logger.debug("batch normalisation is not folded, since the network cannot be traced: %s", error)
        return None


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the normalisations that alone take their output, each called once."""
    graph = _traced(network)
    if graph is None:
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    names = [str(node.target) for node in calls]
    # Of weights that are taken without a call of their module, such as those that two layers share.
    borrowed = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    pairs = []
    for node in calls:
        norm = network.get_submodule(str(node.target))
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        pair = str(before.target), str(node.target)
        is_fixed = _is_norm(norm) and norm.running_mean is not None and not norm.training
        is_convolution = _is_convolution(network.get_submodule(pair[0]))
        if is_fixed and is_convolution and all(names.count(name) == 1 and name not in borrowed for name in pair):
            pairs.append(pair)
    return pairs
