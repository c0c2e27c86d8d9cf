"""Completion of words in bash, zsh and fish: commands, options, choices of groups; the shell completes files."""

import shlex
from collections.abc import Iterator

from dfd.config.cli.catalogue import COMMANDS
from dfd.config.cli.declared import Declared, named_like
from dfd.config.cli.line import CFG_CHOICES, SWITCHES, TAKING
from dfd.config.cli.places import dashed

SHELLS = {
    "bash": r"""_dfd() {
    local IFS=$'\n'
    COMPREPLY=($(dfd --complete bash "${COMP_LINE:0:COMP_POINT}"))
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _dfd dfd""",
    "zsh": r"""_dfd() {
    local -a found
    found=("${(@f)$(dfd --complete zsh "$LBUFFER")}")
    [[ -n ${found[1]} ]] && compadd -Q -S '' -- $found
    _files
}
compdef _dfd dfd""",
    "fish": r"""complete -c dfd -a '(dfd --complete fish (commandline -cp | string collect))'""",
}
"""Code that a shell runs once to set up completion, by shell."""


def script(shell: str) -> str:
    """The lines that let ``shell`` complete the words after ``dfd``."""
    return SHELLS[shell]


def candidates(shell: str = "", typed: str = "") -> list[str]:
    """Completions of the last word of a line.

    >>> candidates("bash", "dfd pred"), candidates("fish", "dfd train backbone=resn")
    (['predict'], ['backbone=resnext50'])

    Args:
        shell: its name. For bash, in which ``=`` ends a word, the part after it is given.
        typed: the line up to the cursor.
    """
    words = _words(typed)[1:]
    if not words:
        return []
    current = words[-1]
    if len(words) == 1:
        names = [*COMMANDS, "--help", "--version", "--completion"]
    elif words[0] not in COMMANDS or "--" in words[:-1]:
        names = []
    elif COMMANDS[words[0]].is_composed:
        names = [*_of_command(words[0], words[1:-1], current)]
    else:
        names = [*COMMANDS[words[0]].options, "--help"] if current.startswith("-") else []
    found = [name for name in names if name.startswith(current)]
    if shell == "bash" and "=" in current:
        found = [name.rpartition("=")[2] for name in found]
    return found


def _words(typed: str) -> list[str]:
    """The words of a line, the last one as far as it goes."""
    try:
        words = shlex.split(typed)
    except ValueError:  # a quote is still open: a file's name, which the shell completes
        return []
    return [*words, ""] if not typed or typed[-1].isspace() else words


def _of_command(command: str, before: list[str], current: str) -> Iterator[str]:
    declared = Declared(command)
    choices = {key: value for key, _, value in (word.lstrip("-").partition("=") for word in before) if value}
    previous = before[-1] if before else ""
    if previous.startswith("--") and "=" not in previous:
        group = named_like(previous[2:], declared.groups)
        if group and (known := declared.groups[group[0]].choices):
            yield from known
            return
        if previous == "--cfg":
            yield from CFG_CHOICES
            return
    options = declared.options(choices)
    flags = {option.key for option in options if option.default in ("true", "false")}
    if current.startswith("-"):
        yield from (f"--{dashed(name)}" for name in declared.groups)
        yield from (f"--{dashed(option.key)}" for option in options)
        yield from (f"--no-{dashed(key)}" for key in flags if current.startswith("--no"))
        yield from (*SWITCHES, *TAKING)
        return
    key, equals, _ = current.partition("=")
    if not equals:
        yield from (f"{name}=" for name in (*declared.groups, *(option.key for option in options)) if current)
    elif key in declared.groups:
        yield from (f"{key}={choice}" for choice in declared.groups[key].choices)
    elif key in flags:
        yield from (f"{key}=true", f"{key}=false")
