"""``dfd COMMAND ...``, also ``python -m dfd``: the door to every command."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dfd import __version__
from dfd.base.machine import end_at_once, without_collection
from dfd.base.words import nearest
from dfd.config.cli.catalogue import COMMANDS, UsageError
from dfd.config.cli.completion import SHELLS, candidates, script
from dfd.config.cli.helping import overview, page
from dfd.config.cli.line import read_line


def main(words: Sequence[str] | None = None) -> int:
    """Run a command with the words that follow its name; returns the exit status."""
    first, *rest = [*(sys.argv[1:] if words is None else words)] or ["--help"]
    try:
        if first in ("--help", "-h", "help"):
            print(overview())
        elif first == "--version":
            print(f"dfd {__version__}")
        elif first == "--completion":
            print(script(_shell(rest)))
        elif first == "--complete":
            print("\n".join(candidates(*rest[:2])))
        elif first not in COMMANDS:
            raise UsageError(_no_command(first, rest))
        else:
            return _run(first, rest)
        sys.stdout.flush()
    except UsageError as error:
        print(f"error: {error}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the page has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def program() -> NoReturn:
    """Run the command of this process; a prediction ends at once, as people wait for its end."""
    if sys.argv[1:2] == ["predict"]:
        end_at_once(main)
    sys.exit(main())


def _run(command: str, words: list[str]) -> int:
    if COMMANDS[command].is_composed and (line := read_line(command, words)).wants_help:
        print(page(command, line))  # without what the command imports
        return 0
    with without_collection():
        module = importlib.import_module(COMMANDS[command].module)
    status = module.main(words)
    return status if isinstance(status, int) else 0


def _shell(words: Sequence[str]) -> str:
    if len(words) == 1 and words[0] in SHELLS:
        return words[0]
    raise UsageError(
        f"--completion {' '.join(words)}: name your shell, one of {', '.join(SHELLS)}; write --completion bash"
    )


def _no_command(word: str, rest: Sequence[str]) -> str:
    close = nearest(word, [*COMMANDS, "--help", "--version", "--completion"], close=0.7)
    if close:
        return f"{word}: there is no such command; did you mean dfd {close}?"
    if os.path.lexists(word):
        return f"{word}: there is no such command; to score it write dfd predict {word} --checkpoint starter"
    return f"{word}: there is no such command; the commands are {', '.join(COMMANDS)}"


if __name__ == "__main__":
    program()
