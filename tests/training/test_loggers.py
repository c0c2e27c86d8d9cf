import csv
import sys

import pytest
from lightning.pytorch.loggers import CSVLogger

from dfd.base.errors import ConfigError
from dfd.training.loggers import (
    RunCSVLogger,
    count_epochs_from_one,
    finish_loggers,
    has_wandb_login,
    mlflow_logger,
    wandb_logger,
)


@pytest.fixture
def bare_environment(tmp_path, monkeypatch):
    """No key, no netrc file, no mode."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path


def test_a_new_run_writes_its_metrics(tmp_path):
    logger = RunCSVLogger(save_dir=str(tmp_path), resumed_from="last.ckpt")
    logger.log_metrics({"val/auc": 0.5}, step=1)
    logger.save()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["step,val/auc", "1,0.5"]


def test_a_resumed_run_goes_on_with_the_file_and_may_add_columns(tmp_path, recwarn):
    for step, metrics in enumerate(({"val/auc": 0.5}, {"val/auc": 0.75, "val/f1": 0.25}, {"val/f1": 0.5})):
        logger = RunCSVLogger(save_dir=str(tmp_path), resumed_from="last.ckpt")
        logger.log_metrics(metrics, step=step)
        logger.save()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,val/auc,val/f1", "0,0.5,", "1,0.75,0.25", "2,,0.5",
    ]  # fmt: skip
    assert not [warning for warning in recwarn if "deleted" in str(warning.message)]


def test_epochs_are_written_as_people_count_and_a_tests_is_the_last_one(tmp_path):
    logger = RunCSVLogger(save_dir=str(tmp_path))
    for metrics in ({"epoch": 0, "val/auc": 0.5}, {"epoch": 1, "val/auc": 0.6}, {"epoch": 2, "test/auc": 0.7}):
        logger.log_metrics(metrics, step=1)
    logger.save()
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,step,test/auc,val/auc", "1,1,,0.5", "2,1,,0.6", "2,1,0.7,"]


def test_a_resumed_run_of_an_older_version_is_counted_anew(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,test/auc,val/auc\n0,1,,0.5\n1,2,,0.6\n2,2,0.7,\n")
    for epoch in (2, 3):
        logger = RunCSVLogger(save_dir=str(tmp_path), resumed_from="last.ckpt")
        logger.log_metrics({"epoch": epoch, "val/auc": 0.8}, step=epoch)
        logger.save()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [(row["epoch"], row["val/auc"]) for row in csv.DictReader(file)]
    assert rows == [("1", "0.5"), ("2", "0.6"), ("2", ""), ("3", "0.8"), ("4", "0.8")]


def test_other_loggers_count_epochs_alike(tmp_path):
    class Kept(CSVLogger):
        def log_metrics(self, metrics, step=None):
            kept.append((metrics, step))

    kept: list = []
    loggers = [Kept(str(tmp_path)), RunCSVLogger(save_dir=str(tmp_path))]
    count_epochs_from_one(loggers)
    for logger in loggers:
        logger.log_metrics({"epoch": 0, "val/auc": 0.5}, step=3)
    loggers[1].save()
    assert kept == [({"epoch": 1, "val/auc": 0.5}, 3)]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1].startswith("1,3")


def test_without_a_key_wandb_is_offline(bare_environment):
    assert not has_wandb_login()
    logger = wandb_logger(save_dir=str(bare_environment / "run"))
    assert logger._offline
    assert (bare_environment / "run").is_dir()


def test_with_a_key_wandb_is_online_unless_told_otherwise(bare_environment, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert not wandb_logger(save_dir=str(bare_environment))._offline
    assert wandb_logger(save_dir=str(bare_environment), offline=True)._offline
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_logger(save_dir=str(bare_environment))._offline


@pytest.mark.parametrize(
    ("host", "server", "found"),
    [
        ("api.wandb.ai", None, True),
        ("example.org", None, False),
        ("wandb.example.org", "https://wandb.example.org:8080", True),
    ],
)
def test_a_login_in_the_netrc_file_counts_for_its_server(bare_environment, monkeypatch, host, server, found):
    (bare_environment / "netrc").write_text(f"machine {host} login user password {'0' * 40}\n")
    (bare_environment / "netrc").chmod(0o600)
    if server:
        monkeypatch.setenv("WANDB_BASE_URL", server)
    assert has_wandb_login() == found


def test_a_netrc_file_that_cannot_be_read_counts_for_nothing(bare_environment):
    (bare_environment / "netrc").write_text("nonsense here\n")
    assert not has_wandb_login()


def test_finishing_other_loggers_does_not_import_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    finish_loggers([RunCSVLogger(save_dir=str(tmp_path), resumed_from="last.ckpt")])


@pytest.mark.slow
def test_an_offline_run_lies_in_the_runs_folder_and_is_ended(bare_environment):
    import wandb

    logger = wandb_logger(save_dir=str(bare_environment), name="a run", tags=["demo"])
    logger.log_metrics({"val/auc": 0.5}, step=1)
    assert wandb.run is not None
    finish_loggers([logger])
    assert wandb.run is None
    assert list((bare_environment / "wandb").glob("offline-run-*"))


def test_a_resumed_run_is_the_same_run_and_a_new_one_is_another(bare_environment):
    first = wandb_logger(save_dir=str(bare_environment))
    resumed = wandb_logger(save_dir=str(bare_environment), resumed_from="last")
    assert first.version == resumed.version
    assert wandb_logger(save_dir=str(bare_environment)).version != first.version
    assert wandb_logger(save_dir=str(bare_environment), id="mine", resumed_from="last").version == "mine"
    assert (bare_environment / "wandb-id.txt").read_text() == "mine\n"


def test_an_option_that_wandb_does_not_have_is_refused_with_the_nearest(bare_environment):
    with pytest.raises(ConfigError, match=r"logger\.wandb\.jobtype: neither .* did you mean job_type\?"):
        wandb_logger(save_dir=str(bare_environment), jobtype="train")


def test_without_mlflow_its_logger_says_what_to_install(bare_environment, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install mlflow"):
        mlflow_logger(save_dir=str(bare_environment))
