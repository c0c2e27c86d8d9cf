"""Composition of a command's configuration from Python, without its command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.base.errors import ConfigError
from dfd.base.names.plugins import use_plugins
from dfd.config.check import check
from dfd.config.cli.declared import Declared
from dfd.config.cli.kinds import Kinds
from dfd.config.cli.places import Line
from dfd.config.cli.refusals import refusals
from dfd.config.folders import CONFIG_DIR
from dfd.config.schemas import PredictConfig, TrainConfig


def predict_config(checkpoint: str | Sequence[str], overrides: Sequence[str] = (), *, input: str = "") -> PredictConfig:
    """The configuration that ``predict.py checkpoint=… input=…`` would have with these overrides.

    Raises:
        ConfigError: an override names no option, or a value that does not fit.
    """
    cfg = _composed("predict", PredictConfig, overrides)
    # Not as overrides: a path may hold any sign of Hydra's grammar.
    names = checkpoint if isinstance(checkpoint, str) or len(checkpoint) > 1 else checkpoint[0]
    OmegaConf.update(cfg, "checkpoint", names if isinstance(names, str) else list(names))
    OmegaConf.update(cfg, "input", input)
    use_plugins(*(cfg.get("plugins") or ()))
    return check(cfg, PredictConfig)


def training_options(key: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The options below ``key``, such as ``backbone``, that ``train.py`` would have with these overrides.

    Raises:
        ConfigError: an override names no option, or a value that does not fit, or a value is missing.
    """
    cfg = _composed("train", TrainConfig, overrides)
    use_plugins(*(cfg.get("plugins") or ()))
    try:
        node = OmegaConf.to_container(OmegaConf.select(cfg, key), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    return cast(dict[str, Any], node)


def _composed(command: str, schema: type[Any], overrides: Sequence[str]) -> DictConfig:
    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return hydra.compose(command, list(overrides))
    except HydraException as error:
        kinds = Kinds(Declared(command), schema)
        raise ConfigError("; ".join(refusals(kinds, Line(overrides=list(overrides)), error))) from error
