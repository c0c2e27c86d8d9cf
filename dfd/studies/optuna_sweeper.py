"""Hydra sweeper that searches with Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from dfd.base.errors import ConfigError, StudyError
from dfd.runs.records import JobRecord, Outcome, is_minimized
from dfd.studies.search_study import Pruning, distributions, import_optuna, open_study
from dfd.studies.sweepers import StudySweeper, _that_matter


@dataclass(kw_only=True, eq=False)
class OptunaSweeper(StudySweeper):
    """Search with Optuna's TPE (Bergstra et al., NeurIPS 2011), with one trial per job, in a persistent study.

    Args:
        params: search space in the syntax of :func:`dfd.studies.search_study.distributions`, and constants.
        num_trials: total number of trials, including those of earlier calls.
        num_parallel: number of trials launched together; the next ones are drawn when all of them have ended.
        startup_trials: number of random trials before TPE starts.
        storage: location of the study, see :func:`dfd.studies.search_study.open_study`.
        seed: seed of the draws; None takes a different one each time.
        pruning: arguments of :class:`dfd.studies.search_study.Pruning`; None trains every run to its end.
        trial: number of the trial, set for each job by the sweeper.
    """

    num_trials: int = 20
    num_parallel: int = 1
    startup_trials: int = 10
    storage: str
    seed: int | None = None
    pruning: Mapping[str, int] | None = None
    trial: int | None = None

    def run_study(self, overrides: Sequence[Override]) -> None:
        """Run batches of trials until the requested number is reached."""
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
                jobs = {}
                for number, chosen in batch.items():
                    values = [f"{key}={value}" for key, value in chosen.items()]
                    jobs[number] = self.job(number, [*constant, *values, f"hydra.sweeper.trial={number}"])
                self.run(list(jobs.values()))
                for number, job in jobs.items():
                    _tell(study, number, job.record)
            self._say(study)

    def _same_study(self, study: Any, space: Mapping[str, Any], constant: Sequence[str]) -> None:
        """Refuse to continue a study with another search space or other settings, since trials must be comparable.

        Raises:
            StudyError: the stored study differs.
        """
        as_json = import_optuna().distributions.distribution_to_json
        wanted = {
            "space": {key: as_json(kind) for key, kind in sorted(space.items())},
            "constant": _that_matter(constant),
            "metric": self.metric,
        }
        known = study.user_attrs.get("dfd")
        if known is None:
            if any(self.folder.glob("*/outcome.json")):
                raise StudyError(
                    f"{self.folder}: has jobs that {self.storage} does not know, from a study without a search or with "
                    "another storage; give another hydra.sweep.dir"
                )
            study.set_user_attr("dfd", wanted)
        elif known != wanted:
            parts = [part for part in wanted if known.get(part) != wanted[part]]
            differences = (_difference(known.get(part), wanted[part]) for part in parts)
            raise StudyError(
                f"{self.storage}: is a study with another {' and '.join(parts)} ({'; '.join(differences)}); "
                "repeat its command to continue it, or give another hydra.sweep.dir"
            )

    def _next(self, study: Any, space: dict[str, Any]) -> dict[int, Mapping[str, Any]]:
        """Trials to run next, by number: first interrupted ones, then new ones."""
        known = study.get_trials(deepcopy=False)
        trials = [trial for trial in known if trial.state.name == "RUNNING"][: self.num_parallel]
        if not trials:
            trials = [study.ask(space) for _ in range(min(self.num_parallel, self.num_trials - len(known)))]
        return {trial.number: trial.params for trial in trials}

    def _say(self, study: Any) -> None:
        states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
        done, pruned, failed = (states.count(name) for name in ("COMPLETE", "PRUNED", "FAIL"))
        print(f"{len(states)} trials: {done} finished, {pruned} pruned, {failed} failed; in {self.storage}")


def _tell(study: Any, number: int, record: JobRecord | None) -> None:
    """Report a trial's outcome to Optuna; a stopped trial stays open and runs when the study continues."""
    states = import_optuna().trial.TrialState
    assert record is not None
    match record.outcome:
        case Outcome.FINISHED if record.value is not None:
            study.tell(number, record.value)
        case Outcome.PRUNED:
            study.tell(number, state=states.PRUNED)
        case Outcome.FINISHED | Outcome.FAILED:
            study.tell(number, state=states.FAIL)


def _difference(known: Any, wanted: Any) -> str:
    """Describe the differences between ``known`` and ``wanted``.

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
