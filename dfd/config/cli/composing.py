"""The configuration that words compose to, and what is in it."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.config.cli.kinds import quoted


@cache
def composed(command: str, words: tuple[str, ...], folders: tuple[Path, ...]) -> Mapping[str, Any] | None:
    """The configuration with these words, its interpolations as they stand; None if it cannot be composed."""
    root, *others = folders
    search = [f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in others)}]"]
    GlobalHydra.instance().clear()
    with contextlib.suppress(HydraException, OmegaConfBaseException, OSError, AttributeError):
        with initialize_config_dir(str(root), version_base="1.3"):
            cfg = compose(command, [*search, *words], return_hydra_config=True)
        plain = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}
    return None


def value_at(tree: Any, key: str) -> Any:
    """The value at a dotted key.

    Raises:
        KeyError: there is none.
    """
    for part in key.split(".") if key else ():
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            raise KeyError(key)
    return tree


def has_key(tree: Mapping[str, Any], key: str) -> bool:
    """Whether there is anything at a dotted key, be it null."""
    try:
        value_at(tree, key)
    except KeyError:
        return False
    return True


def dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    """All keys of a configuration but Hydra's own and those that begin with an underscore."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key != "hydra" and not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from dotted_keys(value, f"{prefix}{key}.")
