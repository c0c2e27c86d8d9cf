import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.models import backbones, pretrained
from dfd.models.backbones import Backbone
from dfd.models.pretrained import INCEPTION_V3_WEIGHTS, RESNEXT50_WEIGHTS

BUILDERS = {
    "resnext50": lambda **options: backbones.resnext50(**options),
    "inception_v3": lambda **options: backbones.inception_v3(**options),
    "resnet10t": lambda **options: backbones.timm(name="resnet10t", **options),
    "mobilenetv3_small_050": lambda **options: backbones.timm(name="mobilenetv3_small_050", **options),
    "test_vit": lambda **options: backbones.timm(name="test_vit", **options),
}


@pytest.fixture(scope="module", params=BUILDERS)
def backbone(request) -> Backbone:
    return BUILDERS[request.param](pretrained=False).eval()


def test_a_backbone_gives_one_vector_of_its_declared_length_per_picture(backbone):
    side = backbone.input_size or 112
    with torch.inference_mode():
        features = backbone(torch.randn(2, 3, side, side))
    assert features.shape == (2, backbone.num_features)
    assert features.isfinite().all()


def test_a_backbone_says_how_its_input_is_normalised(backbone):
    assert len(backbone.mean) == len(backbone.std) == 3
    assert all(0 < value < 1 for value in (*backbone.mean, *backbone.std))


def test_a_backbone_has_no_classifier_left(backbone):
    assert not any(isinstance(module, nn.Linear) and module.out_features == 1000 for module in backbone.modules())


def test_the_gradient_reaches_the_first_layer(backbone):
    side = backbone.input_size or 112
    backbone.zero_grad()
    backbone(torch.randn(1, 3, side, side)).square().sum().backward()
    first = next(backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_only_networks_of_a_fixed_input_size_ask_for_resizing():
    assert backbones.timm(name="test_vit", pretrained=False).input_size == 160
    assert backbones.timm(name="resnet10t", pretrained=False).input_size is None


def test_inception_with_mean_and_std_of_half_equals_torchvisions_input_transform():
    reference = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    ours = backbones.inception_v3(pretrained=False).eval()
    ours.network.load_state_dict(reference.state_dict(), strict=False)
    reference.fc = nn.Identity()
    images = torch.rand(1, 3, 112, 112)
    imagenet = torchvision.transforms.Normalize(backbones.IMAGENET_MEAN, backbones.IMAGENET_STD)
    half = torchvision.transforms.Normalize(ours.mean, ours.std)
    with torch.inference_mode():
        torch.testing.assert_close(ours(half(images)), reference(imagenet(images)), rtol=1e-4, atol=1e-4)


def test_resnext50_equals_torchvisions():
    reference = torchvision.models.resnext50_32x4d(weights=None).eval()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh statistics would hide one that is left out
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    ours = backbones.resnext50(pretrained=False).eval()
    ours.network.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    reference.fc = nn.Identity()
    images = torch.rand(1, 3, 96, 80)
    with torch.inference_mode():
        expected = reference(images)
        torch.testing.assert_close(ours(images) / expected.abs().max(), expected / expected.abs().max())


def torchvision_state(name):
    network = getattr(torchvision.models, name)(
        weights=None, **({"init_weights": False} if "inception" in name else {})
    )
    return network.state_dict()


@pytest.mark.parametrize(("name", "architecture"), [("resnext50", "resnext50_32x4d"), ("inception_v3", "inception_v3")])
def test_torchvisions_own_file_loads_and_its_heads_are_left_out(tmp_path, name, architecture):
    state = torchvision_state(architecture)
    torch.save(state, tmp_path / "weights.pth")
    backbone = BUILDERS[name](weights=str(tmp_path / "weights.pth"))
    loaded = backbone.network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    assert not any(key.startswith(("fc.", "AuxLogits.")) for key in loaded)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_timm_state_dict_with_a_classifier_loads_from_either_format(tmp_path, suffix):
    import timm

    state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    loaded = backbones.timm(name="test_resnet", weights=str(path)).network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)


def test_a_file_of_another_network_is_refused_with_the_names_that_differ(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsMissing) as error:
        backbones.timm(name="test_resnet", weights=str(path))
    for part in (str(path), "missing: conv1", "unexpected: conv.weight", "backbone.weights=FILE"):
        assert part in str(error.value)


def test_a_file_with_a_tensor_of_another_shape_is_refused(tmp_path):
    state = backbones.timm(name="test_resnet", pretrained=False).network.state_dict()
    name = next(iter(state))
    save_file({**state, name: torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsMissing, match=rf"of another shape: {name} \(1,\)"):
        backbones.timm(name="test_resnet", weights=str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("name", ["resnext50", "test_vit"])
def test_a_missing_weights_file_names_the_file_and_the_option(tmp_path, name):
    with pytest.raises(WeightsMissing, match=r"nothing\.pth: no such file.*backbone\.weights=FILE"):
        BUILDERS[name](weights=str(tmp_path / "nothing.pth"))


def test_torchvision_weights_come_from_torchs_cache_if_they_are_there(tmp_path, monkeypatch):
    asked = []

    def fetch(weights, *, path, option):
        asked.append((weights, path, option))
        return path

    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / RESNEXT50_WEIGHTS.name
    state = torchvision_state("resnext50_32x4d")
    torch.save(state, cached)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(pretrained, "fetch", fetch)
    backbone = backbones.resnext50()
    assert asked[0][:2] == (RESNEXT50_WEIGHTS, cached)
    assert "backbone.pretrained=false" in asked[0][2]
    assert "backbone.weights=FILE" in asked[0][2]
    assert torch.equal(backbone.network.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize("known", [RESNEXT50_WEIGHTS, INCEPTION_V3_WEIGHTS])
def test_the_known_files_are_torchvisions_first_imagenet_editions(known):
    editions = (torchvision.models.ResNeXt50_32X4D_Weights, torchvision.models.Inception_V3_Weights)
    assert known.url in {edition.IMAGENET1K_V1.url for edition in editions}
    assert f"-{known.sha256[:8]}." in known.name
    assert known.url.endswith(known.name)


def without_network(monkeypatch, tmp_path, reason):
    def urlopen(request, timeout):
        assert timeout < 20
        raise reason

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("reason", [OSError("no route"), TimeoutError("timed out")])
def test_timm_weights_without_a_network_fail_at_once_and_say_what_to_do(monkeypatch, tmp_path, reason):
    without_network(monkeypatch, tmp_path, reason)
    with pytest.raises(WeightsMissing) as error:
        backbones.timm(name="test_resnet")
    for part in (
        "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors",
        "SHA-256",
        "backbone.weights=FILE",
        "backbone.pretrained=false",
        str(reason),
    ):
        assert part in str(error.value)


def test_timm_weights_come_from_the_hubs_cache_without_a_network(monkeypatch, tmp_path):
    import timm

    state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / "cached.safetensors"
    save_file(state, path)
    without_network(monkeypatch, tmp_path, OSError("no route"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: str(path))
    loaded = backbones.timm(name="test_resnet").network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)


def test_an_unknown_timm_model_is_refused_with_names_that_are_close():
    with pytest.raises(ConfigError, match=r"no model 'restnet18'; did you mean resnet18"):
        backbones.timm(name="restnet18")


def test_an_unknown_edition_of_weights_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"resnet18 has no weights 'nope'; it has .*a1_in1k"):
        backbones.timm(name="resnet18.nope")


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp/model", "../model"])
def test_a_timm_name_never_reaches_another_source(name):
    with pytest.raises(ConfigError, match="timm has no model"):
        backbones.timm(name=name)
