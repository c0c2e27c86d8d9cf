"""Heads that are fitted at once: equal to scikit-learn, kept without pickle, refused where they cannot be fitted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from dfd.base.errors import CheckpointError, ConfigError, StoreError
from dfd.models.classifier import ClipClassifier, build_model, logits_of
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.models.files.onnx import to_onnx, to_program
from dfd.training.learning.fitting import Fitting, fit_head

HEADS: dict[str, dict[str, Any]] = {
    "forest": {"num_trees": 20, "max_leaves": 8, "seed": 3},
    "svm": {"cost": 2.0, "max_vectors": 100},
    "lda": {},
    "knn": {"num_neighbours": 3, "max_vectors": 100},
}


def model_of(head: str, *, backbone: str = "convolutional_traces", **options: Any) -> ClipClassifier:
    parts = {"backbone": {"_target_": f"dfd.models.backbones.{backbone}"}}
    parts |= {"temporal": {"_target_": "dfd.models.temporal.mean"}}
    return build_model({**parts, "head": {"_target_": f"dfd.models.heads.{head}", **HEADS.get(head, {}), **options}})


@pytest.fixture(scope="module")
def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Features (80, 24) of two overlapping clouds on different scales, and their labels."""
    draw = np.random.default_rng(0)
    label = np.arange(80) % 2
    features = (draw.normal(size=(80, 24)) + 0.6 * label[:, None]) * np.geomspace(0.01, 100, 24) + 5
    return features.astype(np.float32).astype(np.float64), label


def probs_by_sklearn(head: str, features: np.ndarray, label: np.ndarray, others: np.ndarray) -> np.ndarray:
    scaler = StandardScaler().fit(features)
    given, asked = scaler.transform(features), scaler.transform(others)
    if head == "svm":
        machine = SVC(C=2.0, class_weight="balanced").fit(given, label)
        return 1 / (1 + np.exp(-machine.decision_function(asked)))
    made = {
        "forest": RandomForestClassifier(20, max_leaf_nodes=8, random_state=3, class_weight="balanced"),
        "lda": LinearDiscriminantAnalysis(),
        "knn": KNeighborsClassifier(3),
    }[head]
    probs: np.ndarray = made.fit(given, label).predict_proba(asked)[:, 1]
    return probs if head == "lda" else np.clip(probs, 1e-3, 1 - 1e-3)  # shares of votes are cut off


@pytest.mark.parametrize("head", HEADS)
def test_the_kept_arrays_score_as_scikit_learn_does(
    head: str, clouds: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model = model_of(head)
    fit_head(model.classify, *clouds)
    others = np.random.default_rng(1).normal(size=(50, 24)) * np.geomspace(0.01, 100, 24) + 5
    others = others.astype(np.float32).astype(np.float64)
    expected = probs_by_sklearn(head, *clouds, others)
    save_safetensors(tmp_path / "x.safetensors", model, DetectorCard(model=model.config, image_size=32, clip_len=1))
    loaded, _ = load_model(tmp_path / "x.safetensors")
    found = loaded.classify(torch.from_numpy(others)).softmax(dim=1)[:, 1].numpy()
    assert found == pytest.approx(expected, abs=1e-9)
    assert np.ptp(found) > 0.1


def test_a_shrunken_plane_is_that_of_scikit_learn(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    head = model_of("lda", shrinkage=0.5).classify
    fit_head(head, *clouds)
    scaled = StandardScaler().fit_transform(clouds[0])
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5).fit(scaled, clouds[1]).predict_proba(scaled)
    found = head(torch.from_numpy(clouds[0])).softmax(dim=1)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@pytest.mark.parametrize(("num_conditions", "follows_quality"), [(0, True), (1, False)])
def test_what_follows_from_the_quality_alone_is_no_evidence_given_the_quality(
    num_conditions: int, follows_quality: bool
) -> None:
    draw = np.random.default_rng(0)
    label = np.arange(400) % 2
    quality = draw.normal(size=400) + 3 * label
    evidence = 2 * quality[:, None] + draw.normal(size=(400, 23))
    head = model_of("lda", num_conditions=num_conditions, shrinkage=0.1).classify
    fit_head(head, np.column_stack([evidence, quality]), label)
    odds = head(torch.from_numpy(np.column_stack([evidence, quality])))[:, 1].numpy()
    assert (abs(np.corrcoef(odds, quality)[0, 1]) > 0.5) is follows_quality


def test_conditions_must_leave_a_feature() -> None:
    with pytest.raises((ConfigError, ValueError), match=r"head\.num_conditions=24 leaves none of 24 features"):
        model_of("lda", num_conditions=24)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_was_not_fitted_tells_nothing(head: str) -> None:
    assert (model_of(head).classify(torch.randn(3, 24)) == 0).all()


def test_nodes_that_a_hostile_forest_names_and_does_not_have_do_no_harm() -> None:
    head = model_of("forest").classify
    head.get_buffer("is_fitted").fill_(True)
    head.get_buffer("following").fill_(2**30)
    head.get_buffer("feature").fill_(-7)
    assert head(torch.randn(2, 24)).isfinite().all()


def test_too_many_support_vectors_are_refused(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match=r"head\.max_vectors=5 is too small for .* support vectors; set it to"):
        fit_head(model_of("svm", max_vectors=5).classify, *clouds)


def test_a_classifier_needs_both_labels(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="the training clips hold no real one"):
        fit_head(model_of("lda").classify, clouds[0], np.ones(80, np.int64))


def test_a_head_that_is_fitted_wants_features_that_do_not_learn() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.freeze=true and temporal=mean"):
        Fitting.of(model_of("svm", backbone="pulse_maps"))
    assert Fitting.of(model_of("linear")) is None


def test_a_fit_goes_on_from_what_a_checkpoint_keeps(clouds: tuple[np.ndarray, np.ndarray]) -> None:
    features, label = (torch.from_numpy(value) for value in clouds)
    models = [model_of("lda"), model_of("lda")]
    whole, stopped = (Fitting.of(model) for model in models)
    assert whole is not None
    assert stopped is not None
    stopped.take(features[:40], label[:40])
    resumed = Fitting.of(models[1])
    assert resumed is not None
    resumed.load(stopped.state())
    resumed.take(features[40:], label[40:])
    whole.take(features, label)

    alone = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    logits = [one.fit(alone)[0] for one in (whole, resumed)]
    assert torch.equal(*logits)
    shared = Trainer(accelerator="cpu", devices=1, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(ConfigError, match="take trainer=cpu"):
        whole.fit(shared)


def test_traces_are_the_features_of_a_picture_in_any_batch() -> None:
    model = model_of("lda")
    clips = torch.randint(9, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    features = model.features(clips)
    assert features.shape == (2, 2, 24)
    torch.testing.assert_close(model.features(clips[1:]), features[1:])


def test_a_picture_that_is_nearly_all_border_has_no_traces_and_is_named() -> None:
    clips = torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
    clips[..., :5, :5] = 100
    model = model_of("lda")
    assert model(clips).isnan().any()
    with pytest.raises(StoreError, match="v7: its picture is too small for the window"):
        logits_of(model, {"frames": clips, "video_id": ["v7"]})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("backbone", ["pulse", "pulse_maps"])
def test_a_clip_without_a_pulse_has_no_score_and_others_of_the_batch_have(backbone: str) -> None:
    model = model_of("linear", backbone=backbone).eval()
    clips = torch.randint(0, 256, (2, 70, 3, 40, 40), dtype=torch.uint8)
    seconds = torch.arange(70).repeat(2, 1) / 25
    seconds[0, 50:] = 2.0  # the last frames repeat one
    logits = model(clips, seconds)
    assert logits[0].isnan().all()
    assert logits[1].isfinite().all()
    with pytest.raises(ValueError, match="needs the time of each frame"):
        model(clips)


def test_a_clip_of_few_frames_has_no_statistics_and_is_named() -> None:
    model = model_of("lda", backbone="rendering").eval()
    clips = torch.randint(0, 256, (1, 5, 3, 40, 40), dtype=torch.uint8)
    assert model(clips).isnan().any()
    with pytest.raises(StoreError, match="v7: its clips have fewer than 8 frames"):
        logits_of(model, {"frames": clips, "video_id": ["v7"]})  # type: ignore[typeddict-item]


def test_signals_are_not_exported(tmp_path: Path) -> None:
    model = model_of("lda")
    card = DetectorCard(model=model.config, image_size=32, clip_len=1)
    for export in (to_onnx, to_program):
        with pytest.raises(CheckpointError, match="computes its features outside of torch; use format=safetensors"):
            export(model, card)
