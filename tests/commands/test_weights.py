"""``dfd weights prefetch``: the weights of a training are fetched where there is a network."""

import contextlib
from pathlib import Path

import pytest
import torch
import torchvision

from dfd.commands.adopt.prefetch import main


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


def test_weights_that_are_there_are_said_to_be_and_others_are_named_with_their_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["prefetch", "backbone=timm", "backbone.name=test_resnet"]
    assert main([*words, "backbone.pretrained=false"]) == 0
    assert "test_resnet: begins from random weights" in capsys.readouterr().out
    assert main([*words, f"backbone.weights={tmp_path}/none.pth"]) == 1
    assert "none.pth: no such file" in capsys.readouterr().err


def test_an_experiment_names_its_backbone_whose_weights_are_found_in_torchs_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    from dfd.models import backbones

    asked = []
    monkeypatch.setattr(backbones, "_torchvision_file", lambda known, **_: asked.append(known.name) or saved)
    saved = tmp_path / "resnext50.pth"
    torch.save(torchvision.models.resnext50_32x4d(weights=None).state_dict(), saved)
    assert main(["prefetch", "thesis_resnext50"]) == 0
    assert asked == ["resnext50_32x4d-7cdf4587.pth"]
    assert "resnext50: its weights are in the cache" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prefetch"], "is missing"),
        (["fetch", "modern"], "did you mean"),
        (["prefetch", "moderm"], "did you mean"),
        (["prefetch", "backbone=resnext5"], "did you mean"),
    ],
)
def test_what_is_mistyped_is_refused_with_what_was_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert main(words) == 1
    assert said in capsys.readouterr().err
