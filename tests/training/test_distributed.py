"""Runs of several processes, on CPUs, as a user or a scheduler starts them."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dfd.base.errors import ConfigError
from dfd.config.places import shared_name
from dfd.training.distributed import slurm_environment
from tests.commands.test_commands import run
from tests.conftest import ROOT

OPTIONS = [
    *("backbone=timm", "backbone.name=test_resnet", "backbone.pretrained=false", "temporal.hidden_features=16"),
    *(
        "trainer.max_epochs=1",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "data=clips",
        "data.clip_len=4",
        "data.num_workers=0",
    ),
    # What makes a step of two processes that of one with both batches: nothing is drawn in the network, and batch
    # normalisation does not see the batch.
    *("dropout=0", "freeze_batchnorm=true", "callbacks.progress_bar.refresh_rate=0"),
]
CLEAN = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC_", "WANDB_"))},
    **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
}


@pytest.fixture(scope="module")
def uneven_store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 videos to train on, 3 of val (no two processes can share them evenly), 1 of test (one process has none)."""
    store = tmp_path_factory.mktemp("uneven") / "store"
    shutil.copytree(tiny_store, store)
    head, *lines = (store / "index.csv").read_text().splitlines(keepends=True)
    rest = [line for line in lines if ",val," not in line and ",test," not in line]
    val, test = ([line for line in lines if f",{split}," in line] for split in ("val", "test"))
    assert len(rest) == 12
    (store / "index.csv").write_text("".join([head, *rest, *val[:3], *test[:1]]))
    return store


def start(folder: Path, *arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train.py"), *OPTIONS, *map(str, arguments)]
    return start_command(command, folder, {**CLEAN, **(env or {})})


def start_command(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **output)


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for it to end. If it hangs, it is killed with all that it started, which would hold the pipe open."""
    try:
        return process.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"hangs: {process.communicate()[0][-3000:]}")


def finish(process: subprocess.Popen[str]) -> str:
    output = output_of(process)
    assert process.returncode == 0, output[-3000:]
    return output


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(uneven_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with batches of 4."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    run("train", *OPTIONS, "trainer=cpu", "data.batch_size=4", f"data.store={uneven_store}", f"hydra.run.dir={folder}")
    return folder


def assert_same_run(folder: Path, alone: Path) -> None:
    """Two processes with batches of 2 each did, saw and left what one with batches of 4 did."""
    mine, theirs = history(folder), history(alone)
    assert [row.keys() for row in mine] == [row.keys() for row in theirs]
    assert {"train/loss", "val/loss", "val/auc", "test/loss"} <= {name for row in mine for name in row}
    for row, expected in zip(mine, theirs, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, nan_ok=True)
    weights, expected_weights = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for path in (folder, alone)
    )
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=1e-3, atol=1e-5, msg=name)
    summary, expected_summary = (json.loads((path / "summary.json").read_text()) for path in (folder, alone))
    assert summary["val"] == pytest.approx(expected_summary["val"], rel=1e-4)
    scores, expected_scores = ((path / "test" / "predictions.csv").read_text().splitlines() for path in (folder, alone))
    assert len(scores) == len(expected_scores) == 2
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".log"}
    assert written == {str(path.relative_to(alone)) for path in alone.rglob("*") if path.suffix != ".log"}


@pytest.mark.slow
def test_two_processes_give_the_metrics_and_weights_of_one(uneven_store: Path, alone: Path, tmp_path: Path) -> None:
    """By Lightning's launcher, without a name for the folder: the second process comes to that of the first.

    And with frames that were decoded once, which changes nothing; nor does a progress bar, which one process has only.
    """
    arguments = ["trainer=ddp_cpu", "data.batch_size=2", f"data.store={uneven_store}", "data.cache_frames=true"]
    arguments += ["callbacks.progress_bar.refresh_rate=1"]
    output = finish(start(tmp_path, *arguments))
    assert output.count("decoding 15 clips once") == 1
    (folder,) = (tmp_path / "outputs" / "train").iterdir()
    assert "Starting with 2 processes" in output
    assert output.count("the run is in ") == output.count("scoring test") == 1
    assert_same_run(folder, alone)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def slurm_task(rank: int, *, nodes: int = 2, job: str = "4711") -> dict[str, str]:
    """What srun sets for one of two tasks, one on each node."""
    return {
        **{"SLURM_JOB_ID": job, "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1"},
        **{"SLURM_NNODES": str(nodes), "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": str(2 // nodes)},
        **{
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank % (2 // nodes)),
            "SLURM_NODEID": str(rank * nodes // 2),
        },
    }


SLURM_ON_CPUS = ["trainer=slurm", "trainer.accelerator=cpu", "trainer.precision=32-true"]


@pytest.mark.slow
def test_a_run_that_diverges_in_two_processes_ends_in_both_with_one_sentence(
    uneven_store: Path, tmp_path: Path
) -> None:
    arguments = ["trainer=ddp_cpu", "data.batch_size=1", "optimizer.lr=1e30", "trainer.log_every_n_steps=1"]
    arguments += ["trainer.max_epochs=9", "+trainer.check_val_every_n_epoch=9", f"data.store={uneven_store}"]
    process = start(tmp_path, *arguments)
    output = output_of(process)
    assert process.returncode == 1, output[-3000:]
    assert output.count("error: diverged: the training loss is not finite since step ") == 1
    assert "Traceback" not in output
    (folder,) = (tmp_path / "outputs" / "train").iterdir()
    assert not (folder / "detector.safetensors").exists()
    losses = [row["train/loss_step"] for row in history(folder) if "train/loss_step" in row]
    assert 10 <= len(losses) < 30  # of 54
    assert "diverged: the training loss" in (folder / "train.log").read_text()


@pytest.mark.slow
def test_the_tasks_of_a_slurm_job_are_one_run_which_goes_on_when_requeued(
    uneven_store: Path, alone: Path, tmp_path: Path
) -> None:
    arguments = [*SLURM_ON_CPUS, "data.batch_size=2", f"data.store={uneven_store}", "ckpt_path=auto"]

    def job(*more: str) -> list[str]:
        port = {"MASTER_PORT": free_port()}
        tasks = [start(tmp_path, *arguments, *more, env={**slurm_task(rank), **port}) for rank in range(2)]
        return [finish(task) for task in tasks]

    outputs = job()
    folder = tmp_path / "outputs" / "train" / "slurm_4711"
    assert_same_run(folder, alone)
    assert ["the run is in" in output for output in outputs] == [True, False]
    before = len(history(folder))
    job("trainer.max_epochs=2")  # as if the first had been stopped after its first epoch
    assert [row["epoch"] for row in history(folder)[before:] if "val/loss" in row] == [2]
    assert json.loads((folder / "summary.json").read_text())["num_epochs"] == 2
    assert [path.name for path in folder.parent.iterdir()] == ["slurm_4711"]


@pytest.mark.slow
def test_torchrun_starts_one_run(uneven_store: Path, alone: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["trainer=ddp_cpu", "data.batch_size=2", f"data.store={uneven_store}"]
    finish(start_command([*command, str(ROOT / "train.py"), *OPTIONS, *arguments], tmp_path, CLEAN))
    (folder,) = (tmp_path / "outputs" / "train").iterdir()
    assert folder.name.startswith("torchrun_")
    assert_same_run(folder, alone)


@pytest.mark.slow
def test_processes_with_different_folders_are_refused_before_they_train(uneven_store: Path, tmp_path: Path) -> None:
    port = {"MASTER_PORT": free_port()}
    tasks = [
        start(
            *(tmp_path, *SLURM_ON_CPUS, f"data.store={uneven_store}", f"hydra.run.dir={tmp_path}/{rank}"),
            env={**slurm_task(rank), **port},
        )
        for rank in range(2)
    ]
    for task in tasks:
        output = output_of(task)
        assert task.returncode == 1
        assert "give all of them the same hydra.run.dir=DIR" in output
    assert not list(tmp_path.rglob("metrics.csv"))


@pytest.mark.slow
def test_a_damaged_clip_ends_all_processes(uneven_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(uneven_store, store)
    with (store / "index.csv").open(newline="") as file:
        clip = next(row["path"] for row in csv.DictReader(file) if row["split"] == "train")
    (store / clip).write_bytes(b"damaged")
    process = start(tmp_path, "trainer=ddp_cpu", "data.batch_size=2", f"data.store={store}")
    output = output_of(process)
    assert process.returncode != 0
    assert "clip cannot be read" in output


def composed(*arguments: str, check: bool = False) -> str:
    done = run("train", *OPTIONS, *arguments, check=check)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_synchronised_batch_normalisation_is_refused_on_cpus(tiny_store: Path, tmp_path: Path) -> None:
    arguments = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.sync_batchnorm=true"]
    error = composed(*arguments, f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}")
    assert "trainer.sync_batchnorm works on GPUs only; on CPUs use trainer=ddp_cpu" in error


def test_a_job_of_a_multirun_may_not_start_processes(tiny_store: Path, tmp_path: Path) -> None:
    """They would be given the command of the multirun."""
    error = composed("trainer=ddp_cpu", f"data.store={tiny_store}", "seed=0,1", f"hydra.sweep.dir={tmp_path}", "-m")
    assert "a multirun's job cannot start processes of its own" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_a_sentence(tiny_store: Path, tmp_path: Path) -> None:
    error = composed("trainer=gpu", f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}")
    assert "error: trainer: " in error
    assert "gpu" in error.partition("trainer: ")[2]


def test_a_slurm_trainer_without_srun_says_so(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in slurm_task(0):
        monkeypatch.delenv(name, raising=False)
    error = composed(*SLURM_ON_CPUS, f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}")
    assert "put `srun` before the command" in error


def test_a_task_of_a_slurm_job_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm_task(1).items():
        monkeypatch.setenv(name, value)
    environment = slurm_environment()
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (1, 0, 1)
    assert environment.world_size() == 2
    assert environment.creates_processes_externally
    assert not environment.auto_requeue
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(ConfigError, match="SLURM_NTASKS_PER_NODE not set"):
        slurm_environment()


def test_a_slurm_trainer_takes_nodes_and_tasks_from_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.config.test_configs import checked

    for name, value in {**slurm_task(0), "SLURM_NNODES": "3", "SLURM_NTASKS_PER_NODE": "8"}.items():
        monkeypatch.setenv(name, value)
    trainer = checked("train", "trainer=slurm").trainer  # type: ignore[attr-defined]
    assert (trainer["num_nodes"], trainer["devices"], trainer["sync_batchnorm"]) == (3, 8, True)


def test_the_processes_of_a_run_come_to_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert shared_name("now") == "now"
    names = set()
    for rank in range(2):
        for name, value in slurm_task(rank).items():
            monkeypatch.setenv(name, value)
        names.add(shared_name(f"{rank} o'clock"))
    assert names == {"slurm_4711"}
    monkeypatch.setenv("SLURM_STEP_ID", "3")  # another srun in the same allocation is another run
    assert shared_name("now") == "slurm_4711_3"
    monkeypatch.delenv("SLURM_STEP_ID")  # not by srun: a batch script's own process
    assert shared_name("now") == "now"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "abc")
    assert shared_name("now") == "torchrun_abc"
