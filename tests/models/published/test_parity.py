"""dfd's networks compute what independent packages do, at random weights under the published names."""

import json

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from dfd.base.types import Label
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.heads import linear
from dfd.models.published.entry import Published
from dfd.models.published.table import PUBLISHED
from dfd.models.temporal import TEMPORALS
from tests.models.published.references import (
    FROZEN,
    REDUCED,
    REFERENCES,
    filled,
    names_sha256,
    network_of,
    normalised,
    ours,
    picture,
    theirs,
)

KNOWN = json.loads(FROZEN.read_text())


def shapes_of(entry: Published) -> dict[str, list[int]]:
    """Published names and shapes, from what was frozen or, where tensors are only renamed, from dfd's network."""
    if entry.name in REDUCED:
        return {name: list(map(int, text.split())) for name, text in KNOWN[entry.name]["shapes"].items()}
    state = entry.build().state_dict()
    return {source.names[0]: list(state[name].shape) for name, source in entry.recipe(state).items()}


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", KNOWN)
def test_a_network_gives_the_logits_that_an_independent_package_once_gave(name: str) -> None:
    shapes = shapes_of(PUBLISHED[name])
    assert names_sha256(shapes) == KNOWN[name]["names_sha256"]
    assert_same(ours(PUBLISHED[name], filled(shapes)), torch.tensor(KNOWN[name]["logits"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_a_network_gives_the_logits_of_an_independent_package(name: str) -> None:
    shapes, logits = REFERENCES[name]()
    tensors = filled(shapes)
    with torch.inference_mode():
        expected = theirs(logits(tensors))
    assert_same(ours(PUBLISHED[name], tensors), expected)
    assert_same(expected, torch.tensor(KNOWN[name]["logits"]))
    assert names_sha256(shapes) == KNOWN[name]["names_sha256"]


def test_every_published_detector_is_compared_with_something() -> None:
    """MesoNet and Capsule-Forensics with their true weights, see test_golden."""
    elsewhere = {name for name in PUBLISHED if name.startswith(("mesonet-", "capsule-"))}
    assert set(PUBLISHED) == set(REFERENCES) | set(KNOWN) | elsewhere | {"dfdc-b7", "thesis-upstream"}


@pytest.mark.slow
@pytest.mark.parametrize("side", [224, 256, 380])
@pytest.mark.parametrize("unpadded_stem", [False, True])
def test_efficientnet_b4_pads_as_its_package_at_every_size(side: int, unpadded_stem: bool) -> None:
    from efficientnet_pytorch import EfficientNet

    from dfd.models.backbones import timm as backbone_of
    from dfd.models.published.efficientnet import efficientnet_names

    reference = EfficientNet.from_name("efficientnet-b4").eval()
    if unpadded_stem:
        reference._conv_stem = nn.Conv2d(3, 48, 3, stride=2, bias=False)
    shapes = {name: list(value.shape) for name, value in reference.state_dict().items()}
    tensors = filled(shapes)
    reference.load_state_dict(tensors)
    images = picture(side)
    with torch.inference_mode():
        expected = reference.extract_features(images)
    for pads in (380, None):
        if pads is None and unpadded_stem:
            continue
        network = backbone_of(
            name="tf_efficientnet_b4", pretrained=False, pads=pads, unpadded_stem=unpadded_stem
        ).eval()
        names = efficientnet_names(network.network.state_dict())
        network.network.load_state_dict({own: tensors[published] for own, published in names.items()}, strict=True)
        with torch.inference_mode():
            found = network.network.forward_features(images)
        difference = float((found - expected).norm() / expected.norm())
        # timm's own paddings are the package's at its nominal size, and nowhere else.
        assert difference < 2e-5 if pads or side == 380 else difference > 0.01


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_b7_under_the_winners_names_gives_the_sigmoid_of_its_last_layer(wrapped: bool) -> None:
    """On a B0, whose layers have the same names."""
    reference = timm.create_model("tf_efficientnet_b0").eval()
    prefix = "module." if wrapped else ""
    shapes = {f"{prefix}encoder.{name}": list(value.shape) for name, value in reference.state_dict().items()}
    tensors = filled(shapes | {f"{prefix}fc.weight": [1, 1280], f"{prefix}fc.bias": [1]})
    reference.load_state_dict({name: tensors[f"{prefix}encoder.{name}"] for name in reference.state_dict()})
    backbone = {"_target_": "dfd.models.backbones.timm", "name": "tf_efficientnet_b0", "pretrained": False}
    model = build_model({**PUBLISHED["dfdc-b7"].model, "backbone": backbone}).eval()
    model.load_state_dict(PUBLISHED["dfdc-b7"].convert(tensors, model), strict=True)
    with torch.inference_mode():
        features = reference.forward_features(normalised(96, backbone_mean(model), backbone_std(model))).mean(
            dim=(2, 3)
        )
        z = features @ tensors[f"{prefix}fc.weight"].T + tensors[f"{prefix}fc.bias"]
        found = model(picture(96)[None]).softmax(dim=1)
    torch.testing.assert_close(found[:, Label.FAKE], z[:, 0].sigmoid(), rtol=1e-4, atol=1e-5)


def backbone_mean(model: ClipClassifier) -> tuple[float, ...]:
    return model.backbone.mean


def backbone_std(model: ClipClassifier) -> tuple[float, ...]:
    return model.backbone.std


def test_effort_is_merged_to_the_sum_of_its_main_part_and_its_residual() -> None:
    """The full rank-1 product by hand, for one layer."""
    entry = PUBLISHED["effort"]
    tensors = filled(shapes_of(entry))
    network = network_of(entry)
    state = entry.convert(tensors, network)
    layer = "backbone.encoder.layers.1.self_attn.out_proj"
    main, left, scale, right = (
        tensors[f"{layer}.{factor}"] for factor in ("weight_main", "U_residual", "S_residual", "V_residual")
    )
    expected = main + left @ torch.diag(scale) @ right
    torch.testing.assert_close(state["backbone.network.blocks.1.attn.proj.weight"], expected)
    assert (state["backbone.network.blocks.1.attn.proj.weight"] - main).abs().max() > 0.1


def test_the_thesis_upstream_gives_what_its_code_gives_for_one_video_and_only_the_last_frame_decides() -> None:
    entry = PUBLISHED["thesis-upstream"]
    trunk = torchvision.models.resnext50_32x4d(weights=None)
    published = nn.ModuleDict(
        {
            "model": nn.Sequential(*list(trunk.children())[:-2]),
            "lstm": nn.LSTM(2048, 64, 1, False),  # the fourth is bias, and frames are taken for the batch
            "linear1": nn.Linear(64, 2),
        }
    ).eval()
    tensors = filled({name: list(value.shape) for name, value in published.state_dict().items()})
    published.load_state_dict(tensors)
    config = {**entry.model, "temporal": {**entry.model["temporal"], "hidden_features": 64}}
    model = build_model(config).eval()
    model.load_state_dict(entry.convert(tensors, model), strict=True)

    frames = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in (model.backbone.mean, model.backbone.std))
    with torch.inference_mode():
        maps = published["model"]((frames - mean) / std)
        outputs, _ = published["lstm"](maps.mean(dim=(2, 3))[None])
        fake, real = published["linear1"](outputs[:, -1])[0].softmax(dim=0)  # label 1 is real there
        found = model(frames[None]).softmax(dim=1)[0]
        torch.testing.assert_close(found, torch.stack([real, fake]), rtol=1e-3, atol=1e-5)
        earlier = torch.cat([1 - frames[:2], frames[2:]])
        torch.testing.assert_close(model(earlier[None]), model(frames[None]), rtol=1e-3, atol=1e-5)
        assert (model(frames.flip(0)[None]) - model(frames[None])).abs().max() > 1e-3
        others = torch.stack([1 - frames, frames])
        torch.testing.assert_close(model(others)[1], model(frames[None])[0], rtol=1e-3, atol=1e-5)
    assert not model.mixes_clips


def test_the_lstm_over_a_batch_of_one_is_the_published_one() -> None:
    torch.manual_seed(0)
    mixing = TEMPORALS["lstm_over_batch"](6, hidden_features=5).eval()
    alone = TEMPORALS["lstm_over_batch"](6, hidden_features=5, alone=True).eval()
    alone.load_state_dict(mixing.state_dict())
    features = torch.randn(3, 4, 6)
    torch.testing.assert_close(alone(features), torch.cat([mixing(one[None]) for one in features]))
    assert (alone(features) - mixing(features)).abs().max() > 1e-3
    assert (mixing.mixes_clips, alone.mixes_clips) == (True, False)


# -- order of labels --


@pytest.mark.parametrize("name", [name for name, entry in PUBLISHED.items() if entry.label_order == ("fake", "real")])
def test_a_detector_whose_authors_put_fake_first_scores_one_minus_their_probability(name: str) -> None:
    """Their last layer alone: what raises their probability of real lowers dfd's of fake."""
    entry = PUBLISHED[name]
    state = entry.build().state_dict()
    published = {"mesonet": "dense[1]/bias", "capsule": "routing_stats.route_weights", "thesis-": "linear1.bias"}[
        name[:7]
    ]
    (own,) = (key for key, source in entry.recipe(state).items() if published in source.names)
    make = entry.recipe(state)[own].make
    values = torch.arange(float(state[own].numel())).reshape(state[own].shape)
    turned = make(values)
    assert torch.equal(turned, -values) if name.startswith("mesonet") else torch.equal(turned, values[[1, 0]])


@pytest.mark.parametrize("name", [name for name, entry in PUBLISHED.items() if entry.label_order == ("real", "fake")])
def test_a_last_layer_in_dfds_order_is_taken_as_it_is(name: str) -> None:
    entry = PUBLISHED[name]
    state = entry.build().state_dict()
    for key in ("classify.weight", "classify.bias"):
        values = torch.rand(state[key].shape)
        assert torch.equal(entry.recipe(state)[key].make(values), values)


def test_a_negated_sigmoid_of_real_is_that_of_fake() -> None:
    torch.manual_seed(0)
    theirs_, ours_ = nn.Linear(5, 1), linear(5, dropout=0.0, outputs=1)
    ours_.load_state_dict({name: -value for name, value in theirs_.state_dict().items()})
    features = torch.randn(4, 5)
    found = ours_(features).softmax(dim=1)
    torch.testing.assert_close(found[:, Label.FAKE], 1 - theirs_(features)[:, 0].sigmoid())
