"""Autoencoders trained on real faces take a generator's fingerprint out of clips."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dfd.base.errors import CheckpointError, ConfigError
from dfd.commands.adopt.resynthesis import Resynthesis, fit_autoencoder, psnr_of
from dfd.data.augment.disturbances import NUM_LEVELS, chosen
from dfd.data.augment.transforms import clip_augmentation
from dfd.models.networks.systems.autoencoder import (
    CODE_SIZES,
    Autoencoder,
    AutoencoderCard,
    AutoencoderFacts,
    Autoencoders,
    resynthesised,
    write_autoencoders,
)
from tests.conftest import drawn_frames

WITHOUT_OTHERS = {"flip_prob": 0, "crop_prob": 0, "color_prob": 0, "blur_prob": 0, "jpeg_prob": 0}


def pictures(*seeds: int, side: int = 48) -> torch.Tensor:
    """Smooth shapes at the sides and grain, uint8 (N, 3, side, side)."""
    frames = torch.cat([torch.from_numpy(drawn_frames(seed, num_frames=4, side=side)) for seed in seeds])
    smooth = torch.nn.functional.avg_pool2d(frames.permute(0, 3, 1, 2).float(), 5, stride=1, padding=2)
    return smooth.round().to(torch.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of untrained autoencoders of all code sizes."""
    torch.manual_seed(0)
    networks = {size: Autoencoder(size) for size in CODE_SIZES}
    card = AutoencoderCard({str(size): AutoencoderFacts(0, None) for size in CODE_SIZES}, "0", {}, {})
    path = tmp_path_factory.mktemp("weights") / "fingerprint.safetensors"
    write_autoencoders(path, Autoencoders(networks, card))
    return str(path)


def test_the_disturbance_passes_each_level_through_the_autoencoder_of_its_code_size(weights: str) -> None:
    disturbance = chosen(["fingerprint"], fingerprint_weights=weights)[0]
    assert disturbance.levels == (256, 64, 32, 8, 4)
    clip = pictures(1)
    levels = [copy.deepcopy(disturbance.disturb(level))(clip, "anna") for level in range(NUM_LEVELS + 1)]
    assert torch.equal(levels[0], clip)
    assert all(level.shape == clip.shape and level.dtype == torch.uint8 for level in levels)
    assert len({level.sum().item() for level in levels}) == len(levels)


def test_without_weights_the_disturbance_says_which_command_makes_them_and_all_means_the_others(weights: str) -> None:
    with pytest.raises(ValueError, match=r"fingerprint needs the weights .* dfd fingerprint store=DIR output=FILE"):
        chosen(["blur", "fingerprint"])
    assert "fingerprint" not in [one.name for one in chosen(None)]
    assert [one.name for one in chosen(None, fingerprint_weights=weights)][-1] == "fingerprint"


def test_a_file_without_one_of_the_code_sizes_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    card = AutoencoderCard({"32": AutoencoderFacts(0, None)}, "0", {}, {})
    write_autoencoders(tmp_path / "a.safetensors", Autoencoders({32: Autoencoder(32)}, card))
    with pytest.raises(CheckpointError, match="no autoencoder with a code of 256 channels; the file has 32"):
        chosen(["fingerprint"], fingerprint_weights=tmp_path / "a.safetensors")


def test_scores_of_other_weights_are_kept_apart(weights: str, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(Path(weights).read_bytes() + b" ")
    disturbance = chosen(["fingerprint"], fingerprint_weights=weights)[0]
    assert "" != disturbance.version != replace(disturbance, weights=str(other)).version
    assert chosen(["blur"])[0].version == ""


def test_as_augmentation_it_draws_one_autoencoder_for_a_whole_clip(weights: str) -> None:
    augment = clip_augmentation(**WITHOUT_OTHERS, fingerprint_prob=1.0, fingerprint_weights=weights)
    clip = pictures(1)[:1].repeat(3, 1, 1, 1)
    drawn = {augment(clip)[0].sum().item() for _ in range(20)}
    after = augment(clip)
    assert torch.equal(after[0], after[2])
    assert 2 <= len(drawn) <= len(CODE_SIZES)
    with pytest.raises(ValueError, match=r"fingerprint_prob needs the weights .* dfd fingerprint"):
        clip_augmentation(fingerprint_prob=0.2)


def test_without_it_the_other_draws_stay_as_they_were(weights: str) -> None:
    plain, never = clip_augmentation(), clip_augmentation(fingerprint_weights=weights)
    torch.manual_seed(3)
    first = plain(pictures(2))
    torch.manual_seed(3)
    assert torch.equal(first, never(pictures(2)))


def test_training_repeats_itself_and_leaves_the_global_generator_alone() -> None:
    options = Resynthesis(num_steps=2, batch_size=2, patch=16)
    before = torch.get_rng_state()
    first = fit_autoencoder(pictures(1), 4, options).state_dict()
    again = fit_autoencoder(pictures(1), 4, options).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("option", [{"num_steps": 0}, {"batch_size": 0}, {"patch": 20}, {"rate": 0.0}])
def test_options_out_of_range_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        Resynthesis(**option)


@pytest.fixture(scope="module")
def trained() -> dict[int, Autoencoder]:
    train = pictures(*range(1, 17))
    options = Resynthesis(num_steps=300, batch_size=8, patch=32)
    return {size: fit_autoencoder(train, size, options) for size in (32, 4)}


@pytest.mark.slow
def test_what_is_kept_of_held_back_pictures_rises_with_the_code_size(trained: dict[int, Autoencoder]) -> None:
    held_back = pictures(101, 102, 103)
    values = {size: float(torch.tensor(psnr_of(network, held_back)).mean()) for size, network in trained.items()}
    print(values)
    assert values[4] + 1 < values[32]
    assert values[32] > 21


def grid_peak(pictures_NCHW: torch.Tensor) -> float:
    """How far the highest horizontal frequency, in which a doubled picture has its grid, stands out, in dB."""
    rows = pictures_NCHW.float() - pictures_NCHW.float().mean(dim=-1, keepdim=True)
    steps = rows.diff(dim=-1)
    spectrum = torch.fft.rfft(steps, dim=-1).abs().square().mean(dim=(0, 1, 2))
    return float(10 * (spectrum[-2:].mean() / spectrum[spectrum.numel() // 2 : -2].median()).log10())


@pytest.mark.slow
def test_the_grid_of_a_picture_doubled_by_repeating_pixels_falls(trained: dict[int, Autoencoder]) -> None:
    doubled = pictures(101, 102, side=32).repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    peaks = {size: grid_peak(resynthesised(network, doubled)) for size, network in trained.items()}
    print(grid_peak(doubled), peaks)
    assert all(peak < grid_peak(doubled) - 3 for peak in peaks.values())
