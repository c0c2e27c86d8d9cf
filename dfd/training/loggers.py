"""Loggers of a run: a CSV file that survives resuming, TensorBoard, MLflow, and Weights & Biases without prompts."""

import csv
import importlib.util
import logging
import netrc
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from dfd.base.errors import ConfigError
from dfd.base.files import write_text
from dfd.base.words import nearest

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


def epochs_from_one(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics for a logger, with ``epoch`` counted from 1; a test has the number of the last trained epoch.

    >>> epochs_from_one({"epoch": 0, "val/loss": 0.5}), epochs_from_one({"epoch": 2, "test/loss": 0.5})
    ({'epoch': 1, 'val/loss': 0.5}, {'epoch': 2, 'test/loss': 0.5})
    """
    if "epoch" not in metrics:
        return dict(metrics)
    is_test = any(name.startswith("test/") for name in metrics)  # Lightning's epoch is then their total number
    return {**metrics, "epoch": max(1, metrics["epoch"]) if is_test else metrics["epoch"] + 1}


def count_epochs_from_one(loggers: Iterable["Logger"]) -> None:
    """Make loggers of any kind count epochs from 1."""

    def counted(log: Callable[..., None]) -> Callable[..., None]:
        def log_metrics(metrics: Mapping[str, Any], step: int | None = None) -> None:
            log(epochs_from_one(metrics), step)

        return log_metrics

    for logger in loggers:
        if not isinstance(logger, RunCSVLogger):  # does so itself
            logger.log_metrics = counted(logger.log_metrics)  # type: ignore[method-assign]


class RunCSVLogger(CSVLogger):
    """Logger that writes ``save_dir/metrics.csv`` and continues the file of a resumed run (``resumed_from`` is given).

    Lightning's CSVLogger would delete the file. Epochs that ran after the resumed checkpoint are in the file twice; the
    later rows count. Epochs are counted from 1. A file with an epoch 0 is from an older version; its epochs are
    renumbered when its run is resumed.
    """

    def __init__(self, *, save_dir: str, resumed_from: str | None = None) -> None:
        super().__init__(save_dir, name="", version="")
        self._resumed = resumed_from is not None

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write a row of the file."""
        super().log_metrics(epochs_from_one(metrics), step)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Lightning's writer, including the rows of the resumed run."""
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
            writer: Any = self._experiment
            writer.metrics = rows
            writer.save()
        return self._experiment


class RunWandbLogger(WandbLogger):
    """Lightning's W&B logger, and whether the finished detector becomes an artifact."""

    def __init__(self, *, log_detector: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._log_detector = log_detector

    def log_detector(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Hand over the detector of a run's folder and its model card, if that was asked for."""
        path = folder / "detector.safetensors"
        if not self._log_detector or not path.is_file():
            return
        import wandb

        artifact = wandb.Artifact(f"detector-{self.experiment.id}", type="model", metadata=dict(metrics))
        for file in (path, path.with_name(f"{path.name}.md")):
            if file.is_file():
                artifact.add_file(str(file))
        self.experiment.log_artifact(artifact, aliases=["best"])


def wandb_logger(
    *,
    save_dir: str,
    project: str = "dfd",
    offline: bool | None = None,
    id: str | None = None,
    resumed_from: str | None = None,
    log_detector: bool = False,
    **options: Any,
) -> WandbLogger:
    """Build Lightning's W&B logger; offline unless a key is available, so that it never prompts.

    An offline run lies in ``save_dir/wandb`` and can be uploaded later with ``wandb sync``. A run that is resumed in
    its folder, or queued again, goes on as the same run. Use the logger within :func:`finishing`; otherwise a sweep's
    next job would write into this run.

    Args:
        save_dir: folder in which ``wandb/`` and ``wandb-id.txt`` are created.
        project: project in W&B.
        offline: None means offline unless ``WANDB_API_KEY`` is set or the netrc file has a login for the server.
        id: of the run in W&B; None: that of the resumed run in ``save_dir``, else a new one.
        resumed_from: checkpoint that the run goes on from, if it is resumed.
        log_detector: hand over ``detector.safetensors`` and its model card as an artifact when the run has finished.
        options: further arguments of Lightning's WandbLogger and of ``wandb.init``: ``name``, ``entity``, ``group``,
            ``job_type``, ``tags``, ``notes``, ``log_model`` (checkpoints as artifacts), ``resume``, ``mode``, ...

    Raises:
        ConfigError: ``offline`` is False but there is no login, so wandb would prompt; or an option is unknown.
    """
    import wandb

    if offline is None:
        offline = os.environ.get("WANDB_MODE", "online") != "online" or not has_wandb_login()
    elif not offline and not has_wandb_login():
        raise ConfigError(
            "logger.wandb.offline=false needs a login: set WANDB_API_KEY or run `wandb login`; or run offline and "
            "upload the run later with `wandb sync`"
        )
    known = {*signature(WandbLogger.__init__).parameters, *signature(wandb.init).parameters}
    if unknown := sorted(options.keys() - known):
        meant = nearest(unknown[0], known)
        raise ConfigError(
            f"logger.wandb.{unknown[0]}: neither Lightning's WandbLogger nor wandb.init has such an argument"
            f"{f'; did you mean {meant}?' if meant else ''}"
        )
    Path(save_dir).mkdir(parents=True, exist_ok=True)  # otherwise wandb uses a temporary folder and the run is lost
    kept = Path(save_dir, "wandb-id.txt")
    if id is None:
        id = kept.read_text().strip() if resumed_from and kept.is_file() else uuid.uuid4().hex[:8]
    _keep(kept, id)
    if "tags" in options:
        options["tags"] = list(options["tags"])
    given = {"save_dir": save_dir, "project": project, "offline": offline, "id": id, **options}
    return RunWandbLogger(log_detector=log_detector, **given)


def mlflow_logger(*, save_dir: str, resumed_from: str | None = None, **options: Any) -> "MLFlowLogger":
    """Build Lightning's MLflow logger, by default in ``save_dir/mlflow.db``; a resumed run goes on as the same run.

    Args:
        save_dir: folder of the run, in which ``mlflow-id.txt`` is kept.
        resumed_from: checkpoint that the run goes on from, if it is resumed.
        options: arguments of Lightning's MLFlowLogger: ``experiment_name``, ``tracking_uri`` (null: that of
            ``MLFLOW_TRACKING_URI``, else a file in ``save_dir``), ``run_name``, ``tags``, ``log_model``, ...

    Raises:
        ConfigError: mlflow is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError("logger=mlflow needs the package mlflow (or mlflow-skinny): pip install mlflow")
    uri = options.pop("tracking_uri", None) or os.environ.get("MLFLOW_TRACKING_URI")
    kept = Path(save_dir, "mlflow-id.txt")
    if resumed_from and kept.is_file():
        options.setdefault("run_id", kept.read_text().strip())
    if uri is None:
        folder = Path(save_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        options.setdefault("artifact_location", str(folder / "mlflow-artifacts"))
    logger = MLFlowLogger(tracking_uri=uri, **options)
    if logger.run_id:  # the first process alone begins a run
        _keep(kept, logger.run_id)
    return logger


@rank_zero_only
def _keep(path: Path, id: str) -> None:
    write_text(path, f"{id}\n")


def tensorboard_logger(*, save_dir: str) -> "TensorBoardLogger":
    """Build Lightning's TensorBoard logger, in ``save_dir/tensorboard``, which a resumed run continues.

    Raises:
        ConfigError: tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("logger=tensorboard needs the package tensorboard: pip install 'dfd[tensorboard]'")
    return TensorBoardLogger(Path(save_dir) / "tensorboard", name="", version="", default_hp_metric=False)


def has_wandb_login() -> bool:
    """Whether W&B finds a key without a prompt: ``WANDB_API_KEY``, or a netrc login for ``WANDB_BASE_URL``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        return netrc.netrc(path).hosts.get(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def quiet_lightning() -> None:
    """Suppress repeated messages and warnings that users cannot act on.

    Lightning adds its own handlers to the application's, recommends other products, and triggers a deprecation warning
    of torch in every loop.
    """
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
    """Finish the loggers' runs however the block ends; a W&B run is marked as finished or failed."""
    try:
        yield
    except BaseException:
        finish_loggers(loggers, failed=True)
        raise
    finish_loggers(loggers)


def finish_loggers(loggers: Iterable[object], *, failed: bool = False) -> None:
    """Finish the W&B run if one of ``loggers`` started it; wandb is not imported otherwise."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        if wandb.run is not None:
            wandb.finish(exit_code=1 if failed else 0)
