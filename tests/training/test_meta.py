"""Meta-learning: its update against the closed form, its losses against their definitions, and whole runs."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dfd.base.errors import CheckpointError, ConfigError
from dfd.models.files.checkpoint import load_model
from dfd.training.learning.losses.domains import AverageCenters, HardPairs
from dfd.training.learning.stepping.meta import Meta
from tests.training.test_training import Clips, StopAfter, checkpointing, make_module, make_trainer

LABELS = torch.tensor([1, 0, 1, 0, 1, 0])
METHODS = ["swap", "", "sync", "", "talk", ""]
FEATURES = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
BATCH = {"label": LABELS, "method": METHODS}


class Linear(nn.Module):
    """One linear layer on features, with a quadratic loss, in place of a detector and of Lightning."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.Linear(3, 2, bias=False)
        self.model = nn.Module()
        self.model.classify = layer
        self.model.temporal = nn.Identity()
        self.model.backbone = nn.Module()
        self.model.backbone.why_nothing = ""
        self.trainer = SimpleNamespace(precision_plugin=None)

    def optimizers(self) -> Any:
        return SimpleNamespace(param_groups=[{"lr": 0.3}])

    def compute_loss(self, logits_BK: Tensor, features_BD: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return (logits_BK - F.one_hot(batch["label"], 2)).square().sum() / (2 * len(logits_BK))

    def learn(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        logits = self.model.classify(batch["features"])
        return self.compute_loss(logits, batch["features"], batch), logits


def closed_form(weight: Tensor, rows: list[int]) -> Tensor:
    """Gradient of the quadratic loss."""
    x, y = FEATURES[rows], F.one_hot(LABELS[rows], 2).float()
    return (x @ weight.T - y).T @ x / len(rows)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0])
def test_the_gradient_of_a_linear_model_is_that_of_the_closed_form(gamma: float) -> None:
    module = Linear()
    weight = module.model.classify.weight
    before = weight.detach().clone()
    loss, logits = Meta(gamma=gamma).learn(module, {**BATCH, "features": FEATURES})
    loss.backward()
    inner = closed_form(before, [0, 1, 2, 3])
    outer = closed_form(before - 0.3 * inner, [4, 5])
    assert torch.allclose(weight.grad, gamma * inner + (1 - gamma) * outer, atol=1e-6)
    assert torch.equal(weight, before)
    assert torch.allclose(logits[:4], FEATURES[:4] @ before.T)


def test_the_inner_rate_may_be_given_and_accumulated_gradients_are_a_mean() -> None:
    module = Linear()
    weight = module.model.classify.weight
    for _ in range(2):
        (Meta(gamma=0.0, inner_rate=2.0).learn(module, {**BATCH, "features": FEATURES})[0] / 2).backward()
    outer = closed_form(weight.detach() - 2.0 * closed_form(weight.detach(), [0, 1, 2, 3]), [4, 5])
    assert torch.allclose(weight.grad, outer, atol=1e-6)


def test_the_network_of_weights_learns_which_clips_help_on_the_held_out_domain() -> None:
    module = Linear()
    meta = Meta(gamma=0.5, inner_rate=0.1, weigh=True)
    meta.setup(SimpleNamespace(temporal=SimpleNamespace(num_features=3)), SimpleNamespace())
    assert meta.weight_net is not None
    meta.learn(module, {**BATCH, "features": FEATURES})[0].backward()
    gradients = [parameter.grad for parameter in meta.weight_net.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients if gradient is not None)


def test_hard_pairs_are_those_that_are_told_wrongly() -> None:
    unit = F.normalize(FEATURES, dim=1)
    pulled, pushed = [], []
    for i in range(6):
        for j in range(i + 1, 6):
            cosine, square = float(unit[i] @ unit[j]), float((unit[i] - unit[j]).square().sum())
            if LABELS[i] == LABELS[j] and cosine < 0.3:
                pulled.append(square)
            if LABELS[i] != LABELS[j] and cosine > 0.0:
                pushed.append(square)
    assert pulled
    assert pushed
    expected = sum(pulled) / len(pulled) / 2 - sum(pushed) / len(pushed) / 2
    assert float(HardPairs()(FEATURES, FEATURES, BATCH)) == pytest.approx(expected, rel=1e-5)


def test_equal_clips_have_no_loss_of_pairs_and_none_of_centers() -> None:
    same = torch.ones(6, 3)
    assert float(HardPairs()(same, same, BATCH)) == 0
    assert float(AverageCenters()(same, same, BATCH)) == 0


def test_centers_of_real_and_of_fake_clips_are_aligned_apart() -> None:
    unit = F.normalize(FEATURES, dim=1)
    fakes, reals = unit[0::2], unit[1::2]  # a clip of each label in each domain
    expected = [(part - part.mean(0)).square().sum(1).mean() for part in (fakes, reals)]
    found = AverageCenters()(FEATURES, FEATURES, BATCH)
    assert torch.allclose(found, torch.stack(expected).mean())
    one = {"label": LABELS, "method": ["swap", ""] * 3}
    assert float(AverageCenters()(FEATURES, FEATURES, one)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"inner_rate": 0.0}, {"domains": "kind"}, {"num_domains": 1}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="strategy"):
        Meta(**options)
    with pytest.raises(ConfigError, match="negative_threshold"):
        HardPairs(negative_threshold=2.0)


def test_batches_that_are_not_of_pairs_are_refused_with_what_draws_them() -> None:
    with pytest.raises(ConfigError, match=r"batches of pairs.*data=clips"):
        Meta().learn(Linear(), {"label": torch.tensor([0, 1]), "method": ["", "swap"], "features": FEATURES[:2]})


class Pairs(Clips):
    """Clips of pairs, of one method or of several."""

    def __init__(self, methods: list[str]) -> None:
        super().__init__([1, 0] * len(methods))
        self.methods = [name for method in methods for name in (method, "")]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**super().__getitem__(index), "method": self.methods[index]}


def pairs(*methods: str) -> "DataLoader[Any]":
    return DataLoader(Pairs([*methods]), batch_size=4)


def test_with_one_domain_three_steps_are_those_of_plain_training_bit_for_bit(tmp_path: Any) -> None:
    found = []
    for strategy in (None, Meta(gamma=1.0)):
        module = make_module(strategy=strategy)
        make_trainer(tmp_path, max_steps=3, max_epochs=1, logger=False).fit(module, pairs(*["swap"] * 6), pairs("swap"))
        found.append(module.model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_statistics_of_batch_normalisation_are_updated_once_for_each_step(tmp_path: Any) -> None:
    steps = []

    class Spy(Meta):
        def learn(self, module: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
            counts = [value.clone() for name, value in module.model.named_buffers() if "num_batches" in name]
            result = super().learn(module, batch)
            after = [value for name, value in module.model.named_buffers() if "num_batches" in name]
            steps.append({int(now - before) for before, now in zip(counts, after, strict=True)})
            return result

    trainer = make_trainer(tmp_path, max_steps=2, max_epochs=1, logger=False)
    trainer.fit(make_module(strategy=Spy()), pairs("swap", "sync", "talk", "swap"), pairs("swap"))
    assert steps == [{1}, {1}]


def test_a_stopped_run_goes_on_bit_by_bit_with_accumulation_averages_and_weights_of_clips(tmp_path: Any) -> None:
    def run(folder: Any, *callbacks: Any, ckpt_path: Any = None, **options: Any) -> Any:
        torch.manual_seed(0)
        strategy = Meta(weigh=True, **options)
        strategy.setup(SimpleNamespace(temporal=SimpleNamespace(num_features=8)), SimpleNamespace())
        module = make_module(strategy=strategy)
        average = EMAWeightAveraging(decay=0.9)
        trainer = make_trainer(folder, *checkpointing(folder), average, *callbacks, accumulate_grad_batches=2)
        data = pairs("swap", "sync", "talk", "swap", "sync", "talk", "talk", "swap")
        trainer.fit(module, data, pairs("swap"), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return module

    whole = run(tmp_path / "whole")
    run(tmp_path / "stopped", StopAfter(0))
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    resumed = run(tmp_path / "stopped", ckpt_path=last)
    expected, found = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    load_model(last)  # the detector has no network of weights
    with pytest.raises(CheckpointError, match=r"strategy.gamma=0.5, not 0.9"):
        run(tmp_path / "stopped", ckpt_path=last, gamma=0.9)


def test_fp16_is_refused_with_what_to_use_instead() -> None:
    module = Linear()
    plugin = torch.amp.GradScaler("cpu")
    from lightning.pytorch.plugins.precision import MixedPrecision

    module.trainer.precision_plugin = MixedPrecision("16-mixed", "cpu", scaler=plugin)
    with pytest.raises(ConfigError, match=r"bf16-mixed or 32-true"):
        Meta().learn(module, {**BATCH, "features": FEATURES})
