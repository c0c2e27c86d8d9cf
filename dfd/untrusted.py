"""Plain values out of files that nobody vouches for: JSON and YAML within bounds.

A small text can stand for a huge value (aliases, lists that contain each other) or for one so deep that whoever walks
it is out of stack. All that dfd reads of another's JSON, YAML or card passes through here.
"""

import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_DEPTH = 64
"""Levels of values within values; dfd's own files have 8 at most."""
MAX_JSON_BYTES = 64 * 2**20
MAX_YAML_BYTES = 200_000
"""A run's config has 5,000, and PyYAML takes a second for 100,000."""
MAX_INTEGER = 2**63
_MAX_SHOWN = 120


def refuse_large(value: object, *, max_values: int | None = None, max_depth: int = MAX_DEPTH) -> None:
    """Refuse what is nested too deeply or holds too much. What is contained in two places counts twice.

    Raises:
        ValueError: it is so, or contains itself.
    """
    level = [value]
    num_values = 1
    for _ in range(max_depth):
        level = [node for node in level if isinstance(node, dict | list | tuple)]
        if not level:
            return
        num_values += sum(map(len, level))  # type: ignore[arg-type]
        if max_values is not None and num_values > max_values:
            raise ValueError(f"it holds more than {max_values} values")
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]  # type: ignore[attr-defined]
    if any(isinstance(node, dict | list | tuple) for node in level):
        raise ValueError(f"it is nested more than {max_depth} deep")


def refuse_other_than_plain(value: object, *, max_values: int, max_characters: int) -> None:
    """Let only names, lists, text, truth values, finite numbers and None pass, and not too much of them.

    Raises:
        ValueError: something else is in it, or it is too large, too deep or contains itself.
    """
    refuse_large(value, max_values=max_values)
    num_characters = 0
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if not all(isinstance(key, str) for key in node):
                raise ValueError("a name in it is not text")
            waiting += [*node, *node.values()]
        elif isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, str):
            num_characters += len(node)
            if num_characters > max_characters:
                raise ValueError(f"its text is longer than {max_characters} characters")
        elif isinstance(node, float):
            if not math.isfinite(node):
                raise ValueError(f"it holds {node}, which is not a number")
        elif isinstance(node, int):
            if abs(node) >= MAX_INTEGER:
                raise ValueError("it holds a whole number of more than 63 bits")
        elif node is not None:
            raise ValueError(f"it holds something that is not plain ({type(node).__name__})")


def parse_json(text: str | bytes, *, finite: bool = False) -> Any:
    """What a JSON text holds; with ``finite``, without NaN and infinities, which Python writes and JSON has not.

    >>> parse_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant if finite else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    refuse_large(value)
    return value


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, too large, or nested too deeply.
    """
    return parse_json(_read(path, MAX_JSON_BYTES))


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, of plain values only; None if it is empty.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not YAML, too large, nested too deeply, or has an alias: a few of them stand for any number
            of values.
    """
    try:
        value = yaml.load(_read(path, MAX_YAML_BYTES), _WithoutAliases)  # a SafeLoader
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    refuse_large(value)
    return value


def option_problems(function: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """What of ``options`` is not of the type that ``function`` says; those that it does not know are passed over.

    >>> def crop(*, size: int, margin: float = 0.3, name: str | None = None): ...
    >>> option_problems(crop, {"size": "x", "margin": float("nan"), "name": None})
    ["size must be a whole number, got 'x'", 'margin must be a finite number, got nan']
    """
    hints = typing.get_type_hints(function)
    known = inspect.signature(function).parameters
    return [
        f"{name} must be {_named(hints[name])}, got {shown(value)}"
        for name, value in options.items()
        if name in known and name in hints and not _fits(value, hints[name])
    ]


def shown(value: object) -> str:
    """A value for a message, cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits; a list that contains itself in a class's repr
        return type(value).__name__
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


class _WithoutAliases(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which dfd never writes")
        return super().compose_node(parent, index)


def _read(path: Path, max_bytes: int) -> str:
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    return content.decode("utf-8")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is not a number")


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None or hint is type(None):
        return value is None
    return not isinstance(hint, type) or isinstance(value, hint)


def _named(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, arguments))
    if arguments:
        return " or ".join(_named(one) for one in arguments)
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
