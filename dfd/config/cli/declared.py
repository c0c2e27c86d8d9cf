"""Options of a command, read from the text of its YAML files: names, default values and what their comments say.

Nothing is composed, and neither Hydra nor OmegaConf is imported: a help page and a completion are there at once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

import yaml

from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR

SECTION = re.compile(r"^# -- (.+) --$")
"""A line of a YAML file that begins a section of the help page."""


@dataclass(frozen=True, slots=True)
class Option:
    """One key: its dotted name, its default as the YAML file writes it ("" for a mapping), and its comment."""

    key: str
    default: str
    about: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A folder of option files, of which one is chosen: the first sentence of each, by name."""

    name: str
    default: str
    about: str
    section: str
    choices: Mapping[str, str]

    @property
    def package(self) -> str:
        """Where its keys are in the configuration."""
        return self.name.replace("/", ".")


@dataclass(frozen=True, slots=True)
class _File:
    header: str
    options: tuple[Option, ...]
    parents: tuple[tuple[str, str, str, str], ...]
    """Entries of its defaults list: group ("" for a file beside it), option, comment, section."""
    target: str
    is_global: bool
    help: str = ""
    """What it says of its command under ``hydra.help.header``."""


@dataclass(frozen=True)
class Declared:
    """What a command declares: its own options and its groups.

    Args:
        command: the name of its root file in ``conf/``.
        folders: where YAML files lie; the first that has a file is taken.
    """

    command: str
    folders: tuple[Path, ...] = (CONFIG_DIR, SWEEPS_DIR)
    groups: dict[str, Group] = field(init=False)

    def __post_init__(self) -> None:
        entries = [entry for entry in self.root.parents if entry[0] and not entry[0].startswith("override ")]
        groups = {
            name: Group(name, chosen, about, section, self.choices(name)) for name, chosen, about, section in entries
        }
        object.__setattr__(self, "groups", groups)

    @property
    def root(self) -> _File:
        """Its root file."""
        return _read(self._found(self.command))

    def _found(self, name: str) -> Path:
        places = [folder / f"{name}.yaml" for folder in self.folders]
        return next((place for place in places if place.is_file()), places[0])

    def choices(self, group: str) -> dict[str, str]:
        """The option files of a group, each with its first sentence; those that only others build on are left out."""
        found = {path.stem: path for folder in reversed(self.folders) for path in (folder / group).glob("*.yaml")}
        built_on = {name for path in found.values() for folder, name, *_ in _read(path).parents if not folder}
        hidden = built_on & {"default"} if group != "callbacks" else set()
        return {name: first_sentence(_read(path).header) for name, path in sorted(found.items()) if name not in hidden}

    def of_choice(self, group: str, choice: str) -> list[Option]:
        """The options of a choice, with what it builds on; none of one that sets the options of other groups."""
        lineage = self._lineage(group, choice)
        if not lineage or lineage[-1].is_global:
            return []
        prefix = group.replace("/", ".")
        merged: dict[str, Option] = {}
        for file in lineage:
            for option in file.options:
                known = merged.get(option.key)
                about = option.about or (known.about if known else "")
                merged[option.key] = Option(option.key, option.default, about)
        return [Option(f"{prefix}.{key}", option.default, option.about) for key, option in merged.items()]

    def _lineage(self, group: str, choice: str) -> list[_File]:
        """The files that a choice is built on, and its own; empty if there is no such choice."""
        path = self._found(f"{group}/{choice}")
        if not path.is_file():
            return []
        own = _read(path)
        parents = [name for folder, name, *_ in own.parents if not folder and name != "_self_"]
        return [*(file for name in parents for file in self._lineage(group, name)), own]

    def target(self, group: str, choice: str) -> str:
        """The dotted name of what a choice builds; "" if it does not say."""
        return next((file.target for file in reversed(self._lineage(group, choice)) if file.target), "")

    def chosen(self, given: Mapping[str, str]) -> dict[str, str]:
        """Which file of each group counts: the given one, or else the default; a group without one is left out."""
        choices = {name: given.get(name, group.default) for name, group in self.groups.items()}
        return {name: choice for name, choice in choices.items() if choice in self.groups[name].choices}

    def options(self, given: Mapping[str, str] | None = None) -> list[Option]:
        """All options that there are with these choices of groups."""
        found: dict[str, Option] = {}
        of_groups = (self.of_choice(name, choice) for name, choice in self.chosen(given or {}).items())
        for option in (*chain.from_iterable(of_groups), *self.root.options):
            known = found.get(option.key)
            about = option.about or (known.about if known else "")
            found[option.key] = Option(option.key, option.default, about, option.section)
        return list(found.values())

    def keys(self, given: Mapping[str, str] | None = None) -> list[str]:
        """The names of all options that there are with these choices."""
        return [option.key for option in self.options(given)]

    def owners(self, key: str) -> list[tuple[str, str]]:
        """The groups and choices that have this option."""
        return [
            (name, choice)
            for name, group in self.groups.items()
            if key.startswith(f"{group.package}.")
            for choice in group.choices
            if any(option.key == key for option in self.of_choice(name, choice))
        ]

    def every_key(self) -> list[str]:
        """The names of all options, whatever is chosen."""
        of_groups = (
            option.key
            for name, group in self.groups.items()
            for choice in group.choices
            for option in self.of_choice(name, choice)
        )
        return list(dict.fromkeys([*(option.key for option in self.root.options), *of_groups]))


def first_sentence(text: str) -> str:
    """The first sentence of a comment.

    >>> first_sentence("YuNet (OpenCV): the fastest on a CPU. 230 KB of weights.")
    'YuNet (OpenCV): the fastest on a CPU.'
    """
    return re.split(r"(?<=\.)(?<!al\.)\s+(?=[A-Z0-9`])", text, maxsplit=1)[0]


@cache
def _read(path: Path) -> _File:
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    header = [*_comments(lines)]
    node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(node, yaml.MappingNode):
        return _File(" ".join(header), (), (), "", False)
    sections = {number: match[1] for number, line in enumerate(lines) if (match := SECTION.match(line.strip()))}

    def section_of(line: int) -> str:
        return next((sections[number] for number in sorted(sections, reverse=True) if number < line), "")

    options: list[Option] = []
    parents: list[tuple[str, str, str, str]] = []
    target = help_text = ""
    for key, value in node.value:
        if key.value == "hydra":
            help_text = _scalar_at(value, "help", "header")
        if key.value == "_target_":
            target = value.value
        if key.value == "defaults":
            parents = [(*entry, section_of(line)) for *entry, line in _parents(value, lines)]  # type: ignore[misc]
        elif key.value != "hydra" and not key.value.startswith("_"):
            options += _options(key, value, lines, "", section_of(key.start_mark.line))
    is_global = any(line.startswith("# @package _global_") for line in lines)
    return _File(" ".join(header), tuple(options), tuple(parents), target, is_global, help_text)


def _scalar_at(node: yaml.Node, *names: str) -> str:
    for name in names:
        inner = node.value if isinstance(node, yaml.MappingNode) else []
        found = [value for key, value in inner if key.value == name]
        if not found:
            return ""
        node = found[0]
    return str(node.value)


def _comments(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a file's first comment, without ``# @package``."""
    for line in lines:
        if line.startswith("# @package"):
            continue
        if not line.startswith("#") or SECTION.match(line):
            return
        yield line[1:].strip()


def _options(key: yaml.Node, value: yaml.Node, lines: Sequence[str], prefix: str, section: str) -> Iterator[Option]:
    name = f"{prefix}{key.value}"
    line = lines[key.start_mark.line]
    is_block = isinstance(value, yaml.CollectionNode) and value.start_mark.line > key.start_mark.line
    text = line[key.end_mark.column + 1 :] if is_block else line[value.start_mark.column :]
    default, about = _without_comment(text)
    yield Option(name, "" if is_block else default, about, section)
    if isinstance(value, yaml.MappingNode):
        for inner, its_value in value.value:
            if not inner.value.startswith("_"):
                yield from _options(inner, its_value, lines, f"{name}.", section)


def _without_comment(text: str) -> tuple[str, str]:
    """A line's value and its comment. A comment begins at a ``#`` that follows a blank, outside of quotes."""
    for match in re.finditer(r"(?:^|\s)#", text):
        before = text[: match.start()]
        if before.count("'") % 2 == 0 and before.count('"') % 2 == 0:
            return before.strip(), text[match.end() :].strip()
    return text.strip(), ""


def _parents(node: yaml.Node, lines: Sequence[str]) -> Iterator[tuple[str, str, str, int]]:
    for item in node.value:
        number = item.start_mark.line
        about = _without_comment(lines[number])[1]
        if isinstance(item, yaml.MappingNode):
            ((key, value),) = item.value
            yield key.value, value.value, about, number
        else:
            yield "", item.value, about, number


def leaf(key: str) -> str:
    """The last part of a dotted name.

    >>> leaf("limits.max_width")
    'max_width'
    """
    return key.rpartition(".")[2]


def named_like(word: str, keys: Iterable[str]) -> list[str]:
    """The keys that a person means by ``word``: the whole name, or else the last part, with dashes or underscores.

    >>> named_like("max-width", ["limits.max_width", "max_faces"])
    ['limits.max_width']
    """
    word = word.replace("-", "_")
    known = list(dict.fromkeys(keys))
    if word in known:
        return [word]
    return [key for key in known if key == word or key.endswith(f".{word}")]
