"""Turns a published state dict into that of dfd's network, by a recipe for each tensor, and strictly."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_COUNTER = "num_batches_tracked"  # of batch normalisation: decides nothing, and is missing in old files
_MAX_NAMES_SHOWN = 3


def same(tensor: Tensor) -> Tensor:
    """Return the tensor as it is."""
    return tensor


def joined(*tensors: Tensor) -> Tensor:
    """Join tensors along the first axis: queries, keys and values as timm stores them."""
    return torch.cat(tensors)


def swapped(rows: Tensor) -> Tensor:
    """Exchange the two rows of a last layer whose authors put fake first."""
    return rows.flip(0)


def negated(values: Tensor) -> Tensor:
    """Turn a last layer whose sigmoid is the probability of real into one for fake."""
    return -values


@dataclass(frozen=True, slots=True)
class Source:
    """One tensor of dfd's network: ``make`` of the published tensors of these names."""

    names: tuple[str, ...]
    make: Callable[..., Tensor] = same


Recipe = Callable[[Iterable[str]], dict[str, Source]]
"""Maps the names of the tensors of dfd's network to their sources."""


def from_names(change: Callable[[str], str | Source]) -> Recipe:
    """Build a recipe from a function that gives the published name, or the source, of one name of dfd's."""

    def recipe(names: Iterable[str]) -> dict[str, Source]:
        found = {name: change(name) for name in names}
        return {name: Source((value,)) if isinstance(value, str) else value for name, value in found.items()}

    return recipe


def converted(
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    network: Mapping[str, Tensor],
    *,
    unused: Callable[[str], bool] = lambda name: False,
) -> dict[str, Tensor]:
    """State dict of dfd's network, made of published tensors.

    Args:
        tensors: published tensors by name.
        recipe: source of each tensor of the network.
        network: state dict of the network, whose names and shapes count; it may be on the ``meta`` device.
        unused: whether a published tensor of this name decides nothing and may be left out.

    Raises:
        ValueError: when published tensors are missing, unexpected or of another shape; the message names the first
            three of each.
    """
    sources = recipe(network)
    wanted = dict.fromkeys(
        name for target, source in sources.items() for name in source.names if not target.endswith(_COUNTER)
    )
    used = {name for source in sources.values() for name in source.names}
    problems = [
        _listed("missing", [name for name in wanted if name not in tensors]),
        _listed("unexpected", [name for name in tensors if name not in used and not unused(name)]),
    ]
    if any(problems):
        raise ValueError("; ".join(problem for problem in problems if problem))
    made: dict[str, Tensor] = {}
    odd: list[str] = []
    for target, source in sources.items():
        if target.endswith(_COUNTER) and source.names[0] not in tensors:
            made[target] = torch.zeros_like(network[target], device="cpu")
            continue
        given = [tensors[name] for name in source.names]
        try:
            made[target] = source.make(*given).to(network[target].dtype).contiguous()
        except (RuntimeError, IndexError, ValueError, AssertionError):  # shapes that do not go together
            odd.append(f"{source.names[0]} {tuple(given[0].shape)}")
            continue
        if made[target].shape != network[target].shape:
            odd.append(f"{source.names[0]} {tuple(given[0].shape)}")
    if odd:
        raise ValueError(_listed("of another shape", odd))
    return made


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return f"{what}: {', '.join(name[:120] for name in names[:_MAX_NAMES_SHOWN])}{more}"
