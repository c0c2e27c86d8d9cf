"""Errors of Hydra and OmegaConf as sentences that name the wrong word and propose a right one.

A word is only proposed if it is close to the wrong one and if the configuration composes with it.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dfd.base.words import nearest
from dfd.config.cli.composing import composed
from dfd.config.cli.declared import leaf
from dfd.config.cli.kinds import Kind, Kinds, parameters_of, quoted, written
from dfd.config.cli.places import Line, dashed
from dfd.config.cli.values import IS_THERE, flat

MAX_NAMED = 12
"""Number of names listed in a sentence; --help has all."""
ADDED = (OverrideType.ADD, OverrideType.FORCE_ADD)


def refusals(kinds: Kinds, line: Line, error: Exception) -> list[str]:
    """A sentence for each word of the line that the configuration cannot be composed with.

    Args:
        kinds: of the command's options.
        line: what was given.
        error: what Hydra or OmegaConf raised; its first line is the sentence if no word is found to be wrong.
    """
    found = list(dict.fromkeys(_Diagnosis(kinds, line).sentences()))
    return found or [_plain(error)]


def misfits(kinds: Kinds, error: Exception) -> list[str]:
    """A sentence for each thing that a command refuses of its configuration, such as the lines of a failed check."""
    header, *lines = str(error).splitlines() or [""]
    if not header.endswith("config does not fit the code:"):
        return [str(error)] if not isinstance(error, HydraException) else [_plain(error)]
    defaults = {option.key: option.default for option in kinds.declared.options()}
    return [_misfit(line.strip(), defaults) for line in lines]


def _misfit(said: str, defaults: Mapping[str, str]) -> str:
    key = said.partition(":")[0]
    if "required; add" in said:
        return said + (f"; {IS_THERE}" if key == "checkpoint" else "")
    if "must be a number" in said and defaults.get(key, "null") not in ("null", ""):
        return f"{said}; write {key}={defaults[key]}, or --help to see what it is"
    return said


def _plain(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    lines = [text.strip() for text in str(cause).splitlines() if text.strip()]
    key = getattr(cause, "full_key", None)
    return f"{key}: {lines[0]}" if key else lines[0] if lines else type(cause).__name__


class _Diagnosis:
    def __init__(self, kinds: Kinds, line: Line) -> None:
        self.kinds, self.declared, self.line = kinds, kinds.declared, line
        self.base: list[str] = []
        """The right choices of groups, without which other options may not be there."""
        self.tree: dict[str, Any] = {}
        """Configuration composed with these, by dotted keys."""

    def sentences(self) -> Iterator[str]:
        """One for each wrong word."""
        parsed: list[Override] = []
        for word in self.line.overrides:
            try:
                parsed.append(_parser().parse_override(word))
            except HydraException:
                yield f"{word}: {self._unparsable(word)}"
        groups = [override for override in parsed if self._is_group(override.key_or_group)]
        right: list[str] = []
        for override in groups:
            if said := self._wrong_group(override):
                yield f"{override.input_line}: {said}"
            elif not override.is_sweep_override():
                right.append(str(override.input_line))
        tree = composed(self.declared.command, tuple(right), self.line.folders)
        if tree is None:
            return
        self.base, self.tree = right, dict(flat(tree))
        for override in parsed:
            if override not in groups and (said := self._wrong_key(override)):
                yield f"{override.input_line}: {said}"

    def _is_group(self, key: str) -> bool:
        return any((folder / key.partition("@")[0]).is_dir() for folder in self.line.folders)

    def _composes(self, *words: str) -> bool:
        return composed(self.declared.command, words, self.line.folders) is not None

    def _proposed(self, *words: str, sure: bool = False, beside: Sequence[str] | None = None) -> str:
        """End of a sentence that proposes words; empty if the configuration does not compose with them.

        Args:
            words: the ones to propose.
            sure: whether they say the same as what was given; otherwise it is asked whether they are meant.
            beside: right words of the line, which they need; None: the choices of groups.
        """
        if not self._composes(*(self.base if beside is None else beside), *words):
            return ""
        return f"; write {shlex.join(words)}" if sure else f"; did you mean {shlex.join(words)}?"

    def _typed(self, key: str, value: str, kind: Kind) -> str:
        """Proposal of ``--key value``, which needs no quotes for Hydra; empty if it does not compose."""
        if not value or not self._composes(*self.base, f"{key}={written(value, kind)}"):
            return ""
        return f"; write --{dashed(key)} {shlex.quote(value)}"

    def _unparsable(self, word: str) -> str:
        """A word whose value Hydra's grammar does not take: signs in it have a meaning there."""
        key, _, value = word.lstrip("+~").partition("=")
        signs = [sign for sign in "()[]{}'\"=,$#:;&|!*<>@%^`?\\\n" if sign in value]
        named = f"{' '.join(map(repr, signs[:3]))} in its value" if signs else "its value"
        kind = self.kinds.of(key, self.line.choices)
        remedy = self._typed(key, value.strip("[]") if kind is Kind.LIST else value, kind)
        return f"{named} {'have' if len(signs) > 1 else 'has'} a meaning in key=value{remedy}"

    def _wrong_group(self, override: Override) -> str | None:
        word, name = override.input_line or "", override.key_or_group
        if not name.startswith("hydra/"):
            if name not in self.declared.groups:
                close = nearest(name, self.declared.groups)
                remedy = self._proposed(f"{close}={override.value()}") if close else ""
                return f"{self.declared.command} takes no {name}{remedy or '; --help lists what it takes'}"
            if override.type is OverrideType.DEL:
                return None
            if override.type in ADDED:
                return f"a {name} is chosen already{self._proposed(word.lstrip('+'), sure=True)}"
        if override.is_sweep_override() and not self.line.is_multirun:
            return _several(word)
        choices = self.declared.choices(name)
        for value in _values(override):
            if value is None or str(value) in choices or self._has_file(name, str(value)):
                continue
            listed = f"{name} is one of {', '.join(choices)}"
            if value == "":
                return f"its value is empty; {listed}"
            close = None if override.is_sweep_override() else nearest(str(value), choices)
            remedy = self._proposed(word.replace(str(value), close)) if close else ""
            return f"there is no {name} of this name; {listed}{remedy}"
        return None

    def _has_file(self, group: str, option: str) -> bool:
        return any((folder / group / f"{option}.yaml").is_file() for folder in self.line.folders)

    def _wrong_key(self, override: Override) -> str | None:
        word, key = override.input_line or "", override.key_or_group
        is_sweep = override.is_sweep_override()
        if key.startswith("hydra."):
            return None if is_sweep or self._composes(word) else self._unknown(word, key)
        if override.type is OverrideType.DEL:
            if key in self.tree:
                return None
            close = nearest(key, [known for known in self._options() if known.count(".") == key.count(".")])
            return f"there is no {key} to take away{self._proposed(f'~{close}') if close else ''}"
        if override.type in ADDED:
            if override.type is OverrideType.FORCE_ADD or isinstance(self.tree.get(key, {}), dict):
                return None
            return f"{key} is there already{self._proposed(word.lstrip('+'), sure=True)}"
        if key not in self.tree:
            return self._unknown(word, key)
        value = word.partition("=")[2]
        if is_sweep:
            return None if self.line.is_multirun else self._swept(word, key, value)
        if self._composes(*self.base, word):
            return None
        return f"{key} cannot have this value{self._proposed(f'{key}={quoted(value)}', sure=True)}"

    def _options(self) -> list[str]:
        """The dotted keys that there are, without Hydra's, those of code and the places in lists."""
        inner = (key for key in self.tree if key != "hydra" and not key.startswith("hydra."))
        return [key for key in inner if not any(part[0] == "_" or part.isdecimal() for part in key.split("."))]

    def _swept(self, word: str, key: str, value: str) -> str:
        kind = self.kinds.of(key, self.line.choices)
        if kind is Kind.LIST and self._composes(*self.base, f"{key}=[{value}]"):
            return f"this option is a list; write {shlex.quote(f'{key}=[{value}]')}"
        if kind in (Kind.TEXT, Kind.PATHS) and (said := self._typed(key, value, kind)):
            return f"a comma separates the runs of a study; if it is part of the value{said.removeprefix(';')}"
        return _several(word)

    def _unknown(self, word: str, key: str) -> str:
        """A key that is not there: misspelt, of an option file that is not chosen, or one to add with ``+``."""
        value = word.partition("=")[2]
        head, _, name = key.rpartition(".")
        if owners := self.declared.owners.get(key):
            return self._of_another_choice(owners, word)
        parent = self.tree.get(head) if head else {known: None for known in self.tree if "." not in known}
        if head in self.tree and not isinstance(parent, Mapping):
            return f"{head} is {'off' if parent is None else 'one value'}, so it has no {name}"
        siblings = [item for item in map(str, parent or ()) if not item.startswith("_") and item != "hydra"]
        target = str((parent or {}).get("_target_", ""))
        if name in parameters_of(target):
            return self._of_target(target, word, key)
        meant: list[str] = []
        if close := nearest(name, siblings):
            meant.append(f"{head}.{close}={value}".removeprefix("."))
        if close := nearest(key, [*self.declared.groups, *self._options()], close=0.8):
            is_choice = close not in self.declared.groups or self._has_file(close, value)
            choice = value if is_choice else nearest(value, self.declared.choices(close))
            meant += [f"{close}={choice}"] if choice else []
        elsewhere = [known for known in self._options() if leaf(known) == name]
        if not head and len(elsewhere) == 1:
            meant.append(f"{elsewhere[0]}={value}")
        if said := next(filter(None, map(self._proposed, meant)), None):
            return f"there is no option {key}{said}"
        if target:
            return self._of_target(target, word, key)
        if siblings and head:
            return f"there is no option {key}; {head} has {', '.join(siblings[:MAX_NAMED])}"
        return f"{self.declared.command} has no option {key}; --help lists what there is"

    def _of_another_choice(self, owners: Sequence[tuple[str, str]], word: str) -> str:
        group, choice = owners[0]
        chosen = [item.partition("=")[2] for item in self.base if item.startswith(f"{group}=")]
        now = (chosen[0] if chosen else "") or self.declared.groups[group].default
        others = [item for item in self.base if not item.startswith(f"{group}=")]
        *most, last = [name for owner, name in owners if owner == group]
        have_it = f"{', '.join(most)} and {last} have it" if most else f"{last} has it"
        state = f"no {group} is chosen" if now in ("null", "") else f"{group}={now} has no such option"
        return f"{state}, {have_it}{self._proposed(f'{group}={choice}', word, sure=True, beside=others)}"

    def _of_target(self, target: str, word: str, key: str) -> str:
        """A key beside those of the YAML file: what is built may take it, too."""
        head, _, name = key.rpartition(".")
        label, parameters = leaf(target), parameters_of(target)
        if name in parameters:
            return f"the configuration has no {key} yet, but {label} takes it{self._proposed(f'+{word}', sure=True)}"
        if close := nearest(name, parameters):
            value = word.partition("=")[2]
            return f"{label} takes no {name}{self._proposed(f'+{head}.{close}={value}')}"
        listed = f"; it takes {', '.join(parameters)}" if 0 < len(parameters) <= MAX_NAMED else ""
        return f"{label} takes no {name}{listed}"


def _several(word: str) -> str:
    return f"several values are a study of several runs; write -m {shlex.quote(word)}"


def _values(override: Override) -> list[Any]:
    """The values of an override of a group: one, or those of a sweep."""
    if override.is_choice_sweep():
        return [getattr(value, "text", value) for value in override.value().list]  # type: ignore[union-attr]
    value = override.value()
    return list(value) if isinstance(value, list) else [value]


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
