"""The detector that comes with dfd: small, with its card, and run by its name."""

from pathlib import Path

import pytest
import torch

from dfd import Detector
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.models.files.scope import Scope
from dfd.models.starter import FILE, FILES, checkpoint_path, title_of
from dfd.models.starter.initial_weights import MODELS, main, renamed

MAX_BYTES = 8_000_000


def test_it_is_small_and_says_what_it_is_trained_on() -> None:
    assert FILE.stat().st_size <= MAX_BYTES
    assert "fakes made from them by blending" in FILE.with_suffix(".md").read_text()
    model, card = load_model(FILE)
    assert card.data["blend"]
    assert card.data["splits"]["train"]["labels"]["fake"] == 0  # real faces alone
    assert (card.clip_len, card.image_size) == (1, 192)
    assert "/" not in str(card.model["backbone"]["weights"])
    with torch.inference_mode():
        logits = model(torch.randint(0, 256, (2, 1, 3, 192, 192), dtype=torch.uint8))
    assert logits.isfinite().all()


def test_its_name_is_a_checkpoint() -> None:
    assert checkpoint_path("starter") == FILE
    assert checkpoint_path("~/starter.safetensors") == Path("~/starter.safetensors").expanduser()


@pytest.mark.parametrize("half", [True, False])
def test_it_gives_no_verdict_under_any_name(tmp_path: Path, half: bool) -> None:
    model, card = load_model(FILE)
    path = tmp_path / "mine.safetensors"
    save_safetensors(path, model, card, half=half)
    with Detector.load(path, device="cpu", num_workers=1) as detector:
        assert not detector.gives_verdicts
        assert detector.caveat == card.caveat
        assert "dfd adopt" in detector.describe()["no_verdict"]


def test_the_rendering_expert_is_found_by_its_name_and_claims_only_what_was_shown() -> None:
    path = checkpoint_path("rendering")
    assert title_of(path) == "rendering"
    assert sum(file.stat().st_size for file in FILES.values()) <= MAX_BYTES
    model, card = load_model(path)
    scope = Scope.of(card.scope)
    assert scope.shown == ["reenactment", "talking_head"]
    assert not scope.may_say_real
    assert card.no_verdict
    frames = torch.randint(0, 256, (1, card.clip_len, 3, card.image_size, card.image_size), dtype=torch.uint8)
    with torch.inference_mode():
        assert model(frames).isfinite().all()


def test_python_loads_it_by_its_name() -> None:
    with Detector.load("starter", device="cpu", num_workers=1) as detector:
        assert detector.name.startswith(f"{FILE.stem}@")
        assert detector.card == load_model(FILE)[1]


def test_initial_weights_are_renamed_by_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from timm import create_model

    torch.manual_seed(3)
    theirs = create_model(MODELS[0], pretrained=False).eval()
    given = {
        f"other.{number}": tensor
        for number, (name, tensor) in enumerate(theirs.state_dict().items())
        if not name.endswith("num_batches_tracked")
    }
    torch.save(given, tmp_path / "given.pth")
    assert main([str(tmp_path / "given.pth"), str(tmp_path / "timm.safetensors")]) == 0
    ours = create_model(MODELS[0], pretrained=False).eval()
    ours.load_state_dict(renamed(given))
    pictures = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(pictures), theirs(pictures))
    assert main([str(tmp_path / "given.pth"), str(tmp_path / "no.safetensors"), "--model", MODELS[1]]) == 1
    assert f"{MODELS[1]} has" in capsys.readouterr().err
    given.pop("other.0")
    torch.save(given, tmp_path / "short.pth")
    assert main([str(tmp_path / "short.pth"), str(tmp_path / "no.safetensors")]) == 1
    assert "short.pth: holds" in capsys.readouterr().err
    assert not (tmp_path / "no.safetensors").exists()
