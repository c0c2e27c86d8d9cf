"""Published detectors are adopted from their files, used by name, and refused in a sentence."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfd.commands.adopt import main
from dfd.commands.adopt.detector import HEAVY_FRAMES, card_of
from dfd.config.cli.values import PATHS
from dfd.models.files.card import DetectorCard, read_card
from dfd.models.files.checkpoint import load_model
from dfd.models.published.names import NAMES, adopted_path, members
from dfd.models.published.table import INDEPENDENT_CHECK, PUBLISHED
from dfd.scoring.detector import Detector
from tests.conftest import ROOT, SHARED, drawn_frames

MESONET = SHARED / "published" / "mesonet"
needs_published = pytest.mark.skipif(not MESONET.is_dir(), reason="the published weights are not here")
GOLDEN = {
    "mesonet-meso4-df": ("Meso4_DF.h5", [0.041412, 0.048694, 0.989748, 0.997702]),
    "mesonet-mesoinception-df": ("MesoInception_DF.h5", [0.026218, 0.000952, 1.0, 1.0]),
    "mesonet-meso4-f2f": ("Meso4_F2F.h5", [0.831237, 0.641100, 0.881023, 0.952439]),
    "mesonet-mesoinception-f2f": ("MesoInception_F2F.h5", [0.998743, 0.999997, 1.0, 0.990830]),
}
"""Probability of REAL that the published networks give the repository's four pictures, in the order of their names."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def xception(tmp_path: Path) -> Path:
    """A file with the published names and shapes of DeepfakeBench's Xception, of random numbers."""
    entry = PUBLISHED["deepfakebench-xception"]
    sources = entry.recipe(entry.build().state_dict())
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in entry.build().state_dict().items()}
    tensors = {
        source.names[0]: torch.rand(shapes[target], generator=generator) * 0.02
        for target, source in sources.items()
        if len(source.names) == 1 and not target.endswith("num_batches_tracked")
    }
    save_file(tensors, tmp_path / "xception.safetensors")
    return tmp_path / "xception.safetensors"


@needs_published
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if number else ()) for number, name in enumerate(GOLDEN)]
)
def test_mesonet_gives_its_published_probabilities_from_the_command_to_the_table(name: str, tmp_path: Path) -> None:
    file, expected = GOLDEN[name]
    assert main([name, f"file={MESONET / file}"]) == 0
    options = ["face_detector=fixed_box", "crop=whole_frame", "crop.size=256", "crop.filter=nearest"]
    options += [
        "aggregation=max_of_means",
        "report=false",
        f"output={tmp_path}/scores",
        f"hydra.run.dir={tmp_path}/run",
    ]
    command = [sys.executable, str(ROOT / "predict.py"), f"checkpoint={name}", f"input={MESONET}/pictures", *options]
    subprocess.run(command, check=True, capture_output=True)
    with (tmp_path / "scores" / "predictions.csv").open() as file_:
        rows = sorted(csv.DictReader(file_), key=lambda row: row["path"])
    assert [1 - float(row["prob_fake"]) for row in rows] == pytest.approx(expected, abs=1e-4)
    assert {row["verdict"] for row in rows} == {"uncertain"}
    assert all("no verdict" in row["message"] and "a still picture" in row["message"] for row in rows)


def test_an_adopted_file_is_a_detector_with_origin_caveat_and_card(
    xception: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deepfakebench-xception", f"file={xception}", f"output={tmp_path}/x.safetensors"]) == 0
    said = capsys.readouterr().out
    model, card = load_model(tmp_path / "x.safetensors")
    assert card.origin["name"] == "deepfakebench-xception"
    assert card.temperature is None
    assert INDEPENDENT_CHECK in card.caveat
    assert card.caveat in said
    assert card.crop["extraction"]["crop"]["kind"] == "five_points"
    text = (tmp_path / "x.safetensors.md").read_text()
    assert "To be known beside its scores" in text
    assert "CC BY-NC" in text
    with Detector.load(tmp_path / "x.safetensors", face_detector={"name": "fixed_box"}, device="cpu") as detector:
        assert detector.windows.max_windows == 32
        assert detector.extraction.crop.size == card.image_size == 256
        assert not detector.gives_verdicts
    assert sum(p.numel() for p in model.parameters()) > 20e6


def test_the_name_of_an_adopted_detector_is_a_checkpoint_and_else_says_what_to_do(
    xception: Path, tmp_path: Path
) -> None:
    from dfd.video.encode import write_video

    write_video(tmp_path / "clip.mp4", drawn_frames(0), fps=25)
    command = [sys.executable, str(ROOT / "predict.py"), f"input={tmp_path}/clip.mp4", "face_detector=fixed_box"]
    command += ["checkpoint=deepfakebench-xception", f"output={tmp_path}/scores", "heatmaps=false", "max_windows=2"]
    done = subprocess.run([*command, f"hydra.run.dir={tmp_path}/run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        "error: checkpoint=deepfakebench-xception: this published detector has not been adopted here; to do so: dfd "
        "adopt deepfakebench-xception"
    )
    assert main(["deepfakebench-xception", f"file={xception}"]) == 0
    subprocess.run([*command, f"hydra.run.dir={tmp_path}/run"], check=True, capture_output=True)
    assert "0." in (tmp_path / "scores" / "predictions.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sbii"], "sbii: there is no published detector of this name; did you mean sbi?"),
        (["sbi", "file=nowhere.tar"], "nowhere.tar: no such file"),
        (["sbi", "output=x.pth"], "give the name of a file that ends with .safetensors"),
        (["capsule-deepfakes", "file=README.md"], "is made of 2 files"),
        (["mesonet-meso4-df", "file=README.md"], "README.md"),
    ],
)
def test_what_cannot_be_adopted_is_refused_in_a_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error


def test_a_file_of_another_detector_is_named_and_one_that_was_cut_short_is_told(
    xception: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deepfakebench-efficientnetb4", f"file={xception}"]) == 1
    assert "adopt it as that: dfd adopt deepfakebench-xception" in capsys.readouterr().err
    (tmp_path / "cut.safetensors").write_bytes(xception.read_bytes()[:100_000])
    assert main(["deepfakebench-xception", f"file={tmp_path}/cut.safetensors"]) == 1
    assert "cut.safetensors" in capsys.readouterr().err
    assert not adopted_path("deepfakebench-xception").exists()


def test_without_a_network_the_address_the_size_and_the_place_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("dfd.commands.adopt.detector.download", offline)
    assert main(["gend-clip-l14"]) == 1
    said = capsys.readouterr().err
    for part in ("huggingface.co/yermandy/GenD_CLIP_L_14", "1,215,928,160 bytes", "d76f0bdf", "file=model.safetensors"):
        assert part in said


def test_the_list_names_every_detector_with_its_terms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = re.sub(r"[\s│┃]+", "", capsys.readouterr().out)
    assert all(name in listed for name in NAMES)
    assert "dfd adopt" in PATHS["checkpoint"]


@pytest.mark.parametrize("name", NAMES)
def test_every_card_says_how_its_authors_score_and_is_read_again(name: str) -> None:
    entry = PUBLISHED[name]
    card = card_of(entry, {file.name: "0" * 64 for file in entry.files})
    assert DetectorCard.from_dict(card.to_dict()) == card
    assert card.scoring["aggregation"] == entry.aggregation
    heavy = name.startswith("gend") or name in ("dfdc-b7", "effort")
    assert card.scoring["max_windows"] == (HEAVY_FRAMES if heavy else entry.frames)
    assert entry.training_data in card.caveat


@needs_published
def test_a_detector_without_a_name_of_its_own_still_has_its_card(tmp_path: Path) -> None:
    shutil.copy(MESONET / "Meso4_DF.h5", tmp_path / "renamed.bin")
    assert (
        main(["mesonet-meso4-df", "--file", str(tmp_path / "renamed.bin"), f"--output={tmp_path}/m.safetensors"]) == 0
    )
    card = read_card(tmp_path / "m.safetensors")
    assert card is not None
    assert card.origin["files"]["Meso4_DF.h5"]["sha256"].startswith("036ed30d04ffd9c7")


def test_an_ensemble_has_a_file_for_each_network(tmp_path: Path) -> None:
    names = [path.name for path in members(tmp_path / "b7.safetensors", 7)]
    assert names[0] == "b7.safetensors"
    assert len(set(names)) == 7
