"""Networks of published systems: sizes, constraints and what training alone does."""

import pytest
import torch
from torch import nn

from dfd.base.errors import ConfigError
from dfd.models import backbones
from dfd.models.classifier import build_model
from dfd.models.heads import CapsuleHead, hidden
from dfd.models.networks.systems.residuals import ConstrainedConvolution
from dfd.models.networks.systems.sstnet import MIN_SIZE, ResidualStream
from dfd.models.temporal import lstm
from dfd.training.learning.losses import CapsuleCrossEntropy


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# -- sizes --


def test_the_second_edition_of_capsule_forensics_has_the_parameters_of_the_publication():
    assert num_parameters(CapsuleHead(256 * 37**2, dropout=0.05, num_capsules=10)) == 1_571_070


def test_the_lstm_and_the_layers_of_guera_and_delp_have_the_parameters_that_their_sizes_give():
    with torch.device("meta"):
        assert num_parameters(lstm(2048, hidden_features=2048)) == 33_570_816
        head = hidden(2048, dropout=0.5, hidden_features=512)
    assert num_parameters(head.hidden) == 1_049_088
    assert num_parameters(head) - num_parameters(head.hidden) == 1_026


@pytest.mark.parametrize(
    ("name", "size", "features"), [("legacy_xception", 20_806_952, 2048), ("mobilenetv1_100", 3_206_976, 1024)]
)
def test_the_networks_of_pan_have_the_parameters_of_the_publication(name, size, features):
    with torch.device("meta"):
        backbone = backbones._timm_network(name, None)
    assert num_parameters(backbone) == size
    assert backbone.num_features == features


# -- the hidden layer --


def test_a_hidden_layer_drops_features_before_both_of_its_layers_in_training_only():
    torch.manual_seed(0)
    head, features = hidden(8, dropout=1.0, hidden_features=4), torch.randn(2, 8)
    torch.testing.assert_close(head.train()(features), head.bias.expand(2, 2))
    assert not torch.equal(head.eval()(features), head.bias.expand(2, 2))
    expected = torch.relu(head.hidden(features)) @ head.weight.T + head.bias
    torch.testing.assert_close(head(features), expected)


# -- capsules --


@pytest.fixture
def capsules():
    torch.manual_seed(0)
    return CapsuleHead(256 * 4, dropout=0.0)


def test_the_routing_of_capsules_is_noisy_in_training_only(capsules):
    maps = torch.randn(1, 256 * 4)
    capsules.eval()
    assert torch.equal(capsules(maps), capsules(maps))
    for module in capsules.modules():
        module.training = module is capsules  # so that batch normalisation and dropout change nothing
    assert not torch.equal(capsules(maps), capsules(maps))
    capsules.noise = 0.0
    assert torch.equal(capsules(maps), capsules(maps))


@pytest.mark.parametrize("options", [{"num_capsules": 0}, {"noise": -1.0}])
def test_capsules_refuse_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=rf"head\.{next(iter(options))}"):
        CapsuleHead(256 * 4, dropout=0.0, **options)


def capsule_model(**head):
    return build_model(
        {
            "backbone": {
                **{"_target_": "dfd.models.backbones.vgg19_pool3", "pretrained": False},
                **{"input_size": 16, "freeze": True},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.capsule", **head},
            "dropout": 0.0,
        }
    )


def test_the_loss_of_capsules_is_the_mean_over_their_numbers_on_raw_scores():
    torch.manual_seed(0)
    model, loss = capsule_model().train(), CapsuleCrossEntropy()
    loss.setup(model, None)
    label = torch.tensor([0, 1, 1])
    logits = model(torch.rand(3, 1, 3, 16, 16))
    outputs = model.classify.outputs_BOV
    found = loss(logits, torch.zeros(3, 1), {"label": label})
    each = [nn.functional.cross_entropy(outputs[:, :, place], label) for place in range(4)]
    torch.testing.assert_close(found, torch.stack(each).mean())
    found.backward()
    assert model.classify.route_OIVP.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert not list(loss.parameters())


def test_the_loss_of_capsules_refuses_other_heads():
    model = build_model(
        {
            "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
            "temporal": {"_target_": "dfd.models.temporal.mean"},
        }
    )
    with pytest.raises(ConfigError, match="use it with that head"):
        CapsuleCrossEntropy().setup(model, None)


# -- constrained filters --


def is_constrained(weight: torch.Tensor) -> bool:
    """Whether -1 is in the middle of all filters, and their other values add up to 1."""
    middle = weight[:, :, 2, 2]
    ring = weight.sum(dim=(2, 3)) - middle
    return bool((middle + 1).abs().max() <= 1e-6 and (ring - 1).abs().max() <= 1e-5)


def test_constrained_filters_begin_as_those_of_steganalysis_which_keep_the_constraint():
    filters = ConstrainedConvolution(srm=True, padded=False)
    assert is_constrained(filters.weight)
    torch.testing.assert_close(filters.kernels(), filters.weight.detach())
    assert (filters.weight[0, 0] * 4)[2].tolist() == [0, 2, -4, 2, 0]


def test_a_projection_restores_the_constraint_wherever_the_weights_are():
    torch.manual_seed(0)
    filters = ConstrainedConvolution(srm=True, padded=False)
    for weight in (torch.randn(3, 3, 5, 5), torch.zeros(3, 3, 5, 5), 1e-4 * torch.randn(3, 3, 5, 5)):
        with torch.no_grad():
            filters.weight.copy_(weight)
        assert is_constrained(filters.kernels())
        filters.project()
        assert is_constrained(filters.weight)


def test_a_picture_of_one_colour_leaves_exactly_nothing():
    stream = ResidualStream().eval()
    for value in (0.0, 0.1, 0.7331, 1.0):
        assert torch.equal(stream.filters(torch.full((1, 3, 40, 40), value)), torch.zeros(1, 3, 36, 36))


def test_what_is_added_to_all_pixels_changes_nothing_of_the_residual():
    torch.manual_seed(0)
    stream, pictures = ResidualStream().eval(), torch.rand(2, 3, 40, 40) / 2
    torch.testing.assert_close(stream.filters(pictures + 0.25), stream.filters(pictures), atol=1e-5, rtol=0)
    assert stream.filters(pictures).abs().mean() > 0.1


def test_the_gradient_reaches_the_values_around_the_middle_of_constrained_filters():
    torch.manual_seed(0)
    stream = ResidualStream()
    stream(torch.rand(2, 3, 32, 32)).square().sum().backward()
    gradient = stream.filters.weight.grad
    around = gradient.flatten(2)[:, :, [place for place in range(25) if place != 12]]
    assert (around != 0).all()
    assert (gradient[:, :, 2, 2] == 0).all()


def test_the_residual_stream_sees_the_pixels_as_they_are_and_the_other_one_resized():
    backbone = backbones.sstnet(name="test_resnet", picture_size=32, pretrained=False).eval()
    seen = {}
    network = backbone.network
    network.picture.register_forward_pre_hook(lambda module, inputs: seen.update(picture=inputs[0].shape[-1]))
    network.residual.register_forward_pre_hook(lambda module, inputs: seen.update(residual=inputs[0]))
    pictures = torch.rand(1, 3, 48, 48)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (backbone.mean, backbone.std))
    assert backbone((pictures - mean) / std).shape == (1, backbone.num_features)
    assert seen["picture"] == 32
    torch.testing.assert_close(seen["residual"], pictures)


def test_the_smallest_picture_that_sstnet_names_passes_through():
    backbone = backbones.sstnet(name="test_resnet", picture_size=32, pretrained=False).eval()
    assert backbone(torch.rand(1, 3, MIN_SIZE, MIN_SIZE)).isfinite().all()
    with pytest.raises(RuntimeError):
        backbone(torch.rand(1, 3, MIN_SIZE - 1, MIN_SIZE - 1))
