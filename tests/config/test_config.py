"""The check that stands between a configuration and the code it would call."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dfd.base.errors import ConfigError
from dfd.config.build import build, locate
from dfd.config.check import check
from dfd.config.entry import parse_shard
from dfd.config.schemas import EvaluateConfig, PredictConfig

PREDICT = {"input": "a.mp4", "checkpoint": "d.safetensors"}


def test_a_misspelt_root_key_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"max_window: no such key; did you mean 'max_windows'\?"):
        check(OmegaConf.create({**PREDICT, "max_window": 3}), PredictConfig)


def test_a_misspelt_argument_of_a_target_is_refused_with_the_right_one() -> None:
    node = {"_target_": "dfd.faces.detect.mtcnn", "treshold": 0.8}
    with pytest.raises(ConfigError, match=r"face_detector.treshold: mtcnn has no .* did you mean 'threshold'\?"):
        check(OmegaConf.create({**PREDICT, "face_detector": node}), PredictConfig)


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check(OmegaConf.create({"input": "a", "checkpoint": "b", "devise": "cpu", "shards": "0/2"}), PredictConfig)
    assert "devise" in str(caught.value)
    assert "shards" in str(caught.value)


def test_a_missing_required_value_says_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match="checkpoint: required; add checkpoint="):
        check(OmegaConf.create({"input": "a.mp4", "checkpoint": "???"}), PredictConfig)


def test_a_missing_value_inside_a_group_says_how_to_give_it() -> None:
    data = {"_target_": "dfd.data.clips.module.ClipDataModule", "store": "???"}
    with pytest.raises(ConfigError, match=r"data\.store: required; add data\.store="):
        check(OmegaConf.create({"checkpoint": "a", "data": data}), EvaluateConfig)


def test_a_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_faces"):
        check(OmegaConf.create({**PREDICT, "max_faces": "many"}), PredictConfig)


@pytest.mark.parametrize("value", ["", "many"])
def test_text_where_a_function_takes_a_number_is_refused_by_its_key(value: str) -> None:
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": value}
    with pytest.raises(ConfigError, match=rf"face_detector\.lr: must be a number, got '{value}'"):
        check(OmegaConf.create({**PREDICT, "face_detector": node}), PredictConfig)


@pytest.mark.parametrize("target", ["os.system", "subprocess.run", "builtins.eval", "dfdevil.run"])
def test_a_config_cannot_name_code_outside_the_frameworks(target: str) -> None:
    with pytest.raises(ConfigError, match="is not in"):
        locate(target)
    with pytest.raises(ConfigError, match="is not in"):
        build({"_target_": target})


def test_a_misspelt_target_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'Adam'\?"):
        locate("torch.optim.Adm")


@pytest.mark.parametrize("text", ["2/2", "-1/2", "1", "a/b", "1/0"])
def test_an_impossible_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        parse_shard(text)


def test_no_shards_are_refused_without_an_empty_range() -> None:
    with pytest.raises(ConfigError, match="shard=0/0: the second number, of the shards, must be 1 or more"):
        parse_shard("0/0")


def test_a_misspelt_override_fails_before_anything_is_built(tmp_path: Path) -> None:
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, root / "train.py", "backbone.pretraind=false"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "did you mean backbone.pretrained=false?" in done.stderr
    assert not (tmp_path / "outputs").exists()
