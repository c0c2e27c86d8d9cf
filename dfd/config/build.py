"""Building what a checked configuration describes: from the frameworks' parts and from the plug-ins that were named.

This is no barrier against code: whoever types a command may name any package with ``plugins=``. It refuses what was not
meant, such as a shell that a framework's development tools start. What a *file* may build is decided elsewhere
(:func:`dfd.models.classifier.build_model`), by a closed table and the parts that named plug-ins have registered.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hydra

from dfd.base.errors import ConfigError, DfdError
from dfd.base.names import plugins
from dfd.base.names.renamed import FUNCTIONS
from dfd.base.words import nearest

OPEN = ("dfd", "torch.optim", "torch.nn", "lightning", "torchvision", "torchmetrics", "timm")
"""Packages whose functions and classes a configuration may name, without a plug-in."""


def locate(dotted: str) -> Callable[..., Any]:
    """The callable at ``package.module.name``, from :data:`OPEN` and the named plug-ins.

    Raises:
        ConfigError: another package, or nothing callable there; or something that its module has only imported from
            another package.
    """
    module_name, _, name = FUNCTIONS.get(dotted, dotted).rpartition(".")
    if not _is_open(dotted):
        root = dotted.partition(".")[0]
        raise ConfigError(f"{dotted} is not in {', '.join(OPEN)}; if it is code that you trust, add plugins=[{root}]")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"cannot import {module_name}: {error}") from error
    if not hasattr(module, name):
        public = [item for item in vars(module) if not item.startswith("_")]
        close = nearest(name, public)
        raise ConfigError(f"{module_name} has no {name!r}" + (f"; did you mean {close!r}?" if close else ""))
    found: Callable[..., Any] = getattr(module, name)
    home = f"{getattr(found, '__module__', None) or module_name}."
    is_own = plugins.is_opened(dotted) or home.startswith((*(f"{package}." for package in OPEN), "torch."))
    if not callable(found) or not is_own:
        raise ConfigError(f"{dotted} is no function or class of {module_name}")
    return found


def _is_open(dotted: str) -> bool:
    return any(dotted.startswith(f"{package}.") for package in OPEN) or plugins.is_opened(dotted)


def build(node: Mapping[str, Any]) -> Any:
    """Call what a checked config node describes; nested nodes first.

    Raises:
        ConfigError: a node names what may not be built, or the call refuses a value; the message names the target.
    """
    for target in _targets(node):
        locate(target)
    try:
        return hydra.utils.instantiate(_with_todays_names(node), _convert_="all")
    except hydra.errors.InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, DfdError):
            raise cause from None
        if isinstance(cause, ImportError):
            raise ConfigError(f"{target_name(node)} needs a package that is not installed: {cause}") from error
        if isinstance(cause, ValueError | TypeError):
            raise ConfigError(f"{target_name(node)}: {cause}") from error
        raise


def _targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` in a node and in those that it holds."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _targets(item)


def _with_todays_names(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {
            key: FUNCTIONS.get(value, value) if key == "_target_" else _with_todays_names(value)
            for key, value in node.items()
        }
    return [_with_todays_names(item) for item in node] if isinstance(node, list) else node


def build_all(nodes: Mapping[str, Any] | None) -> list[Any]:
    """Build each entry of a group such as ``callbacks``, in order; ``null`` entries are off."""
    return [build(node) for node in (nodes or {}).values() if node]


def target_name(node: Mapping[str, Any]) -> str:
    """The last part of a node's ``_target_``: the option's name.

    >>> target_name({"_target_": "dfd.faces.detect.mtcnn"})
    'mtcnn'
    """
    return str(node["_target_"]).rpartition(".")[2]


def part_name(node: Mapping[str, Any], module: str) -> str:
    """Name of a part in cards: the short one of a function in dfd's ``module``, the dotted one of a plug-in's.

    >>> part_name({"_target_": "dfd.faces.detect.mtcnn"}, "dfd.faces.detect")
    'mtcnn'
    >>> part_name({"_target_": "mypkg.faces.mine"}, "dfd.faces.detect")
    'mypkg.faces.mine'
    """
    return str(node["_target_"]).removeprefix(f"{module}.")


def options(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's arguments, without Hydra's own keys."""
    return {str(key): value for key, value in node.items() if not str(key).startswith("_")}
