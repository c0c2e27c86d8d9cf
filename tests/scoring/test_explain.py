"""Why a clip was scored as it was: the evidence adds up, and lies where the network looked."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfd.base.types import Label
from dfd.models.backbones import Backbone
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.temporal import MeanHead
from dfd.scoring.explain import _evidence_anywhere, _evidence_at, clip_evidence, explain_clip
from dfd.scoring.video.state import explained

HEADS = {
    "mean": {},
    "lstm": {"hidden_features": 16},
    "gru": {"hidden_features": 16, "bidirectional": True, "reduce": "last"},
    "transformer": {"width": 16, "num_heads": 2},
    "lstm_over_batch": {"hidden_features": 16},
}
FAMILIES = {
    "test_resnet": 64,
    "test_efficientnet": 64,
    "test_convnext": 128,  # a layer norm behind the pooling
    "test_mambaout": 128,  # channels last
    "test_vit": 64,  # reads a class token; fixed to 160 px
    "test_vit2": 64,  # the mean over tokens
    "test_vit3": 64,  # attention pooling
}


def model_of(backbone: str, head: str = "mean") -> ClipClassifier:
    torch.manual_seed(0)
    return build_model(
        {
            "backbone": {"_target_": "dfd.models.backbones.timm", "name": backbone, "pretrained": False},
            "temporal": {"_target_": f"dfd.models.temporal.{head}", **HEADS[head]},
        }
    ).eval()


def noise(side: int, num_frames: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, 3, side, side), dtype=torch.uint8, generator=generator)


class BrightSpots(nn.Module):
    """Reacts to what is brighter than 200 of 255 in cells of 8 px, and to nothing else; pooled by the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 4, kernel_size=8, stride=8)
        nn.init.constant_(self.cells.weight, 1 / (3 * 64))
        nn.init.constant_(self.cells.bias, -200 / 255)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.cells(images)).mean(dim=(2, 3))


def handmade(network: nn.Module, num_features: int, *, toward: Label = Label.FAKE) -> ClipClassifier:
    backbone = Backbone(network, num_features=num_features, mean=(0, 0, 0), std=(1, 1, 1))
    model = ClipClassifier(backbone, MeanHead(num_features), dropout=0.0)
    with torch.no_grad():
        model.classify.weight.zero_()
        model.classify.weight[toward] = 1.0
    return model.eval()


def planted(frame: int = 2, top: int = 40, left: int = 16, *, side: int = 64) -> Tensor:
    """A dark clip with one bright patch of 8 px in one frame."""
    clip = noise(side, num_frames=4) // 4
    clip[frame, :, top : top + 8, left : left + 8] = 255
    return clip


def bias_of(model: ClipClassifier) -> float:
    bias = model.classify.bias.detach()
    return float(bias[Label.FAKE] - bias[Label.REAL])


def margin(model: ClipClassifier, clip: Tensor) -> float:
    with torch.inference_mode():
        logits = model(clip[None])[0]
    return float(logits[Label.FAKE] - logits[Label.REAL])


@pytest.mark.parametrize("place", [(2, 40, 16), (0, 0, 0), (3, 56, 56)])
def test_the_heat_is_on_the_patch_that_the_network_reacts_to(place):
    frame, top, left = place
    found = explain_clip(handmade(BrightSpots(), 4), planted(frame, top, left))
    assert found.frame == frame
    y, x = np.unravel_index(found.heatmap.argmax(), found.heatmap.shape)
    assert top <= y < top + 8
    assert left <= x < left + 8
    far = np.ones((64, 64), bool)
    far[max(0, top - 8) : top + 16, max(0, left - 8) : left + 16] = False
    assert found.heatmap[far].max() == 0
    assert found.heatmap.max() == pytest.approx(1, abs=0.2)


def test_what_speaks_for_real_is_not_shown_as_heat():
    found = explain_clip(handmade(BrightSpots(), 4, toward=Label.REAL), planted())
    assert found.heatmap.max() == 0
    assert found.peak > 0


def test_a_network_that_sees_nothing_gives_no_heat():
    found = explain_clip(handmade(BrightSpots(), 4), torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert found.heatmap.max() == 0
    assert found.peak == 0


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_the_evidence_adds_up_to_the_logits_without_the_bias(backbone):
    model = model_of(backbone)
    clip = noise(128)
    evidence = clip_evidence(model, clip)
    # LeakyReLU is linear where its argument keeps its sign, so only the last layer's bias is not a matter of places.
    assert float(evidence.by_place.mean()) == pytest.approx(margin(model, clip) - bias_of(model), abs=1e-4)
    assert float(evidence.by_frame.sum()) == pytest.approx(margin(model, clip) - bias_of(model), abs=1e-4)
    per_frame = evidence.by_place.mean(dim=(1, 2)) / len(clip)
    torch.testing.assert_close(per_frame, evidence.by_frame, atol=1e-5, rtol=1e-4)


def test_a_class_token_is_explained_by_what_it_attends_to():
    """Behind the last attention it no longer depends on the other tokens, though their maps are there."""
    evidence = clip_evidence(model_of("test_vit"), noise(160))
    assert evidence.layer == "network.blocks.5.attn.qkv"


@pytest.mark.parametrize("backbone", FAMILIES)
def test_every_family_of_backbones_gives_a_map_of_the_crop(backbone):
    side = FAMILIES[backbone]
    model = model_of(backbone)
    evidence = clip_evidence(model, noise(side))
    assert evidence.layer, "no layer with places was found"
    assert evidence.by_place.shape[1] >= 2
    found = explain_clip(model, noise(side))
    assert found.heatmap.shape == (side, side)
    assert found.heatmap.dtype == np.float32
    assert np.isfinite(found.heatmap).all()
    assert 0 <= found.heatmap.min() <= found.heatmap.max() <= 1
    assert evidence.by_place.abs().max() > 0


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_a_map_and_a_frame(head):
    found = explain_clip(model_of("test_resnet", head), noise(64, num_frames=5))
    assert 0 <= found.frame < 5
    assert found.heatmap.shape == (64, 64)
    assert found.peak > 0


def test_a_coarse_map_gives_way_to_the_last_finer_one_that_all_passes_through():
    torch.manual_seed(0)
    model = build_model(
        {
            "backbone": {"_target_": "dfd.models.backbones.inception_v3", "pretrained": False},
            "temporal": {"_target_": "dfd.models.temporal.mean"},
        }
    ).eval()
    evidence = clip_evidence(model, noise(112, num_frames=1))
    assert evidence.layer == "network.Mixed_6e"  # Mixed_7c has 2 x 2 places; branches of Mixed_7a have 5 x 5
    assert evidence.by_place.shape == (1, 5, 5)


class Flat(nn.Module):
    """No place survives its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 64, 64))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight).sum(dim=(1, 2, 3))[:, None].relu()


def test_a_network_without_places_is_explained_by_its_pixels():
    network = Flat()
    with torch.no_grad():
        network.weight[:, 40:48, 16:24] = 1.0
    model = handmade(network, 1)
    evidence = clip_evidence(model, planted())
    assert evidence.layer == ""
    assert float(evidence.by_place.mean()) == pytest.approx(margin(model, planted()) - bias_of(model), rel=1e-5)
    found = explain_clip(model, planted())
    assert found.frame == 2
    y, x = np.unravel_index(found.heatmap.argmax(), found.heatmap.shape)
    assert 38 <= y < 50
    assert 14 <= x < 26


def test_hiding_the_hottest_place_lowers_the_score_more_than_hiding_the_coldest():
    """The deletion test (Petsiuk et al. 2018), on a network trained to find stripes."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ClipClassifier(Backbone(network, num_features=16), MeanHead(16), dropout=0.0)
    generator = torch.Generator().manual_seed(0)

    def draw(num_clips: int) -> tuple[Tensor, Tensor]:
        clips = torch.rand(num_clips, 1, 3, 64, 64, generator=generator) * 0.5
        labels = torch.arange(num_clips) % 2
        for index in range(1, num_clips, 2):
            top, left = torch.randint(0, 40, (2,), generator=generator).tolist()
            stripes = torch.arange(24)[:, None] % 4 < 2
            clips[index, :, :, top : top + 24, left : left + 24] += 0.5 * stripes
        return clips, labels

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(60):
        clips, labels = draw(16)
        loss = nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.zero_grad(set_to_none=True)
    model.eval()
    clips, _ = draw(12)
    wins = 0
    for clip in clips[1::2]:
        evidence = clip_evidence(model, clip)
        cells = torch.nn.functional.interpolate(evidence.by_place.sum(dim=0)[None, None], (4, 4), mode="area")[0, 0]
        drops = []
        for cell in (int(cells.argmax()), int(cells.argmin())):
            hidden = clip.clone()
            y, x = (16 * place for place in divmod(cell, 4))
            hidden[:, :, y : y + 16, x : x + 16] = 0.25
            drops.append(margin(model, clip) - margin(model, hidden))
        wins += drops[0] > drops[1]
    assert wins >= 5  # of 6


@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_is_left_as_it_was(frozen):
    model = model_of("test_resnet", "lstm").requires_grad_(not frozen)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = margin(model, noise(64))
    with torch.inference_mode():  # where scores are made
        explain_clip(model, noise(64))
        assert torch.is_inference_mode_enabled()
    assert margin(model, noise(64)) == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad is not frozen for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_removed_when_the_network_fails():
    model = handmade(BrightSpots(), 4)
    model.backbone.network.activation = nn.Linear(1, 1)
    with pytest.raises(RuntimeError):
        explain_clip(model, planted())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_same_clip_gets_the_same_explanation():
    first, second = (explain_clip(model_of("test_vit", "gru"), noise(64)) for _ in range(2))
    assert first.frame == second.frame
    assert first.peak == second.peak
    np.testing.assert_array_equal(first.heatmap, second.heatmap)


def test_pictures_as_bytes_and_as_floats_are_explained_alike():
    model = model_of("test_resnet")
    as_bytes, as_floats = explain_clip(model, noise(64)), explain_clip(model, noise(64) / 255)
    assert as_bytes.frame == as_floats.frame
    np.testing.assert_allclose(as_bytes.heatmap, as_floats.heatmap, atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("temporal", ["mean", "lstm"])
def test_the_short_way_to_a_known_layer_finds_what_the_long_one_does(backbone, temporal):
    model = model_of(backbone, temporal)
    images = model.normalize(noise(64))
    whole = _evidence_anywhere(model, images)
    (short,) = _evidence_at(model, images, whole.layer) or [None]
    assert short is not None
    torch.testing.assert_close(short.by_place, whole.by_place, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(short.by_frame, whole.by_frame, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "temporal"), [("test_resnet", "mean"), ("test_resnet", "lstm"), ("test_vit", "gru")]
)
def test_clips_that_are_explained_together_are_explained_as_each_alone(backbone, temporal):
    model = model_of(backbone, temporal)
    clips = [noise(64), noise(64).flip(0), noise(64) // 2, noise(64).flip(3)]
    together = list(explained(model, [clip.permute(0, 2, 3, 1).numpy() for clip in clips]))
    for clip, (frame, heatmap) in zip(clips, together, strict=True):
        alone = explain_clip(model, clip)
        assert frame == alone.frame
        np.testing.assert_allclose(heatmap, alone.heatmap, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 64, 64), (0, 3, 64, 64), (2, 3, 64, 48), (2, 1, 64, 64)])
def test_a_clip_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="T, 3, S, S"):
        explain_clip(handmade(BrightSpots(), 4), torch.zeros(shape))


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"model\.eval"):
        explain_clip(handmade(BrightSpots(), 4).train(), planted())


def test_weights_of_attention_are_not_taken_for_a_map():
    from dfd.scoring.explain import _Layout

    layout = _Layout(num_prefix_tokens=1, channels_last=False)
    assert layout.places(torch.rand(2, 4, 17, 17).softmax(dim=-1)) is None
    assert layout.places(torch.rand(2, 17, 8)).shape == (2, 4, 4, 8)
    assert layout.places(torch.rand(2, 8, 4, 4)).shape == (2, 4, 4, 8)
    assert layout.places(torch.rand(2, 4, 4, 8)).shape == (2, 4, 4, 8)
    assert layout.places(torch.rand(2, 8, 1, 1)) is None
    assert math.prod(layout.places(torch.rand(2, 16, 8)).shape) == 2 * 16 * 8
