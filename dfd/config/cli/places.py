"""Meaning of plain words for each command: inputs, a manifest or a folder, a clip store, a checkpoint."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfd.config.cli.catalogue import UsageError
from dfd.config.cli.declared import Declared, named_like
from dfd.config.cli.kinds import quoted
from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR


@dataclass
class Line:
    """Translated command line: Hydra's flags and overrides, in the given order."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    """Chosen option of each group."""
    folders: tuple[Path, ...] = (CONFIG_DIR, SWEEPS_DIR)

    @property
    def words(self) -> list[str]:
        """Words of the line as Hydra takes them."""
        return [*self.flags, *self.overrides]

    @property
    def wants_help(self) -> bool:
        """Whether the help page was asked for."""
        return "--help" in self.flags

    @property
    def is_multirun(self) -> bool:
        """Whether several runs were asked for."""
        return "--multirun" in self.flags


def dashed(key: str) -> str:
    """Key as it is written in an option.

    >>> dashed("limits.max_width")
    'limits.max-width'
    """
    return key.replace("_", "-")


def overrides_of(words: Sequence[str], line: Line, declared: Declared) -> Iterable[str]:
    """Overrides that the plain words of a line stand for.

    Raises:
        UsageError: a word is an option's name, or there are more than the command takes.
    """
    for word in words:
        if not _is_there(word) and (found := named_like(word, declared.names(line.choices))):
            raise UsageError(f"{word}: there is no such file; if the option is meant, write --{dashed(found[0])} VALUE")
    return PLACES[declared.command](words, line, declared) if words else []


def _is_there(word: str) -> bool:
    return os.path.lexists(os.path.expanduser(word))


def _is_folder(word: str) -> bool:
    return os.path.isdir(os.path.expanduser(word))


def _inputs(words: Sequence[str], line: Line, declared: Declared) -> list[str]:
    """Predict: videos, folders, lists."""
    if any(override.startswith("input=") for override in line.overrides):
        raise UsageError(f"{words[0]}: the input is given by input= too; give all inputs as plain words")
    texts = [quoted(word) for word in words]
    return [f"input={texts[0]}" if len(texts) == 1 else f"input=[{','.join(texts)}]"]


def _checkpoint_and_store(words: Sequence[str], line: Line, declared: Declared) -> list[str]:
    """Evaluate, calibrate and export: a checkpoint; where there are data, a clip store after it."""
    has_data = "data" in declared.groups
    stores = [word for word in words if has_data and _is_folder(word)]
    checkpoints = [word for word in words if word not in stores]
    if extra := (*checkpoints[1:], *stores[1:]):
        takes = "one checkpoint and one clip store" if has_data else "one checkpoint"
        raise UsageError(f"{extra[0]}: {declared.command} takes {takes}; leave this one out")
    return [f"checkpoint={quoted(word)}" for word in checkpoints] + [f"data.store={quoted(word)}" for word in stores]


def _manifest_or_root(words: Sequence[str], line: Line, declared: Declared) -> list[str]:
    """Preprocess: a manifest, or the folder of a data set."""
    if len(words) > 1:
        raise UsageError(f"{words[1]}: preprocess takes one manifest or one folder; leave this one out")
    if not _is_folder(words[0]):
        return [f"manifest={quoted(words[0])}"]
    return [f"root={quoted(words[0])}", *([] if "source" in line.choices else ["source=folder"])]


def _store(words: Sequence[str], line: Line, declared: Declared) -> list[str]:
    """Train: a clip store; its data are ``clips`` if nothing else was chosen."""
    for word in words:
        if not _is_folder(word):
            groups = [name for name, group in declared.groups.items() if word in group.choices]
            remedy = (
                f"write {groups[0]}={word}" if len(groups) == 1 else "options are given as key=value or --key value"
            )
            raise UsageError(f"{word}: there is no clip store of this name; {remedy}")
    if len(words) > 1:
        raise UsageError(f"{words[1]}: train takes one clip store; leave this one out")
    has_data = any(name in line.choices for name in ("data", "experiment", "study"))
    return [f"data.store={quoted(words[0])}", *([] if has_data else ["data=clips"])]


PLACES: dict[str, Callable[[Sequence[str], Line, Declared], Iterable[str]]] = {
    "predict": _inputs,
    "preprocess": _manifest_or_root,
    "train": _store,
    "evaluate": _checkpoint_and_store,
    "calibrate": _checkpoint_and_store,
    "export": _checkpoint_and_store,
}
"""Functions that turn plain words into overrides, by command."""
