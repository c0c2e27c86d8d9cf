"""Linear layers in 16 and 8 bits: near the layer they replace, and blind to the other crops of a batch."""

import copy

import pytest
import torch
from torch import nn

from dfd.base.errors import ConfigError
from dfd.models import temporal
from dfd.models.backbones import Backbone
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.scoring.explain import clip_evidence
from dfd.scoring.runtimes import runtime as runtimes
from dfd.scoring.runtimes.packing import PackedLinear
from dfd.scoring.runtimes.reduced import Bf16Linear, Int8Linear, has_bf16, has_int8
from dfd.scoring.runtimes.runtime import TorchRuntime

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this CPU has no products of 8-bit integers")
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has no packed products of 16-bit floats")
KINDS = [pytest.param(Int8Linear, marks=needs_int8), pytest.param(Bf16Linear, marks=needs_bf16)]


@pytest.fixture(scope="module")
def transformer() -> tuple[ClipClassifier, DetectorCard]:
    from timm import create_model

    torch.manual_seed(0)
    network = create_model("vit_base_patch16_clip_quickgelu_224", num_classes=0, depth=2, img_size=64)
    backbone = Backbone(network, num_features=network.num_features, input_size=64)
    model = ClipClassifier(backbone, temporal.mean(network.num_features)).eval()
    return model, DetectorCard(model={}, image_size=64, clip_len=1)


def clips(number: int) -> torch.Tensor:
    return torch.randint(0, 256, (number, 1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["none", "gelu", "swish"])
def test_a_layer_of_fewer_bits_is_near_the_layer(kind: type[PackedLinear], activation: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(600, 500)
    after = {"none": nn.Identity(), "gelu": nn.GELU(), "swish": nn.SiLU()}[activation]
    reduced = kind(layer, activation=activation)
    inputs = [torch.randn(2, 400, 600, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    outputs = [after(layer(inputs[0])), reduced(inputs[1])]
    assert outputs[1].dtype is torch.float32
    assert (outputs[1] - outputs[0]).abs().max() < 0.02 * outputs[0].abs().max()
    assert not torch.equal(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    gradients = [given.grad for given in inputs]
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert (gradients[1] - gradients[0]).abs().max() < 0.03 * gradients[0].abs().max()


@needs_int8
def test_a_token_of_large_values_takes_no_accuracy_from_others() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(600, 500)
    reduced = Int8Linear(layer)
    rows = torch.randn(4, 600)
    alone = reduced(rows)
    assert torch.equal(reduced(torch.cat([rows, 1000 * rows]))[:4], alone)
    assert reduced(torch.full((1, 600), torch.nan)).isnan().all()


@pytest.mark.parametrize(
    ("precision", "most"),
    [pytest.param("int8", 0.01, marks=needs_int8), pytest.param("bf16", 0.01, marks=needs_bf16)],
)
def test_a_tuned_transformer_of_fewer_bits_scores_nearly_the_same_whatever_is_beside_a_clip(
    transformer: tuple[ClipClassifier, DetectorCard], precision: str, most: float
) -> None:
    model, card = transformer
    expected = TorchRuntime(model, card, "cpu").prob_fake(clips(3))
    reduced = TorchRuntime(copy.deepcopy(model), card, "cpu", precision=precision)
    reduced.tune()
    found = reduced.prob_fake(clips(3))
    assert found == pytest.approx(expected, abs=most)
    assert found != expected
    if precision == "int8":
        assert reduced.prob_fake(clips(3)[1:2]) == pytest.approx(found[1:2], abs=1e-6)
    evidence = clip_evidence(reduced.model, clips(3)[0].float())
    assert evidence.by_place.isfinite().all()


@needs_int8
def test_8_bits_are_refused_for_a_network_without_large_linear_layers_and_on_a_gpu() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ClipClassifier(Backbone(network, num_features=8), temporal.mean(8))
    with pytest.raises(ConfigError, match="precision=int8 is for vision transformers"):
        TorchRuntime(model, DetectorCard(model={}, image_size=64, clip_len=1), "cpu", precision="int8")
    with pytest.raises(ConfigError, match="on CPUs alone, not on cuda; use precision=bf16"):
        runtimes.pick_precision("int8", torch.device("cuda"))


def test_8_bits_are_refused_on_a_cpu_without_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": False})
    with pytest.raises(ConfigError, match="this CPU has none"):
        runtimes.pick_precision("int8", torch.device("cpu"))
