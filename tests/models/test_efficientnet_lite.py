"""EfficientNet-Lite as dfd writes it down is what timm calls so: the same function, weights, names and refusals."""

import copy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from timm import create_model
from torch import nn

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.models import backbones
from dfd.models.backbones import Backbone
from dfd.models.classifier import ClipClassifier
from dfd.models.networks.efficientnet_lite import EPSILON, HEAD, SCALES, EfficientNetLite, same_padded
from dfd.models.temporal import MeanHead
from dfd.scoring.explain import clip_evidence
from dfd.scoring.runtimes.folding import fold_batchnorm
from tests.models.test_folding import settled

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=SCALES)
def both(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's with the same weights, whose statistics are not those of a fresh network."""
    ours = settled(EfficientNetLite(*SCALES[request.param]))
    theirs = create_model(request.param, pretrained=False, num_classes=0)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def assert_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    scale = theirs.abs().max()
    torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-5, atol=1e-5)


def test_names_shapes_and_order_of_the_weights_are_timms(both: tuple[nn.Module, nn.Module]) -> None:
    """The order, too: an optimizer's state in a checkpoint has no names."""
    ours, theirs = both
    listed = [[(name, tensor.shape) for name, tensor in network.state_dict().items()] for network in both]
    assert listed[0] == listed[1]
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]


@pytest.mark.parametrize("shape", [(64, 64), (97, 80)])
def test_features_are_timms(both: tuple[nn.Module, nn.Module], shape: tuple[int, int]) -> None:
    ours, theirs = (network.eval() for network in both)
    images = torch.rand(2, 3, *shape)
    with torch.inference_mode():
        assert_alike(ours(images), theirs(images))


def test_a_step_of_training_is_timms(both: tuple[nn.Module, nn.Module]) -> None:
    ours, theirs = (copy.deepcopy(network).train() for network in both)
    images = torch.rand(4, 3, 65, 64)
    features = [network(images) for network in (ours, theirs)]
    assert_alike(*features)
    for each in features:
        each.square().mean().backward()
    assert_alike(ours.conv_stem.weight.grad, theirs.conv_stem.weight.grad)
    for name, buffer in ours.named_buffers():
        assert_alike(buffer.double(), theirs.get_buffer(name).double())


def test_the_first_weights_are_as_tensorflow_draws_them() -> None:
    network = EfficientNetLite(1.0, 1.0)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for layer in convolutions:
        fan_out = layer.kernel_size[0] ** 2 * (1 if layer.groups > 1 else layer.out_channels)
        share_of_error = 5 / (2 * layer.weight.numel()) ** 0.5  # five standard errors of a standard deviation
        assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=share_of_error)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == len(convolutions) == 49
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() and norm.eps == EPSILON for norm in norms)


@pytest.mark.parametrize("name", [*SCALES, f"{LITE0}.in1k"])
def test_the_backbone_describes_itself_as_timm_does(name: str) -> None:
    theirs = create_model(name, pretrained=False, num_classes=0)
    backbone = backbones.timm(name=name, pretrained=False)
    assert isinstance(backbone.network, EfficientNetLite)
    assert backbone.mean == tuple(theirs.pretrained_cfg["mean"])
    assert backbone.std == tuple(theirs.pretrained_cfg["std"])
    assert backbone.num_features == theirs.num_features
    assert not theirs.pretrained_cfg["fixed_input_size"]
    assert backbone.input_size is None
    assert backbones.timm(name=name, pretrained=False, input_size=160).input_size == 160


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_timms_file_loads_and_its_classifier_is_left_out(tmp_path, suffix):
    state = create_model(LITE0, pretrained=False).state_dict()
    assert set(HEAD) < set(state)
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = backbones.timm(name=LITE0, weights=str(path)).network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
    with pytest.raises(WeightsMissing, match="of another shape: "):
        backbones.timm(name="tf_efficientnet_lite2", weights=str(path))


def test_pretrained_weights_come_from_timms_place_on_the_hub(monkeypatch, tmp_path):
    state = create_model(LITE0, pretrained=False).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    asked = []

    def from_cache(repo, name):
        asked.append((repo, name))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", from_cache)
    loaded = backbones.timm(name=LITE0).network.state_dict()
    assert asked == [("timm/tf_efficientnet_lite0.in1k", "model.safetensors")]
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": f"{LITE0}.nope"}, "tf_efficientnet_lite0 has no weights 'nope'; it has in1k"),
        ({"name": "tf_efficientnet_lite5"}, "no model 'tf_efficientnet_lite5'; did you mean tf_efficientnet_lite"),
        ({"name": LITE0, "input_size": 0}, "backbone.input_size=0: tf_efficientnet_lite0 takes 1 or more pixels"),
    ],
)
def test_what_timm_does_not_have_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        backbones.timm(pretrained=False, **options)


def test_every_normalisation_can_be_folded_away() -> None:
    network = settled(EfficientNetLite(1.0, 1.0))
    folded = copy.deepcopy(network)
    assert fold_batchnorm(folded) == 49
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.rand(2, 3, 80, 97)
    with torch.inference_mode():
        before, after = network(images), folded(images)
    torch.testing.assert_close(after / before.abs().max(), before / before.abs().max(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [64, 96, 160])  # of 64 and 96 px the last layers leave too little to point at
@pytest.mark.parametrize("is_folded", [False, True])
def test_heat_is_where_it_is_with_timms(side: int, is_folded: bool) -> None:
    ours = settled(EfficientNetLite(1.0, 1.0))
    theirs = create_model(LITE0, pretrained=False, num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict())
    models = [ClipClassifier(Backbone(n, num_features=1280), MeanHead(1280), dropout=0.0) for n in (ours, theirs)]
    models[1].load_state_dict(models[0].state_dict())
    if is_folded:
        assert fold_batchnorm(models[0].backbone.network.eval())
    clip = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
    evidence, expected = (clip_evidence(model.eval(), clip) for model in models)
    assert evidence.by_place.shape[1] >= 4
    scale = expected.by_place.abs().max()
    torch.testing.assert_close(evidence.by_place / scale, expected.by_place / scale, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(evidence.by_frame, expected.by_frame, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("side", "expected"), [(8, (0, 1)), (9, (1, 1))])
def test_an_even_side_is_padded_behind_only(side: int, expected: tuple[int, int]) -> None:
    padded = same_padded(torch.ones(1, 1, side, side), kernel=3, stride=2)[0, 0]
    assert padded.shape == (side + sum(expected),) * 2
    for ones in (padded.amax(dim=0), padded.amax(dim=1)):
        assert (int(ones.argmax()), int(ones.flip(0).argmax())) == expected


def test_the_starter_scores_without_timm_and_what_it_brings() -> None:
    code = (
        "import sys, torch\n"
        "from dfd.scoring.detector import Detector\n"
        "from dfd.models.starter import FILE\n"
        "detector = Detector.load(FILE, runtime='torch', tuned=True)\n"
        "(prob,) = detector.runtime.prob_fake(torch.randint(0, 256, (1, 1, 3, 112, 112), dtype=torch.uint8))\n"
        "assert 0 < prob < 1\n"
        "print([m for m in ('timm', 'torchvision', 'torch._dynamo', 'wandb', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
