"""The example of a plug-in: prepared, trained, calibrated, evaluated, exported, loaded, and refused without it."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfd.base.names import plugins
from dfd.models.files.checkpoint import load_checkpoint
from tests.commands.test_commands import Done, run
from tests.conftest import ROOT

NAMED = "plugins=[residual_lab]"
FIXED = ["face_detector=fixed_box", "crop.size=64", "crop.margin_fraction=0", "num_workers=2"]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is named or imported before a test, and the example's folder is one that Python searches."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "residual_lab"))
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setattr(plugins, "_PARTS", {})
    monkeypatch.setattr(plugins, "_loaded", set())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "residual_lab"]:
        del sys.modules[name]


def forget() -> None:
    """Start without plug-ins, like a new process in which nobody has named one."""
    plugins._PARTS.clear()
    plugins._loaded.clear()
    plugins.os.environ[plugins.VARIABLE] = ""
    for name in [name for name in sys.modules if name.partition(".")[0] == "residual_lab"]:
        del sys.modules[name]


def refused(command: str, *words: object) -> str:
    forget()
    done: Done = run(command, *words, check=False)
    assert done.returncode != 0
    assert "residual_lab" not in sys.modules
    return done.stderr


def test_the_example_goes_all_the_way_and_is_refused_without_its_plug_in(tiny_videos: Path, tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "run"
    rows = list(csv.DictReader(tiny_videos.open(newline="")))
    videos = tmp_path / "videos"
    videos.mkdir()
    lines = ["name,label,people", *(f"{row['path']},{row['label']},{row['source_ids']}" for row in rows)]
    (videos / "labels.csv").write_text("\n".join(lines) + "\n")
    for row in rows:
        (videos / row["path"]).write_bytes((tiny_videos.parent / row["path"]).read_bytes())

    prepare = ["source=labels_csv", f"root={videos}", f"store={store}", "split_fractions=[0.5,0.5,0]", *FIXED]
    assert "there is no source of this name" in refused("dfd.preprocess", *prepare)
    run("dfd.preprocess", NAMED, *prepare, f"hydra.run.dir={tmp_path / 'a'}")

    options = ["experiment=residual_lab", f"data.store={store}", "data.clip_len=4", "data.num_workers=0"]
    options += ["trainer=cpu", "trainer.max_epochs=2", "backbone.width=8", "test=false", f"hydra.run.dir={folder}"]
    run("train", NAMED, *options)
    assert (folder / "epoch_times.csv").read_text().startswith("epoch,seconds\n1,")
    card, _ = load_checkpoint(folder / "detector.safetensors")
    assert card.plugins == ["residual_lab"]
    assert card.model["backbone"] == {"_target_": "residual_lab.backbone.residual", "width": 8, "freeze": False}
    assert card.model["head"] == {"_target_": "residual_lab.head.two_layers", "width": 64}
    detector = f"checkpoint={folder / 'detector.safetensors'}"

    on_val = ["split=val", "device=cpu", f"data.store={store}", "data.num_workers=0"]
    commands = {
        "dfd.evaluate": [detector, *on_val, f"output={tmp_path / 'b'}"],
        "dfd.calibrate": [detector, *on_val, f"output={tmp_path / 'c.safetensors'}"],
        "dfd.export": [detector, "format=onnx", f"output={tmp_path / 'd.onnx'}"],
        "predict": [f"input={videos / '01.mp4'}", detector, "device=cpu", f"output={tmp_path / 'e'}", "num_workers=1"],
    }
    for command, words in commands.items():
        said = refused(command, *words)
        assert "needs the plug-in residual_lab: add plugins=[residual_lab]" in said, (command, said)
        run(command, NAMED, *words)
    assert load_checkpoint(tmp_path / "c.safetensors")[0].plugins == ["residual_lab"]
    written = list(csv.DictReader((tmp_path / "e" / "predictions.csv").open(newline="")))
    assert [row["status"] for row in written] == ["ok"]

    forget()  # an ONNX file holds the network itself and needs none of its code
    exported = [f"input={videos / '01.mp4'}", f"checkpoint={tmp_path / 'd.onnx'}", f"output={tmp_path / 'f'}"]
    run("predict", *exported, "num_workers=1", "device=cpu")
    assert "residual_lab" not in sys.modules
    (row,) = csv.DictReader((tmp_path / "f" / "predictions.csv").open(newline=""))
    assert float(row["prob_fake"]) == pytest.approx(float(written[0]["prob_fake"]), abs=1e-4)
