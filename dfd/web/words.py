"""The command line of ``dfd web``: a plain checkpoint and ``--key value`` beside ``key=value``."""

import os
from collections.abc import Sequence
from dataclasses import fields

from dfd.config.cli.catalogue import UsageError, did_you_mean
from dfd.config.cli.declared import Declared, named_like
from dfd.config.cli.kinds import Kind, Kinds
from dfd.config.cli.line import read_line
from dfd.models.starter import NAME as STARTER
from dfd.web.options import WebOptions

COMMANDS = ("all", "serve", "worker", "manage")


def as_options(words: Sequence[str]) -> list[str]:
    """The words as ``key=value``: a plain one is the checkpoint, those that the page has no option for are predict's.

    >>> as_options(["starter", "--port", "8080", "max_windows=4", "--no-https"])
    ['checkpoint=starter', 'port=8080', 'https=false', 'max_windows=4']

    Raises:
        UsageError: there is no such option, here or of ``dfd predict``.
    """
    is_flag = {item.name: isinstance(item.default, bool) for item in fields(WebOptions)}
    predict = Declared("predict")
    found: list[str] = []
    for_predict: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        key = name.lstrip("-").replace("-", "_")
        switch = key.removeprefix("no_")
        if not word.startswith("-") and (not equals or os.path.lexists(word)):
            found.append(f"checkpoint={_checkpoint(word)}")
        elif word.startswith("--") and not equals and is_flag.get(switch):
            found.append(f"{switch}={str(key == switch).lower()}")
        elif key in is_flag:
            if not equals and not waiting:
                raise UsageError(f"{word} needs a value")
            found.append(f"{key}={value if equals else waiting.pop(0)}")
        else:
            _refuse_unknown(word, key, list(is_flag), predict)
            for_predict.append(word)
            is_switch = Kinds(predict).of(_named(key, predict)) is Kind.FLAG
            if word.startswith("--") and not equals and not is_switch and waiting:
                for_predict.append(waiting.pop(0))
    return [*found, *read_line("predict", for_predict).overrides]


def _checkpoint(word: str) -> str:
    if word == STARTER or os.path.lexists(os.path.expanduser(word)):
        return word
    if word in COMMANDS:
        raise UsageError(f"{word}: a command comes first; write dfd web {word}")
    raise UsageError(f"{word}: there is no such command or file{did_you_mean(word, [*COMMANDS[1:], STARTER])}")


def _named(key: str, predict: Declared) -> str:
    """The option of ``dfd predict`` that is meant; "" if there is none."""
    return next(iter(named_like(key.removeprefix("no_"), [*predict.groups, *predict.every_key()])), "")


def _refuse_unknown(word: str, key: str, own: Sequence[str], predict: Declared) -> None:
    """Refuse a word that names no option.

    Raises:
        UsageError: neither the page nor ``dfd predict`` has such an option.
    """
    known = [*predict.groups, *predict.every_key()]
    is_dashed = word.startswith("--")
    if _named(key, predict) or (not is_dashed and key.lstrip("+~").partition(".")[0] in known):
        return
    name, equals, value = word.partition("=")
    names = [f"--{item.replace('_', '-')}" if is_dashed else item for item in (*own, *known)]
    raise UsageError(f"{name}: web has no such option{did_you_mean(name, names, f'{{}}{equals}{value}')}")
