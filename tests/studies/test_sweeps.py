"""Studies: jobs that fail, stop and go on, on every launcher, and what is left of them."""

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dfd.base.errors import ConfigError, StudyError
from dfd.config.folders import SWEEPS_DIR
from dfd.runs.records import JobRecord, JobsFailed, Outcome, StudyRecord
from dfd.studies import callback
from dfd.studies.callback import StudyReport
from dfd.studies.search_study import Pruning, distributions, open_study
from tests.commands.test_commands import TINY, Done, history, run
from tests.config.test_configs import checked
from tests.conftest import ROOT
from tests.report.test_report import make_run
from tests.studies.wandb_files import has_ended, offline_run

SHORT = ["trainer.max_epochs=1", "test=false", "calibrate=false", "callbacks.progress_bar=null"]
CSV = csv.DictReader


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report" / "study_jobs.csv").open(newline="") as file:
        return list(CSV(file))


def outcomes(folder: Path) -> dict[str, str]:
    return {row["job"]: row["outcome"] for row in rows_of(folder)}


def app(folder: Path, *arguments: str, check: bool = True) -> Done:
    """The jobs of tests/studies/study_app.py, in this process."""
    given = ["data=clips", "data.store=tests", f"hydra.sweep.dir={folder}", *arguments, "-m"]
    return run("tests.studies.study_app", *given, check=check)


def launch(folder: Path, launcher: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same as a command: launchers begin other processes, which import what is asked for here."""
    command = [
        sys.executable,
        "tests/studies/study_app.py",
        "-m",
        "data=clips",
        "data.store=tests",
        f"hydra.sweep.dir={folder}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, f"hydra/launcher={launcher}", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


# What is left of a study


def test_two_jobs_are_compared_and_each_is_a_run_of_wandb_in_one_group(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "night"
    run(
        *("train", *TINY, f"data.store={tiny_store}", *SHORT, "logger=wandb", "tags=[mine]", "dropout=0.1,0.2"),
        *(f"hydra.sweep.dir={folder}", "-m"),
    )
    for job, dropout in (("0", "0.1"), ("1", "0.2")):
        found, records = offline_run(folder / job)
        assert found.run_group == "sweep night"
        assert list(found.tags) == ["mine", f"dropout={dropout}"]
        assert found.display_name == f"dropout={dropout}"
        assert has_ended(records)
        assert json.loads((folder / job / "outcome.json").read_text())["outcome"] == "finished"
    import wandb

    assert wandb.run is None
    rows = rows_of(folder)
    assert {row["dropout"] for row in rows} == {"0.1", "0.2"}
    values = [float(row["val/auc"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert (folder / "report" / "metric_by_parameter.png").stat().st_size > 10_000
    page = (folder / "report" / "report.html").read_text()
    assert "Every job of the study, best first by val/auc" in page
    for path in (folder / "report").iterdir():
        path.unlink()
    assert importlib.import_module("dfd.commands.report").main([str(folder)]) == 0
    assert rows_of(folder) == rows


def test_a_failed_job_is_a_row_and_stops_no_other(tmp_path: Path) -> None:
    done = app(tmp_path, "seed=1,7,2", check=False)
    assert done.returncode == 1
    assert "error: job 1: RuntimeError: out of luck" in done.stderr
    assert "1 of the study's jobs failed" in done.stderr
    rows = rows_of(tmp_path)
    assert [(row["job"], row["outcome"], row["val/auc"]) for row in rows] == [
        ("0", "finished", "0.01"), ("1", "failed", ""), ("2", "finished", "0.02"),
    ]  # fmt: skip
    assert rows[1]["message"] == "RuntimeError: out of luck"
    assert 'raise RuntimeError("out of luck")' in (tmp_path / "1" / "error.txt").read_text()
    page = (tmp_path / "report" / "report.html").read_text()
    assert "1 of 3 jobs failed" in page
    assert "RuntimeError: out of luck" in page


def test_a_study_in_which_everything_failed_has_a_report(tmp_path: Path) -> None:
    assert app(tmp_path, "seed=7", "dropout=0.1,0.2", check=False).returncode == 1
    assert [row["outcome"] for row in rows_of(tmp_path)] == ["failed", "failed"]


def test_a_study_goes_on_and_runs_only_what_is_not_finished(tmp_path: Path) -> None:
    app(tmp_path, "seed=1,7,2", check=False)
    before = {job: (tmp_path / job / "outcome.json").read_bytes() for job in "012"}
    done = app(tmp_path, "seed=1,7,2", check=False)
    assert "job 0 is finished already" in done.stdout
    after = {job: (tmp_path / job / "outcome.json").read_bytes() for job in "012"}
    assert (before["0"], before["2"]) == (after["0"], after["2"])
    assert JobRecord.read(tmp_path / "1").outcome is Outcome.FAILED  # type: ignore[union-attr]


def test_a_study_is_not_mixed_with_another_in_its_folder(tmp_path: Path) -> None:
    app(tmp_path, "seed=1,2")
    done = app(tmp_path, "seed=1,2", "dropout=0.3", check=False)
    assert done.returncode == 1
    assert "has a job with other settings (dropout=0.3)" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_study_stops_and_goes_on(tmp_path: Path) -> None:
    assert app(tmp_path, "seed=1,17,2", check=False).returncode == 130
    assert [JobRecord.read(tmp_path / job).outcome for job in "01"] == [Outcome.FINISHED, Outcome.STOPPED]  # type: ignore[union-attr]
    assert not (tmp_path / "2").exists() or JobRecord.read(tmp_path / "2").outcome is Outcome.WAITING  # type: ignore[union-attr]
    assert importlib.import_module("dfd.commands.report").main([str(tmp_path)]) == 0
    assert "have not finished" in (tmp_path / "report" / "report.html").read_text()


def test_a_job_with_a_misspelt_key_is_refused_before_any_begins(tmp_path: Path) -> None:
    done = app(tmp_path, "seed=1,2", "optimiser=adam,sgd", check=False)
    assert done.returncode == 2
    assert not list(tmp_path.glob("*/outcome.json"))


def test_the_table_of_a_study_has_pruned_and_stopped_jobs_after_the_finished_ones(tmp_path: Path) -> None:
    StudyRecord("lr", "lr x", "val/loss", ["optimizer.lr", "temporal"], ["optimizer.lr"]).write(tmp_path)
    known = {
        "0": (Outcome.FAILED, None), "1": (Outcome.FINISHED, 0.5), "2": (Outcome.PRUNED, None),
        "3": (Outcome.FINISHED, 0.3), "4": (Outcome.STOPPED, None), "5": (Outcome.FINISHED, None),
    }  # fmt: skip
    for job, (outcome, value) in known.items():
        overrides = [f"optimizer.lr=1e-{job}", "temporal=$mean$ <b>"]
        make_run(tmp_path / job, finished=outcome is Outcome.FINISHED)
        JobRecord(outcome, overrides, "2026-01-01 00:00:00", 5.0, value, "why").write(tmp_path / job)
    assert importlib.import_module("dfd.commands.report").main([str(tmp_path)]) == 0
    assert [row["job"] for row in rows_of(tmp_path)] == ["3", "1", "5", "2", "0", "4"]
    assert rows_of(tmp_path)[0]["optimizer.lr"] == "1e-3"
    assert (tmp_path / "report" / "parallel_coordinates.png").stat().st_size > 10_000
    page = (tmp_path / "report" / "report.html").read_text()
    assert "6 jobs: 3 finished, 1 pruned, 1 failed, 1 stopped" in page
    assert "Best of the study: lr=0.001, temporal=$mean$ &lt;b&gt;" in page


# Searching


def space_of(*overrides: str) -> dict[str, object]:
    return distributions(OverridesParser.create().parse_overrides(list(overrides)))


def test_a_search_space_is_read_in_hydras_words() -> None:
    kinds = optuna.distributions
    assert space_of("a=tag(log,interval(1e-6,1e-3))", "b=interval(0.0,0.6)", "c=int(interval(1,8))", "d=x,'y z'") == {
        "a": kinds.FloatDistribution(1e-6, 1e-3, log=True),
        "b": kinds.FloatDistribution(0.0, 0.6),
        "c": kinds.IntDistribution(1, 8),
        "d": kinds.CategoricalDistribution(["x", "'y z'"]),
    }
    assert space_of("e=range(10,101,step=10)") == {"e": kinds.IntDistribution(10, 100, step=10)}
    with pytest.raises(ConfigError, match="e: a range takes whole numbers"):
        space_of("e=range(0.1,0.9,step=0.2)")
    with pytest.raises(ConfigError, match="a: "):
        space_of("a=tag(log,interval(0,1))")


def search_app(folder: Path, num_trials: int, *arguments: str, check: bool = True) -> Done:
    space = ["hydra/sweeper=optuna", "seed=int(interval(20,99))", "hydra.sweeper.startup_trials=2"]
    return app(folder, *space, f"hydra.sweeper.num_trials={num_trials}", *arguments, check=check)


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return open_study(f"sqlite:///{folder}/study.db").trials


def test_a_search_goes_on_with_new_draws_and_keeps_what_it_has(tmp_path: Path) -> None:
    search_app(tmp_path, 2)
    first = [trial.params for trial in trials_of(tmp_path)]
    done = search_app(tmp_path, 4)
    assert "4 trials: 4 finished, 0 pruned, 0 failed" in done.stdout
    trials = trials_of(tmp_path)
    assert [trial.params for trial in trials[:2]] == first
    assert len({trial.params["seed"] for trial in trials}) == 4
    assert [trial.value for trial in trials] == [pytest.approx(trial.params["seed"] * 0.01) for trial in trials]
    for trial in trials:
        record = JobRecord.read(tmp_path / str(trial.number))
        assert record is not None
        assert f"seed={trial.params['seed']}" in record.overrides


def test_a_search_is_not_mixed_with_one_of_another_space(tmp_path: Path) -> None:
    search_app(tmp_path, 1)
    done = search_app(tmp_path, 2, "seed=int(interval(20,50))", check=False)
    assert done.returncode == 1
    assert "is a study with another space" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(trials_of(tmp_path)) == 1


def test_a_failed_trial_is_told_to_the_search(tmp_path: Path) -> None:
    done = app(tmp_path, "hydra/sweeper=optuna", "seed=choice(7)", "hydra.sweeper.num_trials=2", check=False)
    assert done.returncode == 1
    assert {trial.state for trial in trials_of(tmp_path)} == {optuna.trial.TrialState.FAIL}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=interval(1e-6,1e-3)"], "a grid cannot try an interval"),
        (
            ["study=tune", "hydra.sweeper.num_trials=many"],
            "hydra.sweeper.num_trials must be a whole number of 1 or more, got 'many'",
        ),
        (
            ["seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=all"],
            "hydra.launcher.n_jobs must be a whole number of 1 or more, got 'all'",
        ),
    ],
)
def test_what_no_study_can_be_run_with_is_a_sentence(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = app(tmp_path, *arguments, check=False)
    assert done.returncode == 1
    assert f"error: {'optimizer.lr=interval(1e-6,1e-3): ' if 'interval' in message else ''}{message}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_study_is_refused_with_those_there_are_and_nothing_untrue(tmp_path: Path) -> None:
    done = app(tmp_path, "study=nothing", check=False)
    assert done.returncode == 2
    assert "temporal_heads" in done.stderr
    assert "study: no such key" not in done.stderr


@pytest.mark.parametrize("arguments", [["temporal=lstm,mean"], ["hydra/sweeper=optuna", "seed=choice(1,2)"]])
def test_a_command_that_is_refused_leaves_the_study_as_it_was(tmp_path: Path, arguments: list[str]) -> None:
    app(tmp_path, "seed=1,2")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.suffix in (".json", ".yaml")}
    done = app(tmp_path, *arguments, check=False)
    assert done.returncode == 1
    assert "give another hydra.sweep.dir" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_an_outcome_that_cannot_be_read_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    app(tmp_path, "seed=1,2")
    (tmp_path / "0" / "outcome.json").write_text("{")
    with pytest.raises(JobsFailed):
        StudyReport().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))


def test_failures_are_told_in_the_order_of_the_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job in range(11):
        JobRecord(Outcome.FAILED, [f"seed={job}"], message="why").write(tmp_path / str(job))
    with pytest.raises(JobsFailed):
        StudyReport().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    said = re.findall(r"error: job (\d+)", capsys.readouterr().err)
    assert said == [str(job) for job in range(11)]


def test_a_search_of_nothing_is_refused(tmp_path: Path) -> None:
    done = app(tmp_path, "hydra/sweeper=optuna", "seed=1", check=False)
    assert done.returncode == 1
    assert "has nothing to search" in done.stderr


@pytest.mark.slow
def test_trials_that_are_launched_together_are_drawn_together(tmp_path: Path) -> None:
    search_app(tmp_path, 4, "hydra.sweeper.num_parallel=3")
    assert len({trial.params["seed"] for trial in trials_of(tmp_path)}) == 4


def test_a_study_that_is_run_elsewhere_is_not_run_here(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = app(tmp_path, "seed=1,2", check=False)
    assert done.returncode == 1
    assert "another process runs this study" in done.stderr


def train_search(folder: Path, store: Path, num_trials: int) -> list[str]:
    return [
        *TINY, f"data.store={store}", "test=false", "calibrate=false", "trainer.max_epochs=3",
        "callbacks.progress_bar=null",
        f"hydra.sweep.dir={folder}", "hydra/sweeper=optuna", f"hydra.sweeper.num_trials={num_trials}",
        "hydra.sweeper.startup_trials=4", "hydra.sweeper.pruning=null", "optimizer.lr=tag(log,interval(1e-5,1e-2))",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_search_of_four_trials_goes_on_within_the_trial(tiny_store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    arguments = train_search(folder, tiny_store, 4)
    environment = dict(os.environ)
    process = subprocess.Popen(
        [sys.executable, "train.py", *arguments, "-m"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (folder / "1" / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    states = [trial.state.name for trial in trials_of(folder)]
    assert states == ["COMPLETE", "RUNNING"]
    finished = (folder / "0" / "metrics.csv").stat().st_mtime_ns
    params = trials_of(folder)[1].params
    run("train", *arguments, "-m")
    trials = trials_of(folder)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert trials[1].params == params
    assert (folder / "0" / "metrics.csv").stat().st_mtime_ns == finished
    assert {row["epoch"] for row in history(folder / "1")} == {"1", "2", "3"}
    assert outcomes(folder) == dict.fromkeys("0123", "finished")


def test_a_hopeless_run_is_pruned_and_ends_cleanly(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials that nothing can reach are there already."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "tune"
    space = space_of("optimizer.lr=tag(log,interval(1e-5,1e-2))")
    study = open_study(f"sqlite:///{folder}/study.db", minimize=False)
    for _ in range(2):
        study.add_trial(
            optuna.trial.create_trial(
                params={"optimizer.lr": 1e-3}, distributions=space, value=2.0, intermediate_values={0: 2.0, 1: 2.0}
            )
        )
    run(
        *("train", *train_search(folder, tiny_store, 3), "logger=wandb", "trainer.max_epochs=9"),
        *("hydra.sweeper.pruning={startup_trials: 1, warmup_epochs: 2}", "-m"),
    )
    trial = trials_of(folder)[2]
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert sorted(trial.intermediate_values) == [0, 1]
    record = JobRecord.read(folder / "2")
    assert record is not None
    assert record.outcome is Outcome.PRUNED
    assert "after epoch 2" in record.message
    assert not (folder / "2" / "summary.json").exists()
    _, records = offline_run(folder / "2")
    assert has_ended(records)
    assert outcomes(folder) == {"2": "pruned"}


def test_pruning_needs_sensible_numbers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="warmup_epochs"):
        Pruning(warmup_epochs=0)
    with pytest.raises(StudyError, match="holds no study"):
        open_study(f"sqlite:///{tmp_path}/none.db")


def test_a_study_can_be_kept_as_a_log_on_a_shared_disk(tmp_path: Path) -> None:
    storage = f"journal:///{tmp_path}/study.log"
    study = open_study(storage, minimize=True)
    study.tell(study.ask(), 0.5)
    assert open_study(storage).best_value == 0.5


# Launchers


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_on_every_launcher_a_job_that_fails_or_is_killed_costs_no_other(launcher: str, tmp_path: Path) -> None:
    done = launch(tmp_path, launcher, "seed=13,7,2")
    assert done.returncode == 1, done.stderr
    assert outcomes(tmp_path) == {"0": "failed", "1": "failed", "2": "finished"}
    messages = {row["job"]: row["message"] for row in rows_of(tmp_path)}
    assert re.match(r"(TerminatedWorker|UncompletedJob|WorkerCrashed)Error", messages["0"])
    assert messages["1"] == "RuntimeError: out of luck"
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_jobs_of_submitit_are_processes_of_their_own(tmp_path: Path) -> None:
    done = launch(tmp_path, "submitit_local", "seed=1,2")
    assert done.returncode == 0, done.stderr
    assert outcomes(tmp_path) == {"0": "finished", "1": "finished"}
    printed = [path.read_text() for path in (tmp_path / ".submitit").glob("*_log.out")]
    assert len({process for text in printed for process in re.findall(r"process (\d+) GPU", text)}) == 2


@pytest.mark.slow
def test_jobs_of_joblib_are_processes_of_their_own(tmp_path: Path) -> None:
    done = launch(tmp_path, "joblib", "seed=1,2", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    assert outcomes(tmp_path) == {"0": "finished", "1": "finished"}
    processes = re.findall(r"process (\d+) GPU", done.stdout)
    assert len(processes) == 2
    assert str(os.getpid()) not in processes


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_training_on_every_launcher_gives_the_numbers_of_one_process(
    launcher: str, tiny_store: Path, tmp_path: Path
) -> None:
    arguments = [*TINY, f"data.store={tiny_store}", *SHORT, "seed=0,1"]
    run("train", *arguments, f"hydra.sweep.dir={tmp_path}/one", "-m")
    environment = dict(os.environ)
    subprocess.run(
        [sys.executable, "train.py", *arguments, f"hydra.sweep.dir={tmp_path}/many", f"hydra/launcher={launcher}",
         "-m"],
        cwd=ROOT, env=environment, check=True, timeout=400,
    )  # fmt: skip
    for job in "01":
        one, many = (
            [float(row["val/loss"]) for row in history(tmp_path / where / job) if row["val/loss"]]
            for where in ("one", "many")
        )
        assert one == pytest.approx(many, rel=1e-4)


@pytest.mark.slow
def test_a_search_with_joblib_shares_one_sqlite_study(tiny_store: Path, tmp_path: Path) -> None:
    environment = dict(os.environ)
    arguments = train_search(tmp_path / "tune", tiny_store, 4)
    subprocess.run(
        [sys.executable, "train.py", *arguments, "hydra/launcher=joblib", "hydra.sweeper.num_parallel=2",
         "hydra.sweeper.pruning={startup_trials: 1, warmup_epochs: 1}", "-m"],
        cwd=ROOT, env=environment, check=True, timeout=400,
    )  # fmt: skip
    trials = trials_of(tmp_path / "tune")
    assert len(trials) == 4
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert all(trial.intermediate_values for trial in trials)


def test_processes_of_one_machine_share_its_gpus_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [callback.lease(tmp_path, 2) for _ in range(5)]
    assert [index for index, _ in held] == [0, 1, 0, 1, 0]
    held[1][1].close()  # its process has ended
    assert callback.lease(tmp_path, 2)[0] == 1
    monkeypatch.setattr(callback, "_held", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert callback.take_gpu(tmp_path / "other") == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    assert callback.take_gpu(tmp_path / "other") is None  # it has one


def test_one_gpu_or_none_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "_held", [])
    for visible in ("", "0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert callback.take_gpu(tmp_path) is None
        assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_slurm_gets_what_the_config_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm itself is not at hand: an ``sbatch`` and ``srun`` that keep the script stand in for it."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"sbatch": f'cp "${{@: -1}}" {tmp_path}/script; echo full >&2; exit 1', "srun": "exit 1"}.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    done = app(
        *(tmp_path / "study", "seed=1,2", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"),
        *("hydra.launcher.timeout_min=90", "hydra.launcher.gpus_per_node=2"),
        check=False,
    )
    assert done.returncode == 1
    assert "error: hydra/launcher=submitit_slurm: the jobs were not taken (full)" in done.stderr
    script = (tmp_path / "script").read_text()
    for line in ("--partition=gpu", "--time=90", "--gpus-per-node=2", "--array=0-1", "--cpus-per-task=8"):
        assert f"#SBATCH {line}" in script


# Files


@pytest.mark.parametrize("name", ["convnextv2_nano", "efficientnetv2_b0"])
def test_the_backbones_of_studies_are_models_of_timm(name: str) -> None:
    from dfd.config.build import build

    config = checked("train", f"backbone={name}", "backbone.pretrained=false")
    assert build(config.backbone).num_features > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["backbones", "lr", "sequence_length", "temporal_heads", "tune"])
def test_every_value_of_a_study_fits(name: str) -> None:
    path = SWEEPS_DIR / "study" / f"{name}.yaml"
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    space = space_of(*(f"{key}={value}" for key, value in params.items()))
    for key, kind in space.items():
        ends = kind.choices if hasattr(kind, "choices") else (kind.low, kind.high)  # type: ignore[attr-defined]
        for value in ends:
            checked("train", f"study={path.stem}", f"{key}={value}")


@pytest.mark.parametrize("name", ["backbones", "lr", "tune"])
def test_a_sweep_of_wandb_gives_train_overrides_that_it_takes(name: str) -> None:
    assert {path.stem for path in (SWEEPS_DIR / "wandb").glob("*.yaml")} == {"backbones", "lr", "tune"}
    sweep = yaml.safe_load((SWEEPS_DIR / "wandb" / f"{name}.yaml").read_text())
    assert sweep["program"] == "train.py"
    assert sweep["command"][:3] == ["${env}", "${interpreter}", "${program}"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    constant = [item.replace("${envvar:DFD_STORE}", "stores/mine") for item in sweep["command"][3:-1]]
    assert "logger=wandb" in constant
    for key, choice in sweep["parameters"].items():
        for value in choice.get("values") or (choice["min"], choice["max"]):
            checked("train", *constant, f"{key}={value}")
    from dfd.training.results import VAL_METRICS

    assert sweep["metric"]["name"] in VAL_METRICS


def test_a_run_of_a_wandb_sweep_is_named_by_what_the_agent_chose(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chosen.yaml").write_text("optimizer.lr:\n  value: 0.00012345\nwandb_version: 1\n")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(tmp_path / "chosen.yaml"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run(
        *("train", *TINY, f"data.store={tiny_store}", "debug=one_batch", "callbacks=none", "logger=wandb"),
        *("optimizer.lr=0.00012345", f"hydra.run.dir={tmp_path}/run"),
    )
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["logger"]["wandb"]
    assert config["name"] == "optimizer.lr=0.000123"
    assert config["tags"] == ["optimizer.lr=0.000123"]
    assert config["group"] is None
