"""Check of the given values, before anything heavy is imported: kinds of values, and files that must exist."""

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dfd.base.words import nearest
from dfd.config.cli.kinds import LITERAL, Kind, Kinds, plain_or_quoted
from dfd.models.published.names import NAMES, adopted_path

SHIPPED = ("starter", "rendering")
IS_THERE = "checkpoint=starter is the small detector that comes with dfd, and dfd adopt lists published ones"
MAX_NAMES = 2000
"""Number of a folder's names that are searched for a misspelt one."""

PATHS = {
    "checkpoint": f"train one with dfd train; {IS_THERE}",
    "input": "give a video, a folder of videos, or a list of them (.txt, .csv)",
    "manifest": "give a CSV with the columns path and label",
    "root": "give the folder of the data set",
    "data.store": "make a clip store with dfd preprocess",
    "init_from": f"give a detector.safetensors or a .ckpt to fine-tune; {IS_THERE}",
    "ckpt_path": "give a .ckpt of a stopped run, or last with hydra.run.dir=RUN_DIR",
}
"""Options that name something that must exist, with the remedy if it does not."""


def wrong_values(kinds: Kinds, cfg: Mapping[str, Any], keys: Sequence[str], choices: Mapping[str, str]) -> list[str]:
    """A sentence for each given value that is of the wrong kind, or names a file that is not there.

    Args:
        kinds: of the command's options.
        cfg: the composed configuration as plain values, interpolations resolved.
        keys: the options that were given.
        choices: the groups' options that were chosen.
    """
    values = dict(flat(cfg))
    defaults = {option.key: option.default for option in kinds.declared.options(choices)}
    found = [required(key) for key, value in values.items() if value == "???"]
    for key in keys:
        if values.get(key) is not None and key not in kinds.declared.groups:
            found += _of_wrong_kind(kinds.of(key, choices), key, values[key], defaults)
    return found or [said for key in PATHS if key in (*keys, "data.store") and (said := _missing(values, key))]


def required(key: str) -> str:
    """The refusal of an option that has no value yet."""
    return f"{key}: required; add {key}=… to the command line"


def _of_wrong_kind(kind: Kind, key: str, value: Any, defaults: Mapping[str, str]) -> Iterator[str]:
    block = [known for known in defaults if known.startswith(f"{key}.")]
    if block and not isinstance(value, Mapping):
        yield f"{key}={value}: {key} has several values of its own; write {block[0]}={defaults[block[0]]}"
    elif not _fits(value, kind):
        what = "is empty" if value == "" else f"must be {kind.value}"
        default = defaults.get(key, "")
        example = default if default not in ("", "???", "null") and not default.startswith("${") else _EXAMPLES[kind]
        shown = str(value).replace("'", "") if isinstance(value, list) else value
        yield f"{key}={shown}: {what}; write {shlex.quote(f'{key}={example}')}, or --help to see what it is"


_EXAMPLES = {Kind.WHOLE: "1", Kind.NUMBER: "0.5", Kind.FLAG: "true", Kind.LIST: "[a,b]", Kind.TEXT: "NAME"}
_EXAMPLES[Kind.PATHS] = "PATH"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def _fits(value: Any, kind: Kind) -> bool:
    """Whether the value is of the kind, or is a text that stands for one."""
    if kind is Kind.ANY:
        return True
    if kind is Kind.TEXT:
        return value != "" and not isinstance(value, Mapping | list)
    if kind is Kind.LIST:
        return isinstance(value, list)
    if kind is Kind.PATHS:
        return bool(value) and not isinstance(value, Mapping)
    if isinstance(value, str):
        if kind is Kind.FLAG:
            return value.lower() in ("true", "false", "yes", "no", "on", "off", "1", "0", "y", "n")
        value = float(value) if LITERAL.fullmatch(value) and re.search(r"\d|inf|nan", value.lower()) else value
    if kind is Kind.FLAG:
        return value in (True, False)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return kind is Kind.NUMBER or float(value).is_integer()


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration by its dotted key, also those that hold others.

    >>> dict(flat({"a": {"b": [7]}}))
    {'a': {'b': [7]}, 'a.b': [7], 'a.b.0': 7}
    """
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield f"{prefix}{key}", value
        yield from flat(value, f"{prefix}{key}.")


def _missing(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    data = str(values.get("data._target_", ""))
    if key == "data.store" and (not data.startswith("dfd.") or "Demo" in data):
        return None  # it is made when it is not there, or somebody else's
    if value is None or (key == "ckpt_path" and value in ("last", "auto")):
        return None
    named = (*SHIPPED, *NAMES) if key in ("checkpoint", "init_from") else ()
    for text in map(str, value if isinstance(value, list) else [value]):
        if text in ("", "???") or os.path.lexists(os.path.expanduser(text)):
            continue
        if text in named:
            if text in NAMES and not adopted_path(text).is_file():
                return f"{key}={text}: this published detector has not been adopted here; to do so: dfd adopt {text}"
            continue
        if _ADDRESS.match(text):
            return f"{key}={text}: is an address, and addresses are not fetched; download it, and give the file"
        close = _close_name(text, extra=named)
        remedy = f"did you mean {shlex.quote(f'{key}={plain_or_quoted(close)}')}?" if close else PATHS[key]
        return f"{key}={text}: there is no such file or folder; {remedy}"
    return None


def _close_name(text: str, *, extra: Sequence[str]) -> str | None:
    """A name beside the one that is not there, if it was probably meant."""
    path = Path(os.path.expanduser(text))
    names: list[str] = []
    if path.name:
        with contextlib.suppress(OSError):
            names = [each.name for each in islice(path.parent.iterdir(), MAX_NAMES) if not each.name.startswith(".")]
    close = nearest(path.name, [*extra, *names], close=0.8)
    return close if close in extra or close is None else str(Path(text).with_name(close))
