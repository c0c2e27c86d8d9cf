"""Hyper-parameter search with Optuna: search space, study and storage."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from dfd.base.errors import ConfigError, StudyError

if TYPE_CHECKING:
    from optuna import Study


def distributions(overrides: Iterable[Override]) -> dict[str, Any]:
    """Optuna distributions of the swept keys.

    ``choice(a, b)`` and ``a,b`` are choices; ``interval(0.1, 1)`` is a real number in that range and
    ``int(interval(1, 8))`` a whole one; ``range(10, 101, step=10)`` is a whole number in steps, without the end, as in
    Python. ``tag(log, interval(…))`` searches on a logarithmic scale.

    Raises:
        ConfigError: a key's values cannot be searched.
    """
    kinds = import_optuna().distributions
    space: dict[str, Any] = {}
    for override in overrides:
        key = override.get_key_element()
        value: Any = override.value()
        try:
            if isinstance(value, IntervalSweep):
                is_whole = all(isinstance(end, int) for end in (value.start, value.end))
                kind = kinds.IntDistribution if is_whole else kinds.FloatDistribution
                space[key] = kind(value.start, value.end, log="log" in value.tags)
            elif isinstance(value, RangeSweep):
                numbers = list(value.range())
                if not all(isinstance(number, int) for number in numbers):
                    raise ConfigError(f"{key}: a range takes whole numbers; use interval(…) for real ones")
                space[key] = kinds.IntDistribution(min(numbers), max(numbers), step=abs(value.step))
            elif isinstance(value, ChoiceSweep):
                # As text, as on the command line, which any storage returns unchanged.
                space[key] = kinds.CategoricalDistribution(list(override.sweep_string_iterator()))
            else:
                raise ConfigError(f"{key}: a search takes choice(…), range(…) or interval(…)")
        except ValueError as error:
            raise ConfigError(f"{key}: {error}") from error
    return space


def is_log(override: Override) -> bool:
    """Whether an override is tagged as ``log``, to be searched and plotted on a logarithmic scale."""
    return "log" in getattr(override.value(), "tags", ())


STUDY_NAME = "dfd"
"""Name of the only study in a storage."""
SQLITE_WAIT_SECONDS = 60
"""Time that a process waits for another to write; SQLite's default of 5 s is short if several jobs report at once."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """Rule that stops a run whose best value so far is worse than the median of the others at the same epoch.

    This is Optuna's version of the median stopping rule (Golovin et al., Google Vizier, KDD 2017).
    """

    startup_trials: int = 5
    """Number of finished runs before any is stopped."""
    warmup_epochs: int = 3
    """Number of epochs before a run can be stopped."""

    def __post_init__(self) -> None:
        if self.startup_trials < 1 or self.warmup_epochs < 1:
            raise ConfigError(
                "pruning needs startup_trials and warmup_epochs of 1 or more, "
                f"got {self.startup_trials} and {self.warmup_epochs}"
            )


def open_study(
    storage: str,
    *,
    pruning: Pruning | None = None,
    minimize: bool | None = None,
    seed: int | None = None,
    startup_trials: int = 10,
) -> "Study":
    """Open the study in ``storage``, an SQLAlchemy URL such as ``sqlite:///study.db``.

    ``journal:///FILE`` is an append-only log for disks shared by several machines, since SQLite's locks do not work on
    NFS.

    Args:
        storage: location of the study.
        pruning: rule for stopping runs early; None stops none.
        minimize: direction of a study that is created if missing; None requires an existing one.
        seed: seed of the sampler, advanced by the number of trials so that a continued study proposes new runs.
        startup_trials: number of random runs before TPE starts.

    Raises:
        ConfigError: Optuna is not installed.
        StudyError: the storage cannot be opened, or contains no study.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the sweeper reports the trials itself
    pruner: Any = optuna.pruners.NopPruner()
    if pruning is not None:
        # Steps are counted from 0, so a warm-up of 3 epochs ends at step 2.
        pruner = optuna.pruners.MedianPruner(pruning.startup_trials, n_warmup_steps=pruning.warmup_epochs - 1)
    try:
        stored = {"study_name": STUDY_NAME, "storage": _backend(storage), "pruner": pruner}
        if minimize is None:
            study: Study = optuna.load_study(**stored)
            return study
        direction = "minimize" if minimize else "maximize"
        study = optuna.create_study(**stored, direction=direction, load_if_exists=True)
    except KeyError as error:
        raise StudyError(f"{storage}: holds no study {STUDY_NAME!r}") from error
    except Exception as error:
        if type(error).__module__.startswith(("sqlalchemy", "optuna")) or isinstance(error, OSError | ImportError):
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(f"{storage}: the study cannot be opened ({reason})") from error
        raise
    num_trials = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(
        seed=None if seed is None else seed + num_trials,
        n_startup_trials=startup_trials,
        constant_liar=True,  # simultaneous runs keep away from each other
    )
    return study


def import_optuna() -> Any:
    """Import Optuna.

    Raises:
        ConfigError: Optuna is not installed.
    """
    return import_extra("optuna", "hydra/sweeper=optuna")


def import_extra(module: str, what: str) -> Any:
    """Import a module whose package is an optional dependency of the same name, for ``what`` the user asked for.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"{what} needs {module} ({error}): pip install 'dfd[{module}]'") from error


def _backend(storage: str) -> Any:
    storages = import_optuna().storages
    kind, separator, path = storage.partition(":///")
    if separator and kind in ("sqlite", "journal"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if kind == "journal":
        return storages.JournalStorage(storages.journal.JournalFileBackend(path))
    arguments = {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}} if kind == "sqlite" else {}
    return storages.RDBStorage(storage, engine_kwargs=arguments)
