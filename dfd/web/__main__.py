"""Command ``python -m dfd.web``: start the pages, the queue and a worker on this machine; see ``--help``."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields

from dfd.base.errors import ConfigError, DfdError
from dfd.config.cli.catalogue import UsageError, did_you_mean
from dfd.config.cli.declared import Declared, named_like
from dfd.config.cli.kinds import Kind, Kinds
from dfd.config.cli.line import read_line
from dfd.models.published.names import NAMES
from dfd.models.starter import FILES
from dfd.web.options import PREFIX, WebOptions, described
from dfd.web.serve.launcher import check_detector, run_all, server_command, with_own_key

USAGE = """\
Upload a video in the browser and see whether its faces look forged.

  dfd web outputs/train/RUN/detector.safetensors
  dfd web starter --port 8080
  dfd web starter deepfakebench-xception --full-look
  dfd web detector.safetensors --face-detector yunet --max-windows 16

starts everything on this machine, for its own browsers: pages, queue (SQLite) and a worker that scores.
To run it for others, in parts or on several machines, configured by environment variables: docs/web.md.

  dfd web serve             the web processes only
  dfd web worker            one worker only
  dfd web manage COMMAND    migrate, createsuperuser (for /admin/), check --deploy, tidy, …

An option is given as --key value or key=value here, or as the environment variable DFD_WEB_KEY. Any other key is
taken as an option of dfd predict (dfd predict --help).
"""
COMMANDS = ("all", "serve", "worker", "manage")
PACKAGES = (
    *("django", "django_tasks", "django_tasks_db", "ninja", "gunicorn", "whitenoise", "dj_database_url", "psycopg"),
    "psycopg_pool",
)


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit status."""
    if set(arguments) & {"--help", "-h", "help"} and arguments[:1] != ["manage"]:
        print(usage())
        return 0
    command, *rest = arguments if arguments[:1] and arguments[0] in COMMANDS else ["all", *arguments]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfd.web.settings")
    try:
        if command == "manage":
            return manage(rest)
        commands = {"all": run_all, "serve": serve, "worker": work}
        return commands[command](environment_of(as_options(rest)))
    except (UsageError, DfdError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] not in PACKAGES:
            raise
        print(f"error: the web page needs {error.name}; pip install 'dfd[web]'", file=sys.stderr)
        return 1


def usage() -> str:
    """Help text with every option."""
    width = max(len(name) for name, _, _ in described())
    names = ((f"{name.replace('_', '-'):<{width}}", default, about) for name, default, about in described())
    lines = [f"  --{name}  {about}{f' ({default})' if default else ''}" for name, default, about in names]
    return "\n".join([USAGE, "Options and their defaults:", *lines])


def environment_of(arguments: list[str]) -> dict[str, str]:
    """Environment variables, updated with ``key=value`` arguments.

    Raises:
        ConfigError: an argument does not have that form.
    """
    environment = dict(os.environ)
    known = {item.name for item in fields(WebOptions)}
    for_detector = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"{argument}: options are given as key=value; --help lists them")
        if key in known:
            environment[f"{PREFIX}{key.upper()}"] = value
        else:
            for_detector.append(argument)
    if for_detector:
        name = f"{PREFIX}DETECTOR"
        environment[name] = shlex.join([*shlex.split(environment.get(name, "")), *for_detector])
    return environment


def manage(arguments: list[str]) -> int:
    """Run one of Django's own commands."""
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    os.environ.update(with_own_key(dict(os.environ)))
    try:
        execute_from_command_line(["python -m dfd.web manage", *arguments])
    except ImproperlyConfigured as error:
        raise ConfigError(str(error)) from error
    except OperationalError as error:
        raise ConfigError(f"the database does not answer: {error}") from error
    return 0


def serve(environment: Mapping[str, str]) -> int:
    """Replace this process by the HTTP server."""
    options = WebOptions.from_environment(environment)
    if not options.secret_key:
        raise ConfigError(f"{PREFIX}SECRET_KEY is not set; give all web processes and workers the same one")
    command = server_command(options)
    os.execve(command[0], command, dict(environment))


def work(environment: Mapping[str, str]) -> int:
    """Replace this process by a worker."""
    check_detector(WebOptions.from_environment(environment))
    command = [sys.executable, "-m", "dfd.web", "manage", "worker"]
    os.execve(command[0], command, with_own_key(dict(environment)))


def as_options(words: Sequence[str]) -> list[str]:
    """The words as ``key=value``: plain ones are detectors, those that the page has no option for are predict's.

    >>> as_options(["starter", "--port", "8080", "max_windows=4", "--no-https"])
    ['checkpoint=starter', 'port=8080', 'https=false', 'max_windows=4']
    >>> as_options(["starter", "dfdc-b7"])
    ['checkpoint=[starter,dfdc-b7]']

    Raises:
        UsageError: there is no such option, here or of ``dfd predict``.
    """
    is_flag = {item.name: isinstance(item.default, bool) for item in fields(WebOptions)}
    predict = Declared("predict")
    found: list[str] = []
    detectors: list[str] = []
    for_predict: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        key = name.lstrip("-").replace("-", "_")
        switch = key.removeprefix("no_")
        if not word.startswith("-") and (not equals or os.path.lexists(word)):
            detectors.append(_checkpoint(word))
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
    if detectors:
        found.insert(0, f"checkpoint={detectors[0] if len(detectors) == 1 else '[' + ','.join(detectors) + ']'}")
    return [*found, *read_line("predict", for_predict).overrides]


def _checkpoint(word: str) -> str:
    if word in (*FILES, *NAMES) or os.path.lexists(os.path.expanduser(word)):
        return word
    if word in COMMANDS:
        raise UsageError(f"{word}: a command comes first; write dfd web {word}")
    raise UsageError(f"{word}: there is no such command or file{did_you_mean(word, [*COMMANDS[1:], *FILES, *NAMES])}")


def _named(key: str, predict: Declared) -> str:
    """The option of ``dfd predict`` that is meant; "" if there is none."""
    return next(iter(named_like(key.removeprefix("no_"), predict.every_name())), "")


def _refuse_unknown(word: str, key: str, own: Sequence[str], predict: Declared) -> None:
    """Refuse a word that names no option.

    Raises:
        UsageError: neither the page nor ``dfd predict`` has such an option.
    """
    known = predict.every_name()
    is_dashed = word.startswith("--")
    if _named(key, predict) or (not is_dashed and key.lstrip("+~").partition(".")[0] in known):
        return
    name, equals, value = word.partition("=")
    names = [f"--{item.replace('_', '-')}" if is_dashed else item for item in (*own, *known)]
    raise UsageError(f"{name}: web has no such option{did_you_mean(name, names, f'{{}}{equals}{value}')}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
