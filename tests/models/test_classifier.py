import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.models.backbones import Backbone
from dfd.models.classifier import ClipClassifier, architecture, build_model, resized, resolve_model_config
from dfd.models.temporal import TEMPORALS

TINY = {
    "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 16},
}
HEADS = {
    "lstm": {"hidden_features": 16},
    "gru": {"hidden_features": 16},
    "transformer": {"width": 16, "num_heads": 2},
    "mean": {},
}


def with_head(name, **options):
    torch.manual_seed(0)
    config = {**TINY, "temporal": {"_target_": f"dfd.models.temporal.{name}", **HEADS[name], **options}}
    return build_model(config).eval()


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randint(0, 256, (3, 4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", HEADS)
def test_a_clip_gets_one_logit_per_label(name, clips):
    assert with_head(name)(clips).shape == (3, len(Label))


@pytest.mark.parametrize("name", ["lstm", "gru", "transformer"])
def test_score_depends_on_frame_order(name, clips):
    model = with_head(name)
    with torch.inference_mode():
        assert (model(clips) - model(clips.flip(1))).abs().max() > 1e-4


def test_score_of_the_mean_head_does_not_depend_on_frame_order(clips):
    model = with_head("mean")
    with torch.inference_mode():
        torch.testing.assert_close(model(clips), model(clips.flip(1)))


@pytest.mark.parametrize("name", HEADS)
def test_score_does_not_depend_on_the_rest_of_the_batch(name, clips):
    model = with_head(name)
    with torch.inference_mode():
        torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), rtol=1e-5, atol=1e-5)
        others = clips.clone()
        others[[0, 2]] = 255 - others[[0, 2]]
        torch.testing.assert_close(model(clips)[1], model(others)[1], rtol=1e-5, atol=1e-5)


def test_uint8_and_float_input_agree(clips):
    model = with_head("lstm")
    with torch.inference_mode():
        torch.testing.assert_close(model(clips), model(clips / 255), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(clips), model(clips.double() / 255), rtol=1e-4, atol=1e-4)


def test_a_picture_of_the_mean_colour_is_zero_to_the_backbone():
    model = with_head("mean")
    picture = torch.tensor(model.backbone.mean).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert model.normalize(picture).abs().max() < 1e-6


def test_a_backbone_of_fixed_size_gets_its_size_whatever_comes():
    config = {**TINY, "backbone": {**TINY["backbone"], "name": "test_vit"}}
    model = build_model(config).eval()
    for side in (112, 160, 224):
        clip = torch.full((1, 2, 3, side, side), 100, dtype=torch.uint8)
        assert model.normalize(clip[0]).shape[-2:] == (160, 160)
        assert model(clip).shape == (1, 2)


def as_pillow(pixels: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    channels = [Image.fromarray(pixels[..., channel]).resize((side, side), how) for channel in range(3)]  # in floats
    return np.stack([np.asarray(channel) for channel in channels])


@pytest.mark.parametrize("side", [40, 63, 100])
def test_resizing_is_that_of_pillow_or_opencv(side):
    noise = np.random.default_rng(0).random((63, 63, 3), dtype=np.float32)  # odd: no nearest pixel is a tie
    image = cv2.GaussianBlur(noise, (0, 0), 1.5)
    given = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    expected = {
        "bicubic": as_pillow(image, side, Image.Resampling.BICUBIC),
        "nearest": as_pillow(image, side, Image.Resampling.NEAREST),
        None: as_pillow(image, side, Image.Resampling.BILINEAR),
        "bilinear": cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1),
    }
    for how, wanted in expected.items():
        np.testing.assert_allclose(resized(given, side, how)[0].numpy(), wanted, atol=2e-5, err_msg=str(how))


def test_bicubic_resizing_stays_within_what_a_picture_can_hold():
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 1
    assert resized(edge, 40, "bicubic").min() == 0
    assert resized(edge, 40, "bicubic").max() == 1


def test_a_backbone_says_how_its_input_is_resized():
    frames = torch.rand(2, 3, 48, 48)
    for how in (None, "bilinear", "bicubic", "nearest"):
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
        backbone = Backbone(network, num_features=3, input_size=20, resample=how, **plain)
        assert torch.equal(ClipClassifier(backbone, TEMPORALS["mean"](3)).normalize(frames), resized(frames, 20, how))


def test_frames_too_small_for_the_backbone_are_refused_with_the_size_it_needs():
    backbone = Backbone(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), num_features=3, min_size=75)
    model = ClipClassifier(backbone, TEMPORALS["mean"](3))
    assert model(torch.zeros(1, 1, 3, 75, 75)).shape == (1, 2)
    with pytest.raises(ValueError, match="75 px or more, got 74 x 80"):
        model(torch.zeros(1, 1, 3, 80, 74))


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (1, 0, 3, 8, 8), (1, 2, 8, 8, 3)])
def test_a_wrong_shape_is_refused_and_shown(shape):
    with pytest.raises(ValueError, match=r"\(B, T, 3, H, W\)"):
        with_head("mean")(torch.zeros(shape))


def test_integers_other_than_bytes_are_refused():
    with pytest.raises(TypeError, match=r"torch\.int64"):
        with_head("mean")(torch.zeros(1, 1, 3, 64, 64, dtype=torch.int64))


def test_the_gradient_reaches_the_backbone(clips):
    model = with_head("lstm").train()
    nn.functional.cross_entropy(model(clips), torch.tensor([0, 1, 0])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert next(model.backbone.parameters()).grad.abs().sum() > 0


def test_dropout_acts_in_training_only(clips):
    model = with_head("mean")
    assert torch.equal(model(clips), model(clips))
    model.classify.train()
    assert not torch.equal(model(clips), model(clips))


class FormulaNetwork(nn.Module):
    """A convolution and a mean over the picture: small enough to write its weights as a formula."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, kernel_size=3, stride=2)

    def forward(self, images):
        return self.conv(images).relu().mean(dim=(2, 3))


# Computed once by this test's own formulas (torch 2.15, CPU). If they change, trained checkpoints score differently.
GOLDEN = {
    "lstm": [[0.977257, -0.594487], [0.984342, -0.599776]],
    "gru": [[1.245885, -0.801561], [1.243704, -0.800112]],
    "mean": [[0.170881, 0.098491], [0.091255, 0.241337]],
    "transformer": [[1.127625, -0.437894], [1.122143, -0.437667]],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_logits_for_fixed_weights(name):
    options = (
        {"hidden_features": 5} if name in ("lstm", "gru") else {"width": 4, "num_heads": 2} if name != "mean" else {}
    )
    model = ClipClassifier(Backbone(FormulaNetwork(), num_features=6), TEMPORALS[name](6, **options)).eval()
    with torch.no_grad():
        for index, (_, parameter) in enumerate(sorted(model.named_parameters())):
            steps = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((torch.sin(1.7 * steps + index) / math.sqrt(parameter[0].numel())).reshape(parameter.shape))
        ramp = torch.arange(2 * 3 * 3 * 9 * 9, dtype=torch.float64)
        clips = (127.5 + 127.5 * torch.sin(0.01 * ramp**1.5)).round().to(torch.uint8).reshape(2, 3, 3, 9, 9)
        torch.testing.assert_close(model(clips), torch.tensor(GOLDEN[name]), rtol=0, atol=1e-4)


def test_a_model_built_twice_from_its_own_config_has_the_same_shapes():
    model = build_model(TINY)
    again = build_model(model.config)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in again.state_dict().items()}
    assert model.config == again.config


def test_the_resolved_config_names_every_default():
    resolved = resolve_model_config(TINY)
    assert resolved["dropout"] == 0.4
    assert resolved["temporal"]["reduce"] == "mean"
    assert "in_features" not in resolved["temporal"]


def test_the_architecture_forgets_where_the_first_weights_came_from():
    with_file = {**TINY, "backbone": {**TINY["backbone"], "pretrained": True, "weights": "some/file.pth"}}
    assert architecture(with_file) == architecture(TINY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbon": {}}, "backbon.*did you mean 'backbone'"),
        ({"backbone": {"_target_": "os.system", "command": "true"}}, r"'os.system' is not one of dfd\.models"),
        ({"backbone": {"_target_": "dfd.models.pretrained.load_weights"}}, "is not one of"),
        ({"backbone": {"_target_": ["resnext50"]}}, "is not one of"),
        ({"temporal": None}, "temporal: must be a mapping"),
        ({"temporal": {**TINY["temporal"], "in_features": 3}}, "in_features"),
        (
            {"temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_feature": 3}},
            r"temporal\.hidden_feature: lstm has no parameter 'hidden_feature'; did you mean 'hidden_features'\?",
        ),
        ({"backbone": {"_target_": "dfd.models.backbones.timm"}}, r"set backbone\.name="),
        ({"temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": -1}}, "hidden_features must be"),
        ({"dropout": "much"}, "dropout"),
        ({"dropout": 2.0}, "dropout"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_and_the_key_named(change, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**TINY, **change})
