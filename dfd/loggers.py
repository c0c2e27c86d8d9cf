"""Where a run's numbers go: a CSV file that survives resuming, TensorBoard, Weights & Biases without questions."""

import csv
import importlib.util
import netrc
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger

from dfd.errors import ConfigError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger


def epochs_from_one(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics for a logger, with ``epoch`` as people count: from 1. A test's is that of the last one trained.

    >>> epochs_from_one({"epoch": 0, "val/loss": 0.5}), epochs_from_one({"epoch": 2, "test/loss": 0.5})
    ({'epoch': 1, 'val/loss': 0.5}, {'epoch': 2, 'test/loss': 0.5})
    """
    if "epoch" not in metrics:
        return dict(metrics)
    is_test = any(name.startswith("test/") for name in metrics)  # by then, Lightning's number is how many there were
    return {**metrics, "epoch": max(1, metrics["epoch"]) if is_test else metrics["epoch"] + 1}


def count_epochs_from_one(loggers: Iterable["Logger"]) -> None:
    """Let loggers write epochs as people count them, whichever loggers they are."""

    def counted(log: Callable[..., None]) -> Callable[..., None]:
        def log_metrics(metrics: Mapping[str, Any], step: int | None = None) -> None:
            log(epochs_from_one(metrics), step)

        return log_metrics

    for logger in loggers:
        if not isinstance(logger, RunCSVLogger):  # which does so by itself
            logger.log_metrics = counted(logger.log_metrics)  # type: ignore[method-assign]


class RunCSVLogger(CSVLogger):
    """Writes ``save_dir/metrics.csv``; a run that is resumed (``resumed_from`` a checkpoint) goes on with the file.

    Lightning's own deletes what it finds. Epochs that ran after the checkpoint that is resumed are in the file twice;
    the later rows are the ones that count. Epochs are counted from 1. A file with an epoch 0 is of an older version;
    when its run is resumed, its epochs are counted anew.
    """

    def __init__(self, *, save_dir: str, resumed_from: str | None = None) -> None:
        super().__init__(save_dir, name="", version="")
        self._resumed = resumed_from is not None

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """A row of the file."""
        super().log_metrics(epochs_from_one(metrics), step)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Lightning's writer, which holds the rows of the earlier run."""
        if self._experiment is None:
            path = Path(self.log_dir) / "metrics.csv"
            rows: list[dict[str, Any]] = []
            if self._resumed and path.is_file():
                with path.open(newline="") as file:
                    rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
                if any(row.get("epoch") == "0" for row in rows):
                    rows = [
                        epochs_from_one({**row, "epoch": int(row["epoch"])} if "epoch" in row else row) for row in rows
                    ]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Experiment logs directory")
                CSVLogger.experiment.fget(self)  # type: ignore[attr-defined]
            self._begin_with(rows)
        return self._experiment

    def _begin_with(self, rows: list[dict[str, Any]]) -> None:
        if self._experiment is not None:
            self._experiment.metrics = rows
            self._experiment.save()


def wandb_logger(
    *,
    save_dir: str,
    project: str = "dfd",
    name: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    notes: str | None = None,
    offline: bool | None = None,
) -> "WandbLogger":
    """Lightning's W&B logger; offline unless a key is at hand, so that it never prompts.

    An offline run lies in ``save_dir/wandb`` and goes up later with ``wandb sync``. Whoever builds this logger runs
    within :func:`finishing`: a sweep's next job would otherwise write into this run.

    Args:
        save_dir: where ``wandb/`` is made.
        project: of W&B, as are ``name``, ``group``, ``tags`` and ``notes`` of the run.
        name: None lets W&B invent one.
        group: such as the name of a study.
        tags: to find runs by.
        notes: a sentence on why.
        offline: None means offline unless ``WANDB_API_KEY`` is set or the netrc file has a login for the server.

    Raises:
        ConfigError: ``offline`` is False and there is no login, for which wandb would ask.
    """
    from lightning.pytorch.loggers import WandbLogger

    if offline is None:
        offline = os.environ.get("WANDB_MODE", "online") != "online" or not has_wandb_login()
    elif not offline and not has_wandb_login():
        raise ConfigError(
            "logger.wandb.offline=false needs a login: set WANDB_API_KEY or run `wandb login`; or let the run be "
            "offline and send it later with `wandb sync`"
        )
    Path(save_dir).mkdir(parents=True, exist_ok=True)  # wandb would use a temporary folder, and the run be lost
    return WandbLogger(
        save_dir=save_dir, project=project, name=name, offline=offline, group=group, tags=list(tags), notes=notes
    )


def tensorboard_logger(*, save_dir: str) -> "TensorBoardLogger":
    """Lightning's TensorBoard logger, in ``save_dir/tensorboard``; a resumed run goes on there.

    Raises:
        ConfigError: the package is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("logger=tensorboard needs the package tensorboard: pip install 'dfd[tensorboard]'")
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(Path(save_dir) / "tensorboard", name="", version="", default_hp_metric=False)


def has_wandb_login() -> bool:
    """True if W&B would find a key without asking: ``WANDB_API_KEY``, or a netrc login for ``WANDB_BASE_URL``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        return netrc.netrc(path).hosts.get(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def quiet_lightning() -> None:
    """Say things once and leave out what a user can do nothing about.

    Lightning adds handlers of its own beside the application's, recommends other products, and trips over a
    deprecation of torch's at every loop.
    """
    import logging

    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


@contextmanager
def finishing(loggers: Sequence[object]) -> Iterator[None]:
    """End what the loggers began, however the block ends; a W&B run is then marked as finished or as failed."""
    try:
        yield
    except BaseException:
        finish_loggers(loggers, failed=True)
        raise
    finish_loggers(loggers)


def finish_loggers(loggers: Iterable[object], *, failed: bool = False) -> None:
    """End the run of every W&B logger among ``loggers`` that began one; wandb is not imported otherwise."""
    from lightning.pytorch.loggers import WandbLogger

    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        if wandb.run is not None:
            wandb.finish(exit_code=1 if failed else 0)
