"""Plug-ins: packages of a user's own code, from which dfd builds parts of detectors.

A plug-in registers its parts where it defines them:

>>> @register("aggregation")
... def lowest(windows):
...     tracks = [min(probs) for probs in windows]
...     return tracks, min(tracks)
>>> [name.rpartition(".")[2] for name in parts("aggregation")]
['lowest']
>>> _PARTS.clear()

A part is called by its dotted name, such as ``mypkg.rules.lowest``. dfd imports the plug-ins that the user names
(``plugins=[mypkg]``, :func:`use_plugins` or the environment variable ``DFD_PLUGINS``) and no others, whatever a file
says. Of a plug-in a file may name the registered parts alone.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

Kind = Literal["backbone", "temporal", "head", "face_detector", "aggregation", "disturbance"]
"""Parts that are named in cards, or by a name alone; others, such as losses and callbacks, only need a ``_target_``."""

VARIABLE = "DFD_PLUGINS"
"""Environment variable with the named plug-ins, separated by commas; worker processes inherit it."""
GROUP = "dfd.plugins"
"""Entry points by which an installed package gives its plug-in a short name. They are not loaded unless named."""


@dataclass(frozen=True, slots=True)
class _Part:
    kind: Kind
    function: Any
    plugin: str
    """What the user names to get it."""


_PARTS: dict[str, _Part] = {}
_loading: list[str] = []
_loaded: set[str] = set()
Function = TypeVar("Function", bound=Callable[..., Any])


def register(kind: Kind) -> Callable[[Function], Function]:
    """Decorate a function of a plug-in that builds a part of this kind, as dfd's own functions of the kind do.

    Raises:
        ValueError: there is no such kind of parts.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"register({kind!r}): the kinds of parts are {', '.join(get_args(Kind))}")

    def decorate(function: Function) -> Function:
        name = f"{function.__module__}.{function.__qualname__}"
        _PARTS[name] = _Part(kind, function, _loading[-1] if _loading else function.__module__.partition(".")[0])
        return function

    return decorate


def use_plugins(*names: str) -> None:
    """Import plug-ins, by the names of their packages or entry points; for this process and those that it starts.

    Raises:
        ConfigError: a plug-in is not installed, or its import fails.
    """
    known = named()
    for name in names:
        _load(name)
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*known, *names]))


def parts(kind: str) -> dict[str, Any]:
    """Parts of this kind by their dotted names.

    Raises:
        ConfigError: a plug-in that was named cannot be imported.
    """
    for name in named():
        _load(name)
    return {name: part.function for name, part in _PARTS.items() if part.kind == kind}


def is_opened(dotted: str) -> bool:
    """Whether a dotted name lies in a package that was named as a plug-in."""
    names = [*named(), *map(_module, named())]
    return any(dotted == name or dotted.startswith(f"{name.partition('.')[0]}.") for name in names)


def needed_by(names: Iterable[object]) -> list[str]:
    """Plug-ins that the parts with these dotted names come from; names of other things are passed over."""
    found = (_PARTS.get(name) for name in names if isinstance(name, str))
    return sorted({part.plugin for part in found if part is not None})


def missing(names: Iterable[str]) -> list[str]:
    """Plug-ins of these that have neither been named nor imported by the caller's own code."""
    there = {*named(), *(part.plugin for part in _PARTS.values())}
    return [name for name in names if name not in there]


def remedy(dotted: str) -> str:
    """Clause about a dotted name that nothing here has: the plug-in to name, or the parts that it registers.

    >>> remedy("mypkg.nets.tiny")
    'it needs the plug-in mypkg: add plugins=[mypkg] if you trust its code'
    """
    root = dotted.partition(".")[0]
    if is_opened(dotted) or root in {part.plugin for part in _PARTS.values()}:
        there = [name for name in _PARTS if name.partition(".")[0] == root]
        return f"the plug-in {root} registers no such part; it registers {', '.join(there) or 'none'}"
    return f"it needs the plug-in {root}: add plugins=[{root}] if you trust its code"


def config_folders(names: Iterable[str] = ()) -> Iterator[Path]:
    """Folders ``conf`` of the named plug-ins, with option files of their own; nothing is imported.

    Args:
        names: plug-ins beside those in the environment variable.

    Raises:
        ConfigError: there is no such package.
    """
    for name in dict.fromkeys([*named(), *names]):
        spec = _spec(_found(name).partition(".")[0])
        for place in spec.submodule_search_locations or ():
            if (folder := Path(place, "conf").absolute()).is_dir():
                yield folder


def named() -> list[str]:
    """Plug-ins that the user has named, for this process and those that it starts."""
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


def _refusal(sentence: str) -> Exception:
    from dfd.base.errors import ConfigError  # which imports numpy, and a help page does not wait for it

    return ConfigError(sentence)


def _module(name: str) -> str:
    """Module of a plug-in: that of its entry point, or the one of its name."""
    from importlib.metadata import entry_points

    return next((point.module for point in entry_points(group=GROUP, name=name)), name)


def _found(name: str) -> str:
    """Module of a plug-in that is there."""
    module = _module(name)
    root = module.partition(".")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise _refusal(f"plugins: {name!r} is not the name of a package; write it as in Python's import")
    if _spec(root) is None and (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # as the last place: nothing else there hides another module
    if _spec(root) is None:
        raise _refusal(
            f"plugins: there is no package {name!r}; install it (pip install -e FOLDER), add its folder to PYTHONPATH, "
            "or run the command in the folder that it lies in"
        )
    return module


def _load(name: str) -> None:
    if name in _loaded:
        return
    module = _found(name)
    _loading.append(name)
    try:
        import_module(module)
    except Exception as error:
        raise _refusal(f"plugins: {name} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        _loading.pop()
    _loaded.add(name)


def _spec(root: str) -> Any:
    try:
        return find_spec(root)
    except (ImportError, ValueError):
        return None


def by_name(own: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Table of dfd's own parts with those of the plug-ins."""
    return {**own, **parts(kind)}
