"""``dfd fingerprint`` trains autoencoders on a store's real faces and goes on where it was stopped."""

from pathlib import Path

import pytest

from dfd.commands.adopt.fingerprint import main
from dfd.models.networks.systems.autoencoder import read_autoencoders


def run(store: Path, output: Path, *more: str) -> int:
    return main([f"store={store}", f"output={output}", "num_steps=2", "batch_size=2", "patch=16", *more])


def test_it_writes_a_file_and_a_sheet_says_the_psnr_and_trains_only_what_is_missing(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "fingerprint.safetensors"
    assert run(tiny_store, output, "code_sizes=4") == 0
    first = read_autoencoders(output)
    assert run(tiny_store, output, "code_sizes=8,4") == 0
    both = read_autoencoders(output)
    assert [*both.networks] == [8, 4]
    assert (both.of_size(4).encoder[0].weight == first.of_size(4).encoder[0].weight).all()  # type: ignore[union-attr]
    assert both.card.autoencoders["8"].num_steps == 2
    assert both.card.data["num_held_back"] > 0
    assert output.with_suffix(".png").exists()
    assert "PSNR" in capsys.readouterr().out
    assert str(tmp_path) not in str(both.card)
    assert run(tiny_store, output, "code_sizes=8,4", "seed=1") == 1
    assert "was made in another way (seed was 0 and is 1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [("code_sizes=0", "--code-sizes 0"), ("patch=20", "patch must be divisible by 8"), ("max_pictures=0", "--max-p")],
)
def test_options_that_cannot_be_are_refused(
    word: str, said: str, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_store, tmp_path / "a.safetensors", word) == 1
    assert said in capsys.readouterr().err
    assert main([f"store={tiny_store}", f"output={tmp_path / 'a.pt'}"]) == 1
    assert "written as .safetensors" in capsys.readouterr().err
