"""Plug-ins: what the user names is opened, nothing else, and no file can name one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.names import plugins
from dfd.config.build import build, locate
from dfd.data.augment.disturbances import Disturb, chosen
from dfd.faces.detect import build_detector
from dfd.models.classifier import build_model, resolve_model_config
from dfd.models.files.card import DetectorCard, plugins_of, read_card
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.scoring.aggregation import aggregation_named
from dfd.scoring.detector import Detector
from tests.conftest import ROOT, TINY_MODEL

CODE = """
import torch
from torch import nn
import dfd
from dfd.data.augment.disturbances import Disturbance
from dfd.faces.detect import FixedBox
from dfd.models.backbones import Backbone

open(__file__ + ".imported", "a").write("x")

@dfd.register("backbone")
def tiny(*, width: int = 4, freeze: bool = False):
    return Backbone(nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), num_features=width)

@dfd.register("face_detector")
def middle(*, part: float = 0.5):
    return FixedBox((1 - part) / 2, (1 - part) / 2, (1 + part) / 2, (1 + part) / 2)

@dfd.register("aggregation")
def lowest(windows):
    tracks = [min(probs) for probs in windows]
    return tracks, min(tracks)

@dfd.register("disturbance")
def dark():
    return Disturbance("dark", "factor", (0.9, 0.8, 0.7, 0.6, 0.5), lambda x, s, _: (x * s).to(torch.uint8))

def secret(**options):
    raise AssertionError("a part that is not registered was built")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A plug-in in the working folder; forgotten after the test."""
    name = f"plug_{os.getpid()}_{abs(hash(tmp_path)) % 10**8}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setattr(plugins, "_PARTS", {})
    monkeypatch.setattr(plugins, "_loaded", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def imported(tmp_path: Path, package: str) -> bool:
    return (tmp_path / package / "__init__.py.imported").exists()


def model_of(package: str, part: str = "tiny") -> dict[str, object]:
    return {**TINY_MODEL, "backbone": {"_target_": f"{package}.{part}"}}


@pytest.fixture
def checkpoint(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A detector with the plug-in's backbone, face detector and aggregation; the plug-in is not named any more."""
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "_PARTS", {})
        patch.setattr(plugins, "_loaded", set())
        plugins.use_plugins(package)
        model = build_model(model_of(package))
        crop = {"extraction": {"crop_size": 64, "margin_fraction": 0.0}}
        crop["face_detector"] = {"name": f"{package}.middle", "part": 0.9}
        scoring = {"aggregation": f"{package}.lowest"}
        card = DetectorCard(model=model.config, image_size=64, clip_len=4, crop=crop, scoring=scoring)
        card = replace(card, plugins=plugins_of(card.model, card.crop, card.scoring))
        save_safetensors(tmp_path / "mine.safetensors", model, card)
    os.environ[plugins.VARIABLE] = ""
    (tmp_path / package / "__init__.py.imported").unlink()
    sys.modules.pop(package)
    return tmp_path / "mine.safetensors"


def test_a_named_plug_in_opens_targets_and_all_registries(package: str) -> None:
    with pytest.raises(ConfigError, match=rf"add plugins=\[{package}\]"):
        locate(f"{package}.secret")
    plugins.use_plugins(package)
    assert build_model(model_of(package))(torch.zeros(1, 4, 3, 32, 32)).shape == (1, 2)
    assert build_detector(f"{package}.middle", part=0.5).name == "fixed_box"
    assert aggregation_named(f"{package}.lowest")([[0.5, 0.25], [0.75]]) == ([0.25, 0.75], 0.25)
    assert chosen([f"{package}.dark"])[0].name == f"{package}.dark"
    assert Disturb(f"{package}.dark", 5)(torch.full((1, 3, 8, 8), 200, dtype=torch.uint8), "clip").max() == 100
    assert build({"_target_": f"{package}.tiny", "width": 3}).num_features == 3


def test_what_a_plug_in_does_not_register_is_built_for_no_card(package: str) -> None:
    plugins.use_plugins(package)
    with pytest.raises(ConfigError, match=f"registers no such part; it registers {package}.tiny"):
        resolve_model_config(model_of(package, "secret"))
    with pytest.raises(ConfigError, match="registers no such part"):
        build_detector(f"{package}.secret")
    with pytest.raises(ConfigError, match="registers no such part"):
        aggregation_named(f"{package}.secret")


def test_a_detector_asks_for_its_plug_in_by_name_and_imports_nothing(
    checkpoint: Path, package: str, tmp_path: Path
) -> None:
    card = read_card(checkpoint)
    assert card is not None
    assert card.plugins == [package]
    for load in (load_model, Detector.load):
        with pytest.raises(CheckpointError, match=rf"needs the plug-in {package}: add plugins=\[{package}\]"):
            load(checkpoint)
    assert not imported(tmp_path, package)
    plugins.use_plugins(package)
    with Detector.load(checkpoint) as detector:
        assert detector.card.plugins == [package]
        assert detector.face_detector == {"name": f"{package}.middle", "part": 0.9}
    assert imported(tmp_path, package)


def test_a_card_that_hides_its_plug_in_is_refused_all_the_same(package: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"it needs the plug-in {package}: add plugins=\[{package}\]"):
        resolve_model_config(model_of(package))
    with pytest.raises(ConfigError, match=f"it needs the plug-in {package}"):
        build_detector(f"{package}.middle")
    with pytest.raises(ConfigError, match=f"it needs the plug-in {package}"):
        aggregation_named(f"{package}.lowest")
    assert not imported(tmp_path, package)


def test_a_detector_without_plug_ins_has_a_card_that_older_versions_read(tiny_checkpoint: Path) -> None:
    card = read_card(tiny_checkpoint)
    assert card is not None
    assert "plugins" not in card.to_dict()


def test_an_installed_package_widens_nothing_until_its_entry_point_is_named(package: str, tmp_path: Path) -> None:
    info = tmp_path / "lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dfd.plugins]\nlab = {package}\n")
    sys.path.append(str(tmp_path))
    assert not plugins.is_opened(f"{package}.tiny")
    assert plugins.parts("backbone") == {}
    assert not imported(tmp_path, package)
    plugins.use_plugins("lab")
    assert plugins.needed_by([f"{package}.tiny"]) == ["lab"]
    assert plugins.missing(["lab"]) == []
    assert locate(f"{package}.tiny").__name__ == "tiny"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_package_anywhere", "there is no package 'no_such_package_anywhere'; install it"),
        ("a-b", "'a-b' is not the name of a package"),
    ],
)
def test_a_plug_in_that_cannot_be_had_is_named(package: str, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plugins.use_plugins(name)
    assert os.environ[plugins.VARIABLE] == ""


def test_an_error_in_a_plug_in_is_told_as_its_own(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "__init__.py").write_text("import no_such_library\n")
    with pytest.raises(ConfigError, match=f"{package} cannot be imported: ModuleNotFoundError: .*no_such_library"):
        plugins.use_plugins(package)


def test_a_kind_of_part_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="the kinds of parts are backbone"):
        plugins.register("backbon")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["torch.utils.collect_env.run", "dfd.base.files.os.system", "dfd.base.files.os"])
def test_no_function_that_starts_a_program_is_open_without_a_plug_in(target: str) -> None:
    with pytest.raises(ConfigError):
        locate(target)
    with pytest.raises(ConfigError):
        build({"_target_": "dfd.data.augment.transforms.clip_augmentation", "inner": {"_target_": target}})


def test_workers_find_the_plug_ins_of_the_process_that_started_them(package: str) -> None:
    plugins.use_plugins(package)
    code = f"from dfd.faces.detect import build_detector; print(build_detector('{package}.middle').name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "fixed_box", done.stderr


def test_a_plug_in_brings_option_files_of_its_own(package: str, tmp_path: Path) -> None:
    folder = tmp_path / package / "conf" / "backbone"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"# A tiny network.\n_target_: {package}.tiny\nwidth: 4  # channels\n")
    command = [sys.executable, ROOT / "train.py", "backbone=mine", "backbone.width=5", "--cfg", "job"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "there is no backbone of this name" in refused.stderr
    missed = subprocess.run([*command, "plugins=[no_such_package_anywhere]"], capture_output=True, text=True)
    assert missed.returncode == 1
    assert "there is no package 'no_such_package_anywhere'" in missed.stderr
    done = subprocess.run([*command, f"plugins=[{package}]"], capture_output=True, text=True)
    assert f"_target_: {package}.tiny\n  width: 5" in done.stdout, done.stderr
