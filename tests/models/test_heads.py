import inspect
import math

import pytest
import torch
from torch import nn

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.models.classifier import architecture, build_model, resolve_model_config
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors
from dfd.models.heads import HEADS, CapsuleHead, linear, linear_norm, squashed, standard
from tests.models.test_classifier import TINY

LINEAR = {"standard": standard, "linear": linear, "linear_norm": linear_norm}


def model_with(head: str, **options) -> nn.Module:
    torch.manual_seed(0)
    return build_model({**TINY, "head": {"_target_": f"dfd.models.heads.{head}", **options}}).eval()


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("name", LINEAR)
def test_every_head_gives_a_logit_per_label(name, outputs):
    head = LINEAR[name](5, dropout=0.0, outputs=outputs)
    assert head(torch.randn(3, 5)).shape == (3, len(Label))
    assert head.weight.shape == (outputs, 5)


@pytest.mark.parametrize("name", LINEAR)
def test_one_output_is_a_sigmoid_for_fake(name):
    torch.manual_seed(0)
    head = LINEAR[name](5, dropout=0.0, outputs=1)
    features = torch.randn(4, 5)
    before = {
        "standard": nn.functional.leaky_relu,
        "linear": lambda x: x,
        "linear_norm": lambda x: x / x.norm(dim=1)[:, None],
    }
    z = (before[name](features) @ head.weight.T + head.bias)[:, 0]
    torch.testing.assert_close(head(features).softmax(dim=1)[:, Label.FAKE], z.sigmoid())
    assert z.std() > 0.1


def test_heads_differ_in_what_is_before_the_last_layer():
    features = torch.tensor([[3.0, -4.0]])
    heads = {name: build(2, dropout=0.0) for name, build in LINEAR.items()}
    for head in heads.values():
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    torch.testing.assert_close(heads["standard"](features), torch.tensor([[3.0, -0.04]]))
    torch.testing.assert_close(heads["linear"](features), features)
    torch.testing.assert_close(heads["linear_norm"](features), torch.tensor([[0.6, -0.8]]))


def test_the_normalised_head_does_not_depend_on_the_length_of_the_features():
    head, features = linear_norm(7, dropout=0.0), torch.randn(3, 7)
    torch.testing.assert_close(head(features), head(100 * features))
    assert head(torch.zeros(1, 7)).isfinite().all()


@pytest.mark.parametrize("name", LINEAR)
def test_the_models_dropout_is_that_of_its_head_and_acts_in_training_only(name):
    head = {"_target_": f"dfd.models.heads.{name}"}
    model = build_model({**TINY, "head": head, "dropout": 0.7}).eval()
    assert model.classify.dropout.p == 0.7
    features = torch.randn(1, 3, model.backbone.num_features)
    assert torch.equal(model.head(features), model.head(features))
    model.classify.train()
    assert not torch.equal(model.head(features), model.head(features))


@pytest.mark.parametrize("given", [{}, {"head": None}, {"head": {"_target_": "dfd.models.heads.standard"}}])
def test_a_config_without_a_head_has_the_standard_one_with_the_names_of_old_checkpoints(given):
    model = build_model({**TINY, **given})
    assert "head" not in model.config
    assert architecture({**TINY, **given}) == architecture(TINY)
    names = {name for name in model.state_dict() if not name.startswith(("backbone.", "temporal."))}
    assert names == {"classify.weight", "classify.bias"}
    torch.manual_seed(1)
    features = torch.randn(2, 3, model.backbone.num_features)
    pooled = model.eval().temporal(features)
    expected = nn.functional.leaky_relu(pooled) @ model.classify.weight.T + model.classify.bias
    torch.testing.assert_close(model.head(features), expected)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"_target_": "os.system"}, r"head\._target_: 'os.system' is not one of dfd\.models\.heads\.standard"),
        ({"_target_": "dfd.models.temporal.mean"}, "is not one of"),
        (5, "head: must be a mapping"),
        ({"_target_": "dfd.models.heads.linear", "outputs": 3}, r"head\.outputs must be 1 or 2, got 3"),
        ({"_target_": "dfd.models.heads.linear", "outputs": "x"}, r"head\.outputs must be 1 or 2"),
        ({"_target_": "dfd.models.heads.linear", "output": 1}, r"head\.output: .*did you mean 'outputs'"),
        ({"_target_": "dfd.models.heads.linear", "dropout": 0.1}, r"head\.dropout: linear has no parameter"),
        ({"_target_": "dfd.models.heads.capsule"}, "head=capsule needs a square feature map of 256 channels"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_and_the_key_named(head, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**TINY, "head": head})


@pytest.mark.parametrize("name", ["linear", "linear_norm"])
def test_a_head_is_kept_in_the_card_and_loaded_from_it(tmp_path, name):
    model = model_with(name, outputs=1)
    save_safetensors(tmp_path / "d.safetensors", model, DetectorCard(model=model.config, image_size=64, clip_len=4))
    card, _ = load_checkpoint(tmp_path / "d.safetensors")
    assert card.model["head"] == {"_target_": f"dfd.models.heads.{name}", "outputs": 1}
    loaded, _ = load_model(tmp_path / "d.safetensors")
    clips = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(clips), model(clips))


def test_every_head_is_an_option_with_its_defaults():
    for name in HEADS:
        resolved = resolve_model_config({**TINY, "head": {"_target_": f"dfd.models.heads.{name}"}})
        given = set(inspect.signature(HEADS[name]).parameters) - {"in_features", "dropout"}
        assert set(resolved.get("head", {})) <= {"_target_", *given}


# -- capsule --


@pytest.fixture
def small_capsule() -> CapsuleHead:
    torch.manual_seed(0)
    head = CapsuleHead(256 * 25, dropout=0.0)
    for module in head.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.normal_(module.weight, std=2 / math.sqrt(module.weight[0].numel()))
    return head.eval()


def test_a_capsule_network_has_the_parameters_of_the_publication(small_capsule):
    assert sum(parameter.numel() for parameter in small_capsule.parameters()) == 471_321


def test_a_capsules_logits_are_those_of_its_probabilities(small_capsule):
    logits = small_capsule(torch.randn(3, 256 * 25))
    torch.testing.assert_close(logits.exp(), logits.softmax(dim=1))
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(3))


def test_a_capsule_ignores_where_on_the_map_something_is_after_its_convolutions(small_capsule):
    captured = []
    capsule_ = small_capsule.capsules[0]
    capsule_.maps.register_forward_hook(lambda module, inputs, output: captured.append(output))
    numbers = capsule_(torch.randn(2, 256, 5, 5))
    shuffled = captured[0].flatten(2)[:, :, torch.randperm(25)].unflatten(2, (5, 5))
    capsule_.maps = nn.Identity()
    torch.testing.assert_close(capsule_(shuffled), numbers)


def test_a_clip_alone_and_in_a_batch_gives_the_same(small_capsule):
    maps = torch.randn(3, 256 * 25)
    torch.testing.assert_close(small_capsule(maps[1:2]), small_capsule(maps)[1:2])
    others = torch.cat([maps[:1] + 5, maps[1:2]])
    torch.testing.assert_close(small_capsule(others)[1], small_capsule(maps)[1])


@pytest.mark.parametrize("maps", [torch.zeros(2, 256 * 25), torch.full((2, 256 * 25), 3.0)])
def test_a_constant_map_has_finite_gradients(small_capsule, maps):
    small_capsule.train()
    small_capsule(maps).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small_capsule.parameters())


def test_dropout_of_a_capsule_network_acts_on_its_votes():
    torch.manual_seed(0)
    head = CapsuleHead(256 * 4, dropout=0.5).eval()
    maps = torch.randn(1, 256 * 4)
    assert torch.equal(head(maps), head(maps))
    head.dropout.train()
    assert not torch.equal(head(maps), head(maps))


def test_squashing_keeps_the_direction_and_makes_the_length_less_than_one():
    vectors = torch.randn(4, 3) * 10
    short = squashed(vectors, dim=1)
    torch.testing.assert_close(nn.functional.cosine_similarity(short, vectors), torch.ones(4))
    squares = vectors.square().sum(dim=1)
    torch.testing.assert_close(short.norm(dim=1), squares / (1 + squares))
    assert squashed(torch.zeros(1, 3), dim=1).abs().max() == 0
