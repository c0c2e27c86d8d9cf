"""Backbones that see clips, and streams beside the picture."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from dfd.base.errors import ConfigError
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.onnx import to_onnx
from dfd.models.networks.systems.residuals import FILTERS, ConstrainedConvolution, Spectrum
from dfd.models.networks.video import FILES, video
from dfd.scoring.explain import explain_clip
from dfd.scoring.runtimes.runtime import OnnxRuntime, TorchRuntime

SMALL = {"_target_": "dfd.models.backbones.two_stream", "name": "test_resnet", "residual_name": "test_resnet"}


def model_of(**backbone: Any) -> ClipClassifier:
    torch.manual_seed(0)
    temporal = {"_target_": "dfd.models.temporal.lstm", "hidden_features": 16}
    return build_model({"backbone": {"pretrained": False, **backbone}, "temporal": temporal, "dropout": 0.1}).eval()


def clips_of(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FILES)
def test_a_backbone_of_clips_equals_torchvisions_network_up_to_its_pooling(name: Any) -> None:
    torch.manual_seed(0)
    whole = getattr(torchvision.models.video, name)(weights=None).eval()
    ours = video(name=name, pretrained=False).eval()
    missing, unexpected = ours.network.load_state_dict(whole.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["fc.weight", "fc.bias"])
    clips_BTCHW = torch.rand(2, 8, 3, 32, 32)
    with torch.inference_mode():
        features_BTD = ours(clips_BTCHW)
        expected = whole(clips_BTCHW.transpose(1, 2))
        torch.testing.assert_close(whole.fc(features_BTD.mean(dim=1)), expected)
        torch.testing.assert_close(ours(clips_BTCHW[0]), features_BTD[0])
    assert features_BTD.shape == (2, 8 if name == "mc3_18" else 1, 512)


def test_a_backbone_of_clips_takes_any_head_over_time_and_sees_the_order_of_frames() -> None:
    model = model_of(_target_="dfd.models.backbones.video")
    clips = clips_of(2, 6, 3, 32, 32)
    with torch.inference_mode():
        logits, alone = model(clips), model(clips[:1])
        torch.testing.assert_close(logits[:1], alone)  # clips do not see each other
        torch.testing.assert_close(model.head(model.features(clips, at_once=4)), logits)
        assert not torch.allclose(model.features(clips.flip(1)), model.features(clips))
    with pytest.raises(ValueError, match="frames of 16 px or more"):
        model(clips_of(1, 4, 3, 8, 8))


def test_a_backbone_of_clips_has_no_features_of_frames_to_keep(tiny_store: Path) -> None:
    from dfd.data.clips.features import FeatureCache
    from dfd.data.store.tables import read_index

    model = model_of(_target_="dfd.models.backbones.video", freeze=True)
    with pytest.raises(ConfigError, match="needs a backbone of frames"):
        FeatureCache(tiny_store, read_index(tiny_store), model)


@pytest.mark.slow
def test_the_export_of_a_stream_that_learns_its_filters_gives_the_same_probabilities() -> None:
    model = model_of(**SMALL, residual="constrained", picture=False)
    card = DetectorCard(model=model.config, image_size=64, clip_len=4, temperature=2.0)
    clips = clips_of(3, 4, 3, 64, 64)
    expected = TorchRuntime(model, card, "cpu").prob_fake(clips)
    assert OnnxRuntime(to_onnx(model, card)).prob_fake(clips) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("backbone", [{"_target_": "dfd.models.backbones.video"}, SMALL])
def test_a_clip_is_explained_by_one_of_its_frames(backbone: dict[str, Any]) -> None:
    found = explain_clip(model_of(**backbone), clips_of(6, 3, 64, 64))
    assert 0 <= found.frame < 6
    assert found.heatmap.shape == (64, 64)
    assert found.peak > 0


def test_filters_that_learn_keep_their_constraint_after_a_step() -> None:
    layer = ConstrainedConvolution()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(3):
        layer(torch.rand(1, 3, 16, 16)).square().mean().backward()
        optimizer.step()
        kernels = layer.kernels()
        torch.testing.assert_close(kernels[:, :, 2, 2], torch.full((3, 3), -1.0))
        torch.testing.assert_close(kernels.sum(dim=(2, 3)), torch.zeros(3, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["srm", "constrained"])
def test_filters_leave_nothing_of_a_plain_picture(name: str) -> None:
    torch.manual_seed(0)
    left = FILTERS[name]()(torch.full((1, 3, 16, 16), 0.5))
    assert left[..., 2:-2, 2:-2].abs().max() < 1e-4
    assert FILTERS[name]()(torch.rand(1, 3, 16, 16)).abs().max() > 0.1


def test_the_spectrum_has_a_wave_at_its_frequency() -> None:
    x = torch.arange(32) / 32
    picture = (torch.sin(2 * torch.pi * 5 * x) / 2 + 0.5).repeat(1, 3, 32, 1)
    spectrum = Spectrum()(picture)[0, 0]
    assert {tuple(place) for place in (spectrum > 0).nonzero().tolist()} == {(16, 16), (16, 11), (16, 21)}
