import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dfd.base.errors import CheckpointError
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.checkpoint import DetectorCard, load_checkpoint, load_model, save_safetensors, weights_sha256

CONFIG = {
    "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 8},
}


@pytest.fixture(scope="module")
def model() -> ClipClassifier:
    torch.manual_seed(0)
    return build_model(CONFIG).eval()


@pytest.fixture
def card(model) -> DetectorCard:
    return DetectorCard(
        model=model.config,
        image_size=112,
        clip_len=10,
        crop={"margin_fraction": 0.3, "detector": {"name": "mtcnn", "threshold": 0.9}},
        data={"num_videos": 36, "manifest_sha256": "ab"},
        metrics={"val/auc": 0.9},
        temperature=1.5,
        threshold=0.4,
    )


def lightning_like(path, model, card):
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "dfd": card.to_dict(), "epoch": 3, "optimizer_states": []}, path)


WRITERS = {".ckpt": lightning_like, ".safetensors": save_safetensors}


@pytest.fixture(params=WRITERS)
def saved(request, tmp_path, model, card) -> Path:
    path = tmp_path / f"detector{request.param}"
    WRITERS[request.param](path, model, card)
    return path


def test_a_loaded_model_scores_as_the_saved_one_and_is_in_evaluation_mode(saved, model):
    loaded, _ = load_model(saved)
    clips = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(clips), model(clips))


def test_the_card_comes_back_as_it_was(saved, card):
    assert load_checkpoint(saved)[0] == card


def test_a_checkpoint_of_a_pretrained_model_needs_no_other_file(tmp_path, model, card):
    backbone = {**card.model["backbone"], "pretrained": True, "weights": "/a/file/that/is/gone.pth"}
    save_safetensors(tmp_path / "d.safetensors", model, replace(card, model={**card.model, "backbone": backbone}))
    load_model(tmp_path / "d.safetensors")


def test_the_card_is_readable_in_the_safetensors_header(tmp_path, model, card):
    save_safetensors(tmp_path / "d.safetensors", model, card)
    with safe_open(tmp_path / "d.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["dfd"])["label_order"] == ["real", "fake"]
    assert [path.name for path in tmp_path.iterdir()] == ["d.safetensors"]


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.ckpt: no such file; give a \.ckpt or \.safetensors"):
        load_model(tmp_path / "gone.ckpt")
    with pytest.raises(CheckpointError, match="directory"):
        load_model(tmp_path)


class Touch:
    """Unpickled without care, it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.safetensors", "evil.pt"])
@pytest.mark.parametrize("how", ["torch zip", "torch legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_never_run(tmp_path, card, name, how):
    marker, path = tmp_path / "marker", tmp_path / name
    content = {"state_dict": {"a": torch.zeros(1)}, "dfd": card.to_dict(), "callbacks": Touch(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(Touch(marker)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch zip")
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert not marker.exists()
    assert str(path) in str(error.value)
    assert "add_safe_globals" not in str(error.value)


@pytest.mark.parametrize("variable", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_no_environment_variable_switches_the_check_off(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    torch.save({"dfd": Touch(tmp_path / "marker")}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_short_is_refused(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=saved.name):
        load_model(saved)


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, {"state_dict": {"w": torch.zeros(2)}}, [1], 3])
def test_a_checkpoint_of_another_program_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of dfd"):
        load_model(tmp_path / "other.ckpt")


def test_a_safetensors_file_without_a_card_is_refused(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of dfd"):
        load_model(tmp_path / "other.safetensors")
    for card in ("{not json", "[" * 100_000):
        save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors", metadata={"dfd": card})
        with pytest.raises(CheckpointError, match=r"other\.safetensors"):
            load_model(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_order": ["fake", "real"]}, "label_order"),
        ({"label_order": "rf"}, "label_order"),
        ({"format_version": 2}, "format 2, this dfd reads 1"),
        ({"format_version": None}, "format None"),
        ({"image_size": "112"}, "image_size must be a whole number"),
        ({"clip_len": 0}, "clip_len must be"),
        ({"clip_stride": True}, "clip_stride must be"),
        ({"threshold": float("nan")}, "threshold: it holds nan"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"metrics": {"auc": "high"}}, "metrics.auc must be a finite number"),
        ({"model": []}, "model must be names and values"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_card_with_a_wrong_value_is_refused_and_the_value_named(tmp_path, model, card, change, message):
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "dfd": {**card.to_dict(), **change}}, tmp_path / "d.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "d.ckpt")


def test_a_card_may_only_call_dfds_own_functions(tmp_path, model, card):
    evil = replace(card, model={**card.model, "backbone": {"_target_": "os.system", "command": "touch marker"}})
    save_safetensors(tmp_path / "d.safetensors", model, evil)
    with pytest.raises(CheckpointError, match=r"'os\.system' is not one of"):
        load_model(tmp_path / "d.safetensors")


def test_weights_that_do_not_fit_their_card_are_refused_with_names(tmp_path, model, card):
    temporal = {**card.model["temporal"], "hidden_features": 9}
    save_safetensors(tmp_path / "d.safetensors", model, replace(card, model={**card.model, "temporal": temporal}))
    with pytest.raises(CheckpointError, match=r"of another shape: .*temporal\.recurrent\.weight_ih_l0"):
        load_model(tmp_path / "d.safetensors")
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "classify.bias"}
    save_file(state, tmp_path / "d.safetensors", metadata={"dfd": json.dumps(card.to_dict())})
    with pytest.raises(CheckpointError, match=r"missing: classify\.bias"):
        load_model(tmp_path / "d.safetensors")


def test_the_hash_of_weights_is_that_of_both_file_formats_and_changes_with_one_value(tmp_path, model, card):
    hashes = set()
    for suffix, write in WRITERS.items():
        write(tmp_path / f"d{suffix}", model, card)
        hashes.add(weights_sha256(load_checkpoint(tmp_path / f"d{suffix}")[1]))
    assert hashes == {weights_sha256(model.state_dict())}
    tensors = dict(load_checkpoint(tmp_path / "d.safetensors")[1])
    tensors["classify.bias"] = tensors["classify.bias"] + 1e-6
    assert weights_sha256(tensors) not in hashes


def test_the_hash_takes_every_type_and_shape():
    tensors = {"scalar": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16), "empty": torch.empty(0, 2)}
    assert weights_sha256(tensors) != weights_sha256({**tensors, "empty": torch.empty(2, 0)})


def test_a_model_that_mixes_the_clips_of_a_batch_is_neither_exported_nor_used_to_predict(tmp_path):
    from dfd.scoring.detector import Detector

    config = {**CONFIG, "temporal": {"_target_": "dfd.models.temporal.lstm_over_batch", "hidden_features": 8}}
    model = build_model(config)
    card = DetectorCard(model=model.config, image_size=32, clip_len=4)
    with pytest.raises(CheckpointError, match=r"other videos of its batch.*temporal=lstm"):
        save_safetensors(tmp_path / "bad.safetensors", model, card)
    assert not (tmp_path / "bad.safetensors").exists()
    with pytest.raises(CheckpointError, match="neither exported nor used to predict"):
        Detector.of(model, card, name="bad", device="cpu")
    Detector.of(model, card, name="bad", device="cpu", for_comparison=True)


def test_weights_are_loaded_without_a_copy_unless_they_have_16_bits(tmp_path, model, card, monkeypatch):
    read: dict[str, torch.Tensor] = {}

    def noting(path):
        card, tensors = load_checkpoint(path)
        read.update(tensors)
        return card, tensors

    monkeypatch.setattr("dfd.models.files.checkpoint.load_checkpoint", noting)
    for half in (False, True):
        save_safetensors(tmp_path / "d.safetensors", model, card, half=half)
        loaded, _ = load_model(tmp_path / "d.safetensors")
        assert all(parameter.requires_grad for parameter in loaded.parameters())
        for name, value in loaded.state_dict().items():
            expected = model.state_dict()[name]
            assert value.dtype is expected.dtype
            torch.testing.assert_close(value, expected, rtol=1e-3 if half else 0, atol=1e-3 if half else 0)
            if value.ndim < 4 and value.is_floating_point():  # convolutions get another layout
                assert (value.data_ptr() == read[name].data_ptr()) is not half
