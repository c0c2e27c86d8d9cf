"""Help pages from the comments of the YAML files, grouped by how often an option is needed."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from dfd.config.cli.catalogue import COMMANDS, WIDTH
from dfd.config.cli.declared import Declared, Group, Option
from dfd.config.cli.kinds import LITERAL
from dfd.config.cli.places import Line, dashed

COLUMN = 26
"""Column at which the words about an option begin."""
FILES = ("input", "checkpoint", "output", "manifest", "root", "store", "weights", "ckpt_path")
"""Options whose value is a path."""
EXAMPLES = (
    "dfd predict clip.mp4 --checkpoint starter",
    "dfd preprocess videos --store stores/mine",
    "dfd train stores/mine backbone=resnext50",
)
FOOTER = (
    "key=value says the same as --key value (nested keys with dots, dashes as underscores); --no-key switches off. "
    "A file's name needs no quotes beyond the shell's; after -- every word is one. As in Hydra, -m with several values "
    "(seed=0,1,2) runs a study, --cfg job shows the whole configuration and stops, --config-dir DIR adds a folder of "
    "your own, and --hydra-help lists the rest."
)


def overview() -> str:
    """The page of ``dfd --help``: every command in a line."""
    lines = ["usage: dfd COMMAND ...", "", "Detect face deepfakes in video.", ""]
    lines += _table([(name, command.about) for name, command in COMMANDS.items()], indent=2, column=15)
    lines += ["", "Examples:", *(f"  {example}" for example in EXAMPLES), ""]
    lines += _paragraph(
        "dfd COMMAND --help explains a command and all of its options. dfd --version shows the version; "
        'eval "$(dfd --completion bash)" completes words in this shell (also zsh, fish).'
    )
    return "\n".join(lines)


def page(command: str, line: Line) -> str:
    """The page of a command's ``--help``, with the options of the groups' files that were chosen."""
    declared = Declared(command, line.folders)
    options = declared.options(line.choices)
    chosen = declared.chosen(line.choices)
    packages = {declared.groups[name].package: name for name in chosen}
    lines = [f"usage: dfd {command} {COMMANDS[command].places} [--option VALUE] [option=VALUE] ...", ""]
    lines += _header(declared.help)
    for section in _sections(declared, options):
        here = [option for option in options if option.section == section]
        lines += ["", f"{section}:", *_rows(option for option in here if option.key.partition(".")[0] not in packages)]
        for group in declared.groups.values():
            if group.section == section:
                lines += _group(group)
    for package, name in packages.items():
        own = [option for option in options if option.key.startswith(f"{package}.") and "." not in package]
        if own:
            lines += ["", f"Options of {name}={chosen[name]}:", *_rows(own)]
    return "\n".join([*lines, "", *_paragraph(FOOTER)])


def _header(text: str) -> Iterator[str]:
    """Purpose of a command, then its examples."""
    about, _, examples = text.partition("\n\n")
    yield from _paragraph(about)
    yield from ("", "Examples:")
    rest = examples.split("\n")
    yield from (line for line in rest if line.startswith("  "))
    closing = " ".join(line for line in rest if line and not line.startswith("  "))
    if closing:
        yield from ("", *_paragraph(closing))


def _sections(declared: Declared, options: Sequence[Option]) -> list[str]:
    """In the order of the root file's values, then of its groups."""
    names = [option.section for option in options if option.section]
    return list(dict.fromkeys([*names, *(group.section for group in declared.groups.values())]))


def _group(group: Group) -> Iterator[str]:
    default = f" (default: {group.default})" if group.default != "null" else ""
    yield from _row(f"--{dashed(group.name)} NAME", f"{group.about or 'one of these'}{default}")
    room = _width() - COLUMN
    in_a_line = [(name, textwrap.shorten(about, room, placeholder=" ...")) for name, about in group.choices.items()]
    yield from _table(in_a_line, indent=6, column=COLUMN)


def _rows(options: Iterable[Option]) -> Iterator[str]:
    known = list(options)
    for option in known:
        is_block = any(other.key.startswith(f"{option.key}.") for other in known)
        yield from _row(_flag(option, is_block=is_block), _about(option, is_block=is_block))


def _flag(option: Option, *, is_block: bool) -> str:
    name = dashed(option.key)
    if is_block:
        return f"--{name}.…"
    if option.default in ("true", "false"):
        return f"--[no-]{name}"
    if option.key.rpartition(".")[2] in FILES:
        return f"--{name} PATH"
    kind = "N" if LITERAL.fullmatch(option.default) and option.default != "null" else "VALUE"
    return f"--{name} {'LIST' if option.default.startswith('[') else kind}"


def _about(option: Option, *, is_block: bool) -> str:
    if option.default == "???":
        return f"{option.about} (required)"
    if is_block or option.default in ("", "null", "{}", "[]") or option.default.startswith("$"):
        return option.about
    shown = {"true": "on", "false": "off"}.get(option.default, option.default)
    return f"{option.about} (default: {shown})".strip()


def _row(flag: str, about: str) -> list[str]:
    return _table([(flag, about)], indent=2, column=COLUMN)


def _table(rows: Iterable[tuple[str, str]], *, indent: int, column: int) -> list[str]:
    """Table of names and descriptions, which begin at a column; a name that is too long has its own line."""
    lines: list[str] = []
    for name, about in rows:
        wrapped = textwrap.wrap(about, _width() - column, break_on_hyphens=False, break_long_words=False) or [""]
        first = f"{'':{indent}}{name}"
        if len(first) + 2 > column and wrapped[0]:
            lines.append(first)
            first = ""
        lines += [f"{first:<{column}}{wrapped[0]}".rstrip(), *(f"{'':{column}}{text}" for text in wrapped[1:])]
    return lines


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _width(), break_on_hyphens=False)


def _width() -> int:
    low, high = WIDTH
    return min(max(shutil.get_terminal_size((100, 24)).columns, low), high)
