from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.models import backbones, pretrained
from dfd.models.backbones import Backbone
from dfd.models.classifier import build_model
from dfd.models.networks.systems.residuals import FILTERS
from dfd.models.pretrained import INCEPTION_V3_WEIGHTS, RESNEXT50_WEIGHTS

TINY = "test_resnet"


def _without_weights(build: Callable[..., Backbone], **options: Any) -> Backbone:
    """A backbone with these options, as far as it has them."""
    return build(**{key: value for key, value in options.items() if key in signature(build).parameters})


BUILDERS = {
    **{
        name: partial(_without_weights, build)
        for name, build in backbones.BACKBONES.items()
        # timm needs a name; test_clip_backbones has what sees clips, test_fitted what computes signals
        if name not in ("timm", "video", "convolutional_traces", "pulse", "pulse_maps", "rendering")
    },
    **{name: partial(backbones.timm, name=name) for name in ("resnet10t", "mobilenetv3_small_050", "test_vit")},
    "vgg19_pool3": partial(backbones.vgg19_pool3, input_size=32),
    "sstnet": partial(backbones.sstnet, name=TINY, picture_size=32),
    **{
        residual: partial(
            backbones.two_stream, residual=residual, picture=residual == "srm", name=TINY, residual_name=TINY
        )
        for residual in FILTERS
    },
}
"""Every backbone of dfd that sees frames; a new one is held to the contract without a change here."""


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
    assert all(0 <= mean < 1 and 0 < std <= 1 for mean, std in zip(backbone.mean, backbone.std, strict=True))


def test_a_backbone_has_no_classifier_left(backbone):
    assert not any(isinstance(module, nn.Linear) and module.out_features == 1000 for module in backbone.modules())


def test_the_gradient_reaches_the_first_layer(backbone):
    side = backbone.input_size or 112
    backbone.zero_grad()
    backbone(torch.randn(1, 3, side, side)).square().sum().backward()
    first = next(backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "count"),
    # MesoNet's authors' counts are 27,977 and 28,615, with a last layer of 17. The third is torchvision's to the pool.
    [("meso4", 27_977 - 17), ("mesoinception4", 28_615 - 17), ("vgg19_pool3", 2_325_568)],
)
def test_a_published_trunk_has_the_number_of_parameters_of_the_publication(name, count):
    assert sum(parameter.numel() for parameter in BUILDERS[name](pretrained=False).parameters()) == count


def test_vgg19_to_its_third_pool_equals_torchvisions():
    reference = torchvision.models.vgg19(weights=None, init_weights=False).features[:19].eval()
    ours = backbones.vgg19_pool3(pretrained=False, input_size=37).eval()
    ours.network.features.load_state_dict(reference.state_dict())
    images = torch.rand(2, 3, 37, 37)
    with torch.inference_mode():
        expected = reference(images)
        assert expected.shape == (2, 256, 4, 4)
        torch.testing.assert_close(ours(images), expected.flatten(1))
    assert ours.num_features == 256 * 16


def test_torchvisions_file_of_vgg19_loads_and_its_later_layers_are_left_out(tmp_path):
    with torch.device("meta"):
        shapes = torchvision.models.vgg19(weights=None, init_weights=False).state_dict()
    later = {name: torch.zeros(0) for name in backbones.vgg19.UNUSED}
    assert later.keys() == {name for name in shapes if not name.startswith("features.") or int(name.split(".")[1]) > 18}
    state = backbones.vgg19_pool3(pretrained=False).network.state_dict()
    save_file({**state, **later}, tmp_path / "w.safetensors")
    loaded = backbones.vgg19_pool3(weights=str(tmp_path / "w.safetensors")).network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["meso4", "mesoinception4"])
def test_mesonets_weights_load_from_a_file_in_dfds_naming(tmp_path, name):
    state = BUILDERS[name]().network.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    loaded = BUILDERS[name](weights=str(tmp_path / "w.safetensors")).network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


# -- options of timm --


def settled(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def test_the_class_token_is_what_global_pool_token_gives():
    token = backbones.timm(name="test_vit", pretrained=False, global_pool="token").eval()
    average = backbones.timm(name="test_vit", pretrained=False, global_pool="avg").eval()
    state = {key: value for key, value in token.network.state_dict().items() if not key.startswith("norm.")}
    average.network.load_state_dict(state, strict=False)
    images = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(token(images), token.network.forward_features(images)[:, 0])
        assert (token(images) - average(images)).abs().max() > 0.01


def test_a_transformer_is_built_for_the_size_that_is_asked_for():
    backbone = backbones.timm(name="test_vit", pretrained=False, img_size=96)
    assert (backbone.input_size, backbone(torch.rand(1, 3, 96, 96)).shape) == (96, (1, backbone.num_features))
    with pytest.raises(ConfigError, match="test_vit takes only 96 pixels"):
        backbones.timm(name="test_vit", pretrained=False, img_size=96, input_size=160)


def test_a_transformer_of_dynamic_size_takes_any_multiple_of_its_patches():
    backbone = backbones.timm(name="test_vit", pretrained=False, dynamic_img_size=True)
    assert backbone.input_size is None
    for side in (96, 160, 224):
        assert backbone(torch.rand(1, 3, side, side)).shape == (1, backbone.num_features)


def test_weights_of_another_size_have_their_positions_resampled(tmp_path):
    import timm
    from timm.layers import resample_abs_pos_embed

    state = timm.create_model("test_vit").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    loaded = backbones.timm(name="test_vit", weights=str(tmp_path / "w.safetensors"), img_size=96).network.state_dict()
    expected = resample_abs_pos_embed(state["pos_embed"], [6, 6], num_prefix_tokens=1)
    assert torch.equal(loaded["pos_embed"], expected)


def test_residual_branches_are_left_out_as_often_as_is_asked_for():
    from timm.layers import DropPath

    def most(**options):
        paths = [m for m in backbones.timm(name="test_vit", pretrained=False, **options).modules()]
        return max((m.drop_prob for m in paths if isinstance(m, DropPath)), default=0.0)

    assert (most(), most(drop_path_rate=0.25)) == (0.0, 0.25)


def test_normalisation_is_timms_unless_it_is_given():
    own = backbones.timm(name="test_vit", pretrained=False)
    given = backbones.timm(name="test_vit", pretrained=False, mean=[0, 0.5, 0.25], std=[1, 0.5, 0.25])
    assert (given.mean, given.std) == ((0, 0.5, 0.25), (1, 0.5, 0.25))
    assert own.mean == (0.5, 0.5, 0.5) != given.mean


def test_a_lite_network_with_options_of_timm_is_timms_and_has_the_same_names():
    from dfd.models.networks.efficientnet_lite import EfficientNetLite

    plain = backbones.timm(name="tf_efficientnet_lite0", pretrained=False)
    with_options = backbones.timm(name="tf_efficientnet_lite0", pretrained=False, drop_path_rate=0.1)
    assert isinstance(plain.network, EfficientNetLite)
    assert not isinstance(with_options.network, EfficientNetLite)
    assert plain.network.state_dict().keys() == with_options.network.state_dict().keys()


SAME = "tf_mobilenetv3_small_minimal_100"


def test_fixed_paddings_are_timms_own_at_the_nominal_size_and_others_elsewhere():
    own = settled(backbones.timm(name=SAME, pretrained=False))
    fixed = backbones.timm(name=SAME, pretrained=False, pads=76).eval()
    fixed.network.load_state_dict(own.network.state_dict())
    with torch.inference_mode():
        nominal, other = torch.rand(1, 3, 76, 76), torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(fixed(nominal), own(nominal))
        assert (fixed(other) - own(other)).abs().max() > 1e-3 * own(other).abs().max()


def test_the_paddings_of_efficientnet_b4_at_380_are_those_of_its_package():
    from dfd.models.networks.paddings import PaddedConv2d

    for unpadded, stem in ((False, (0, 1)), (True, (0, 0))):
        with torch.device("meta"):
            network = backbones.timm(name="tf_efficientnet_b4", pretrained=False, pads=380, unpadded_stem=unpadded)
        found = {n: (m.start, m.end) for n, m in network.network.named_modules() if isinstance(m, PaddedConv2d)}
        assert list(found.values()) == [stem, (0, 1), (2, 2), (0, 1), (1, 2)]
        blocks = [name.removesuffix(".conv_dw") for name in found if name != "conv_stem"]
        assert blocks == ["blocks.1.0", "blocks.2.0", "blocks.3.0", "blocks.5.0"]
        assert network.num_features == 1792


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet10t", "img_size": 224}, r"resnet10t cannot be built with backbone\.img_size=224"),
        ({"name": "test_vit", "img_size": 97, "global_pool": "map2"}, r"test_vit cannot be built with"),
        ({"name": "resnet10t", "pads": 380}, "does not pad as TensorFlow does"),
        ({"name": SAME, "unpadded_stem": True}, r"needs backbone\.pads=380"),
    ],
)
def test_an_option_that_a_network_does_not_take_is_refused_and_named(options, message):
    with pytest.raises(ConfigError, match=message):
        backbones.timm(pretrained=False, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": 10**6}, r"backbone\.img_size must be in 1\.\.2048"),
        ({"img_size": "x"}, r"backbone\.img_size must be a whole number"),
        ({"pads": 0}, r"backbone\.pads must be in 1\.\.2048"),
        ({"global_pool": "evil"}, r"backbone\.global_pool must be 'avg' or"),
        ({"drop_path_rate": 2.0}, r"backbone\.drop_path_rate must be a number in 0\.\.1"),
        ({"drop_path_rate": "x"}, r"backbone\.drop_path_rate must be"),
        ({"dynamic_img_size": 3}, r"backbone\.dynamic_img_size must be true or false"),
        ({"mean": [0.5, 0.5]}, r"backbone\.mean must be a list of 3"),
        ({"mean": [0.5, 0.5, float("nan")]}, r"backbone\.mean"),
        ({"std": [0, 1, 1]}, r"backbone\.std"),
        ({"std": 1}, r"backbone\.std must be a list of 3"),
        ({"resample": "lanczos"}, r"backbone\.resample must be 'bilinear' or 'bicubic' or 'nearest'"),
        ({"unpadded_stem": "yes"}, r"backbone\.unpadded_stem must be true or false"),
    ],
)
def test_a_strangers_option_out_of_range_is_refused_and_named(options, message):
    backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_vit", "pretrained": False, **options}
    with pytest.raises(ConfigError, match=message):
        build_model({"backbone": backbone, "temporal": {"_target_": "dfd.models.temporal.mean"}})


@pytest.mark.parametrize("input_size", [0, 7, 10**6])
def test_vgg19_refuses_a_size_that_leaves_no_map(input_size):
    backbone = {"_target_": "dfd.models.backbones.vgg19_pool3", "pretrained": False, "input_size": input_size}
    with pytest.raises(ConfigError, match=r"backbone\.input_size"):
        build_model({"backbone": backbone, "temporal": {"_target_": "dfd.models.temporal.mean"}})


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
