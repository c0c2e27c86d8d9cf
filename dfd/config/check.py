"""The check of a composed configuration, made before anything is built.

Hydra refuses an override of a key that does not exist; what it cannot know is whether a value fits the code. ``check``
binds every ``_target_`` to its signature, so a misspelt or missing argument fails in a second and not after an hour.
"""

import inspect
import logging
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.base.errors import ConfigError
from dfd.base.words import did_you_mean
from dfd.config import naming, places  # noqa: F401 - the resolvers that YAML files use
from dfd.config.build import locate
from dfd.config.cli.kinds import Kinds
from dfd.config.cli.values import wrong_values
from dfd.runs.records import overrides_by_key

logger = logging.getLogger(__name__)


Schema = TypeVar("Schema")


def check(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """``cfg`` as a checked ``schema``: known keys, right types, nothing missing, every ``_target_`` callable as given.

    Raises:
        ConfigError: listing every place that does not fit.
    """
    names = [item.name for item in fields(schema)]  # type: ignore[arg-type]
    keys = [str(key) for key in cfg]
    # A group of which nothing is chosen is not in a composed configuration at all.
    hints = typing.get_type_hints(schema).items()
    nullable = [name for name, hint in hints if hint is Any or type(None) in typing.get_args(hint)]
    problems = [f"{key}: no such key{did_you_mean(key, names)}" for key in keys if key not in names]
    problems += [_required(key) for key in names if key in cfg and OmegaConf.is_missing(cfg, key)]
    if not problems:
        try:
            composed = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
            plain = {**dict.fromkeys(nullable), **{str(k): v for k, v in dict(composed).items()}}  # type: ignore[arg-type]
            literal = {key: _literal(value) for key, value in plain.items()}
            merged = OmegaConf.merge(OmegaConf.structured(schema), literal)
        except OmegaConfBaseException as error:
            where = getattr(error, "full_key", None) or ""
            raise ConfigError(f"config does not fit the code:\n  {where}: {str(error).splitlines()[0]}") from error
        problems += [problem for name in names for problem in _target_problems(plain.get(name), name)]
        problems = problems or [_required(name) for name in names if name not in plain]
    if problems:
        raise ConfigError("\n  ".join(["config does not fit the code:", *problems]))
    value = OmegaConf.to_object(merged)
    assert isinstance(value, schema)
    return value


def _required(key: str) -> str:
    return f"{key}: required; add {key}=… to the command line"


def _literal(node: Any) -> Any:
    """A resolved value that is not resolved once more: a file's name may hold ``${``."""
    if isinstance(node, str):
        return re.sub(r"(\\*)\$\{", lambda found: f"{found[1]}{found[1]}\\${{", node)
    if isinstance(node, list):
        return [_literal(item) for item in node]
    return {key: _literal(value) for key, value in node.items()} if isinstance(node, dict) else node


def _target_problems(node: Any, path: str) -> Iterator[str]:
    """What is wrong with the values and ``_target_`` calls in and below ``node``."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _target_problems(item, f"{path}[{index}]")
        return
    if node == "???":
        yield _required(path)
        return
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        yield from _binding_problems(node, path)
    for key, value in node.items():
        yield from _target_problems(value, f"{path}.{key}")


def _binding_problems(node: Mapping[str, Any], path: str) -> Iterator[str]:
    try:
        target = locate(str(node["_target_"]))
    except ConfigError as error:
        yield f"{path}._target_: {error}"
        return
    parameters = inspect.signature(target).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in node:
            if not str(key).startswith("_") and key not in named:
                yield f"{path}.{key}: {target.__name__} has no parameter {key!r}{did_you_mean(str(key), named)}"
    # A partial call and a model part (its in_features come from the backbone) are completed by code.
    completed_later = node.get("_partial_", False) or path in ("temporal", "head", "optimizer", "scheduler")
    for parameter in parameters:
        required = parameter.default is parameter.empty and parameter.name in named
        if required and not completed_later and parameter.name not in node:
            yield f"{path}.{parameter.name}: {target.__name__} needs it; add {path}.{parameter.name}=…"
        value = node.get(parameter.name)
        if isinstance(value, str) and _takes_numbers(parameter):
            yield f"{path}.{parameter.name}: must be a number, got {value!r}"


def _takes_numbers(parameter: inspect.Parameter) -> bool:
    """Whether it is a number and never text, by its type or, if that names more, by its default."""
    kinds = set(typing.get_args(parameter.annotation) or (parameter.annotation,)) - {type(None)}
    if str in kinds:
        return False
    default = parameter.default
    return kinds <= {int, float} or (isinstance(default, int | float) and not isinstance(default, bool))


def refuse_values(kinds: Kinds, cfg: DictConfig) -> None:
    """Refuse values that were typed and do not fit their option.

    Raises:
        ConfigError: a value that was given is of the wrong kind, or names a file that is not there.
    """
    given = overrides_by_key(OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False))  # type: ignore[arg-type]
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'a value'}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    wrong = wrong_values(
        kinds, {str(k): v for k, v in plain.items()}, [*given], dict(HydraConfig.get().runtime.choices)
    )
    if wrong:
        raise ConfigError("\n  ".join(["config does not fit the code:", *wrong]))
