"""Commands with their purpose and the module of their ``main``; the argument parser of the small ones."""

import argparse
import glob
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dfd.base.words import nearest


class Arguments(argparse.ArgumentParser):
    """A parser that also takes ``key=value`` and patterns, and says in one sentence what it does not understand.

    Args:
        command: its name, as in ``dfd NAME``.
        description: what it does.
        examples: command lines to copy.
    """

    def __init__(self, command: str, *, description: str | None, examples: Sequence[str] = ()) -> None:
        super().__init__(
            prog=f"dfd {command}",
            description=description or COMMANDS[command].about,
            epilog="\n  ".join(["examples:", *examples]) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, once ``key=value`` and patterns are brought into its form."""
        words = [*(sys.argv[1:] if args is None else args)]
        end = words.index("--") if "--" in words else len(words)
        plain = [part for word in words[:end] for part in self._plain(str(word))]
        return super().parse_known_args([*plain, *words[end:]], namespace)

    def _plain(self, word: str) -> list[str]:
        """A word as argparse takes it: ``key=value`` as an option, a pattern as the files that it stands for."""
        if os.path.lexists(word):
            return [word]
        key, equals, value = word.lstrip("-").partition("=")
        if equals and re.fullmatch(r"\w+", key) and not word.startswith("-"):
            if any(action.dest == key and not action.option_strings for action in self._actions):
                return [value]
            return [f"--{key.replace('_', '-')}={value}"]
        if word.startswith("--"):
            return [f"--{key.replace('_', '-')}{equals}{value}"]
        return sorted(glob.glob(word, recursive=True)) or [word]

    def error(self, message: str) -> NoReturn:
        """End the command with exit status 2, and say which word is wrong and which one was probably meant."""
        options = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        if message.startswith("unrecognized arguments: "):
            word = message.partition(": ")[2].split(" ")[0].partition("=")[0]
            close = nearest(word, options)
            remedy = f"did you mean {close}?" if close else "--help lists the options"
            said = f"{word}: {self.prog} has no such option; {remedy}"
        elif found := re.fullmatch(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)", message):
            flag, value, listed = found.groups()
            close = nearest(value, re.findall(r"[\w-]+", listed), close=0.6)
            said = f"{flag} {value}: it is one of {listed.replace(chr(39), '')}"
            said += f"; did you mean {flag} {close}?" if close else ""
        elif message.startswith("the following arguments are required: "):
            missing = message.partition(": ")[2]
            said = f"{missing} is missing; write {self.prog} {missing.split(', ')[0].upper()}, or --help for more"
        else:
            said = re.sub(r"^argument (\S+): ", r"\1 ", message) + "; --help explains it"
        self.exit(2, f"error: {said}\n")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of ``dfd``.

    Args:
        about: what it does, in a few words.
        places: what its plain words are, as its usage shows them.
        module: where its ``main`` is.
        is_composed: whether it has a root file in ``conf/``; else it reads its own few arguments.
        options: those of a command that is not composed.
    """

    about: str
    places: str
    module: str
    is_composed: bool = False
    options: tuple[str, ...] = ()


COMMANDS = {
    "predict": Command("score videos: is there a faked face in them?", "VIDEO|FOLDER|LIST ...", "dfd.predict", True),
    "report": Command(
        "show scored videos, or compare training runs, in one page",
        "FOLDER ...",
        "dfd.commands.report",
        options=("--output", "--title", "--threshold", "--uncertain-margin", "--prevalence"),
    ),
    "preprocess": Command("turn videos into a store of face clips", "MANIFEST.csv|FOLDER", "dfd.preprocess", True),
    "sources": Command(
        "list the data sets that can be read, and where to ask for them", "[NAME ...]", "dfd.data.sources.__main__"
    ),
    "sheet": Command(
        "draw a contact sheet of a clip store",
        "STORE",
        "dfd.commands.sheet",
        options=("--output", "--tracks", "--max-tracks", "--frames"),
    ),
    "audit": Command("look for people and copies that are in two splits of a store", "STORE", "dfd.commands.audit"),
    "train": Command("train a detector on a clip store", "STORE", "dfd.train", True),
    "evaluate": Command("measure a detector on a split of a clip store", "CHECKPOINT STORE", "dfd.evaluate", True),
    "calibrate": Command(
        "fit a detector's probabilities to labelled videos", "CHECKPOINT STORE", "dfd.calibrate", True
    ),
    "export": Command("write a detector as one file to hand on", "CHECKPOINT", "dfd.export", True),
    "adopt": Command(
        "make a detector of what others have published", "[NAME]", "dfd.commands.adopt", options=("--file", "--output")
    ),
    "fingerprint": Command(
        "train what takes a generator's fingerprint out of pictures",
        "STORE",
        "dfd.commands.adopt.fingerprint",
        options=(
            *("--output", "--code-sizes", "--num-steps", "--batch-size", "--patch", "--max-pictures", "--seed"),
            "--device",
        ),
    ),
    "weights": Command(
        "fetch the weights that a training begins from",
        "prefetch EXPERIMENT|OPTION=VALUE",
        "dfd.commands.adopt.prefetch",
    ),
    "blend": Command(
        "write pseudo-fakes of real videos as a clip store",
        "STORE",
        "dfd.commands.adopt.pseudo_fakes",
        options=("--output", "--families", "--num-frames", "--still-frames", "--seed", "--num-workers"),
    ),
    "web": Command("start the page that people upload videos to", "CHECKPOINT", "dfd.web.__main__"),
    "demo": Command(
        "draw demonstration videos to try all of this on", "FOLDER", "dfd.data.demo.__main__", options=("--seed",)
    ),
}
"""By name, the most used first."""

WIDTH = (60, 110)
"""Columns that a help page takes at least and at most."""


class UsageError(Exception):
    """A command line cannot be understood. The message names the word and says what to write."""


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """The end of a sentence that refuses ``word``: what was probably meant, written as in ``form``.

    >>> did_you_mean("max-window", ["max-windows"], "--{}")
    '; did you mean --max-windows?'
    """
    close = nearest(word, known)
    return f"; did you mean {form.format(close)}?" if close else "; --help lists what there is"
