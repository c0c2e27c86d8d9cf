"""Hydra's sweepers of dfd: every combination (``grid``), or a search with Optuna (``optuna``).

Both go on where they were stopped, and neither lets a job that fails cost another one: Hydra's own basic sweeper raises
the first failure that it sees, and then there is neither a report nor a list of the others.
"""

import logging
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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

from dfd.errors import ConfigError, DfdError, StudyError
from dfd.files import open_lock
from dfd.outcomes import STUDY_FILE, JobRecord, Outcome, StudyRecord, is_minimized, overrides_by_key
from dfd.studies.search import distributions, is_log
from dfd.tuning import Pruning, open_study

logger = logging.getLogger(__name__)

MAY_CHANGE = ("ckpt_path", "logger", "data.num_workers", "trainer.enable_progress_bar", "hydra")
"""What may be given anew when a study goes on: none of it changes a result."""
LOST = "its process ended without a word: killed, as for want of memory, or its machine was lost"


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study: its number, what its configuration is composed with, and where it writes."""

    number: int
    overrides: tuple[str, ...]
    subdir: str
    folder: Path

    @property
    def record(self) -> JobRecord | None:
        """What became of it; None if it was never asked for."""
        return JobRecord.read(self.folder)


class StudySweeper(Sweeper):
    """What the two have in common: a folder that says what the study is, and jobs that are run once."""

    def __init__(self, *, params: Mapping[str, Any] | None = None) -> None:
        self.params = params or {}
        self.config: DictConfig
        self.hydra_context: HydraContext
        self.launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """As Hydra calls it before :meth:`sweep`."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """As Hydra calls it, with the command line's overrides.

        Raises:
            DfdError: the study cannot be run like this.
        """
        try:
            self.run_study(self.parse(arguments))
        except DfdError:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands it on, to be a sentence, and does not print a traceback
            raise

    @abstractmethod
    def run_study(self, overrides: Sequence[Override]) -> None:
        """Run all jobs; none that fails is an error."""

    @property
    def folder(self) -> Path:
        """Of the study."""
        return Path(self.config.hydra.sweep.dir)

    @property
    def metric(self) -> str:
        """What the jobs return."""
        return str(self.config.get("optimized_metric", "the result"))

    def parse(self, arguments: Sequence[str]) -> list[Override]:
        """The study's parameters and then the command line's overrides, of which the last of a key counts."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        # A list in YAML is a value; values to try are text, as on the command line.
        given = [f"{key}={value}" for key, value in self.params.items() if value is not None]
        by_key = {override.get_key_element(): override for override in parser.parse_overrides([*given, *arguments])}
        return list(by_key.values())

    @contextmanager
    def study(self, overrides: Sequence[Override]) -> Iterator[StudyRecord]:
        """The study's folder, described and held by this process. One that is refused stays described as it was.

        Raises:
            StudyError: another process runs the study, or it cannot be run like this.
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
        with _held(self.folder / ".lock"):
            descriptions = [self.folder / name for name in (STUDY_FILE, "multirun.yaml")]
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
        """The job of that number. Composing its configuration tells whether there is such a one.

        Raises:
            hydra.errors.HydraException: a key or an option does not exist.
        """
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        subdir = str(config.hydra.sweep.subdir)
        return Job(number, tuple(overrides), subdir, self.folder / subdir)

    def run(self, jobs: Sequence[Job]) -> None:
        """Run those jobs that are not settled yet, each in its own folder; afterwards each has an outcome there.

        Raises:
            StudyError: a folder holds a job of other settings.
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
        if "BasicLauncher" in type(self.launcher).__name__:  # one after another anyway, and so with its own number
            for job in waiting:
                self._launch([job])
        elif waiting:
            self._launch(waiting)

    def _overrides(self, job: Job) -> list[str]:
        """With ``ckpt_path=last``: a job that was interrupted, or sent again by a cluster, goes on."""
        if "ckpt_path" not in self.config or "ckpt_path" in overrides_by_key(job.overrides):
            return list(job.overrides)
        return [*job.overrides, "ckpt_path=last"]

    def _launch(self, jobs: Sequence[Job]) -> None:
        """Launch jobs together; if the launcher gives up, those it left open are launched again one by one."""
        lists = [[*self._overrides(job), f"hydra.sweep.subdir={_quoted(job.subdir)}"] for job in jobs]
        returned: Sequence[JobReturn | None] = [None] * len(jobs)
        problem = ""
        try:
            returned = self.launcher.launch(lists, initial_job_idx=jobs[0].number)
        except Exception as error:
            if all(job.record and job.record.outcome is Outcome.WAITING for job in jobs):
                raise  # it cannot launch at all
            problem = f"{type(error).__name__}: {(str(error).strip() or LOST).splitlines()[0]}"
            logger.warning("the launcher gave up (%s)", problem)
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
    """Every combination of the values given, in the order of Hydra's own sweeper."""

    def run_study(self, overrides: Sequence[Override]) -> None:
        """All of them, launched together."""
        for override in overrides:
            if isinstance(override.value(), IntervalSweep):
                raise ConfigError(
                    f"{override.input_line}: an interval has no values to try one after another; list some, as in "
                    f"{override.get_key_element()}=1,2, or search with hydra/sweeper=optuna"
                )
        with self.study(overrides):
            combinations = BasicSweeper.split_arguments(list(overrides), None)[0]
            self.run([self.job(number, combination) for number, combination in enumerate(combinations)])


class OptunaSweeper(StudySweeper):
    """A search with Optuna's TPE (Bergstra et al., NeurIPS 2011), a trial a job, in a study that outlives the process.

    Args:
        params: the search space, as :func:`dfd.studies.search.distributions` reads it, and constants.
        num_trials: in all, counting those of earlier calls.
        num_parallel: trials that are launched together. The next ones are drawn when all of them have ended.
        startup_trials: drawn at random, before TPE has something to learn from.
        storage: where the study is kept, as :func:`dfd.tuning.open_study` takes it.
        seed: of the draws; None: another one every time.
        pruning: of :class:`dfd.tuning.Pruning`; None: every run is trained to its end.
        trial: set for each job, to its number; never by hand.
    """

    def __init__(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        num_trials: int = 20,
        num_parallel: int = 1,
        startup_trials: int = 10,
        storage: str,
        seed: int | None = None,
        pruning: Mapping[str, int] | None = None,
        trial: int | None = None,
    ) -> None:
        super().__init__(params=params)
        self.num_trials = num_trials
        self.num_parallel = num_parallel
        self.startup_trials = startup_trials
        self.storage = storage
        self.seed = seed
        self.pruning = pruning

    def run_study(self, overrides: Sequence[Override]) -> None:
        """A batch of trials after another, until there are as many as asked for."""
        for name in ("num_trials", "num_parallel", "startup_trials"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"hydra.sweeper.{name} must be a whole number of 1 or more, got {value!r}")
        swept = [override for override in overrides if override.is_sweep_override()]
        if not swept:
            raise ConfigError("hydra/sweeper=optuna has nothing to search; give hydra.sweeper.params, or study=tune")
        space = distributions(swept)
        constant = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
        with self.study(overrides):
            study = open_study(
                self.storage,
                pruning=Pruning(**self.pruning) if self.pruning else None,
                minimize=is_minimized(self.metric),
                seed=self.seed,
                startup_trials=self.startup_trials,
            )
            self._same_study(study, space, constant)
            while batch := self._next(study, space):
                jobs = {number: self._trial_job(number, chosen, constant) for number, chosen in batch.items()}
                self.run(list(jobs.values()))
                for number, job in jobs.items():
                    _tell(study, number, job.record)
            self._say(study)

    def _same_study(self, study: Any, space: Mapping[str, Any], constant: Sequence[str]) -> None:
        """Refuse to go on with a study of another space, or of other settings: its trials would not compare.

        Raises:
            StudyError: it is another one.
        """
        from optuna.distributions import distribution_to_json

        wanted = {
            "space": {key: distribution_to_json(kind) for key, kind in sorted(space.items())},
            "constant": _that_matter(constant),
            "metric": self.metric,
        }
        known = study.user_attrs.get("dfd")
        if known is None:
            if any(self.folder.glob("*/outcome.json")):
                raise StudyError(
                    f"{self.folder}: has jobs that {self.storage} does not know: of a study without a search, or with "
                    "another storage; give another hydra.sweep.dir"
                )
            study.set_user_attr("dfd", wanted)
        elif known != wanted:
            parts = [part for part in wanted if known.get(part) != wanted[part]]
            differences = (_difference(known.get(part), wanted[part]) for part in parts)
            raise StudyError(
                f"{self.storage}: is a study of another {' and '.join(parts)} ({'; '.join(differences)}); "
                "repeat its command to go on with it, or give another hydra.sweep.dir"
            )

    def _next(self, study: Any, space: dict[str, Any]) -> dict[int, Mapping[str, Any]]:
        """The trials to run now, by number: first those that were interrupted, then new ones."""
        from optuna.trial import TrialState

        known = study.get_trials(deepcopy=False)
        open_trials = [trial for trial in known if trial.state is TrialState.RUNNING][: self.num_parallel]
        if open_trials:
            return {trial.number: trial.params for trial in open_trials}
        count = min(self.num_parallel, self.num_trials - len(known))
        asked = [study.ask(space) for _ in range(count)]
        return {trial.number: trial.params for trial in asked}

    def _trial_job(self, number: int, chosen: Mapping[str, Any], constant: Sequence[str]) -> Job:
        values = [f"{key}={value}" for key, value in chosen.items()]
        return self.job(number, [*constant, *values, f"hydra.sweeper.trial={number}"])

    def _say(self, study: Any) -> None:
        from optuna.trial import TrialState

        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        done, pruned, failed = (states.count(s) for s in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        print(f"{len(states)} trials: {done} finished, {pruned} pruned, {failed} failed; in {self.storage}")


def _tell(study: Any, number: int, record: JobRecord | None) -> None:
    """Let Optuna know how a trial ended; one that was stopped stays open, and is run when the study goes on."""
    from optuna.trial import TrialState

    assert record is not None
    match record.outcome:
        case Outcome.FINISHED if record.value is not None:
            study.tell(number, record.value)
        case Outcome.PRUNED:
            study.tell(number, state=TrialState.PRUNED)
        case Outcome.FINISHED | Outcome.FAILED:
            study.tell(number, state=TrialState.FAIL)


def _difference(known: Any, wanted: Any) -> str:
    """What of ``known`` is not as wanted.

    >>> _difference(["seed=1", "a=2"], ["seed=1", "a=3"]), _difference({"lr": "log"}, {}), _difference("auc", "f1")
    ('a=2, not a=3', 'lr=log, not there', 'auc, not f1')
    """

    def items(value: Any) -> list[str]:
        if isinstance(value, Mapping):
            return [f"{key}={part}" for key, part in value.items()]
        return list(value) if isinstance(value, list) else [str(value)]

    ours, theirs = items(known), items(wanted)
    sides = ([item for item in one if item not in other] for one, other in ((ours, theirs), (theirs, ours)))
    return ", not ".join(", ".join(side) or "there" for side in sides)


def _refuse_other(job: Job, known: JobRecord) -> None:
    ours, theirs = _that_matter(job.overrides), _that_matter(known.overrides)
    if ours != theirs:
        differing = [item for item in [*theirs, *ours] if (item in theirs) != (item in ours)]
        raise StudyError(
            f"{job.folder}: has a job of other settings ({', '.join(differing)}); repeat the study's command to go on "
            "with it, or give another hydra.sweep.dir"
        )


def _that_matter(overrides: Sequence[str]) -> list[str]:
    """Those that a study cannot go on without."""
    by_key = overrides_by_key(overrides)
    return sorted(
        f"{key}={value}"
        for key, value in by_key.items()
        if not any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in MAY_CHANGE)
    )


def _quoted(value: str) -> str:
    """A value that Hydra's parser takes as it is."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """A lock, until the end of the block or of the process.

    Raises:
        StudyError: another process holds it.
    """
    with open_lock(path) as file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StudyError(f"{path.parent}: another process runs this study") from error
        yield
