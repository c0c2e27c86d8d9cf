"""The commands as a user runs them: what they print, write and return."""

import contextlib
import csv
import importlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors, weights_sha256
from dfd.predictions.rows import read_scores
from dfd.video.encode import write_video
from tests.conftest import ROOT, drawn_frames

TINY = [
    *("backbone=timm", "backbone.name=test_resnet", "backbone.pretrained=false", "temporal.hidden_features=16"),
    *("trainer=cpu", "trainer.max_epochs=2", "optimizer.lr=1e-3"),
    *("data=clips", "data.clip_len=4", "data.num_workers=0", "data.batch_size=4"),
]

UNTESTED = ["test=false", "calibrate=false"]


@dataclass
class Done:
    """As of a subprocess. The commands run in this process, which has imported already what they need."""

    returncode: int
    stdout: str
    stderr: str


def run(command: str, *arguments: object, check: bool = True) -> Done:
    main = importlib.import_module(command).main
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [command, *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(ROOT):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = argv
    done = Done(code, out.getvalue(), err.getvalue())
    assert not check or code == 0, done.stderr[-3000:]
    return done


def train(folder: Path, store: Path, *overrides: str) -> Done:
    return run("train", *TINY, f"data.store={store}", f"hydra.run.dir={folder}", *overrides)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(folder, tiny_store)
    return folder


def test_a_training_with_a_published_head_and_backbone_options_keeps_both_in_its_detector(
    tmp_path: Path, tiny_store: Path
) -> None:
    options = ["temporal=mean", "head=linear_norm", "head.outputs=1", "dropout=0", "trainer.max_epochs=1", *UNTESTED]
    options += ["backbone.name=test_vit", "backbone.global_pool=token", "backbone.img_size=64", "backbone.std=[1,1,1]"]
    words = [word for word in TINY if not word.startswith(("temporal.", "backbone.name", "trainer.max_epochs"))]
    run("train", *words, *options, f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}")
    card, tensors = load_checkpoint(tmp_path / "detector.safetensors")
    assert card.model["head"] == {"_target_": "dfd.models.heads.linear_norm", "outputs": 1}
    assert card.model["dropout"] == 0
    chosen = {key: card.model["backbone"][key] for key in ("global_pool", "img_size", "std", "mean")}
    assert chosen == {"global_pool": "token", "img_size": 64, "std": [1, 1, 1], "mean": None}
    assert tensors["classify.weight"].shape[0] == 1


def test_training_leaves_what_is_needed_to_use_and_to_repeat_it(trained: Path) -> None:
    for name in ("detector.safetensors", "metrics.csv", "learning_curves.png", "config.yaml", "checkpoints/last.ckpt"):
        assert (trained / name).stat().st_size > 0
    names = {key for row in history(trained) for key, value in row.items() if value}
    for split in ("train", "val", "test"):
        assert {f"{split}/{m}" for m in ("loss", "accuracy", "precision", "recall", "f1", "auc")} <= names


def test_the_detector_of_a_run_holds_the_result_of_its_test_and_its_weights_are_the_best_epochs(trained: Path) -> None:
    card, tensors = load_checkpoint(trained / "detector.safetensors")
    best, weights = load_checkpoint(trained / "checkpoints" / "best.ckpt")
    measured = json.loads((trained / "test" / "metrics.json").read_text())
    for name in ("accuracy", "auc"):
        assert card.test["metrics"][name] == measured["overall"][name]
    for name in ("num_real", "num_fake"):
        assert card.test[name] == measured["overall"][name]
    assert card.test["threshold"] == card.threshold == measured["threshold"]
    assert card.test["store"] == card.data["store"]
    assert card.test["index_sha256"] == card.data["index_sha256"]
    assert [point["max_fpr"] for point in card.test["operating_points"]] == [None, 0.001, 0.01, 0.05]
    assert card.test["operating_points"][0]["tpr"] == measured["overall"]["recall"]
    low, high = card.test["intervals"]["accuracy"]
    assert low <= card.test["metrics"]["accuracy"] <= high
    assert best.test == {}
    summary = json.loads((trained / "summary.json").read_text())
    assert weights_sha256(tensors) == weights_sha256(weights) == summary["weights_sha256"]


def test_a_run_without_a_test_has_none_in_its_card(tiny_store: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_store, "trainer.max_epochs=1", *UNTESTED)
    assert load_checkpoint(tmp_path / "run" / "detector.safetensors")[0].test == {}


def test_an_interrupted_test_leaves_the_detector_as_it_was(trained: Path, tmp_path: Path, monkeypatch) -> None:
    from dfd.report.runs.write import add_test

    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run" / "detector.safetensors"
    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        add_test(tmp_path / "run", data={"store": "other"}, windows_per_track=1)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.glob("*detector*")] == ["detector.safetensors"]


def test_remarks_on_videos_name_the_video_or_how_many_there_are() -> None:
    from dfd.predictions.verdicts import remarks

    capped = "{} of {} windows were looked at, evenly spaced (max_windows=4)"
    rows = [
        (f"in/{number}.mp4", "ok", f"{capped.format(4, 50 + number)}; no verdict: it is weak") for number in range(8)
    ]
    rows += [
        ("in/x.mp4", "partial", f"ends early; {capped.format(4, 9)}"),
        ("in/y.mp4", "no_face", "in/y.mp4: no face"),
    ]
    rows += [("in/z.mp4", "ok", ""), ("in/w.mp4", "unreadable", "no video; get it again")]
    lines = [{"path": path, "status": status, "message": message} for path, status, message in rows]
    assert list(remarks(lines)) == [
        f"9 videos, such as 0.mp4: {capped.format(4, 50)}",
        "x.mp4: ends early",
        "y.mp4: no face",
        "w.mp4: no video; get it again",
    ]


def test_a_trial_of_a_few_batches_says_that_nothing_was_kept(tiny_store: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "run", tiny_store, "debug=one_batch", *UNTESTED)
    assert "nothing was kept" in done.stdout.splitlines()[-1]
    assert "the run is in" not in done.stdout


def test_the_same_seed_gives_the_same_numbers(trained: Path, tiny_store: Path, tmp_path: Path) -> None:
    train(tmp_path / "again", tiny_store)
    assert history(tmp_path / "again") == history(trained)


def test_a_stopped_run_goes_on_to_the_same_curve(trained: Path, tiny_store: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", tiny_store, "trainer.max_epochs=1", *UNTESTED)
    train(tmp_path / "run", tiny_store, "ckpt_path=last", *UNTESTED)
    last = [row for row in history(tmp_path / "run") if row["epoch"] == "2" and row["val/loss"]][-1]
    whole = [row for row in history(trained) if row["epoch"] == "2" and row["val/loss"]][-1]
    assert float(last["val/loss"]) == pytest.approx(float(whole["val/loss"]), rel=1e-5)


def test_a_run_is_not_resumed_on_other_clips(trained: Path, tiny_store: Path, tmp_path: Path) -> None:
    other = tmp_path / "store"
    shutil.copytree(tiny_store, other)
    lines = (other / "index.csv").read_text().splitlines(keepends=True)
    (other / "index.csv").write_text("".join(lines[:-1]))
    before = {path: path.read_bytes() for path in trained.rglob("*.ckpt")}
    done = run(
        *("train", *TINY, f"data.store={other}", f"hydra.run.dir={trained}", "ckpt_path=last", "trainer.max_epochs=3"),
        check=False,
    )
    assert done.returncode == 1
    assert "repeat all options of the stopped run" in done.stderr
    assert {path: path.read_bytes() for path in trained.rglob("*.ckpt")} == before


def test_the_demonstration_never_writes_into_somebodys_store(tiny_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "mine"
    shutil.copytree(tiny_store, store)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = run("train", *TINY, "data=demo", f"data.store={store}", f"hydra.run.dir={tmp_path}/run", check=False)
    assert done.returncode == 1
    assert "data=clips data.store=" in done.stderr
    assert sorted(path.name for path in store.rglob("*")) == sorted(path.name for path in tiny_store.rglob("*"))
    assert set(before) <= {path.name for path in tmp_path.rglob("*")}


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("predict", "max_faces=0"),
        ("predict", "batch_size=0"),
        ("predict", "device=cuda:99"),
        ("dfd.evaluate", "split=validation"),
        ("dfd.evaluate", "threshold=1.5"),
        ("predict", "+limits.max_depth=1"),
        ("dfd.preprocess", "crop.size=4"),
        ("dfd.preprocess", "split_fractions=[0.5,0.5,0.5]"),
        ("dfd.preprocess", "num_frames=0"),
        ("train", "data.batch_size=0"),
    ],
)
def test_a_value_out_of_range_is_a_sentence_and_no_traceback(
    command: str, wrong: str, inbox: Path, tiny_checkpoint: Path, tiny_store: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    needed = {
        "predict": [f"input={inbox}", f"checkpoint={tiny_checkpoint}"],
        "dfd.evaluate": [f"checkpoint={tiny_checkpoint}", f"data.store={tiny_store}"],
        "dfd.preprocess": [f"manifest={tiny_videos}", f"store={tmp_path}/new"],
        "train": [*TINY, f"data.store={tiny_store}"],
    }[command]
    done = run(command, *needed, wrong, f"hydra.run.dir={tmp_path}/run", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_shard_without_files_is_no_error(inbox: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert predict(inbox, tiny_checkpoint, tmp_path / "out", "shard=7/8").returncode == 0


def test_resuming_without_a_checkpoint_says_what_is_missing(tiny_store: Path, tmp_path: Path) -> None:
    done = run(
        *("train", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}", "ckpt_path=last"), check=False
    )
    assert done.returncode == 1
    assert "last.ckpt: no such checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluation_writes_predictions_metrics_and_figures(trained: Path, tiny_store: Path, tmp_path: Path) -> None:
    done = run(
        *("dfd.evaluate", f"checkpoint={trained}/detector.safetensors", f"data.store={tiny_store}"),
        *(f"output={tmp_path}/out", "data.num_workers=0", f"hydra.run.dir={tmp_path}/run"),
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    overall = metrics["overall"]
    assert len(rows) == overall["num_real"] + overall["num_fake"] == 4
    right = sum(row["predicted"] == row["label"] for row in rows)
    assert overall["accuracy"] == pytest.approx(right / len(rows))
    assert "base: the accuracy of always naming the more frequent label" in " ".join(done.stdout.split())
    assert metrics["methods"].keys() == {"tiny/flicker"}
    for name in ("confusion_matrix.png", "roc_pr.png", "learning_curves.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def inbox(tiny_videos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(tiny_videos.parent / "00.mp4", folder / "a.mp4")
    shutil.copy(tiny_videos.parent / "01.mp4", folder / "deeper" / "no_suffix")
    (folder / "text.mp4").write_text("no video")
    (folder / "notes.txt").write_text("not a video either")
    (folder / ".hidden.mp4").write_text("hidden")
    return folder


def predict(inbox: Path, checkpoint: Path, output: Path, *more: str, check: bool = True) -> Done:
    return run(
        *("predict", f"input={inbox}", f"checkpoint={checkpoint}", f"output={output}", "face_detector=fixed_box"),
        *("num_workers=1", f"hydra.run.dir={output}/run", *more),
        check=check,
    )


def test_a_folder_is_scored_by_content(inbox: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = predict(inbox, tiny_checkpoint, tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "ok",
        "no_suffix": "ok",
        "text.mp4": "unreadable",
    }
    assert rows["a.mp4"]["label"] in ("", "fake")  # its scope was not measured, so it calls nothing real
    assert rows["text.mp4"]["label"] == rows["text.mp4"]["prob_fake"] == ""
    assert (tmp_path / "out" / "not_videos.txt").read_text() == f"{inbox}/notes.txt\n"
    assert "2 ok, 1 unreadable" in done.stdout


def test_a_second_prediction_scores_only_what_is_new(inbox: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    predict(inbox, tiny_checkpoint, tmp_path / "out")
    before = (tmp_path / "out" / "predictions.csv").read_text()
    shutil.copy(inbox / "a.mp4", inbox / "b.mp4")
    done = predict(inbox, tiny_checkpoint, tmp_path / "out")
    after = (tmp_path / "out" / "predictions.csv").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    assert "3 of 5 are already in" in done.stdout


def test_another_threshold_tells_verdicts_anew_and_another_temperature_is_refused(
    inbox: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    detector, output = tmp_path / "one.safetensors", tmp_path / "out"
    model, card = load_model(tiny_checkpoint)
    save_safetensors(detector, model, card)
    clip = inbox / "a.mp4"
    predict(clip, detector, output, "threshold=0.0001", "uncertain_margin=0")
    before = read_scores(output)[str(clip)]
    done = predict(clip, detector, output, "threshold=0.9999", "uncertain_margin=0")
    after = read_scores(output)[str(clip)]
    assert (before["verdict"], after["verdict"]) == ("fake", "uncertain")  # on no kind of fakes was it measured
    assert (after["prob_fake"], after["scored_at"]) == (before["prob_fake"], before["scored_at"])
    assert "told anew" in done.stdout
    save_safetensors(detector, model, replace(card, temperature=3.0))
    done = predict(clip, detector, output, "threshold=0.5", "uncertain_margin=0", check=False)
    assert done.returncode == 1
    assert "threshold is 0.9999 there, 0.5 here" in " ".join(done.stderr.split())


def test_a_single_video_is_looked_at_whole_and_a_folder_in_part(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    clip = folder / "long.mp4"
    write_video(clip, drawn_frames(0, num_frames=160), fps=25)  # 40 windows of 4 frames
    predict(clip, tiny_checkpoint, tmp_path / "one")
    predict(folder, tiny_checkpoint, tmp_path / "many")
    predict(clip, tiny_checkpoint, tmp_path / "little", "look_seconds=0.001")
    found = {name: read_scores(tmp_path / name)[str(clip)] for name in ("one", "many", "little")}
    counts = {name: (line["num_windows"], line["num_frames"]) for name, line in found.items()}
    assert counts == {"one": (40, 160), "many": (32, 128), "little": (32, 128)}
    predict(clip, tiny_checkpoint, tmp_path / "many")  # goes on as it was begun
    assert read_scores(tmp_path / "many") == {str(clip): found["many"]}


def test_what_must_be_known_of_a_detector_is_said_once(tiny_checkpoint: Path, inbox: Path, tmp_path: Path) -> None:
    model, card = load_model(tiny_checkpoint)
    silent = replace(card, caveat="Trained on paintings. And on masks.", no_verdict="it is too weak")
    save_safetensors(tmp_path / "silent.safetensors", model, silent)
    done = predict(inbox, tmp_path / "silent.safetensors", tmp_path / "out")
    for words in ("Trained on paintings. And on masks.", "Only scores, no verdicts: it is too weak"):
        assert done.stdout.count(words) == 1
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert rows["a.mp4"]["verdict"] == "uncertain"
    assert rows["a.mp4"]["message"] == "no verdict: it is too weak; Trained on paintings."
    assert "paintings" not in rows["text.mp4"]["message"]
    assert {line["caveat"] for line in read_scores(tmp_path / "out").values()} == {silent.caveat, ""}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("Trained on paintings. And on masks.") < page.index("cannot tell")


def test_an_interruption_names_the_folder_to_go_on_in(
    tiny_checkpoint: Path, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dfd.commands.predict.write_scores", stop)
    done = predict(inbox, tiny_checkpoint, tmp_path / "out", check=False)
    assert done.returncode == 130
    assert f"run it again with output={tmp_path / 'out'} to go on" in " ".join(done.stderr.split())


def test_a_list_of_files_is_scored(inbox: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (inbox / "list.txt").write_text("a.mp4\n\ngone.mp4\na.mp4\n#1.mp4\n")
    predict(inbox / "list.txt", tiny_checkpoint, tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open() as file:
        statuses = {Path(row["path"]).name: row["status"] for row in csv.DictReader(file)}
    assert statuses == {"a.mp4": "ok", "gone.mp4": "missing"}  # and #1.mp4 is a comment, as there is no such file


@pytest.mark.parametrize("content", ["nothing", "no video"])
def test_a_folder_without_any_video_is_an_error(tiny_checkpoint: Path, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    if content == "no video":
        (folder / "notes.md").write_text("words")
    done = predict(folder, tiny_checkpoint, tmp_path / "out", check=False)
    assert done.returncode == 1
    assert str(folder) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["missing", "text", "foreign"])
def test_a_checkpoint_that_is_not_ours_is_an_error(inbox: Path, tmp_path: Path, kind: str) -> None:
    import torch

    path = tmp_path / f"{kind}.ckpt"
    if kind == "text":
        path.write_text("not a checkpoint")
    if kind == "foreign":
        torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, path)
    done = predict(inbox, path, tmp_path / "out", check=False)
    assert done.returncode == 1
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_missing_weights_name_the_ways_out(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No cache and no way out: the same everywhere.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # it would know the proxies of before
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = run("train", "data=clips", f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}/run", check=False)
    assert done.returncode == 1
    for part in ("resnext50", "7cdf4587", "backbone.pretrained=false", "backbone.weights=FILE"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_is_not_resumed_on_another_split_of_the_same_clips(tiny_store: Path, tmp_path: Path) -> None:
    """It would be tested on videos that it was trained on, and say that it was not."""
    train(tmp_path, tiny_store, "trainer.max_epochs=1", "data.split=random_video", *UNTESTED)
    done = run(
        *("train", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}", "ckpt_path=last"), check=False
    )
    assert done.returncode == 1
    assert "was trained on other videos of the store ({'split': 'random_video'" in done.stderr


def test_a_run_does_not_begin_where_another_is(trained: Path, tiny_store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    done = run("train", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={trained}", "seed=9", check=False)
    assert done.returncode == 1
    assert "has a run in it (summary.json); resume it with the same options and ckpt_path=last" in done.stderr
    changed = {
        path.name for path in trained.rglob("*") if before.get(path) != path.stat().st_mtime_ns and path.is_file()
    }
    assert changed <= {"train.log", "config.yaml", "hydra.yaml", "overrides.yaml"}
    assert (trained / "config.yaml").stat().st_mtime_ns == before[trained / "config.yaml"]


@pytest.mark.parametrize(
    "switch", ["trainer.enable_progress_bar=false", "trainer.enable_checkpointing=false", "callbacks=none"]
)
def test_bar_checkpoints_and_callbacks_can_each_be_switched_off_alone(
    switch: str, tiny_store: Path, tmp_path: Path
) -> None:
    done = train(tmp_path, tiny_store, switch, "trainer.max_epochs=1", "calibrate=false")
    assert any(row.get("test/loss") for row in history(tmp_path))
    has_bar, has_detector = "Epoch 1/1" in done.stderr + done.stdout, (tmp_path / "detector.safetensors").exists()
    assert has_bar == (switch == "trainer.enable_checkpointing=false")
    assert has_detector == (switch == "trainer.enable_progress_bar=false")
    assert ("no checkpoint was kept, so there is no detector; what was tested are" in done.stdout) != has_detector
    assert bool(list(tmp_path.rglob("*.ckpt"))) == has_detector


def test_a_finished_run_that_is_started_again_adds_nothing(tiny_store: Path, tmp_path: Path) -> None:
    arguments = ["calibrate=false", "trainer.max_epochs=1"]
    train(tmp_path, tiny_store, *arguments)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and ".hydra" not in path.parts]
    before = {path: path.read_bytes() for path in files if path.suffix != ".log"}
    done = train(tmp_path, tiny_store, *arguments, "ckpt_path=last", "data.num_workers=1")
    assert f"the run in {tmp_path} is finished" in done.stdout
    assert {path: path.read_bytes() for path in before} == before
    train(tmp_path, tiny_store, "calibrate=false", "trainer.max_epochs=2", "ckpt_path=last")
    assert [row["epoch"] for row in history(tmp_path) if row["val/loss"]] == ["1", "2"]


def test_a_schedule_of_torch_needs_its_name_and_no_more(tiny_store: Path, tmp_path: Path) -> None:
    scheduler = "+scheduler={_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 3}"
    train(tmp_path, tiny_store, "~scheduler", scheduler, "trainer.max_epochs=1", *UNTESTED)
    assert (tmp_path / "detector.safetensors").is_file()


def test_overfitting_learns_a_few_batches_by_heart_and_keeps_nothing(tiny_store: Path, tmp_path: Path) -> None:
    train(tmp_path, tiny_store, "debug=overfit", "optimizer.lr=1e-2", "data.batch_size=2", "trainer.max_epochs=40")
    losses = [float(row["train/loss"]) for row in history(tmp_path) if row["train/loss"]]
    assert losses[-1] < 0.1 < losses[0]
    assert not [*tmp_path.rglob("*.ckpt"), *tmp_path.rglob("*.safetensors")]


def test_a_profile_says_how_long_the_clips_and_the_steps_take(tiny_store: Path, tmp_path: Path) -> None:
    train(tmp_path, tiny_store, "debug=profile")
    table = (tmp_path / "fit-profile.txt").read_text()
    assert "train_dataloader_next" in table
    assert "optimizer_step" in table


def test_a_wrong_monitor_is_refused_before_the_first_batch(tiny_store: Path, tmp_path: Path) -> None:
    done = run(
        *("train", *TINY, f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}"),
        "callbacks.early_stopping.monitor=val/aux",
        check=False,
    )
    assert done.returncode == 1
    assert "EarlyStopping monitors 'val/aux', which is not logged; did you mean 'val/auc'?" in done.stderr
    assert not (tmp_path / "metrics.csv").exists()
    assert "EarlyStopping monitors" in (tmp_path / "train.log").read_text()  # the log is called after the command


def test_a_diverged_job_fails_writes_no_detector_and_is_not_the_best(tiny_store: Path, tmp_path: Path) -> None:
    arguments = ["optimizer=sgd", "optimizer.lr=1e12,1e-3", "trainer.max_epochs=2", *UNTESTED]
    given = [f"data.store={tiny_store}", *(word for word in TINY if not word.startswith("optimizer."))]
    done = run("train", *given, *arguments, f"hydra.sweep.dir={tmp_path}", "-m", check=False)
    assert done.returncode == 1
    assert "error: job 0: diverged: the validation loss is not finite since step " in done.stderr
    outcome = json.loads((tmp_path / "0" / "outcome.json").read_text())
    assert (outcome["outcome"], outcome["value"]) == ("failed", None)
    assert outcome["message"].startswith("diverged: ")
    assert not [*(tmp_path / "0").rglob("*.safetensors"), *(tmp_path / "0").rglob("*.ckpt")]
    assert (tmp_path / "1" / "detector.safetensors").is_file()
    with (tmp_path / "report" / "study.csv").open() as file:
        assert [(row["job"], row["outcome"]) for row in csv.DictReader(file)] == [("1", "finished"), ("0", "failed")]


def test_a_run_that_diverges_late_says_which_epoch_is_kept(tiny_store: Path, tmp_path: Path) -> None:
    given = [f"data.store={tiny_store}", *(word for word in TINY if not word.startswith("optimizer."))]
    grows = ["~scheduler", "+scheduler={_target_: torch.optim.lr_scheduler.ExponentialLR, gamma: 1e20}"]
    arguments = ["optimizer=sgd", "optimizer.lr=1e-3", "trainer.gradient_clip_val=null", *grows, *UNTESTED]
    done = run("train", *given, *arguments, f"hydra.run.dir={tmp_path}", check=False)
    assert done.returncode == 1
    kept = re.escape(str(tmp_path / "checkpoints"))
    assert re.search(rf"error: diverged: .* or trainer\.gradient_clip_val=1\.0; kept: epoch 1 \({kept}", done.stderr)
    assert "and the best of them, epoch 1, val/loss " in done.stderr
    assert not (tmp_path / "detector.safetensors").exists()


@pytest.mark.parametrize("epochs_before", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_ctrl_c_says_what_is_kept_and_the_command_that_goes_on(
    epochs_before: int, tiny_store: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *TINY, *UNTESTED, f"data.store={tiny_store}"]
    command += ["trainer.max_epochs=999", "callbacks.early_stopping=null", "hydra.run.dir=my run"]
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    shows_where = os.environ | {"PYTHONFAULTHANDLER": "1"}
    started = subprocess.Popen(command, cwd=tmp_path, env=shows_where, **piped)
    last = tmp_path / "my run" / "checkpoints" / "last.ckpt"
    begun = tmp_path / "my run" / "config.yaml"  # written just before the first step
    deadline = time.monotonic() + 120
    while not (last if epochs_before else begun).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    try:
        output = started.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:
        started.send_signal(signal.SIGABRT)
        pytest.fail(f"still runs after Ctrl-C: {started.communicate()[0][-4000:]}")
    assert started.returncode == 130, output[-2000:]
    assert "Traceback" not in output
    if last.exists():
        assert "interrupted; kept: epoch" in output
        assert "my run/checkpoints/last.ckpt" in output
        assert "predict.py takes" in output
    else:
        assert "interrupted; nothing is kept yet" in output
    words = shlex.split(output[output.index("To resume:\n  ") :].splitlines()[1])
    assert words[0] == "python"
    again = [sys.executable, *words[1:], "trainer.max_epochs=1"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_store_without_test_videos_is_refused_before_the_training(tiny_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    lines = (store / "index.csv").read_text().splitlines(keepends=True)
    (store / "index.csv").write_text("".join(line for line in lines if ",test," not in line))
    done = run("train", *TINY, f"data.store={store}", f"hydra.run.dir={tmp_path}/run", check=False)
    assert done.returncode == 1
    assert "in split 'test'" in done.stderr
    assert "or train with test=false" in done.stderr
    assert not (tmp_path / "run" / "metrics.csv").exists()
    train(tmp_path / "untested", store, *UNTESTED, "trainer.max_epochs=1")
    assert not (tmp_path / "untested" / "test").exists()


def test_one_failed_job_of_a_multirun_costs_neither_the_others_nor_their_report(
    tiny_store: Path, tmp_path: Path
) -> None:
    done = run(
        *("train", *TINY, f"data.store={tiny_store}", "trainer.max_epochs=1", "test_windows=0,1"),
        *(f"hydra.sweep.dir={tmp_path}", "-m"),
        check=False,
    )
    assert done.returncode == 1
    assert "error: job 0: test_windows must be 1 or more, got 0" in done.stderr
    assert "Traceback" not in done.stderr
    page = (tmp_path / "report" / "report.html").read_text()
    assert "test_resnet + lstm" in page
    assert (tmp_path / "1" / "summary.json").is_file()


def test_a_stopped_multirun_goes_on_and_begins_what_had_not_begun(tiny_store: Path, tmp_path: Path) -> None:
    arguments = [*TINY, f"data.store={tiny_store}", "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}", *UNTESTED]
    run("train", *arguments, "seed=0", "-m")
    run("train", *arguments, "seed=0,1", "ckpt_path=last", "-m")
    assert (tmp_path / "1" / "summary.json").is_file()
