"""Files that dfd 0.1.0 wrote are read as they are. Weights in them are zeros, so that they are small."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dfd.base.names.renamed import FUNCTIONS, MODULES
from dfd.base.types import Status
from dfd.config.build import locate
from dfd.config.check import check
from dfd.config.schemas import TrainConfig
from dfd.data.clips.module import ClipDataModule
from dfd.data.store.folders import read_records
from dfd.models.files.checkpoint import load_model
from dfd.predictions.rows import read_scores
from dfd.report.runs.write import write_report, write_study_report
from dfd.report.videos.page import write_videos_report
from dfd.runs.folder import find_runs
from tests.commands.test_commands import TINY, run
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ROOT / "tests" / "old" / "dfd-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "dfd-0.1.0"


def test_a_store_is_read(old: Path) -> None:
    assert {record.status for record in read_records(old / "store")} == {Status.OK}
    data = ClipDataModule(old / "store", clip_len=4, num_workers=0)
    data.setup("fit")
    assert next(iter(data.val_dataloader()))["frames"].shape[1] == 4


def test_its_audit_is_found_under_its_old_name(old: Path) -> None:
    command = [sys.executable, "-m", "dfd.data.audit", str(old / "store")]
    assert (
        "no source id and no video is in two splits"
        in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize("name", ["run/detector.safetensors", "run/checkpoints/last.ckpt"])
def test_a_checkpoint_is_read(old: Path, name: str) -> None:
    model, card = load_model(old / name)
    assert (card.clip_len, model.config["backbone"]["name"]) == (4, "test_resnet")


def test_the_configuration_of_a_run_fits_though_its_parts_have_moved(old: Path) -> None:
    config = OmegaConf.load(old / "run" / "config.yaml")
    assert OmegaConf.select(config, "scheduler._target_") == "dfd.training.cosine"
    assert OmegaConf.select(config, "data._target_") == "dfd.data.module.ClipDataModule"
    check(OmegaConf.merge({}, config), TrainConfig)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_that_has_moved_is_found_by_its_old_name(name: str) -> None:
    assert locate(name) is locate(FUNCTIONS[name])


def test_a_module_that_has_moved_is_the_same_one_under_its_old_name() -> None:
    code = "import sys, importlib\n" + "\n".join(
        f"assert importlib.import_module({old!r}) is importlib.import_module({new!r}) is sys.modules[{old!r}]"
        for old, new in sorted(MODULES.items())
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_is_gone_on_with(old: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(old / "run", folder)
    options = [*TINY, "scheduler=cosine", "num_sample_clips=0", "trainer.max_epochs=2", "ckpt_path=last"]
    done = run("train", *options, f"data.store={old}/store", f"hydra.run.dir={folder}")
    assert "the run is in" in done.stdout
    assert len((folder / "metrics.csv").read_text().splitlines()) > len(
        (old / "run/metrics.csv").read_text().splitlines()
    )


def test_runs_studies_and_scores_are_reported(old: Path, tmp_path: Path) -> None:
    assert "test_resnet" in write_report(find_runs([old / "run"]), tmp_path / "run").read_text()
    assert "seed" in write_study_report(old / "study", tmp_path / "study").read_text()
    assert "a.mp4" in write_videos_report([old / "scores"], tmp_path / "scores").read_text()


def test_scores_are_gone_on_with(old: Path, tmp_path: Path) -> None:
    scores = read_scores(old / "scores")
    assert {Path(path).name: score["status"] for path, score in scores.items()} == {
        "a.mp4": "ok",
        "text.mp4": "unreadable",
    }


def test_a_database_is_read_and_its_waiting_task_found(old: Path) -> None:
    pytest.importorskip("django")
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command; call_command('migrate', verbosity=0)\n"  # as at every start
        "from dfd.web.models import Job\n"
        "from django_tasks_db.models import DBTaskResult\n"
        "assert Job.objects.get().file_name == 'clip.mp4'\n"
        "assert DBTaskResult.objects.get().task.func.__name__ == 'score'\n"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dfd.web.settings",
        "DFD_WEB_SECRET_KEY": "of this test, and of nothing else, 50 characters long",
        "DFD_WEB_DATA": str(old / "web"),
        "DFD_WEB_DATABASE_URL": "",
        "DFD_WEB_CHECKPOINT": str(old / "run" / "detector.safetensors"),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
