"""The check of a composed configuration, made before anything is built.

Hydra refuses an override of a key that does not exist; what it cannot know is whether a value fits the code. ``check``
binds every ``_target_`` to its signature, so a misspelt or missing argument fails in a second and not after an hour.
"""

import inspect
import logging
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.base.errors import ConfigError
from dfd.base.words import did_you_mean
from dfd.config import naming, places  # noqa: F401 - the resolvers that YAML files use
from dfd.config.build import locate
from dfd.config.cli.kinds import Kinds
from dfd.config.cli.values import flat, required, wrong_values
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
    problems = [f"{key}: no such key{did_you_mean(key, names)}" for key in keys if key not in names]
    problems += [required(key) for key in names if OmegaConf.is_missing(cfg, key)]
    if problems:
        raise _refusal(problems)
    # A group of which nothing is chosen is not in a composed configuration at all.
    hints = typing.get_type_hints(schema).items()
    nullable = [name for name, hint in hints if hint is Any or type(None) in typing.get_args(hint)]
    plain = {**dict.fromkeys(nullable), **_resolved(cfg)}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), _literal(plain))
    except OmegaConfBaseException as error:
        raise _refusal([_said(error)]) from error
    for path, node in flat(plain):
        if node == "???":
            problems.append(required(path))
        elif isinstance(node, Mapping) and "_target_" in node:
            problems += _binding_problems(node, path)
    problems = problems or [required(name) for name in names if name not in plain]
    if problems:
        raise _refusal(problems)
    value = OmegaConf.to_object(merged)
    assert isinstance(value, schema)
    return value


def _refusal(problems: Iterable[str]) -> ConfigError:
    return ConfigError("\n  ".join(["config does not fit the code:", *problems]))


def _said(error: OmegaConfBaseException) -> str:
    return f"{error.full_key or 'a value'}: {str(error).splitlines()[0]}"


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """The values of a configuration, with what its interpolations refer to.

    Raises:
        ConfigError: an interpolation leads nowhere.
    """
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False))
    except OmegaConfBaseException as error:
        raise _refusal([_said(error)]) from error


def _literal(node: Any) -> Any:
    """A resolved value that is not resolved once more: a file's name may hold ``${``."""
    if isinstance(node, str):
        return re.sub(r"(\\*)\$\{", lambda found: f"{found[1]}{found[1]}\\${{", node)
    if isinstance(node, list):
        return [_literal(item) for item in node]
    return {key: _literal(value) for key, value in node.items()} if isinstance(node, dict) else node


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
    given = overrides_by_key(list(HydraConfig.get().overrides.task))
    wrong = wrong_values(kinds, _resolved(cfg), [*given], dict(HydraConfig.get().runtime.choices))
    if wrong:
        raise _refusal(wrong)
