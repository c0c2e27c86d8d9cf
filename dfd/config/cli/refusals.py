"""What Hydra and OmegaConf refuse, as sentences: which word of the command line is wrong, and one that is right.

A word is only proposed if it is close to the wrong one and if the configuration composes with it.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dfd.base.words import nearest
from dfd.config.cli.composing import composed, dotted_keys, has_key, value_at
from dfd.config.cli.declared import Declared, leaf
from dfd.config.cli.kinds import Kind, Kinds, parameters_of, quoted, written
from dfd.config.cli.places import Line, dashed
from dfd.config.cli.values import IS_THERE

MAX_NAMED = 12
"""So many names are listed in a sentence; --help has all."""


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


@dataclass(frozen=True)
class _Diagnosis:
    kinds: Kinds
    line: Line

    @property
    def declared(self) -> Declared:
        return self.kinds.declared

    def sentences(self) -> Iterator[str]:
        """One for each wrong word."""
        parsed: list[Override] = []
        for word in self.line.overrides:
            try:
                parsed.append(_parser().parse_override(word))
            except HydraException:
                yield self._unparsable(word)
        groups = [override for override in parsed if self._is_group(override.key_or_group)]
        wrong = {id(override): said for override in groups if (said := self._wrong_group(override))}
        yield from wrong.values()
        base = [
            override.input_line or "" for override in groups if id(override) not in wrong and not self._sweeps(override)
        ]
        if (tree := self._composed(tuple(base))) is None:
            return
        for override in parsed:
            if override not in groups and (said := self._wrong_key(override, tree, base)):
                yield said

    def _is_group(self, key: str) -> bool:
        return any((folder / key.partition("@")[0]).is_dir() for folder in self.line.folders)

    def _composes(self, *words: str) -> bool:
        return self._composed(tuple(words)) is not None

    def _composed(self, words: tuple[str, ...]) -> Mapping[str, Any] | None:
        return composed(self.declared.command, words, self.line.folders)

    def _unparsable(self, word: str) -> str:
        """A word whose value Hydra's grammar does not take: signs in it have a meaning there."""
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        signs = [sign for sign in "()[]{}'\"=,$#:;&|!*<>@%^`?\\\n" if sign in value]
        named = f"{' '.join(map(repr, signs[:3]))} in its value" if signs else "its value"
        kind = self.kinds.of(key, self.line.choices)
        remedy = self._typed(key, value.strip("[]") if kind is Kind.LIST else value, kind, ())
        return f"{word}: {named} {'have' if len(signs) > 1 else 'has'} a meaning in key=value{remedy}"

    def _typed(self, key: str, value: str, kind: Kind, base: Sequence[str]) -> str:
        """The proposal of ``--key value``, where nothing has to be quoted for Hydra; nothing if it does not compose."""
        if not value or not self._composes(*base, f"{key}={written(value, kind)}"):
            return ""
        return f"; write --{dashed(key)} {shlex.quote(value)}"

    def _wrong_group(self, override: Override) -> str | None:
        word, name = override.input_line or "", override.key_or_group
        if name.startswith("hydra/"):
            return self._wrong_choice(override, self.declared.choices(name), word, name)
        group = self.declared.groups.get(name)
        if group is None:
            command = self.declared.command
            close = nearest(name, self.declared.groups)
            remedy = self._proposed(f"{close}={override.value()}") if close else ""
            return f"{word}: {command} takes no {name}{remedy or '; --help lists what it takes'}"
        if override.type is OverrideType.DEL:
            return None
        if override.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
            return f"{word}: a {name} is chosen already{self._proposed(word.lstrip('+'), sure=True)}"
        return self._wrong_choice(override, group.choices, word, name)

    def _wrong_choice(self, override: Override, choices: Mapping[str, str], word: str, name: str) -> str | None:
        values = _values(override)
        listed = f"{name} is one of {', '.join(choices)}"
        if self._sweeps(override) and not self.line.is_multirun:
            return f"{word}: several values are a study of several runs; write -m {shlex.quote(word)}"
        for value in values:
            if value is None or str(value) in choices or self._has_file(name, str(value)):
                continue
            if value == "":
                return f"{word} is empty; {listed}"
            close = nearest(str(value), choices)
            proposal = word.replace(str(value), close) if close else ""
            remedy = self._proposed(proposal) if close and not self._sweeps(override) else ""
            return f"{word}: there is no {name} of this name; {listed}{remedy}"
        return None

    def _has_file(self, group: str, option: str) -> bool:
        return any((folder / group / f"{option}.yaml").is_file() for folder in self.line.folders)

    def _sweeps(self, override: Override) -> bool:
        return override.is_sweep_override()

    def _proposed(self, *words: str, sure: bool = False, beside: Sequence[str] = ()) -> str:
        """The end of a sentence that proposes words, if the configuration composes with them; else nothing.

        Args:
            words: the ones to propose.
            sure: whether they say the same as what was given; otherwise it is asked whether they are meant.
            beside: right words of the line, which they need.
        """
        if not self._composes(*beside, *words):
            return ""
        return f"; write {shlex.join(words)}" if sure else f"; did you mean {shlex.join(words)}?"

    def _wrong_key(self, override: Override, tree: Mapping[str, Any], base: Sequence[str]) -> str | None:
        word, key = override.input_line or "", override.key_or_group
        if key.startswith("hydra."):
            return None if self._composes(word) or self._sweeps(override) else self._unknown(override, tree, base)
        present = has_key(tree, key)
        if override.type is OverrideType.DEL:
            if present:
                return None
            close = nearest(key, [known for known in dotted_keys(tree) if known.count(".") == key.count(".")])
            return f"{word}: there is no {key} to take away{self._proposed(f'~{close}', beside=base) if close else ''}"
        if override.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
            if present and override.type is OverrideType.ADD and not isinstance(value_at(tree, key), dict):
                return f"{word}: {key} is there already{self._proposed(word.lstrip('+'), sure=True, beside=base)}"
            return None
        if not present:
            return self._unknown(override, tree, base)
        if self._sweeps(override) and not self.line.is_multirun:
            return self._swept(override, base)
        if not self._sweeps(override) and not self._composes(*base, word):
            return self._misfit(override, base)
        return None

    def _swept(self, override: Override, base: Sequence[str]) -> str:
        word, key = override.input_line or "", override.key_or_group
        value = word.partition("=")[2]
        kind = self.kinds.of(key, self.line.choices)
        if kind is Kind.LIST and self._composes(*base, f"{key}=[{value}]"):
            return f"{word}: this option is a list; write {shlex.quote(f'{key}=[{value}]')}"
        if kind in (Kind.TEXT, Kind.PATHS) and (said := self._typed(key, value, kind, base)):
            return f"{word}: a comma separates the runs of a study; if it is part of the value{said.removeprefix(';')}"
        return f"{word}: several values are a study of several runs; write -m {shlex.quote(word)}"

    def _misfit(self, override: Override, base: Sequence[str]) -> str:
        word, key = override.input_line or "", override.key_or_group
        proposal = f"{key}={quoted(word.partition('=')[2])}"
        return f"{word}: {key} cannot have this value{self._proposed(proposal, sure=True, beside=base)}"

    def _unknown(self, override: Override, tree: Mapping[str, Any], base: Sequence[str]) -> str:
        """A key that is not there: misspelt, of an option file that is not chosen, or one to add with ``+``."""
        word, key = override.input_line or "", override.key_or_group
        value = word.partition("=")[2]
        head, name = key.rpartition(".")[0], leaf(key)
        if owners := self.declared.owners(key):
            return f"{word}: {self._of_another_choice(owners, word, tree, base)}"
        parent = value_at(tree, head) if has_key(tree, head) else tree if not head else None
        if head and has_key(tree, head) and not isinstance(parent, Mapping):
            return f"{word}: {head} is {'off' if parent is None else 'one value'}, so it has no {name}"
        target = str(parent.get("_target_", "")) if isinstance(parent, Mapping) else ""
        if name in parameters_of(target):
            return f"{word}: {self._of_target(target, override, base)}"
        siblings = [str(item) for item in parent] if isinstance(parent, Mapping) else []
        prefix = f"{head}." if head else ""
        close = nearest(name, [item for item in siblings if not item.startswith("_") and item != "hydra"])
        if close and (said := self._proposed(f"{prefix}{close}={value}", beside=base)):
            return f"{word}: there is no option {key}{said}"
        if close := nearest(key, [*self.declared.groups, *dotted_keys(tree)], close=0.8):
            if close in self.declared.groups:
                choice = value if self._has_file(close, value) else nearest(value, self.declared.groups[close].choices)
                said = self._proposed(f"{close}={choice}") if choice else ""
            else:
                said = self._proposed(f"{close}={value}", beside=base)
            if said:
                return f"{word}: there is no option {key}{said}"
        elsewhere = [known for known in dotted_keys(tree) if leaf(known) == name]
        if not head and len(elsewhere) == 1 and (said := self._proposed(f"{elsewhere[0]}={value}", beside=base)):
            return f"{word}: there is no option {key}{said}"
        if target:
            return f"{word}: {self._of_target(target, override, base)}"
        if isinstance(parent, Mapping) and siblings and head:
            listed = ", ".join([item for item in siblings if not item.startswith("_")][:MAX_NAMED])
            return f"{word}: there is no option {key}; {head} has {listed}"
        return f"{word}: {self.declared.command} has no option {key}; --help lists what there is"

    def _of_another_choice(
        self, owners: Sequence[tuple[str, str]], word: str, tree: Mapping[str, Any], base: Sequence[str]
    ) -> str:
        group, choice = owners[0]
        chosen = next((item.partition("=")[2] for item in base if item.startswith(f"{group}=")), None)
        own = self.declared.groups[group]
        now = chosen or own.default
        others = [item for item in base if not item.startswith(f"{group}=")]
        names = [name for owner, name in owners if owner == group]
        state = f"no {group} is chosen" if now in ("null", "") else f"{group}={now} has no such option"
        said = self._proposed(f"{group}={choice}", word, sure=True, beside=others)
        return f"{state}, {_listed(names)} {'has' if len(names) == 1 else 'have'} it{said}"

    def _of_target(self, target: str, override: Override, base: Sequence[str]) -> str:
        """A key beside those of the YAML file: what is built may take it, too."""
        name, word = leaf(override.key_or_group), override.input_line or ""
        label = target.rpartition(".")[2]
        parameters = parameters_of(target)
        if name in parameters:
            said = self._proposed(f"+{word}", sure=True, beside=base)
            return f"the configuration has no {override.key_or_group} yet, but {label} takes it{said}"
        if close := nearest(name, parameters):
            head = override.key_or_group.rpartition(".")[0]
            said = self._proposed(f"+{head}.{close}={word.partition('=')[2]}", beside=base)
            return f"{label} takes no {name}{said}"
        listed = f"; it takes {', '.join(parameters)}" if 0 < len(parameters) <= MAX_NAMED else ""
        return f"{label} takes no {name}{listed}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _values(override: Override) -> list[Any]:
    """The values of an override of a group: one, or those of a sweep."""
    if override.is_choice_sweep():
        return [getattr(value, "text", value) for value in override.value().list]  # type: ignore[union-attr]
    value = override.value()
    return list(value) if isinstance(value, list) else [value]


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
