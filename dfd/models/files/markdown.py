"""Values of a card as Markdown: escaped, shortened, as tables and code."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNKNOWN = "unknown"


MAX_CHARACTERS = 200
"""Maximum length of one value, since a stranger's card may hold any."""


def escaped(value: object, *, at_most: int = MAX_CHARACTERS) -> str:
    r"""Value as text on one line, with all Markdown and HTML characters escaped; long values are cut.

    >>> print(escaped("a*b <script> [x](y)"))
    a\*b \<script\> \[x\]\(y\)
    """
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    text = text if len(text) <= at_most else f"{text[:at_most]}…"
    return re.sub(r"([\\`*_{}\[\]()<>#|~&!@:$])", r"\\\1", text)


def _range(ends: object) -> str:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return "–"
    return f"{_flat(ends[0])} to {_flat(ends[1])}"


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}


def _value(values: Mapping[str, Any], key: str) -> str:
    found = values.get(key)
    return UNKNOWN if found is None else escaped(found)


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{escaped(name)} {escaped(count)}" for name, count in counts.items()) or "–"


def _flat(value: object) -> str:
    """Value as text within a line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{escaped(key)} {_flat(part)}" for key, part in value.items())
    return escaped(f"{value:.4g}" if isinstance(value, float) else value)


def _plain(value: object) -> str:
    """Value for use within backticks, where escaping is impossible: reduced to the characters of hashes and options."""
    return re.sub(r"[^\w.+-]", "", str(value), flags=re.ASCII)[:MAX_CHARACTERS]


def _code(*lines: str) -> str:
    return "\n".join(["```", *lines, "```"])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
