"""The edge of every command: ``--help``, overrides, and errors as sentences with an exit status."""

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.base.errors import ConfigError, DfdError, RunDiverged, disk_sentence
from dfd.base.machine import wait_without_spinning, without_collection
from dfd.base.names import plugins
from dfd.base.names.renamed import todays_options
from dfd.config.check import check, logger, refuse_values
from dfd.config.cli.catalogue import UsageError
from dfd.config.cli.declared import Declared
from dfd.config.cli.helping import page
from dfd.config.cli.kinds import Kinds
from dfd.config.cli.line import read_line
from dfd.config.cli.places import Line
from dfd.config.cli.refusals import misfits, refusals
from dfd.config.folders import CONFIG_DIR
from dfd.config.schemas import SCHEMAS
from dfd.runs.records import recorded


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn a value that a class of ours refuses into an error that says where it comes from.

    Raises:
        ConfigError: a value is out of range.
    """
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from error


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n`` as numbers.

    >>> parse_shard("0/8")
    (0, 8)

    Raises:
        ConfigError: not of that form, or i is not in 0..n-1.
    """
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise ConfigError(f"shard={text} is not of the form i/n, such as shard=0/8") from None
    if count < 1:
        raise ConfigError(f"shard={text}: the second number, of the shards, must be 1 or more")
    if not 0 <= index < count:
        raise ConfigError(f"shard={text}: the first number must be in 0..{count - 1}")
    return index, count


def output_dir() -> Path:
    """The folder of this run, made by Hydra."""
    return Path(HydraConfig.get().runtime.output_dir)


@dataclass(frozen=True)
class Job:
    """The run of a command as Hydra started it."""

    folder: Path
    """Its own folder."""
    options: dict[str, Any]
    """Every option with its value."""
    sweep_dir: Path | None = None
    """The folder of the multirun that it belongs to."""
    sweeper: Mapping[str, Any] = field(default_factory=dict)
    """Options of that multirun's sweeper."""

    def save_options(self) -> None:
        """Write ``config.yaml``, from which the run can be repeated."""
        OmegaConf.save(OmegaConf.create(self.options), self.folder / "config.yaml")


def current_job(cfg: DictConfig) -> Job:
    """The job that runs now, with its composed options."""
    options = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    hydra_config = HydraConfig.get()
    if hydra_config.mode is not RunMode.MULTIRUN:
        return Job(output_dir(), options)
    return Job(output_dir(), options, Path(hydra_config.sweep.dir), hydra_config.sweeper)


def entry_point(
    config_name: str, *, complete: Callable[[DictConfig], None] = lambda cfg: None
) -> Callable[[Callable[[DictConfig], Any]], Callable[..., Any]]:
    """Make a function of the composed config a command: ``--help``, plain words, overrides, and errors as sentences.

    A command line that is not understood ends with exit status 2 and a sentence for each wrong word. A ``DfdError``,
    and what a full or read-only disk raises, ends the command with exit status 1 and its message, without a traceback.
    In a multirun it is raised, so that the launcher decides.

    ``complete`` may fill in what other options make needless, before missing values are refused.
    """
    kinds = Kinds(Declared(config_name), SCHEMAS[config_name])

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        line = Line()
        program: list[str] = []

        def task(cfg: DictConfig) -> Any:
            if program:
                # Processes that are started from here, such as the others of a training, get these words as they were.
                sys.argv[:] = program
                program.clear()
            in_multirun = HydraConfig.get().mode is RunMode.MULTIRUN
            try:
                plugins.use_plugins(*(cfg.get("plugins") or ()))
                complete(cfg)
                refuse_values(kinds, cfg)
                return _run_job(function, cfg) if in_multirun else function(cfg)
            except (DfdError, InstantiationException) as error:
                if in_multirun and type(error) is ConfigError:
                    raise ConfigError("; ".join(misfits(kinds, error))) from error
                if in_multirun:
                    raise  # the sweeper decides whether others go on
                # In the terminal, and in the run's log. On what all processes of a run agree, the first one speaks:
                # dfd.training.distributed.speak_once leaves errors to the others.
                agreed = isinstance(error, RunDiverged)
                for said in misfits(kinds, error):
                    logger.log(logging.WARNING if agreed else logging.ERROR, "error: %s", said)
                raise SystemExit(1) from error
            except KeyboardInterrupt as stop:
                logger.error(str(stop) or "interrupted; what was finished is kept, and --help says how to go on")
                raise SystemExit(130) from None

        task.__doc__, task.__module__, task.__name__ = function.__doc__, function.__module__, function.__name__
        command = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(task)

        def run(words: Sequence[str] | None = None) -> Any:
            """Run the command with these words; None: those of this process."""
            nonlocal line
            wait_without_spinning()
            logging.raiseExceptions = False  # of a log that cannot be written no traceback for each line
            before = os.environ.get("HYDRA_FULL_ERROR")
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, to become sentences here
            program[:] = sys.argv
            try:
                given = todays_options(config_name, sys.argv[1:] if words is None else words)
                line = read_line(config_name, given, SCHEMAS[config_name])
                if line.wants_help:
                    print(page(config_name, line))
                    return None
                sys.argv[:] = [sys.argv[0], *line.words]
                return command()
            except (UsageError, DfdError) as error:
                _end(error, 2 if isinstance(error, UsageError) else 1, [str(error)])
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                if isinstance(error, ValueError) and not program:
                    raise  # out of the command itself
                _end(error, 2, refusals(kinds, line, error))
            except BrokenPipeError:  # whoever read the output has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(1) from None
            except OSError as error:
                refused = f"{error.filename}: {error.strerror}; give another (output=, hydra.run.dir=)"
                sentence = disk_sentence(error) or (refused if program else "")  # Hydra refused the run's folder
                if not sentence:
                    raise
                _end(error, 1, [sentence])  # not to the log, whose disk may be the full one
            finally:
                if program:
                    sys.argv[:] = program
                os.environ.pop("HYDRA_FULL_ERROR")
                if before is not None:
                    os.environ["HYDRA_FULL_ERROR"] = before

        return run

    return decorate


def door(name: str, *, complete: Callable[[DictConfig], None] = lambda cfg: None) -> Callable[..., Any]:
    """The ``main`` of a command that is the function ``dfd.commands.NAME.NAME`` of its checked options.

    That module, and the libraries with it, are imported once the options are known to be good.
    """

    def main(cfg: DictConfig) -> Any:
        config = check(cfg, SCHEMAS[name])
        with without_collection():
            module = import_module(f"dfd.commands.{name}")
        return getattr(module, name)(config)

    return entry_point(name, complete=complete)(main)


def _end(error: Exception, status: int, sentences: Iterable[str]) -> NoReturn:
    """End the command with sentences in place of a traceback."""
    for said in sentences:
        print(f"error: {said}", file=sys.stderr)
    raise SystemExit(status) from error


def _run_job(function: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """One job of a multirun. Its folder says what became of it, and it leaves no memory to the next one."""
    with recorded(output_dir(), list(HydraConfig.get().overrides.task)) as recorder:
        try:
            recorder.value = function(cfg)
        finally:
            gc.collect()
            if "torch" in sys.modules:
                sys.modules["torch"].cuda.empty_cache()
    return recorder.value
