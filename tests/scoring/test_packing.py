"""Packed linear layers compute what the network computed, and heat maps still see through them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dfd.models import temporal
from dfd.models.backbones import Backbone
from dfd.models.classifier import ClipClassifier
from dfd.models.networks.paddings import PaddedConv2d
from dfd.scoring.explain import clip_evidence
from dfd.scoring.runtimes.packing import (
    PackedConv2d,
    PackedLinear,
    can_pack,
    is_mostly_linear,
    pack_convolutions,
    pack_linear,
)

pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN")

TRANSFORMERS = {
    "vit_large_patch14_clip_quickgelu_224": {"img_size": 56},
    "vit_pe_core_large_patch14_336": {"img_size": 56},
    "vit_large_patch16_dinov3_qkvb": {"img_size": 64, "global_pool": "token"},
    "vit_base_patch16_224": {"img_size": 64},
}


def classifier(name: str, **options: object) -> ClipClassifier:
    """Network of two blocks; those of timm differ in attention, positions, pooling and activation."""
    from timm import create_model

    torch.manual_seed(0)
    network = create_model(name, num_classes=0, depth=2, **options)
    backbone = Backbone(network, num_features=network.num_features, input_size=options["img_size"])
    model = ClipClassifier(backbone, temporal.mean(network.num_features))
    for parameter in model.parameters():  # biases begin with zeros, which would hide that one is lost
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.1, 0.5)
    return model.eval()


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_packed_transformer_gives_the_same_probabilities_and_evidence(name: str) -> None:
    model = classifier(name, **TRANSFORMERS[name])
    packed = copy.deepcopy(model)
    assert is_mostly_linear(model.backbone)
    assert pack_linear(packed.backbone) >= 8
    assert sum(p.numel() for p in packed.parameters()) < 0.2 * sum(p.numel() for p in model.parameters())
    frames = torch.rand(2, 3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(packed.features(frames), model.features(frames), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(packed(frames).softmax(-1), model(frames).softmax(-1), rtol=0, atol=1e-5)
    expected, found = (clip_evidence(one, frames[0]) for one in (model, packed))
    torch.testing.assert_close(found.by_frame, expected.by_frame, rtol=1e-3, atol=1e-4)
    if "dinov3" in name:  # the layer of its queries, keys and values, which it did not call before
        assert found.layer == "network.blocks.1.attn.qkv"
        return
    assert found.layer == expected.layer
    scale = expected.by_place.abs().max()
    torch.testing.assert_close(found.by_place / scale, expected.by_place / scale, rtol=0, atol=1e-3)


@pytest.mark.parametrize("activation", ["none", "gelu", "swish"])
def test_gradients_pass_a_packed_layer_as_they_pass_the_layer(activation: str) -> None:
    layer = nn.Linear(600, 500)
    after = {"none": nn.Identity(), "gelu": nn.GELU(), "swish": nn.SiLU()}[activation]
    packed = PackedLinear(layer, activation=activation)
    torch.testing.assert_close(packed.weight, layer.weight)
    inputs = [torch.randn(7, 600, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    outputs = [after(layer(inputs[0])), packed(inputs[1])]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(packed(inputs[1]), outputs[0].detach(), rtol=1e-4, atol=1e-5)


def test_small_layers_and_other_activations_stay_as_they_are() -> None:
    from timm.layers import Mlp

    network = nn.Sequential(Mlp(512, 1024, act_layer=nn.ReLU), nn.Linear(512, 8), nn.GELU()).eval()
    expected = copy.deepcopy(network)
    assert pack_linear(network) == 2
    assert isinstance(network.get_submodule("0.act"), nn.ReLU)
    assert type(network[1]) is nn.Linear
    x = torch.randn(4, 512)
    torch.testing.assert_close(network(x), expected(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pack", [pack_linear, pack_convolutions])
def test_packing_in_training_mode_is_refused(pack: Callable[[nn.Module], int]) -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        pack(nn.Linear(1000, 1000))


CONVOLUTIONS = {
    "grouped": nn.Conv2d(16, 32, 3, padding=1, groups=4, bias=False),
    "of each channel": nn.Conv2d(16, 16, 5, stride=2, padding=2, groups=16),
    "across channels": nn.Conv2d(16, 24, 1),
    "dilated": nn.Conv2d(16, 8, (3, 5), padding=(2, 4), dilation=2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_packed_convolution_gives_the_same_output_and_gradient(kind: str) -> None:
    layer = CONVOLUTIONS[kind]
    packed = PackedConv2d(layer)
    torch.testing.assert_close(packed.weight, layer.weight, rtol=0, atol=0)
    inputs = [torch.randn(3, 16, 20, 14, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    for x in (inputs[0], inputs[0].contiguous(memory_format=torch.channels_last)):
        with torch.inference_mode():
            torch.testing.assert_close(packed(x), layer(x), rtol=1e-5, atol=1e-6)
    for one, x in zip((layer, packed), inputs, strict=True):
        one(x.requires_grad_()).square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-5, atol=1e-5)


def test_convolutions_with_other_paddings_stay_as_they_are() -> None:
    kept = [nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")]
    network = nn.Sequential(*kept, PaddedConv2d(nn.Conv2d(4, 4, 3), 0, 1), nn.Conv2d(4, 4, 3)).eval()
    assert pack_convolutions(network) == 1
    assert list(network)[:2] == kept
    assert isinstance(network[3], PackedConv2d)


class Shared(nn.Module):
    """Convolutions whose activations may not become part of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 1) for _ in range(3))
        self.shared, self.own, self.other = nn.ReLU(), nn.ReLU(), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call one activation twice, use one output twice, and end with an activation of another kind."""
        x = self.shared(self.shared(self.first(x)) - 0.5)
        y = self.second(x)
        return self.other(self.third(self.own(y) + y))


def test_activations_that_are_shared_or_do_not_take_all_of_an_output_stay_apart() -> None:
    torch.manual_seed(0)
    network = Shared().eval()
    expected, x = copy.deepcopy(network), torch.randn(2, 4, 5, 5)
    assert pack_convolutions(network) == 3
    assert {module.activation[0] for module in network.modules() if isinstance(module, PackedConv2d)} == {"none"}
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected(x), rtol=1e-5, atol=1e-6)


def test_heat_maps_see_through_packed_convolutions() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(inplace=True)),
        *(nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4), nn.Identity(), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    model = ClipClassifier(Backbone(network, num_features=12, input_size=16), temporal.mean(12)).eval()
    packed = copy.deepcopy(model)
    assert pack_convolutions(packed.backbone.network) == 2
    assert [module.activation[0] for module in packed.modules() if isinstance(module, PackedConv2d)] == [
        "hardtanh",
        "relu",
    ]
    frames = torch.rand(3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(packed(frames[None]), model(frames[None]), rtol=1e-5, atol=1e-6)
    expected, found = (clip_evidence(one, frames) for one in (model, packed))
    assert found.layer == expected.layer
    torch.testing.assert_close(found.by_place, expected.by_place, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.by_frame, expected.by_frame, rtol=1e-4, atol=1e-6)
