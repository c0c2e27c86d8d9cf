"""GANprintR's autoencoder: its size, its shapes and its file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dfd.base.errors import CheckpointError
from dfd.models.networks.systems.autoencoder import (
    CARD_KEY,
    Autoencoder,
    AutoencoderCard,
    AutoencoderFacts,
    Autoencoders,
    read_autoencoders,
    resynthesised,
    write_autoencoders,
)

CARD = AutoencoderCard({"4": AutoencoderFacts(3, 20.5)}, "0", {"store": "mine"}, {})


@pytest.mark.parametrize(
    ("code_size", "num_parameters"),
    [
        *((1, 188_804), (4, 195_719), (8, 204_939), (16, 223_379)),
        *((32, 260_259), (64, 334_019), (128, 481_539), (256, 776_579)),
    ],
)
def test_it_has_the_published_number_of_parameters(code_size: int, num_parameters: int) -> None:
    assert sum(parameter.numel() for parameter in Autoencoder(code_size).parameters()) == num_parameters


@pytest.mark.parametrize("sides", [(112, 112), (8, 16), (224, 224)])
def test_it_takes_sides_that_are_divisible_by_8_and_gives_back_values_of_0_or_more(sides: tuple[int, int]) -> None:
    network = Autoencoder(4)
    code, _ = network.encode(torch.rand(2, 3, *sides))
    restored = network(torch.rand(2, 3, *sides))
    assert code.shape == (2, 4, sides[0] // 8, sides[1] // 8)
    assert restored.shape == (2, 3, *sides)
    assert restored.min() >= 0


def test_other_sides_are_refused_with_the_size_that_was_given() -> None:
    with pytest.raises(ValueError, match=r"divisible by 8, got 40 x 36 px"):
        Autoencoder(4)(torch.rand(1, 3, 36, 40))


@pytest.mark.parametrize("code_size", [0, -1, 1025, 2.5, True])
def test_a_code_size_that_is_none_is_refused(code_size: int) -> None:
    with pytest.raises(ValueError, match="code_size must be"):
        Autoencoder(code_size)


def test_no_colour_is_without_a_gradient_before_training() -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        network = Autoencoder(4)
        images = torch.rand(2, 3, 16, 16)
        loss = nn.functional.mse_loss(network(images), images)
        last = network.decoder[-1].bias
        assert isinstance(last, nn.Parameter)
        assert (torch.autograd.grad(loss, last)[0] != 0).all()


def test_a_clip_keeps_its_shape_and_type_and_each_frame_is_its_own() -> None:
    network = Autoencoder(4).eval()
    frames_TCHW = torch.randint(0, 256, (20, 3, 27, 35), dtype=torch.uint8)
    whole = resynthesised(network, frames_TCHW)
    assert whole.shape == frames_TCHW.shape
    assert whole.dtype == torch.uint8
    assert not whole.requires_grad
    alone = resynthesised(network, frames_TCHW[17:18])
    assert (whole[17:18].int() - alone.int()).abs().max() <= 1  # convolutions of other batches round otherwise


def test_values_above_1_are_clipped() -> None:
    network = Autoencoder(4).eval()
    last = network.decoder[-1].bias
    assert isinstance(last, nn.Parameter)
    nn.init.constant_(last, 7.0)
    assert (resynthesised(network, torch.zeros(1, 3, 8, 8, dtype=torch.uint8)) == 255).all()


def test_a_file_gives_back_the_weights_and_the_card(tmp_path: Path) -> None:
    network = Autoencoder(4)
    write_autoencoders(path := tmp_path / "a.safetensors", Autoencoders({4: network}, CARD))
    read = read_autoencoders(path)
    assert read.card == CARD
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(read.of_size(4)(images), network(images))
    assert not any(parameter.requires_grad for parameter in read.of_size(4).parameters())
    with pytest.raises(CheckpointError, match=r"no autoencoder with a code of 8 channels; the file has 4"):
        read.of_size(8)


def test_a_missing_file_and_one_of_another_kind_are_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file of autoencoders .* dfd fingerprint store=DIR output="):
        read_autoencoders(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, other := tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no card of autoencoders.*dfd fingerprint"):
        read_autoencoders(other)
    save_file({"8.a": torch.zeros(1)}, other, {CARD_KEY: '{"autoencoders": {"4": {"num_steps": 1, "psnr": 2.0}}}'})
    with pytest.raises(CheckpointError, match="not a file of autoencoders"):
        read_autoencoders(other)
