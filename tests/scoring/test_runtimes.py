import gc
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from dfd.base.errors import CheckpointError, ConfigError
from dfd.models.files import onnx as formats
from dfd.models.files.checkpoint import load_model, save_safetensors, weights_sha256
from dfd.models.files.onnx import read_onnx, to_onnx
from dfd.scoring.runtimes import load as runtimes
from dfd.scoring.runtimes.load import load_runtime
from dfd.scoring.runtimes.runtime import OnnxRuntime, TorchRuntime, _export_command, pick_device


@pytest.fixture(scope="module")
def content(tiny_checkpoint) -> bytes:
    return to_onnx(*load_model(tiny_checkpoint))


@pytest.fixture
def onnx_file(content, tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Where exports are kept: not in the cache of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dfd" / "onnx"


@pytest.fixture
def exports(content, monkeypatch):
    """The tiny detector's exports, which would take seconds each, by weights; a list of those that were asked for."""
    asked = []
    tiny = read_onnx(content).weights_sha256

    def export(model, card):
        digest = weights_sha256(model.state_dict())
        asked.append(digest)
        return content if digest == tiny else to_onnx(model, card)

    monkeypatch.setattr("dfd.scoring.runtimes.exporting.to_onnx", export)
    return asked


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randint(0, 256, (3, 4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_auto_takes_torch_for_a_checkpoint_and_onnxruntime_for_an_onnx_file(tiny_checkpoint, onnx_file):
    runtime, card, _, model = load_runtime(tiny_checkpoint, device="cpu")
    assert isinstance(runtime, TorchRuntime)
    assert model is runtime.model
    runtime, onnx_card, _, model = load_runtime(onnx_file, device="cpu")
    assert isinstance(runtime, OnnxRuntime)
    assert model is None
    assert onnx_card.to_dict() == json.loads(json.dumps(card.to_dict()))


def test_onnxruntime_runs_a_checkpoint_too_and_leaves_its_network_to_look_into(tiny_checkpoint, clips):
    runtime, _, _, model = load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")
    assert isinstance(runtime, OnnxRuntime)
    assert model is not None
    expected = load_runtime(tiny_checkpoint, device="cpu")[0].prob_fake(clips)
    assert runtime.prob_fake(clips) == pytest.approx(expected, abs=1e-5)


def test_an_export_is_kept_and_used_again(tiny_checkpoint, clips, kept, exports):
    first = load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")[0].prob_fake(clips)
    assert len(list(kept.glob("*.onnx"))) == 1
    assert load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")[0].prob_fake(clips) == first
    one_video = load_runtime(tiny_checkpoint, device="cpu", num_videos=1)[0]
    assert isinstance(one_video, OnnxRuntime), "auto takes what is there"
    assert len(exports) == 1


def test_a_kept_export_that_is_damaged_or_of_other_weights_is_made_anew(
    tiny_checkpoint, tmp_path, clips, kept, exports
):
    expected = load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")[0].prob_fake(clips)
    (file,) = kept.glob("*.onnx")
    file.write_bytes(file.read_bytes()[:1000])
    assert load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")[0].prob_fake(clips) == expected
    model, card = load_model(tiny_checkpoint)
    with torch.no_grad():
        model.classify.weight.add_(torch.randn(model.classify.weight.shape))
    save_safetensors(tmp_path / "other.safetensors", model, card)
    assert load_runtime(tmp_path / "other.safetensors", runtime="onnx", device="cpu")[0].prob_fake(clips) != expected
    (other,) = set(kept.glob("*.onnx")) - {file}
    file.write_bytes(other.read_bytes())
    assert load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")[0].prob_fake(clips) == expected
    assert len(exports) == 4


def test_auto_exports_for_the_next_run_beside_many_videos_and_changes_nothing_in_this_one(
    tiny_checkpoint, kept, clips, monkeypatch
):
    few, many = runtimes.WORTH_EXPORTING - 1, runtimes.WORTH_EXPORTING
    assert load_runtime(tiny_checkpoint, device="cpu", num_videos=few)[0].export is None
    with monkeypatch.context() as without:
        without.setattr(runtimes, "find_spec", lambda name: None if name == "onnxruntime" else name)
        assert load_runtime(tiny_checkpoint, device="cpu", num_videos=many)[0].export is None
    assert not kept.exists()
    runtime, _, _, model = load_runtime(tiny_checkpoint, device="cpu", num_videos=many)
    assert isinstance(runtime, TorchRuntime)
    assert runtime.model is model
    expected = runtime.prob_fake(clips)
    assert runtime.export.wait() is None
    assert runtime.prob_fake(clips) == expected
    following = load_runtime(tiny_checkpoint, device="cpu", num_videos=1)[0]
    assert isinstance(following, OnnxRuntime)
    assert following.prob_fake(clips) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_auto_waits_for_the_export_if_there_is_enough_to_score(tiny_checkpoint, kept):
    runtime = load_runtime(tiny_checkpoint, device="cpu", num_videos=runtimes.WORTH_WAITING)[0]
    assert isinstance(runtime, OnnxRuntime)
    assert len(list(kept.glob("[!.]*.onnx"))) == 1


@pytest.mark.parametrize(
    ("code", "message"), [("raise ValueError('no such operator')", "no such operator"), ("", "no such file")]
)
def test_torch_scores_if_the_export_fails_or_is_not_kept(code, message, tiny_checkpoint, monkeypatch, caplog):
    monkeypatch.setattr("dfd.scoring.runtimes.runtime._export_command", lambda _: [sys.executable, "-c", code])
    caplog.set_level("INFO")
    assert isinstance(load_runtime(tiny_checkpoint, device="cpu", num_videos=1000)[0], TorchRuntime)
    assert message in caplog.text


def test_an_export_ends_with_the_process_that_wanted_it(tiny_checkpoint, kept):
    command = _export_command(tiny_checkpoint)
    command[command.index(str(os.getpid()))] = str(os.getppid())  # as when its parent has gone since
    assert subprocess.run(command, timeout=60, check=False).returncode != 0
    assert not kept.exists() or not list(kept.iterdir())


def test_a_cache_that_cannot_be_used_leaves_scoring_to_torch(tiny_checkpoint, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    caplog.set_level("INFO")
    assert isinstance(load_runtime(tiny_checkpoint, device="cpu", num_videos=1000)[0], TorchRuntime)
    assert "cannot be kept as" in caplog.text


@pytest.mark.slow
def test_what_lies_in_the_working_folder_is_not_imported_by_an_export(tiny_checkpoint, kept, tmp_path, monkeypatch):
    (tmp_path / "onnxscript.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen(_export_command(tiny_checkpoint.resolve())) as process:
        assert process.wait(120) == 0
    assert len(list(kept.glob("[!.]*.onnx"))) == 1


def test_an_export_is_given_up_with_its_runtime(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(
        "dfd.scoring.runtimes.runtime._export_command", lambda _: [sys.executable, "-c", "import time; time.sleep(600)"]
    )
    runtime = load_runtime(tiny_checkpoint, device="cpu", num_videos=runtimes.WORTH_EXPORTING)[0]
    process = runtime.export.process
    assert process.poll() is None
    del runtime
    gc.collect()
    assert process.wait(30) != 0


@pytest.mark.usefixtures("exports")
def test_an_export_that_cannot_be_kept_is_used_all_the_same(tiny_checkpoint, kept, caplog):
    kept.parent.mkdir(parents=True)
    kept.write_text("in the way")
    assert isinstance(load_runtime(tiny_checkpoint, runtime="onnx", device="cpu")[0], OnnxRuntime)
    assert "cannot be kept" in caplog.text


def test_torch_gives_the_calibrated_probability_of_fake(tiny_checkpoint, clips):
    from dataclasses import replace

    model, card = load_model(tiny_checkpoint)
    with torch.inference_mode():
        expected = (model(clips) / 2.5).softmax(-1)[:, 1].tolist()
    assert TorchRuntime(model, replace(card, temperature=2.5), "cpu").prob_fake(clips) == pytest.approx(expected)


def test_a_detector_has_one_name_whatever_file_and_runtime_it_is_in(tiny_checkpoint, onnx_file):
    names = {load_runtime(path, device="cpu")[2] for path in (tiny_checkpoint, onnx_file)}
    digest = weights_sha256(load_model(tiny_checkpoint)[0].state_dict())
    assert names == {f"tiny@{digest[:12]}"}


def test_a_clips_probability_does_not_depend_on_its_batch_in_onnxruntime(content, clips):
    runtime = OnnxRuntime(content)
    alone = [runtime.prob_fake(clips[index : index + 1])[0] for index in range(3)]
    assert runtime.prob_fake(clips) == pytest.approx(alone, abs=1e-6)


def test_frames_in_any_memory_layout_give_the_same(content, clips):
    runtime = OnnxRuntime(content, num_threads=1)
    assert runtime.prob_fake(clips.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)) == pytest.approx(
        runtime.prob_fake(clips)
    )


def test_frames_of_another_size_or_type_are_refused_and_shown(content):
    runtime = OnnxRuntime(content)
    with pytest.raises(ValueError, match=r"\(B, T, 3, 64, 64\).*\(1, 2, 3, 32, 64\)"):
        runtime.prob_fake(torch.zeros(1, 2, 3, 32, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="T >= 1"):
        runtime.prob_fake(torch.zeros(1, 0, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(TypeError, match="uint8"):
        runtime.prob_fake(torch.zeros(1, 2, 3, 64, 64))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"runtime": "tensorrt"}, ConfigError, "runtime=tensorrt is not one of auto, torch, onnx"),
        ({"runtime": "torch"}, ConfigError, r"tiny\.onnx: torch does not run ONNX files.*runtime=onnx"),
        ({"device": "tpu"}, ConfigError, "device=tpu: not a device"),
        ({"precision": "bf16"}, ConfigError, "precision=bf16 is for runtime=torch"),
    ],
)
def test_what_an_onnx_file_cannot_be_loaded_as_is_refused(onnx_file, options, error, message):
    with pytest.raises(error, match=message):
        load_runtime(onnx_file, **{"device": "cpu", **options})


def test_a_gpu_that_onnxruntime_cannot_use_is_never_replaced_silently(content):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match="this onnxruntime has no CUDA; use device=cpu"):
        OnnxRuntime(content, device="cuda:1")
    assert OnnxRuntime(content, device="auto").session.get_providers() == ["CPUExecutionProvider"]


def test_a_program_of_torch_export_is_not_taken_for_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"d\.pt2: .*give the \.safetensors"):
        load_runtime(tmp_path / "d.pt2", device="cpu")


def test_a_model_that_mixes_clips_is_not_run_by_onnxruntime(tmp_path, tiny_checkpoint):
    model, card = load_model(tiny_checkpoint)
    save_safetensors(tmp_path / "d.safetensors", model, card)
    model.temporal.mixes_clips = True
    with pytest.raises(CheckpointError, match="other videos of its batch"):
        to_onnx(model, card)


def foreign_card(proto):
    card = json.loads(proto.metadata_props[0].value)
    proto.metadata_props[0].value = json.dumps({**card, "label_order": ["fake", "real"]})


def in_another_file(proto):
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def hidden_in_another_file(proto):
    tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret")
    inner = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["x"], value=tensor)], "inner", [], [])
    proto.graph.node.append(onnx.helper.make_node("If", ["y"], ["z"], then_branch=inner, else_branch=inner))


def looping(proto):
    body = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    proto.graph.node.append(onnx.helper.make_node("Loop", ["", ""], ["z"], body=body))


def nested_in_a_sequence(proto):
    body = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    proto.graph.node.append(onnx.helper.make_node("SequenceMap", ["y"], ["z"], body=body))


def with_functions(proto):
    """Each calls the one before ten times: what is inlined has 10^12 operators."""
    opsets = list(proto.opset_import)
    for level in range(12):
        called = "Identity" if level == 0 else f"f{level - 1}"
        nodes = [onnx.helper.make_node(called, ["x"], [f"y{i}"]) for i in range(10)]
        proto.functions.append(onnx.helper.make_function("", f"f{level}", ["x"], ["y9"], nodes, opsets))


SPOILED = {
    "loop": (looping, r"controls how long it runs \(Loop\)"),
    "sequence": (nested_in_a_sequence, r"controls how long it runs \(SequenceMap\)"),
    "functions": (with_functions, "it has functions"),
    "no card": (lambda proto: proto.ClearField("metadata_props"), "not a detector of dfd: it has no card"),
    "another card": (foreign_card, "label_order must be"),
    "no json": (lambda proto: setattr(proto.metadata_props[0], "value", "{"), "double quotes"),
    "no hash": (lambda proto: proto.metadata_props.pop(), "does not state the SHA-256"),
    "output": (lambda proto: setattr(proto.graph.output[0], "name", "logits"), r"its outputs must be \[\('prob'"),
    "input type": (lambda proto: setattr(proto.graph.input[0].type.tensor_type, "elem_type", 1), "its inputs must be"),
    "operators": (lambda proto: proto.opset_import.add(domain="evil", version=1), "not ONNX's own: evil"),
    "operator": (lambda proto: setattr(proto.graph.node[0], "domain", "com.evil"), "not ONNX's own: com.evil"),
    "other file": (in_another_file, "a detector must be one file"),
    "other file, hidden": (hidden_in_another_file, "a detector must be one file"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_an_onnx_file_that_is_not_as_we_write_them_is_refused_before_it_is_run(content, tmp_path, monkeypatch, how):
    spoil, message = SPOILED[how]
    proto = onnx.ModelProto.FromString(content)
    assert [entry.key for entry in proto.metadata_props] == ["dfd", "dfd_weights_sha256"]
    spoil(proto)
    path = tmp_path / "spoiled.onnx"
    path.write_bytes(proto.SerializeToString())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=message) as error:
        load_runtime(path, device="cpu")
    assert str(path) in str(error.value)
    assert "dfd.export" in str(error.value)


def test_an_onnx_file_that_asks_for_a_terabyte_is_tried_and_refused_before_it_is_run_here(content, tmp_path):
    proto = onnx.ModelProto.FromString(content)
    last = next(node for node in proto.graph.node if "prob" in node.output)
    last.output[0] = "honest"
    numbers = onnx.numpy_helper.from_array(np.array([500_000, 500_000]), "numbers")
    proto.graph.initializer.append(numbers)
    make = onnx.helper.make_node
    proto.graph.node.extend(
        [
            make("ConstantOfShape", ["numbers"], ["huge"]),
            make("ReduceSum", ["huge"], ["sum"], keepdims=0),
            make("Add", ["honest", "sum"], ["prob"]),
        ]
    )
    path = tmp_path / "huge.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match=r"huge\.onnx: onnxruntime cannot run it, or not within 4\.\d GB"):
        load_runtime(path, device="cpu")


def test_an_onnx_file_that_takes_too_long_is_given_up(onnx_file, monkeypatch):
    monkeypatch.setattr("dfd.models.files.onnx_trial.SPARE_SECONDS", 0.001)  # less than it takes to start Python
    monkeypatch.setattr("dfd.models.files.onnx_trial.BYTES_PER_SECOND", 1e30)
    with pytest.raises(CheckpointError, match=r"tiny\.onnx: does not score a clip of \d+ frames within 0 seconds"):
        load_runtime(onnx_file, device="cpu")


def test_an_operator_that_onnxruntime_does_not_know_is_an_error_of_the_file(content):
    proto = onnx.ModelProto.FromString(content)
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(CheckpointError, match=r"onnxruntime .* cannot run it"):
        OnnxRuntime(proto.SerializeToString())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_onnx_file_that_was_cut_short_is_refused(onnx_file, share):
    data = onnx_file.read_bytes()
    onnx_file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"tiny\.onnx"):
        load_runtime(onnx_file, device="cpu")


def test_a_missing_or_too_large_onnx_file_is_named(tmp_path, onnx_file, monkeypatch):
    with pytest.raises(CheckpointError, match=r"gone\.onnx: no such file; give a \.onnx that dfd\.export wrote"):
        load_runtime(tmp_path / "gone.onnx", device="cpu")
    with pytest.raises(CheckpointError, match="directory"):
        read_onnx(tmp_path)
    monkeypatch.setattr(formats, "MAX_ONNX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="larger than an ONNX file can be"):
        read_onnx(onnx_file)


def test_a_card_other_than_the_files_is_refused(content, tiny_checkpoint):
    from dataclasses import replace

    _, card = load_model(tiny_checkpoint)
    assert OnnxRuntime(content, card).card.clip_len == card.clip_len
    with pytest.raises(CheckpointError, match="its card is not that of the detector"):
        OnnxRuntime(content, replace(card, temperature=3.0))


def test_onnx_is_imported_only_when_it_is_used():
    names = ("onnx", "onnxruntime", "onnxscript")
    code = f"import sys, dfd.scoring.runtimes.load; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_device_that_is_not_there_is_named():
    assert str(pick_device("cpu")) == "cpu"
    with pytest.raises(ConfigError, match="device=abacus: not a device that torch knows"):
        pick_device("abacus")


class Answers:
    """An onnxruntime session of a file that was tampered with."""

    def __init__(self, *answers):
        self.answers = [*answers]

    def run(self, outputs, inputs):
        return [self.answers.pop(0)]


def test_a_file_that_does_not_do_what_its_card_says_is_an_error_and_gives_no_score(content, clips):
    runtime = OnnxRuntime(content)
    good = runtime.session.run(None, {"frames": clips.numpy()})[0]
    runtime.session = Answers(good[:1], 7 * good, good - 1, good[:, :1], good)
    for _ in range(4):
        with pytest.raises(CheckpointError, match="does not give two probabilities for each clip"):
            runtime.prob_fake(clips)
    assert runtime.prob_fake(clips) == pytest.approx(good[:, 1].tolist())


def test_predicting_with_onnx_gives_the_scores_of_torch(tiny_checkpoint, onnx_file, tiny_videos):
    from dfd import Detector

    found = {}
    for checkpoint, runtime in ((tiny_checkpoint, "torch"), (tiny_checkpoint, "onnx"), (onnx_file, "auto")):
        with Detector.load(checkpoint, runtime=runtime, device="cpu", num_workers=1) as detector:
            found[checkpoint, runtime] = detector.score(tiny_videos.parent / "01.mp4")
    expected = found[tiny_checkpoint, "torch"]
    for score in found.values():
        assert score.prob_fake == pytest.approx(expected.prob_fake, abs=1e-4)
        assert score.verdict is expected.verdict
        assert len(score.moments) == 3
    assert all(moment.heatmap is not None for moment in found[tiny_checkpoint, "onnx"].moments)
    assert all(moment.heatmap is None for moment in found[onnx_file, "auto"].moments)


def test_frames_go_through_the_backbone_in_parts_with_the_same_result(tiny_checkpoint, clips):
    model, _ = load_model(tiny_checkpoint)
    with torch.inference_mode():
        whole = model(clips)
        for at_once in (1, 5, 12, 100):
            torch.testing.assert_close(model.head(model.features(clips, at_once=at_once)), whole, rtol=0, atol=1e-5)


def test_16_bits_are_near_32_and_auto_keeps_32_on_a_cpu(tiny_checkpoint, clips):
    probs = {}
    for precision in ("auto", "float32", "bf16"):
        runtime = load_runtime(tiny_checkpoint, device="cpu", precision=precision)[0]
        runtime.tune()
        probs[precision] = runtime.prob_fake(clips)
    assert probs["auto"] == probs["float32"]
    assert probs["bf16"] != probs["float32"]
    assert probs["bf16"] == pytest.approx(probs["float32"], abs=0.02)
    with pytest.raises(ConfigError, match="precision=fp8 is not one of auto, float32, bf16, int8"):
        load_runtime(tiny_checkpoint, device="cpu", precision="fp8")


def test_a_network_of_large_linear_layers_is_left_to_torch():
    networks = {600: True, 100: False}
    for width, is_left in networks.items():
        model = torch.nn.Module()
        model.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(width, 1000))
        assert runtimes._onnx_is_faster(model, "cpu") is not is_left
