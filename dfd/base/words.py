"""Words for messages: suggestions for misspelt names, and settings as people read them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

CLOSE = 0.75
"""Least similarity (0 to 1) at which a word counts as a misspelling of another."""


def did_you_mean(word: str, choices: list[str]) -> str:
    """Clause that suggests a name, to append to an error about ``word``.

    >>> did_you_mean("hidden_feature", ["in_features", "hidden_features"])
    "; did you mean 'hidden_features'?"
    """
    close = nearest(word, choices)
    if close:
        return f"; did you mean {close!r}?"
    return f"; it takes {', '.join(choices)}" if choices else ""


Setting = str | int | float | bool | None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Setting]:
    """Flatten a nested config to dotted keys; a list becomes its text.

    >>> flatten({"data": {"clip_len": 10, "jpeg": [40, 95]}, "seed": 0})
    {'data.clip_len': 10, 'data.jpeg': '[40, 95]', 'seed': 0}
    """
    flat: dict[str, Setting] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | int | float | None) else str(value)
    return flat


def show_setting(value: Setting) -> str:
    """Format a setting as in a config.

    >>> show_setting(None), show_setting(True), show_setting(1e-05), show_setting("mean")
    ('null', 'true', '1e-05', 'mean')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def nearest(word: str, known: Iterable[str], *, close: float = CLOSE) -> str | None:
    """The one of ``known`` that ``word`` is a misspelling of; None if none is close.

    >>> nearest("resnext5", ["inception_v3", "resnext50"]), nearest("foo", ["resnext50"])
    ('resnext50', None)
    """
    found = difflib.get_close_matches(word, list(dict.fromkeys(known)), n=1, cutoff=close)
    return found[0] if found else None
