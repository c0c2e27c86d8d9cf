"""A search over hyper-parameters with Optuna: its study, and where it is kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd.errors import ConfigError, StudyError

if TYPE_CHECKING:
    from optuna import Study

STUDY_NAME = "dfd"
"""Of the one study in a storage."""
SQLITE_WAIT_SECONDS = 60
"""How long a process waits for another that writes; SQLite's own 5 s are short when several jobs report at once."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """Stop a run whose best value so far is worse than the median of the others at the same epoch.

    The rule is Golovin et al.'s median stopping (Google Vizier, KDD 2017), as Optuna has it.
    """

    startup_trials: int = 5
    """So many runs are finished before any is stopped."""
    warmup_epochs: int = 3
    """None is stopped before so many of its epochs."""

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
    """The study in ``storage``: a database as SQLAlchemy names it, such as ``sqlite:///study.db``.

    ``journal:///FILE`` is a log that is appended to, for a disk that several machines share: SQLite's locks do not
    hold on NFS.

    Args:
        storage: where it is.
        pruning: None: no run is stopped early.
        minimize: None: it must be there; else it is begun if it is not.
        seed: of the sampler. A study that goes on draws anew: the same seed would propose the same runs again.
        startup_trials: so many runs are drawn at random before TPE has something to learn from.

    Raises:
        ConfigError: Optuna is not installed.
        StudyError: the storage cannot be opened, or holds no study.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the sweeper says what there is to say
    pruner: Any = optuna.pruners.NopPruner()
    if pruning is not None:
        # Steps are counted from 0: one of a warm-up of 3 epochs is the step 2.
        pruner = optuna.pruners.MedianPruner(pruning.startup_trials, n_warmup_steps=pruning.warmup_epochs - 1)
    try:
        backend = _backend(storage)
        if minimize is None:
            study: Study = optuna.load_study(study_name=STUDY_NAME, storage=backend, pruner=pruner)
            return study
        study = optuna.create_study(
            study_name=STUDY_NAME,
            storage=backend,
            pruner=pruner,
            direction="minimize" if minimize else "maximize",
            load_if_exists=True,
        )
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
        constant_liar=True,  # of runs that are under way at once, the later ones keep away from the earlier ones
    )
    return study


def import_optuna() -> Any:
    """Optuna.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(f"hydra/sweeper=optuna needs Optuna ({error}): pip install 'dfd[optuna]'") from error
    return optuna


def _backend(storage: str) -> Any:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    kind, separator, path = storage.partition(":///")
    if separator and kind in ("sqlite", "journal"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if kind == "journal":
        return JournalStorage(JournalFileBackend(path))
    arguments = {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}} if kind == "sqlite" else {}
    return RDBStorage(storage, engine_kwargs=arguments)
