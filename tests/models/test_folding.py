import copy

import pytest
import torch
from torch import nn

from dfd.models import backbones
from dfd.scoring.runtimes.folding import fold_batchnorm


def settled(network: nn.Module) -> nn.Module:
    """With statistics as training leaves them; fresh ones would hide a normalisation that is lost."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return network.eval()


@pytest.mark.parametrize(("name", "expected"), [("resnext50", 53), ("inception_v3", 94)])
def test_a_folded_network_computes_the_same(name: str, expected: int) -> None:
    network = settled(backbones.BACKBONES[name](pretrained=False).network)
    folded = copy.deepcopy(network)
    assert fold_batchnorm(folded) == expected
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.rand(2, 3, 80, 80)
    with torch.inference_mode():
        before, after = network(images), folded(images)
    torch.testing.assert_close(after / before.abs().max(), before / before.abs().max(), rtol=1e-4, atol=1e-5)


class Branching(nn.Module):
    """A convolution whose output goes elsewhere, too, and one that is normalised twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.a(x)
        return a + self.norm_b(self.b(self.norm_b(self.b(self.norm_a(a)))))


class Deciding(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm_a(self.a(x)) if x.sum() > 0 else x


class ByEachBatch(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))


class CalledByKeyword(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm_a(input=self.a(x))


class Sharing(Branching):
    """The weights of its convolution are used a second time, without calling it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm_a(self.a(x)) + nn.functional.conv2d(x, self.a.weight)


@pytest.mark.parametrize("kind", [Branching, Deciding, ByEachBatch, CalledByKeyword, Sharing])
def test_what_cannot_be_folded_is_left_as_it_is(kind: type[nn.Module]) -> None:
    network = settled(kind())
    images = torch.rand(1, 3, 4, 4)
    expected = network(images)
    assert fold_batchnorm(network) == 0
    assert torch.equal(network(images), expected)


def test_folding_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batchnorm(Branching())


@pytest.mark.parametrize(
    ("name", "pads", "expected"),
    [("tf_efficientnet_b0", None, 49), ("tf_efficientnet_b0", 224, 49), ("resnet10t", None, 14)],
)
def test_networks_of_timm_are_folded_with_their_activations_and_paddings(
    name: str, pads: int | None, expected: int
) -> None:
    network = settled(backbones.timm(name=name, pretrained=False, pads=pads).network)
    folded = copy.deepcopy(network)
    assert fold_batchnorm(folded) == expected
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.rand(2, 3, 75, 75)
    with torch.inference_mode():
        before, after = network(images), folded(images)
    torch.testing.assert_close(after / before.abs().max(), before / before.abs().max(), rtol=1e-4, atol=1e-5)
