"""What W&B and TensorBoard are told of a run, read from the files that their own libraries wrote."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dfd.base.types import Label
from dfd.data.clips.module import ClipDataModule
from dfd.training.loggers import finishing, wandb_logger
from dfd.training.tracking import ScoredClip, clip_sheet, git_revision, sample_clips
from tests.commands.test_commands import TINY, history, run
from tests.conftest import ROOT

BLOCK, WHOLE, LAST = 32768, 1, 4


def wandb_records(folder: Path) -> list[Any]:
    """Everything in the file of the one offline run in a folder.

    wandb 0.31 has no reader of it in Python. It is LevelDB's log format, after a head of seven bytes: blocks of 32 KiB
    of chunks, each with a checksum (4), a length (2) and whether it is a whole record, the first, a middle or the last
    part of one (1). See doc/log_format.md of LevelDB.
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, place, data, records = path.read_bytes(), 7, b"", []
    assert content.startswith(b":W&B")
    while place + 7 <= len(content):
        if (rest := BLOCK - place % BLOCK) < 7:
            place += rest
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            records.append(record)
            data = b""
    return records


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def tracked(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with W&B and TensorBoard by somebody without a key or a terminal."""
    folder = tmp_path_factory.mktemp("tracked")
    arguments = [*TINY, f"data.store={tiny_store}", f"hydra.run.dir={folder}/run", "logger=wandb", "tags=[night]"]
    arguments += ["logger.wandb.log_detector=true", "+logger.wandb.job_type=train", "logger.wandb.entity=mylab"]
    tensorboard = "{_target_: dfd.training.loggers.tensorboard_logger, save_dir: '${hydra:runtime.output_dir}'}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    subprocess.run(
        [sys.executable, "train.py", *arguments, f"+logger.tensorboard={tensorboard}"],
        cwd=ROOT,
        env={**environment, "NETRC": str(folder / "netrc"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # no terminal to ask at, either
        check=True,
        timeout=240,
    )
    return folder / "run"


def test_an_offline_run_holds_what_it_was_and_what_came_of_it(tracked: Path) -> None:
    records = wandb_records(tracked)
    config: dict[str, Any] = {}
    for record in records:
        config |= values(record.config.update) if record.HasField("config") else {}
    summary = json.loads((tracked / "summary.json").read_text())
    assert config["optimizer"]["lr"] == 1e-3
    assert config["data"]["clip_len"] == 4
    assert config["facts"]["data"]["index_sha256"] == summary["data"]["index_sha256"]
    assert config["facts"]["data"]["manifest_sha256"] == summary["data"]["manifest_sha256"]
    assert config["facts"]["git"] == summary["git"] == git_revision()
    tags = [list(record.run.tags) for record in records if record.HasField("run")][-1]
    assert {"test_resnet", "lstm", "4 frames", "night"} <= set(tags)

    logged: dict[str, list[Any]] = {}
    for record in records:
        if record.HasField("history"):
            for name, value in values(record.history.item).items():
                logged.setdefault(name, []).append(value)
    for name in ("train/loss", "val/loss", "val/auc"):
        assert logged[name] == pytest.approx([float(row[name]) for row in history(tracked) if row.get(name)])
    test = json.loads((tracked / "test" / "metrics.json").read_text())["overall"]
    assert logged["test_videos/accuracy"] == [test["accuracy"]]
    assert logged["best/val/loss"] == pytest.approx([summary["val"]["val/loss"]])

    media = next(tracked.glob("wandb/offline-run-*/files/media/images"))
    confusion = [path for path in media.rglob("*.png") if "confusion_matrix" in path.name]
    assert [path.read_bytes() for path in confusion] == [(tracked / "test" / "confusion_matrix.png").read_bytes()]
    (captions,) = logged["test_videos/clips/captions"]
    scores = pd.read_csv(tracked / "test" / "predictions.csv", dtype={"video_id": str}).set_index("video_id")
    assert len(captions) == len(scores) == 4
    for caption in captions:
        row = scores.loc[caption.partition(":")[0]]
        assert f"is {row['label']}, called {row['predicted']}" in caption
        assert f"{row['prob_fake']:.3f}" in caption
    assert len(list((media / "test_videos").glob("clips_*.png"))) == 4
    runs = [record.run for record in records if record.HasField("run")]
    assert (runs[-1].entity, runs[-1].job_type) == ("mylab", "train")
    assert runs[-1].run_id == (tracked / "wandb-id.txt").read_text().strip()
    (artifact,) = (record.artifact for record in records if record.HasField("artifact"))
    assert (artifact.type, {*artifact.aliases}) == ("model", {"best", "latest"})
    (end,) = (record.exit for record in records if record.HasField("exit"))
    assert end.exit_code == 0


@pytest.mark.slow
def test_a_run_that_was_killed_and_goes_on_is_one_run(offline: Path, tiny_store: Path) -> None:
    folder = offline / "run"
    command = [sys.executable, "train.py", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={folder}", "logger=wandb"]
    piped: dict[str, Any] = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    started = subprocess.Popen([*command, "trainer.max_epochs=999", "callbacks.early_stopping=null"], **piped)
    ends = time.monotonic() + 240
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < ends
        time.sleep(0.1)
    started.kill()
    started.wait()
    epoch = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    again = [*command, "ckpt_path=last", f"trainer.max_epochs={epoch + 3}"]
    subprocess.run([*again, "callbacks.early_stopping=null"], check=True, timeout=240, **piped)
    names = {path.name.rpartition("-")[2] for path in folder.glob("wandb/offline-run-*")}
    assert len(list(folder.glob("wandb/offline-run-*"))) == 2
    assert names == {(folder / "wandb-id.txt").read_text().strip()}


def test_mlflow_is_told_the_same_and_a_resumed_run_goes_on(offline: Path, tiny_store: Path) -> None:
    from mlflow.tracking import MlflowClient

    folder = offline / "run"
    arguments = [*TINY, f"data.store={tiny_store}", f"hydra.run.dir={folder}", "logger=mlflow", "tags=[night]"]
    run("train", *arguments)
    run("train", *arguments, "trainer.max_epochs=3", "ckpt_path=last")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (found,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    test = json.loads((folder / "test" / "metrics.json").read_text())["overall"]
    assert found.data.metrics["test_videos/accuracy"] == pytest.approx(test["accuracy"])
    assert len(client.get_metric_history(found.info.run_id, "val/auc")) == 3
    assert found.data.params["optimizer/lr"] == "0.001"
    assert "night" in found.data.tags.values()
    figures = {path.path for path in client.list_artifacts(found.info.run_id, "figures")}
    assert {"figures/confusion_matrix.png", "figures/samples.png"} <= figures


def test_tensorboard_is_told_the_same(tracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tracked / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    images, scalars = events.Tags()["images"], events.Tags()["scalars"]
    assert "test_videos/confusion_matrix" in images
    assert sum(name.startswith("test_videos/clips/") for name in images) == 4
    assert {"train/loss", "val/auc", "test_videos/accuracy", "best/val/loss"} <= set(scalars)
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "- night" in text
    assert "index_sha256" in text


def test_without_a_tracker_the_folder_has_it_all(tracked: Path) -> None:
    summary = json.loads((tracked / "summary.json").read_text())
    assert summary["tags"] == ["test_resnet", "lstm", "4 frames", "night"]
    with Image.open(tracked / "samples.png") as sheet:
        assert min(sheet.size) > 200
    assert (tracked / "test" / "confusion_matrix.png").is_file()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path


def test_a_failed_run_is_ended_and_says_so(offline: Path) -> None:
    import wandb

    logger = wandb_logger(save_dir=str(offline))
    logger.log_metrics({"val/auc": 0.5}, step=1)
    assert wandb.run is not None
    with pytest.raises(ZeroDivisionError), finishing([logger]):
        raise ZeroDivisionError
    assert wandb.run is None
    ends = time.monotonic() + 60  # W&B's own process writes the file, and may be a moment behind
    while not (codes := [record.exit.exit_code for record in wandb_records(offline) if record.HasField("exit")]):
        assert time.monotonic() < ends
        time.sleep(0.2)
    assert codes == [1]


def test_training_ends_its_wandb_run_when_it_fails(
    offline: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    from dfd.base.errors import StoreError
    from dfd.training.module import DetectorModule

    def fail(*_: object) -> None:
        assert wandb.run is not None
        raise StoreError("this clip cannot be read")

    monkeypatch.setattr(DetectorModule, "validation_step", fail)
    done = run(
        *("train", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={offline}/run", "logger=wandb"), check=False
    )
    assert done.returncode == 1
    assert "this clip cannot be read" in done.stderr
    assert wandb.run is None


def test_a_login_that_would_be_asked_for_is_an_error(offline: Path, tiny_store: Path) -> None:
    done = run(
        *("train", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={offline}/run", "logger=wandb"),
        *("logger.wandb.offline=false",),
        check=False,
    )
    assert done.returncode == 1
    assert "logger.wandb.offline=false needs a login" in done.stderr


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_the_revision_is_that_of_the_checkout_and_says_if_it_was_changed(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert git_revision(package) is None
    git(tmp_path, "init")
    assert git_revision(package) is None  # it only lies in somebody's checkout, as an environment does
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-m", "one")
    revision = git_revision(package)
    assert revision is not None
    assert len(revision["commit"]) == 40
    assert not revision["is_dirty"]
    (package / "new.py").write_text("")
    assert git_revision(package) == {**revision, "is_dirty": True}


def test_the_clips_shown_are_of_both_labels_and_of_all_probabilities(tiny_store: Path, tmp_path: Path) -> None:
    data = ClipDataModule(tiny_store, clip_len=4, num_eval_clips=2)
    dataset = data.dataset("train")
    videos = dict(zip(dataset.video_ids, dataset.labels, strict=True))
    rows = [
        {"video_id": video, "label": str(Label(label)), "predicted": "fake", "prob_fake": number / 12}
        for number, (video, label) in enumerate(videos.items())
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "predictions.csv", index=False)
    clips = sample_clips(data, "train", tmp_path / "predictions.csv", num_clips=6)
    assert [clip.label for clip in clips] == [Label.REAL] * 3 + [Label.FAKE] * 3
    for label in Label:
        probs = sorted(row["prob_fake"] for row in rows if row["label"] == str(label))
        shown = [clip.prob_fake for clip in clips if clip.label == label]
        assert (shown[0], shown[-1]) == pytest.approx((probs[0], probs[-1]))
        assert shown == sorted(shown)
    for clip in clips:
        first = dataset[dataset.video_ids.index(clip.video_id)]["frames"]
        assert np.array_equal(clip.frames, first.permute(0, 2, 3, 1).numpy())
    assert sample_clips(data, "train", tmp_path / "predictions.csv", num_clips=0) == []


def test_a_sheet_shows_each_frame_beside_the_other() -> None:
    from dfd.figures import style as plots

    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[2] = (255, 0, 0)
    clip = ScoredClip("a$b.mp4", Label.REAL, Label.FAKE, 0.75, frames)
    pixels = plots.as_array(clip_sheet([clip]))
    red = (pixels == (255, 0, 0)).all(axis=-1)
    black = (pixels == 0).all(axis=-1)
    columns = np.flatnonzero(red.any(axis=0))
    strip = np.flatnonzero(black[np.flatnonzero(red.any(axis=1))[5]])
    place = (columns.mean() - strip.min()) / (strip.max() - strip.min())
    assert place == pytest.approx(2.5 / 4, abs=0.02)
    assert clip.caption == "a$b.mp4: is real, called fake (probability of fake 0.750)"
