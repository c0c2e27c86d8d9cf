"""Translation of a command line to Hydra's words: plain paths and ``--key value`` beside ``key=value``."""

import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dfd.base.names.plugins import config_folders
from dfd.base.words import nearest
from dfd.config.cli.catalogue import UsageError, did_you_mean
from dfd.config.cli.declared import Declared, leaf, named_like
from dfd.config.cli.kinds import Kind, Kinds, quoted, written
from dfd.config.cli.places import Line, dashed, overrides_of
from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR

OVERRIDE = re.compile(r"(\+{1,2}|~)?[A-Za-z_][\w./@:$-]*=|~[A-Za-z_][\w./@:$-]*$")
"""Beginning of a word that is an override of Hydra."""
SWITCHES = {"--help": "-h", "--hydra-help": "", "--version": "", "--resolve": "", "--run": "-r", "--multirun": "-m"}
SWITCHES |= {"--shell-completion": "-sc", "--info": "-i"}
TAKING = {"--cfg": "-c", "--package": "-p", "--config-path": "-cp", "--config-name": "-cn", "--config-dir": "-cd"}
TAKING |= {"--experimental-rerun": ""}
"""Hydra's own flags by long name, with their short forms: without a value, and with one."""
CFG_CHOICES = ("job", "hydra", "all")


def read_line(command: str, words: Sequence[str], schema: type[Any] | None = None) -> Line:
    """Translate the words of a command line to Hydra's flags and overrides.

    Args:
        command: such as ``predict``.
        words: without the command's name.
        schema: what the command's configuration is checked against; it tells text from numbers.

    Raises:
        UsageError: a word is no option, path or override; the message says which and what to write.
    """
    line = Line()
    if config_dir := _config_dir(words):
        line.folders = (*line.folders, config_dir)
    line.folders = (*line.folders, *config_folders(_plugins(words)))
    declared = Declared(command, line.folders)
    line.choices = _choices(words, declared)
    kinds = Kinds(declared, schema)
    plain: list[str] = []
    given: dict[str, list[str]] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            plain += map(_in_place, waiting)
            break
        if word.startswith("-") and word != "-":
            if _hydra_flag(word, waiting, line):
                continue
            try:
                _option(word, waiting, line, kinds, given)
            except UsageError:
                if not _is_file(word, command):
                    raise
                plain.append(_in_place(word))
        elif _is_file(word, command) or not OVERRIDE.match(word):
            plain += _expanded(word)
        elif word[0] == "~" and "=" not in word and os.path.lexists(os.path.expanduser(word)):
            plain.append(word)  # somebody's home folder
        elif not _is_none(word, line, declared):
            line.overrides.append(word)
    line.overrides += [f"{key}=[{','.join(map(quoted, values))}]" for key, values in given.items() if values]
    line.overrides += overrides_of(plain, line, declared)
    if extra := [folder for folder in line.folders if folder not in (CONFIG_DIR, SWEEPS_DIR, config_dir)]:
        places = ",".join(quoted(f"file://{folder}") for folder in (SWEEPS_DIR, *extra))
        line.overrides.append(f"hydra.searchpath=[{places}]")
    return line


def _is_none(word: str, line: Line, declared: Declared) -> bool:
    """Handle ``group=null``, which Hydra writes ``~group``: nothing of that group is chosen."""
    group = declared.groups.get(word.removesuffix("=null"))
    if group is None or not word.endswith("=null"):
        return False
    line.overrides[:] = [given for given in line.overrides if not given.startswith(f"{group.name}=")]
    line.overrides += [] if group.default == "null" else [f"~{group.name}"]
    return True


def _is_file(word: str, command: str) -> bool:
    """Whether a word that looks like an option or an override is an existing file, for a command that takes files."""
    return command != "train" and os.path.lexists(word)


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each name with the value that is given to it: ``name=value``, or the word after ``--name``."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        yield name, value if equals or not word.startswith("-") else following


def _config_dir(words: Sequence[str]) -> Path | None:
    for name, value in _pairs(words):
        if value and name in ("--config-dir", "-cd"):
            path = Path(value).expanduser()
            if not path.is_dir():
                raise UsageError(f"{name} {shlex.quote(str(path))}: there is no such folder")
            return path.absolute()
    return None


def _plugins(words: Sequence[str]) -> list[str]:
    """Packages that ``plugins=[a,b]`` or ``--plugins a,b`` names."""
    found = [value for name, value in _pairs(words) if name in ("plugins", "+plugins", "--plugins")]
    return [name for value in found for name in re.findall(r"[\w.-]+", value)]


def _choices(words: Sequence[str], declared: Declared) -> dict[str, str]:
    """Groups' options that are chosen with ``group=option``, ``--group option`` or ``--group=option``."""
    pairs = [(name.lstrip("+-"), value) for name, value in _pairs(words) if value]
    return {group: value for name, value in pairs for group in declared.groups if named_like(name, [group])}


def _hydra_flag(word: str, waiting: list[str], line: Line) -> bool:
    """Handle one of Hydra's own flags; returns False for any other word."""
    name, equals, value = word.partition("=")
    name = next((long for long, short in (SWITCHES | TAKING).items() if short == name), name)
    if name in SWITCHES:
        line.flags.append(name + (f"={value}" if equals else ""))
        return True
    if name not in TAKING:
        return False
    if not equals and not waiting:
        remedy = f"; write {name} {CFG_CHOICES[0]}" if name == "--cfg" else ""
        raise UsageError(f"{name} needs a value{remedy}")
    value = value if equals else waiting.pop(0)
    if name == "--cfg" and value not in CFG_CHOICES:
        close = nearest(value, CFG_CHOICES)
        remedy = f"did you mean --cfg {close}?" if close else f"it shows one of {', '.join(CFG_CHOICES)}"
        raise UsageError(f"--cfg {value}: {remedy}")
    line.flags.append(f"{name}={value}")
    return True


def _option(word: str, waiting: list[str], line: Line, kinds: Kinds, given: dict[str, list[str]]) -> None:
    """Handle ``--key value``, ``--key=value``, ``--flag`` or ``--no-flag``."""
    name, equals, value = word.lstrip("-").partition("=")
    declared = kinds.declared
    if word.startswith("--hydra."):
        line.overrides.append(f"{name}={written(value if equals else _next(word, waiting), Kind.ANY)}")
        return
    key, is_off = _key_named(name, line, declared), False
    if key is None and name.startswith("no-") and not equals:
        key, is_off = _key_named(name[3:], line, declared), True
        if key is not None and kinds.of(key, line.choices) is not Kind.FLAG:
            raise UsageError(f"--{name}: {key} is not a switch; write --{dashed(key)} null")
    if key is None or not word.startswith("--"):
        raise UsageError(_unknown(word, name, declared, line))
    if key in declared.groups:
        chosen = f"{key}={value if equals else _next(word, waiting)}"
        line.overrides += [] if _is_none(chosen, line, declared) else [chosen]
        return
    kind = kinds.of(key, line.choices)
    if kind is Kind.FLAG and not equals:
        is_said = not is_off and waiting and waiting[0].lower() in ("true", "false", "null")
        value = waiting.pop(0).lower() if is_said else "false" if is_off else "true"
        line.overrides.append(f"{key}={value}")
        return
    value = value if equals else _next(word, waiting, kind)
    if kind is Kind.PATHS:
        given.setdefault(key, []).extend(_expanded(value))
        return
    if value == "":
        raise UsageError(f"--{name} is empty; leave it out, or give it {kind.value}")
    line.overrides.append(f"{key}={written(value, kind)}")


def _next(word: str, waiting: list[str], kind: Kind = Kind.ANY) -> str:
    if not waiting or (waiting[0].startswith("--") and not os.path.lexists(waiting[0])):
        raise UsageError(f"{word} needs a value: {'a name' if kind is Kind.ANY else kind.value}")
    return waiting.pop(0)


def _key_named(name: str, line: Line, declared: Declared) -> str | None:
    """Key or group with this name; None if there is none.

    Raises:
        UsageError: several options end with that name.
    """
    for keys in (declared.names(line.choices), declared.every_name()):
        found = named_like(name, keys)
        if len(found) > 1:
            ways = " or ".join(f"--{dashed(key)}" for key in found)
            raise UsageError(f"--{name}: there are several options of this name; write {ways}")
        if found:
            return found[0]
    return None


def _unknown(word: str, name: str, declared: Declared, line: Line) -> str:
    said = word.partition("=")[0]
    if not word.startswith("--") and OVERRIDE.match(f"{name}=") and (long := _key_named(name, line, declared)):
        return f"{said}: there is no such option; did you mean --{dashed(long)}?"
    keys = declared.names(line.choices)
    names = [*map(dashed, keys), *(dashed(leaf(key)) for key in keys), *(flag[2:] for flag in (*SWITCHES, *TAKING))]
    if name.startswith("no-") and (close := nearest(name[3:], names)):
        return f"{said}: {declared.command} has no such option; did you mean --no-{close}?"
    return f"{said}: {declared.command} has no such option{did_you_mean(name.replace('_', '-'), names, '--{}')}"


def _in_place(word: str) -> str:
    """Name of a file, written so that it is not read as a home folder or as a missing value."""
    return f"./{word}" if (word.startswith("~") or word == "???") and os.path.lexists(word) else word


def _expanded(word: str) -> list[str]:
    """Files that match a pattern that the shell has not expanded, or what a list ``[a,b]`` names; else the word.

    Raises:
        UsageError: no file has such a name.
    """
    if os.path.lexists(word):
        return [_in_place(word)]
    if not any(sign in word for sign in "*?["):
        return [word]
    found = sorted(glob.glob(os.path.expanduser(word), recursive=True))
    if not found and re.fullmatch(r"\[[^\[\]]+\]", word):
        return [path for part in word[1:-1].split(",") for path in _expanded(part.strip())]
    if not found:
        raise UsageError(f"{word}: no file or folder has such a name")
    return found
