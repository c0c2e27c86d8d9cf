"""Building what a checked configuration describes: only from packages that a configuration may name."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import hydra

from dfd.base.errors import ConfigError, DfdError
from dfd.base.renamed import FUNCTIONS
from dfd.base.words import nearest

ALLOWED_PACKAGES = ("dfd.", "torch.", "lightning.", "torchvision.", "torchmetrics.", "timm.")


def locate(dotted: str) -> Callable[..., Any]:
    """The callable at ``package.module.name``, from the packages that a config may name.

    Raises:
        ConfigError: another package, or nothing there.
    """
    module_name, _, name = FUNCTIONS.get(dotted, dotted).rpartition(".")
    if not dotted.startswith(ALLOWED_PACKAGES):
        raise ConfigError(f"{dotted} is not in {', '.join(p.rstrip('.') for p in ALLOWED_PACKAGES)}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"cannot import {module_name}: {error}") from error
    if not hasattr(module, name):
        public = [item for item in vars(module) if not item.startswith("_")]
        close = nearest(name, public)
        raise ConfigError(f"{module_name} has no {name!r}" + (f"; did you mean {close!r}?" if close else ""))
    found: Callable[..., Any] = getattr(module, name)
    return found


def build(node: Mapping[str, Any]) -> Any:
    """Call what a checked config node describes; nested nodes first.

    Raises:
        ConfigError: the call refuses a value; the message names the target.
    """
    if not str(node.get("_target_", "")).startswith(ALLOWED_PACKAGES):
        raise ConfigError(f"{node.get('_target_')} may not be built from a config")
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


def options(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's arguments, without Hydra's own keys."""
    return {str(key): value for key, value in node.items() if not str(key).startswith("_")}
