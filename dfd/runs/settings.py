"""Settings in which runs differ, without those that say nothing of the result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfd.base.words import Setting, flatten, show_setting

# Where a run writes, and how fast: no difference between two experiments.
IGNORED_GROUPS = ("hydra", "logger", "tags", "debug", "ckpt_path", "test", "optimized_metric")


IGNORED_KEYS = (
    *("dirpath", "save_dir", "default_root_dir", "output"),
    *("num_workers", "pin_memory", "multiprocessing_context", "refresh_rate", "enable_progress_bar"),
)


PATH_KEYS = ("store", "weights")


def _shortened(key: str, value: Setting) -> tuple[str, Setting]:
    """A setting as it is shown: ``backbone: resnext50`` for the target of ``backbone``, a path without its folders."""
    if isinstance(value, str) and key.endswith("._target_"):
        return key.removesuffix("._target_"), value.rpartition(".")[2]
    if isinstance(value, str) and key.rpartition(".")[2] in PATH_KEYS:
        return key, Path(value).name
    return key, value


def nested(value: Any, *keys: str) -> Any:
    """Value below ``keys`` in nested mappings; None if any of them is missing.

    >>> nested({"data": {"split": {"mode": "source"}}}, "data", "split", "mode"), nested({"data": 1}, "data", "split")
    ('source', None)
    """
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def flat(settings: object) -> Mapping[str, Setting]:
    """Settings by dotted keys; none if they are of another kind."""
    return flatten(settings) if isinstance(settings, Mapping) else {}


def shown(value: Any) -> str:
    """A setting, or another plain value, as text."""
    return show_setting(value) if value is None or isinstance(value, str | int | float) else str(value)


def differing(settings: Sequence[Mapping[str, Setting]]) -> list[str]:
    """The keys that are not the same in all of several configs; one that has no config says nothing.

    >>> differing([{"seed": 0, "lr": 1.0}, {"seed": 1, "lr": 1.0}, {}])
    ['seed']
    """
    known = [one for one in settings if one]
    keys = dict.fromkeys(key for one in known for key in one)
    return [key for key in keys if len({show_setting(one[key]) if key in one else "" for one in known}) > 1]
