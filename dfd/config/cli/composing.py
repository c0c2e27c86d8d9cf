"""The configuration that words compose to."""

import contextlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

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
        return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=False))
    return None
