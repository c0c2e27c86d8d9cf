"""Reads plain values from untrusted files: JSON and YAML within limits.

A small text can stand for a huge value (aliases, lists that contain each other), or for one nested so deeply that
walking it overflows the stack. All JSON, YAML and cards from others that dfd reads pass through here.
"""

import contextlib
import dataclasses
import enum
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

T = typing.TypeVar("T")

MAX_DEPTH = 64
"""Maximum nesting of values; dfd's own files have 8 levels at most."""
MAX_JSON_BYTES = 64 * 2**20
MAX_YAML_BYTES = 200_000
"""Maximum size of a YAML file. A run's config has 5,000 bytes, and PyYAML takes a second for 100,000."""
MAX_INTEGER = 2**63
_MAX_SHOWN = 120


def refuse_large(value: object, *, max_values: int | None = None, max_depth: int = MAX_DEPTH) -> None:
    """Refuse a value that is nested too deeply or holds too much; what is contained twice counts twice.

    Raises:
        ValueError: when it does, or it contains itself.
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
    """Refuse all but dicts with text keys, lists, text, booleans, finite numbers and None, and limit their amount.

    Raises:
        ValueError: when it holds something else, is too large, too deep or contains itself.
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
    """Parse a JSON text; ``finite`` refuses NaN and infinities, which Python writes but JSON does not have.

    >>> parse_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}

    Raises:
        ValueError: when it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant if finite else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    refuse_large(value)
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is not JSON, too large, or nested too deeply.
    """
    return parse_json(_read(path, MAX_JSON_BYTES))


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values; None if it is empty.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is not YAML, too large, nested too deeply, or has aliases, a few of which can stand for any
            number of values.
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
    """Describe the options that do not have the types that ``function`` declares; unknown ones are ignored.

    >>> def crop(*, size: int, margin: float = 0.3, name: str | None = None): ...
    >>> option_problems(crop, {"size": "x", "margin": float("nan"), "name": None})
    ["size must be a whole number, got 'x'", 'margin must be a finite number, got nan']
    """
    hints = typing.get_type_hints(function, include_extras=True)
    known = inspect.signature(function).parameters.keys() & hints.keys()
    found = []
    for name, value in options.items():
        try:
            decode(hints[name] if name in known else Any, value, name)
        except ValueError as error:
            found.append(str(error))
    return found


@typing.overload
def decode(hint: type[T], value: Any, name: str = "it") -> T: ...
@typing.overload
def decode(hint: Any, value: Any, name: str = "it") -> Any: ...
def decode(hint: Any, value: Any, name: str = "it") -> Any:
    """Check a plain value against a type hint and return it as that type: the reader of every record.

    A dataclass is made of a mapping (and checks itself); keys that it does not have are ignored, since a newer version
    may have written them. An enumeration is made of its value, or by its ``parse``. ``Annotated[float, (0, 1)]`` is a
    number in that range. A hint of another kind accepts anything.

    Args:
        hint: the type.
        value: as JSON gives it.
        name: of the value, for messages.

    Raises:
        ValueError: the value does not fit; the message names the key, what is expected and what was found.
    """
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        if (found := decode(arguments[0], value, name)) is not None and not arguments[1][0] <= found <= arguments[1][1]:
            raise _wrong(hint, value, name)
        return found
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in arguments if one is not type(None)]
        if value is None and len(kinds) < len(arguments):
            return None
        if len(kinds) == 1 and (typing.get_origin(kinds[0]) or dataclasses.is_dataclass(kinds[0])):
            return decode(kinds[0], value, name)
        for one in kinds:
            with contextlib.suppress(ValueError):
                return decode(one, value, name)
        raise _wrong(hint, value, name)
    if origin is typing.Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise _wrong(hint, value, name)
    elif origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(hint, value, name)
        return {key: decode(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    elif origin in (tuple, list, Sequence):
        kinds = list(arguments) if origin is tuple and arguments[-1] is not ... else []
        if not isinstance(value, list | tuple) or (kinds and len(value) != len(kinds)):
            raise _wrong(hint, value, name)
        kinds = kinds or [arguments[0]] * len(value)
        items = [decode(kind, item, f"{name}[{n}]") for n, (kind, item) in enumerate(zip(kinds, value, strict=True))]
        return tuple(items) if origin is tuple else items
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else _record(hint, value, name)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        with contextlib.suppress(ValueError, AttributeError):
            return value if isinstance(value, hint) else getattr(hint, "parse", hint)(value)
        raise _wrong(hint, value, name)
    elif hint in (int, float):
        is_number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        if not is_number or not -MAX_INTEGER < value < MAX_INTEGER:  # NaN is not in this range either
            raise _wrong(hint, value, name)
        return hint(value)
    elif isinstance(hint, type) and not isinstance(value, hint):
        raise _wrong(hint, value, name)
    return value


def _wrong(hint: Any, value: object, name: str) -> ValueError:
    return ValueError(f"{name} must be {named(hint)}, got {shown(value)}")


def _record(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be names and values, got {shown(value)}")
    required, hints = _fields_of(kind)
    if lacking := [key for key in required if key not in value]:
        raise ValueError(f"{name} lacks {', '.join(lacking)}")
    within = "" if name == "it" else f"{name}."
    return kind(**{key: decode(hint, value[key], f"{within}{key}") for key, hint in hints.items() if key in value})


@lru_cache
def _fields_of(kind: Any) -> tuple[list[str], dict[str, Any]]:
    missing = dataclasses.MISSING
    fields = [item for item in dataclasses.fields(kind) if item.init]
    required = [item.name for item in fields if item.default is missing and item.default_factory is missing]
    hints = typing.get_type_hints(kind, include_extras=True)
    return required, {item.name: hints[item.name] for item in fields}


def shown(value: object) -> str:
    """Format a value for a message, cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with too many digits; a list that contains itself
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


def named(hint: Any) -> str:
    """Description of the values that a type hint allows, for a message."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        low, high = arguments[1]
        return f"{named(arguments[0])} " + (f"of at least {low:g}" if high == math.inf else f"in {low:g}..{high:g}")
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(named(one) for one in arguments)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(map(str, hint))}"
    if origin in (tuple, list, Sequence):
        return "a list" if origin is not tuple or arguments[-1] is ... else f"a list of {len(arguments)}"
    if origin in (dict, Mapping) or hint is dict or dataclasses.is_dataclass(hint):
        return "names and values"
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
