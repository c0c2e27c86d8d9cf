"""Options of a command, read from the text of its YAML files: names, default values and what their comments say.

Nothing is composed, and neither Hydra nor OmegaConf is imported: a help page and a completion are there at once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path

import yaml

from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR

SECTION = re.compile(r"^# -- (.+) --$")
"""A line of a YAML file that begins a section of the help page."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        """Key of the group in the configuration."""
        return self.name.replace("/", ".")


@dataclass(frozen=True, slots=True)
class YamlFile:
    """One file of ``conf/`` or ``sweeps/``: the comment at its head, its options, and what it builds on."""

    header: str
    options: tuple[Option, ...] = ()
    parents: tuple[Option, ...] = ()
    """Entries of its defaults list: the key is the group ("" for a file beside it), the default what is chosen."""
    target: str = ""
    is_global: bool = False

    @property
    def built_on(self) -> list[str]:
        """Names of the files beside it that it builds on."""
        return [parent.default for parent in self.parents if not parent.key and parent.default != "_self_"]


@dataclass(frozen=True)
class Declared:
    """Options of a command and its groups.

    Args:
        command: the name of its root file in ``conf/``.
        folders: where YAML files lie; the first that has a file is taken.
    """

    command: str
    folders: tuple[Path, ...] = (CONFIG_DIR, SWEEPS_DIR)
    groups: dict[str, Group] = field(init=False)

    def __post_init__(self) -> None:
        parents = [each for each in self.root.parents if each.key and not each.key.startswith("override ")]
        groups = {
            each.key: Group(each.key, each.default, each.about, each.section, self.choices(each.key))
            for each in parents
        }
        object.__setattr__(self, "groups", groups)

    @property
    def root(self) -> YamlFile:
        """Its root file."""
        return read_file(self.path(self.command))

    @property
    def help(self) -> str:
        """Text about the command: ``hydra.help.header`` of its root file."""
        tree = yaml.load(self.path(self.command).read_text(encoding="utf-8"), LOADER)
        return str(tree["hydra"]["help"]["header"])

    def path(self, name: str) -> Path:
        """The file of a command, or of ``group/choice``; it need not be there."""
        places = [folder / f"{name}.yaml" for folder in self.folders]
        return next((place for place in places if place.is_file()), places[0])

    def choices(self, group: str) -> dict[str, str]:
        """The option files of a group, each with its first sentence; those that only others build on are left out."""
        found = {path.stem: path for folder in reversed(self.folders) for path in (folder / group).glob("*.yaml")}
        built_on = {name for path in found.values() for name in read_file(path).built_on}
        hidden = built_on & {"default"} if group != "callbacks" else set()
        return {
            name: first_sentence(read_file(path).header) for name, path in sorted(found.items()) if name not in hidden
        }

    def of_choice(self, group: str, choice: str) -> list[Option]:
        """The options of a choice, with what it builds on; none of one that sets the options of other groups."""
        lineage = self._lineage(group, choice)
        if not lineage or lineage[-1].is_global:
            return []
        prefix = group.replace("/", ".")
        merged = _merged(option for file in lineage for option in file.options)
        return [Option(f"{prefix}.{option.key}", option.default, option.about) for option in merged]

    def _lineage(self, group: str, choice: str) -> list[YamlFile]:
        """The files that a choice is built on, and its own; empty if there is no such choice."""
        path = self.path(f"{group}/{choice}")
        if not path.is_file():
            return []
        own = read_file(path)
        return [*(file for name in own.built_on for file in self._lineage(group, name)), own]

    def target(self, group: str, choice: str) -> str:
        """Dotted name of the function or class that a choice builds; "" if it names none."""
        return next((file.target for file in reversed(self._lineage(group, choice)) if file.target), "")

    def chosen(self, given: Mapping[str, str]) -> dict[str, str]:
        """Chosen file of each group: the given one, or else the default; groups without one are left out."""
        choices = {name: given.get(name, group.default) for name, group in self.groups.items()}
        return {name: choice for name, choice in choices.items() if choice in self.groups[name].choices}

    def options(self, given: Mapping[str, str] | None = None) -> list[Option]:
        """All options for these choices of groups."""
        of_groups = [self.of_choice(name, choice) for name, choice in self.chosen(given or {}).items()]
        return _merged(option for options in (*of_groups, self.root.options) for option in options)

    def names(self, given: Mapping[str, str] | None = None) -> list[str]:
        """The names of all groups, and of all options that there are with these choices."""
        return [*self.groups, *(option.key for option in self.options(given))]

    @cached_property
    def owners(self) -> dict[str, list[tuple[str, str]]]:
        """The groups and choices that have an option, for each option that there is; none for the command's own."""
        found: dict[str, list[tuple[str, str]]] = {option.key: [] for option in self.root.options}
        for group in self.groups.values():
            for choice in group.choices:
                for option in self.of_choice(group.name, choice):
                    found.setdefault(option.key, []).append((group.name, choice))
        return found

    def every_name(self) -> list[str]:
        """The names of all groups and options, whatever is chosen."""
        return [*self.groups, *self.owners]


def _merged(options: Iterable[Option]) -> list[Option]:
    """Each option once, as it was given last; one without words keeps those that it had before."""
    found: dict[str, Option] = {}
    for option in options:
        about = option.about or (found[option.key].about if option.key in found else "")
        found[option.key] = replace(option, about=about)
    return list(found.values())


def first_sentence(text: str) -> str:
    """The first sentence of a comment.

    >>> first_sentence("YuNet (OpenCV): the fastest on a CPU. 230 KB of weights.")
    'YuNet (OpenCV): the fastest on a CPU.'
    """
    return re.split(r"(?<=\.)(?<!al\.)\s+(?=[A-Z0-9`])", text, maxsplit=1)[0]


@cache
def read_file(path: Path) -> YamlFile:
    """Read what a YAML file declares."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    own = [line for line in lines if not line.startswith("# @package")]
    comment = takewhile(lambda line: line.startswith("#") and not SECTION.match(line), own)
    header = " ".join(line[1:].strip() for line in comment)
    node = yaml.compose(text, Loader=LOADER)
    if not isinstance(node, yaml.MappingNode):
        return YamlFile(header)
    sections = {number: match[1] for number, line in enumerate(lines) if (match := SECTION.match(line.strip()))}

    def section_of(line: int) -> str:
        return next((sections[number] for number in sorted(sections, reverse=True) if number < line), "")

    options: list[Option] = []
    parents: list[Option] = []
    target = ""
    for key, value in node.value:
        if key.value == "_target_":
            target = value.value
        elif key.value == "defaults":
            for item in value.value:
                line = item.start_mark.line
                ((group, choice),) = item.value if isinstance(item, yaml.MappingNode) else ((None, item),)
                about = _without_comment(lines[line])[1]
                parents.append(Option(group.value if group else "", choice.value, about, section_of(line)))
        elif key.value != "hydra" and not key.value.startswith("_"):
            options += _options(key, value, lines, "", section_of(key.start_mark.line))
    is_global = any(line.startswith("# @package _global_") for line in lines)
    return YamlFile(header, tuple(options), tuple(parents), target, is_global)


def _options(key: yaml.Node, value: yaml.Node, lines: Sequence[str], prefix: str, section: str) -> Iterator[Option]:
    name = f"{prefix}{key.value}"
    line = lines[key.start_mark.line]
    is_block = isinstance(value, yaml.CollectionNode) and value.start_mark.line > key.start_mark.line
    default, about = _without_comment(line[key.end_mark.column + 1 :] if is_block else line[value.start_mark.column :])
    yield Option(name, "" if is_block else default, about, section)
    for inner, its_value in value.value if isinstance(value, yaml.MappingNode) else ():
        if not inner.value.startswith("_"):
            yield from _options(inner, its_value, lines, f"{name}.", section)


def _without_comment(text: str) -> tuple[str, str]:
    """A line's value and its comment. A comment begins at a ``#`` that follows a blank, outside of quotes."""
    for match in re.finditer(r"(?:^|\s)#", text):
        before = text[: match.start()]
        if before.count("'") % 2 == 0 and before.count('"') % 2 == 0:
            return before.strip(), text[match.end() :].strip()
    return text.strip(), ""


def leaf(key: str) -> str:
    """The last part of a dotted name.

    >>> leaf("limits.max_width")
    'max_width'
    """
    return key.rpartition(".")[2]


def named_like(word: str, keys: Iterable[str]) -> list[str]:
    """Keys that ``word`` may stand for: the whole name, or else the last part, with dashes or underscores.

    >>> named_like("max-width", ["limits.max_width", "max_faces"])
    ['limits.max_width']
    """
    word = word.replace("-", "_")
    known = list(dict.fromkeys(keys))
    if word in known:
        return [word]
    return [key for key in known if key == word or key.endswith(f".{word}")]
