"""Hydra sweepers: their common base class, and a grid of all combinations."""

import logging
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from dfd.base.errors import ConfigError, DfdError, StudyError
from dfd.base.files import take_lock
from dfd.config.cli.kinds import quoted
from dfd.runs.records import JobRecord, Outcome, StudyRecord, overrides_by_key
from dfd.studies.search_study import is_log

logger = logging.getLogger(__name__)

MAY_CHANGE = ("ckpt_path", "logger", "data.num_workers", "trainer.enable_progress_bar", "hydra")
"""Options that may differ when a study continues, since they change no result."""
LOST = "its process ended without an error: it was killed (perhaps out of memory), or its machine was lost"


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study: its number, its overrides, and its folder."""

    number: int
    overrides: tuple[str, ...]
    subdir: str
    folder: Path

    @property
    def record(self) -> JobRecord | None:
        """Recorded outcome; None if the job was never started."""
        return JobRecord.read(self.folder)


@dataclass(kw_only=True, eq=False)
class StudySweeper(Sweeper):
    """Base class of the sweepers: a folder that describes the study, and jobs that each run once."""

    config: DictConfig = field(init=False)
    hydra_context: HydraContext = field(init=False)
    launcher: Launcher = field(init=False)
    params: Mapping[str, Any] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up the sweeper; Hydra calls this before :meth:`sweep`."""
        self.hydra_context = hydra_context
        self.config = config
        given: dict[str, Any] = {"hydra_context": hydra_context, "task_function": task_function, "config": config}
        self.launcher = Plugins.instance().instantiate_launcher(**given)

    def sweep(self, arguments: list[str]) -> None:
        """Run the study with the command line's overrides; Hydra calls this.

        Raises:
            DfdError: the study cannot be run with these settings.
        """
        try:
            self.run_study(self.parse(arguments))
        except DfdError:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra re-raises, so that the error is shown without a traceback
            raise

    @abstractmethod
    def run_study(self, overrides: Sequence[Override]) -> None:
        """Run all jobs; a failed job is not an error."""

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return Path(self.config.hydra.sweep.dir)

    @property
    def metric(self) -> str:
        """Name of the value that the jobs return."""
        return str(self.config.get("optimized_metric", "the result"))

    def parse(self, arguments: Sequence[str]) -> list[Override]:
        """Parse the study's parameters and the command line's overrides; the last one of a key counts."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        # A list in YAML is a value; values to try are text, as on the command line.
        given = [f"{key}={value}" for key, value in (self.params or {}).items() if value is not None]
        by_key = {override.get_key_element(): override for override in parser.parse_overrides([*given, *arguments])}
        return list(by_key.values())

    @contextmanager
    def study(self, overrides: Sequence[Override]) -> Iterator[StudyRecord]:
        """Lock the study's folder and write its description; on a StudyError the previous description is restored.

        Raises:
            StudyError: another process runs the study, or the study cannot be run with these settings.
        """
        choices = self.config.hydra.runtime.choices
        name = " · ".join(str(choices[group]) for group in ("experiment", "study") if choices.get(group)) or "sweep"
        swept = [override for override in overrides if override.is_sweep_override()]
        record = StudyRecord(
            name=name,
            group=f"{name} {self.folder.name}",
            metric=self.metric,
            swept=[override.get_key_element().lstrip("+~") for override in swept],
            log_scale=[override.get_key_element().lstrip("+~") for override in swept if is_log(override)],
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(self.folder / ".lock")
        if lock is None:
            raise StudyError(f"{self.folder}: another process runs this study")
        with lock:
            descriptions = [self.folder / name for name in (StudyRecord.FILE, "multirun.yaml")]
            before = {path: path.read_bytes() for path in descriptions if path.is_file()}
            OmegaConf.save(self.config, self.folder / "multirun.yaml")
            record.write(self.folder)
            try:
                yield record
            except StudyError:
                for path, content in before.items():
                    path.write_bytes(content)
                raise

    def job(self, number: int, overrides: Sequence[str]) -> Job:
        """Job with a number and overrides, whose configuration is composed to check it.

        Raises:
            hydra.errors.HydraException: a key or an option does not exist.
        """
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        subdir = str(config.hydra.sweep.subdir)
        return Job(number, tuple(overrides), subdir, self.folder / subdir)

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not settled yet, each in its own folder, where its outcome is recorded.

        Raises:
            StudyError: a folder holds a job with other settings.
        """
        waiting = []
        for job in jobs:
            known = job.record
            has_begun = (job.folder / "checkpoints" / "last.ckpt").is_file()
            if known is not None and (known.outcome.is_settled or has_begun):
                _refuse_other(job, known)
            if known is not None and known.outcome.is_settled:
                print(f"job {job.number} is {known.outcome} already")
                continue
            JobRecord(Outcome.WAITING, self._overrides(job)).write(job.folder)
            waiting.append(job)
        # The basic launcher is sequential anyway; alone, each job keeps its own number.
        is_basic = "BasicLauncher" in type(self.launcher).__name__
        for together in [[job] for job in waiting] if is_basic else [waiting] if waiting else []:
            self._launch(together)

    def _overrides(self, job: Job) -> list[str]:
        """Overrides with ``ckpt_path=last``, so that an interrupted or resubmitted job resumes."""
        if "ckpt_path" not in self.config or "ckpt_path" in overrides_by_key(job.overrides):
            return list(job.overrides)
        return [*job.overrides, "ckpt_path=last"]

    def _launch(self, jobs: Sequence[Job]) -> None:
        """Launch jobs together; if the launcher fails, unfinished jobs are launched again one by one."""
        lists = [[*self._overrides(job), f"hydra.sweep.subdir={quoted(job.subdir)}"] for job in jobs]
        returned: Sequence[JobReturn | None] = [None] * len(jobs)
        problem = ""
        try:
            returned = self.launcher.launch(lists, initial_job_idx=jobs[0].number)
        except Exception as error:
            if all(job.record and job.record.outcome is Outcome.WAITING for job in jobs):
                raise  # it cannot launch at all
            problem = f"{type(error).__name__}: {(str(error).strip() or LOST).splitlines()[0]}"
            logger.warning("the launcher failed (%s)", problem)
        for job, result in zip(jobs, returned, strict=True):
            record = job.record
            assert record is not None
            if record.outcome not in (Outcome.WAITING, Outcome.RUNNING):
                continue
            if problem and len(jobs) > 1:
                logger.warning("job %s is launched again, alone", job.number)
                self._launch([job])
                continue
            message = problem or LOST
            if result is not None and result.status is JobStatus.FAILED:
                message = str(result._return_value) or message
            replace(record, outcome=Outcome.FAILED, message=message).write(job.folder)


class GridSweeper(StudySweeper):
    """Sweeper over all combinations of the given values, in the order of Hydra's own sweeper."""

    def run_study(self, overrides: Sequence[Override]) -> None:
        """Launch all combinations together."""
        for override in overrides:
            if isinstance(override.value(), IntervalSweep):
                raise ConfigError(
                    f"{override.input_line}: a grid cannot try an interval; list values, as in "
                    f"{override.get_key_element()}=1,2, or search with hydra/sweeper=optuna"
                )
        with self.study(overrides):
            combinations = BasicSweeper.split_arguments(list(overrides), None)[0]
            self.run([self.job(number, combination) for number, combination in enumerate(combinations)])


def _refuse_other(job: Job, known: JobRecord) -> None:
    ours, theirs = _that_matter(job.overrides), _that_matter(known.overrides)
    if ours != theirs:
        differing = [item for item in [*theirs, *ours] if (item in theirs) != (item in ours)]
        raise StudyError(
            f"{job.folder}: has a job with other settings ({', '.join(differing)}); repeat the study's command to "
            "continue it, or give another hydra.sweep.dir"
        )


def _that_matter(overrides: Sequence[str]) -> list[str]:
    """Overrides that must stay the same when a study continues, as sorted text."""
    by_key = overrides_by_key(overrides)
    return sorted(
        f"{key}={value}"
        for key, value in by_key.items()
        if not any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in MAY_CHANGE)
    )
