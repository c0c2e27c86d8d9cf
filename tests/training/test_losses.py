"""Losses against their definitions, computed by hand or pair by pair."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dfd.base.errors import CheckpointError, ConfigError
from dfd.data.clips.module import ClipDataModule
from dfd.models.files.checkpoint import load_checkpoint, load_model
from dfd.training.learning.losses import (
    Alignment,
    CrossEntropy,
    Focal,
    LossSum,
    MethodHead,
    SupervisedContrastive,
    Uniformity,
)
from dfd.training.module import DetectorModule
from tests.training.test_training import Clips, checkpointing, loader, make_module, make_trainer

LABELS = torch.tensor([0, 1, 1, 0, 1])
LOGITS = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
BATCH = {"label": LABELS}


def squared_distances() -> dict[tuple[int, int], float]:
    unit = [feature / feature.norm() for feature in FEATURES]
    return {(i, j): float(((unit[i] - unit[j]) ** 2).sum()) for i in range(5) for j in range(i + 1, 5)}


def test_the_focal_loss_is_the_mean_of_weighted_cross_entropies() -> None:
    probs = LOGITS.softmax(1)[torch.arange(5), LABELS]
    expected = (-((1 - probs) ** 2) * probs.log()).mean()
    assert torch.allclose(Focal(gamma=2.0)(LOGITS, FEATURES, BATCH), expected)


def test_the_focal_loss_without_exponent_is_the_cross_entropy_with_the_same_class_weights() -> None:
    almost = Focal(gamma=1e-9, class_weights=[2.0, 1.0])(LOGITS, FEATURES, BATCH)
    assert torch.allclose(almost, F.cross_entropy(LOGITS, LABELS, weight=torch.tensor([2.0, 1.0])))


def test_the_contrastive_loss_is_that_of_its_paper() -> None:
    unit = F.normalize(FEATURES, dim=1)
    terms = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        total = sum(math.exp(float(unit[i] @ unit[j]) / 0.5) for j in others)
        positives = [j for j in others if LABELS[j] == LABELS[i]]
        logs = [float(unit[i] @ unit[j]) / 0.5 - math.log(total) for j in positives]
        terms.append(-sum(logs) / len(logs))
    found = SupervisedContrastive(temperature=0.5)(LOGITS, FEATURES, BATCH)
    assert float(found) == pytest.approx(sum(terms) / 5, rel=1e-5)


def test_alignment_and_uniformity_are_means_over_pairs() -> None:
    pairs = squared_distances()
    same = [value for (i, j), value in pairs.items() if LABELS[i] == LABELS[j]]
    assert float(Alignment()(LOGITS, FEATURES, BATCH)) == pytest.approx(sum(same) / len(same), rel=1e-5)
    potential = [math.exp(-2 * value) for value in pairs.values()]
    expected = math.log(sum(potential) / len(potential))
    assert float(Uniformity()(LOGITS, FEATURES, BATCH)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [SupervisedContrastive(), Alignment(), Uniformity()])
@pytest.mark.parametrize("labels", [[0], [0, 1]])
def test_a_batch_without_a_pair_has_a_loss_and_gradients_that_are_numbers(loss: nn.Module, labels: list[int]) -> None:
    features = FEATURES[: len(labels)].clone().requires_grad_()
    value = loss(LOGITS[: len(labels)], features, {"label": torch.tensor(labels)})
    value.backward()
    assert value.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_losses_are_summed_by_their_weights_and_a_function_weighs_one() -> None:
    losses = LossSum(
        {"ce": CrossEntropy(weight=2.0), "apart": Alignment(weight=0.5), "size": lambda z, f, b: f.square().mean()}
    )
    found = losses.compute(LOGITS, FEATURES, BATCH)
    assert torch.allclose(found["ce"], 2 * F.cross_entropy(LOGITS, LABELS))
    assert torch.allclose(found["apart"], 0.5 * Alignment()(LOGITS, FEATURES, BATCH))
    assert torch.allclose(found["size"], FEATURES.square().mean())


def test_no_loss_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one loss"):
        LossSum({})


class Squared(DetectorModule):
    """A researcher's own loss."""

    def compute_loss(self, logits, features, batch):
        assert features.shape == (len(batch["label"]), 8)
        return (logits.softmax(1)[:, 1] - batch["label"]).square().mean()


def test_a_subclass_computes_a_loss_of_its_own(tmp_path: Path) -> None:
    made = make_module()
    module = Squared(made.model, optimizer=partial(torch.optim.Adam, lr=1e-2), card=made.card)
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, loader(), loader())
    assert 0 < float(trainer.callback_metrics["train/loss"]) < 0.7


class ClipsOfMethods(Clips):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "method": ["", "swap", "", "mouth", "swap", ""][index]}


def method_module() -> DetectorModule:
    module = make_module(loss={"cross_entropy": CrossEntropy(), "method": MethodHead(weight=0.5)})
    module.loss["method"].number = {"": 0, "mouth": 1, "swap": 2}
    module.loss["method"].classify = nn.Linear(8, 3)
    return module


def test_the_method_head_learns_is_resumed_and_is_not_in_the_detector(tmp_path: Path) -> None:
    data = torch.utils.data.DataLoader(ClipsOfMethods([0, 1, 0, 1, 1, 0]), batch_size=3)
    module = method_module()
    before = module.loss["method"].classify.weight.detach().clone()
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), max_epochs=1)
    trainer.fit(module, data, data)
    assert not torch.equal(before, module.loss["method"].classify.weight)
    assert float(trainer.callback_metrics["train/loss_method_step"]) > 0
    last = str(tmp_path / "checkpoints" / "last.ckpt")
    assert not any("method" in name for name in load_checkpoint(last)[1])
    load_model(last)
    resumed = method_module()
    make_trainer(tmp_path, max_epochs=1).fit(resumed, data, data, ckpt_path=last, weights_only=True)
    assert torch.equal(resumed.loss["method"].classify.weight, module.loss["method"].classify.weight)
    with pytest.raises(CheckpointError, match=r"loss\.method=MethodHead, not none"):
        make_trainer(tmp_path, max_epochs=2).fit(make_module(), data, data, ckpt_path=last, weights_only=True)


def test_a_method_head_needs_two_methods(tiny_store: Path) -> None:
    data = ClipDataModule(tiny_store, clip_len=2)
    with pytest.raises(ConfigError, match=r"the training set has 1 \(flicker\)"):
        MethodHead().setup(make_module().model, data)
