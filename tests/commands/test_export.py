import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from safetensors import safe_open

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.files import written_whole
from dfd.commands.export import output_file
from dfd.commands.export import write_detector as export
from dfd.models.backbones import BACKBONES
from dfd.models.classifier import build_model
from dfd.models.files import onnx as formats
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import caveat_of
from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors, weights_sha256
from dfd.models.files.onnx import read_onnx, save_program, to_onnx, to_program
from dfd.models.heads import HEADS as LAST_LAYERS
from dfd.models.temporal import TEMPORALS
from dfd.scoring.runtimes import exporting
from dfd.scoring.runtimes.exporting import checked_onnx
from dfd.scoring.runtimes.runtime import OnnxRuntime, ProgramRuntime, TorchRuntime
from tests.commands.test_commands import run
from tests.conftest import ROOT

HEADS: dict[str, dict[str, Any]] = {
    **{name: {} for name, head in TEMPORALS.items() if name != "lstm_over_batch"},
    **{"lstm": {"hidden_features": 16}, "gru": {"hidden_features": 16}},
    "transformer": {"width": 16, "num_heads": 2, "num_layers": 1, "max_len": 40},
}
"""Every head over time that may be handed on, small; the one left out mixes clips."""
SMALL = ("test_resnet", "test_efficientnet", "test_vit")
BIG = ("resnext50", "inception_v3")
OWN: dict[str, dict[str, Any]] = {
    **{
        name: {"pretrained": False} if "pretrained" in signature(backbone).parameters else {}
        for name, backbone in BACKBONES.items()
        if name
        not in (
            *BIG,
            "timm",
            "convolutional_traces",
            "pulse",
            "pulse_maps",
            "rendering",
        )  # signals are computed outside torch
    },
    "vgg19_pool3": {"input_size": 32, "pretrained": False},
    "meso4": {"resample": "nearest"},
    "mesoinception4": {"resample": "bicubic"},
    "two_stream": {"name": "test_resnet", "residual_name": "test_resnet", "pretrained": False},
    "sstnet": {"name": "test_resnet", "picture_size": 32, "pretrained": False},
}
"""Every other backbone of dfd, with options that make it small."""
LAST = {
    name: {"outputs": 2} if "outputs" in signature(head).parameters else {}
    for name, head in LAST_LAYERS.items()
    if name not in ("capsule", "forest", "svm", "lda", "knn")
}
"""Every kind of last layers but the one that needs places, and those that are fitted and not exported."""
SLOW = {"video", "two_stream", "sstnet"}
FORMATS = {"safetensors": ".safetensors", "onnx": ".onnx", "torch_export": ".pt2"}


def detector(backbone, head, options, *, image_size=64, last=None, **backbone_options):
    """Of random weights, whose scores differ from clip to clip as a trained one's do."""
    torch.manual_seed(0)
    target = backbone if backbone in (*BIG, *OWN) else "timm"
    name = OWN.get(backbone, {"pretrained": False, **({} if backbone in BIG else {"name": backbone})})
    model = build_model(
        {
            "backbone": {"_target_": f"dfd.models.backbones.{target}", **name, **backbone_options},
            "temporal": {"_target_": f"dfd.models.temporal.{head}", **options},
            "head": last,
        }
    ).eval()
    if last and last["_target_"].endswith("capsule"):
        return model, DetectorCard(model=model.config, image_size=image_size, clip_len=4, temperature=0.05)
    clips = torch.randint(0, 256, (2, 3, 3, image_size, image_size), dtype=torch.uint8)
    with torch.no_grad():
        model.classify.weight *= 30
        # else all scores may be 0 or 1, which any export would give
        model.classify.bias -= model(clips).mean(dim=0)[-model.classify.out_features :]
    return model, DetectorCard(model=model.config, image_size=image_size, clip_len=4, temperature=1.7)


def as_onnx(model, card, folder):
    return OnnxRuntime(to_onnx(model, card))


def as_program(model, card, folder):
    save_program(folder / "d.pt2", to_program(model, card), model, card)
    return ProgramRuntime(torch.export.load(folder / "d.pt2"))


FORMS = {"onnx": as_onnx, "torch_export": as_program}


def assert_same_probabilities(model, card, folder, form):
    exported, original = FORMS[form](model, card, folder), TorchRuntime(model, card, "cpu")
    generator, side = torch.Generator().manual_seed(1), card.image_size
    for batch, time in ((1, 1), (1, 4), (3, 1), (2, 9), (1, 33)):
        clips = torch.randint(0, 256, (batch, time, 3, side, side), dtype=torch.uint8, generator=generator)
        assert exported.prob_fake(clips) == pytest.approx(original.prob_fake(clips), abs=1e-4)


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        pytest.param(backbone, head, marks=pytest.mark.slow if (number + place) % len(SMALL) else ())
        for number, backbone in enumerate(SMALL)
        for place, head in enumerate(HEADS)
    ],
)
def test_onnx_gives_the_networks_probabilities_for_any_number_of_clips_and_frames(tmp_path, backbone, head):
    assert_same_probabilities(*detector(backbone, head, HEADS[head]), tmp_path, "onnx")


# Here backbone and head are traced into one graph by torch itself; each is enough once.
@pytest.mark.parametrize(("backbone", "head"), [*(("test_resnet", head) for head in HEADS), ("test_vit", "lstm")])
def test_torch_export_gives_the_networks_probabilities_for_any_number_of_clips_and_frames(tmp_path, backbone, head):
    assert_same_probabilities(*detector(backbone, head, HEADS[head]), tmp_path, "torch_export")


@pytest.mark.parametrize("last", LAST)
def test_an_export_of_each_kind_of_last_layers_gives_the_networks_probabilities(tmp_path, last):
    head = {"_target_": f"dfd.models.heads.{last}", **LAST[last]}
    assert_same_probabilities(*detector("test_resnet", "mean", {}, last=head), tmp_path, "onnx")


@pytest.mark.parametrize("form", FORMS)
def test_an_export_of_a_capsule_network_gives_the_networks_probabilities(tmp_path, form):
    head = {"_target_": "dfd.models.heads.capsule"}
    assert_same_probabilities(*detector("vgg19_pool3", "mean", {}, last=head), tmp_path, form)


@pytest.mark.parametrize(
    ("backbone", "form"),
    [
        *(pytest.param(name, "onnx", marks=pytest.mark.slow if name in SLOW else ()) for name in OWN),
        ("meso4", "torch_export"),
    ],
)
def test_an_export_of_every_backbone_gives_the_networks_probabilities(tmp_path, backbone, form):
    assert_same_probabilities(*detector(backbone, "mean", {}), tmp_path, form)


# Shrinking and enlarging; the last one is built for another size than it was made for.
@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("test_resnet", {"input_size": 48, "resample": "bilinear"}),
        pytest.param("test_resnet", {"input_size": 48, "resample": "bicubic"}, marks=pytest.mark.slow),
        pytest.param("test_resnet", {"input_size": 48, "resample": "nearest"}, marks=pytest.mark.slow),
        ("test_resnet", {"input_size": 80, "resample": "bicubic"}),
        ("tf_mobilenetv3_small_minimal_100", {"pads": 380}),
        ("test_vit", {"img_size": 96, "global_pool": "token", "resample": "bicubic"}),
    ],
)
def test_an_export_of_a_backbone_with_options_gives_the_networks_probabilities(tmp_path, backbone, options):
    assert_same_probabilities(*detector(backbone, "mean", {}, **options), tmp_path, "onnx")


@pytest.mark.parametrize(
    ("head", "reduce", "form"),
    [
        ("lstm", "last", "onnx"),
        ("gru", "mean", "torch_export"),
        pytest.param("lstm", "last", "torch_export", marks=pytest.mark.slow),
        pytest.param("gru", "mean", "onnx", marks=pytest.mark.slow),
        *(pytest.param("gru", "last", form, marks=pytest.mark.slow) for form in FORMS),
    ],
)
def test_an_export_of_layers_in_both_directions_gives_the_networks_probabilities(tmp_path, head, reduce, form):
    options = {"hidden_features": 8, "num_layers": 2, "bidirectional": True, "dropout": 0.5, "reduce": reduce}
    assert_same_probabilities(*detector("test_resnet", head, options), tmp_path, form)


def test_onnx_that_shrinks_its_pictures_gives_the_networks_probabilities(tmp_path):
    model, card = detector("test_vit", "mean", {}, image_size=192)
    assert model.backbone.input_size == 160  # antialiased, other than enlarging
    assert_same_probabilities(model, card, tmp_path, "onnx")


@pytest.mark.parametrize("form", FORMS)
def test_an_export_of_the_starters_backbone_gives_its_probabilities(tmp_path, form):
    assert_same_probabilities(*detector("tf_efficientnet_lite0", "mean", {}), tmp_path, form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BIG)
def test_an_export_of_the_original_backbones_gives_their_probabilities(tmp_path, backbone, head, form):
    assert_same_probabilities(*detector(backbone, head, {}, image_size=112), tmp_path, form)


@pytest.fixture(scope="module")
def written(tiny_checkpoint, tmp_path_factory):
    """The three exports of one detector, as the command writes them, and what it printed."""
    folder = tmp_path_factory.mktemp("exports")
    printed = {
        form: run(
            *("dfd.export", f"checkpoint={tiny_checkpoint}", f"format={form}", f"output={folder / form}"),
            *("licence=CC-BY-4.0", f"hydra.run.dir={folder / 'run'}"),
        ).stdout
        for form in FORMATS
    }
    return folder, printed


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_writes_one_file_and_what_is_to_be_read_beside_it(written, form):
    folder, printed = written
    file, card = f"detector{FORMATS[form]}", f"detector{FORMATS[form]}.md"
    texts = {card, "detector.json"} if form == "safetensors" else {card}
    assert {path.name for path in (folder / form).iterdir()} == {file, *texts}
    assert "CC-BY-4.0" in (folder / form / card).read_text()
    assert str(folder / form) in printed[form].splitlines()[-1]
    assert ("differ" in printed[form]) == (form != "safetensors")


def test_forms_of_one_name_have_a_card_each(tiny_checkpoint, tmp_path):
    for form, how in {"onnx": "onnxruntime", "torch_export": "torch.export.load"}.items():
        path = tmp_path / f"o{FORMATS[form]}"
        run(
            "dfd.export",
            f"checkpoint={tiny_checkpoint}",
            f"format={form}",
            f"output={path}",
            f"hydra.run.dir={tmp_path}",
        )
        assert how in path.with_name(f"{path.name}.md").read_text()
    assert "torch.export.load" not in (tmp_path / "o.onnx.md").read_text()


def test_every_export_holds_the_card_and_the_hash_of_the_weights(written, tiny_checkpoint):
    folder, _ = written
    card, tensors = load_checkpoint(tiny_checkpoint)
    plain = json.loads(json.dumps(replace(card, caveat=caveat_of(card)).to_dict()))
    assert json.loads((folder / "safetensors" / "detector.json").read_text()) == plain
    with safe_open(folder / "safetensors" / "detector.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["dfd"]) == plain
    model = onnx.load(folder / "onnx" / "detector.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    extra = {"dfd": "", "dfd_weights_sha256": ""}
    torch.export.load(folder / "torch_export" / "detector.pt2", extra_files=extra)
    for found in (metadata, extra):
        assert json.loads(found["dfd"]) == plain
        assert found["dfd_weights_sha256"] == weights_sha256(tensors)


def test_an_onnx_file_says_what_it_takes_and_gives_by_name(written):
    folder, _ = written
    graph = onnx.load(folder / "onnx" / "detector.onnx", load_external_data=False).graph
    (taken,), (given,) = graph.input, graph.output
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (taken, given)]
    assert (taken.name, shapes[0]) == ("frames", ["batch", "time", 3, 64, 64])
    assert (given.name, shapes[1]) == ("prob", ["batch", 2])
    assert {node.op_type for node in graph.node} >= {"LSTM", "Softmax"}


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_names_nothing_of_the_machine_it_was_made_on(written, form):
    content = (written[0] / form / f"detector{FORMATS[form]}").read_bytes()
    for part in (str(ROOT), "site-packages", str(Path.home()) + "/", "models/portable.py"):
        assert part.encode() not in content


def test_the_folder_of_the_first_weights_is_not_handed_on(tiny_checkpoint, tmp_path):
    model, card = load_model(tiny_checkpoint)
    card.model["backbone"]["weights"] = "/private/folder/first.pth"
    save_safetensors(tmp_path / "d.safetensors", model, card)
    run("dfd.export", f"checkpoint={tmp_path / 'd.safetensors'}", f"output={tmp_path}", f"hydra.run.dir={tmp_path}")
    assert load_checkpoint(tmp_path / "detector.safetensors")[0].model["backbone"]["weights"] == "first.pth"
    assert "private" not in (tmp_path / "detector.safetensors.md").read_text()


def test_half_the_bits_are_half_the_size_and_nearly_the_same_probabilities(tiny_checkpoint, tmp_path):
    model, card = load_model(tiny_checkpoint)
    model.state_dict()["classify.bias"][0] = 1e6  # no 16 bits hold this
    export(model, card, tmp_path / "whole.safetensors", "safetensors")
    difference = export(model, card, tmp_path / "half.safetensors", "safetensors", half=True)
    assert difference is not None
    assert difference < 0.01
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    again, _ = load_model(tmp_path / "half.safetensors")
    assert again.classify.weight.dtype == torch.float32
    assert float(again.classify.bias[0].detach()) == 1e6
    assert torch.allclose(again.classify.weight, model.classify.weight, rtol=1e-3, atol=1e-6)


def test_a_torch_export_runs_where_dfd_is_not_installed(written, tiny_checkpoint):
    code = (
        "import sys; sys.modules['dfd'] = None\n"
        "import torch\n"
        "detector = torch.export.load(sys.argv[1]).module()\n"
        "print(*detector(torch.full((2, 5, 3, 64, 64), 99, dtype=torch.uint8))[:, 1].tolist())"
    )
    file = written[0] / "torch_export" / "detector.pt2"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    clips = torch.full((2, 5, 3, 64, 64), 99, dtype=torch.uint8)
    expected = TorchRuntime(*load_model(tiny_checkpoint), "cpu").prob_fake(clips)
    assert [float(prob) for prob in done.stdout.split()] == pytest.approx(expected, abs=1e-6)


def test_exporting_leaves_the_model_as_it_was(tiny_checkpoint):
    model, card = load_model(tiny_checkpoint)
    before, head = weights_sha256(model.state_dict()), model.temporal.recurrent
    to_onnx(model, card)
    to_program(model, card)
    assert weights_sha256(model.state_dict()) == before
    assert model.temporal.recurrent is head


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_what_differs_from_the_checkpoint_is_refused_with_the_difference_and_not_written(
    tiny_checkpoint, tmp_path, monkeypatch, form
):
    model, card = load_model(tiny_checkpoint)
    other, _ = load_model(tiny_checkpoint)
    with torch.no_grad():
        other.classify.bias[1] += 0.01
    for module, name in ((exporting, "to_onnx"), (formats, "to_program")):
        made = getattr(module, name)
        monkeypatch.setattr(module, name, lambda _, card, made=made: made(other, card))
    with pytest.raises(CheckpointError, match=r"differ from torch's by up to 0\.00\d+, more than 0\.0001"):
        export(model, card, tmp_path / f"d{FORMATS[form]}", form)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_that_is_no_number_is_refused(tiny_checkpoint):
    model, card = load_model(tiny_checkpoint)
    with torch.no_grad():
        model.classify.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="by up to nan"):
        checked_onnx(model, card)


def test_an_interrupted_export_leaves_nothing(tiny_checkpoint, tmp_path):
    (tmp_path / "d.onnx").write_bytes(b"the one before")
    with contextlib.suppress(KeyboardInterrupt), written_whole(tmp_path / "d.onnx") as unfinished:
        unfinished.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the one before"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_model_that_mixes_the_clips_of_a_batch_is_exported_in_no_form(tmp_path, form):
    model, card = detector("test_resnet", "lstm_over_batch", {"hidden_features": 8})
    with pytest.raises(CheckpointError, match=r"other videos of its batch.*temporal=lstm"):
        export(model, card, tmp_path / f"d{FORMATS[form]}", form)
    assert list(tmp_path.iterdir()) == []


def test_weights_larger_than_an_onnx_file_can_be_are_refused(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(formats, "MAX_ONNX_BYTES", 1000)
    with pytest.raises(CheckpointError, match=r"one ONNX file holds 2 GB; use format=safetensors"):
        to_onnx(*load_model(tiny_checkpoint))


def test_a_missing_package_is_named_with_the_command_that_installs_it(tiny_checkpoint, monkeypatch):
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ConfigError, match=rf"needs the package {package}.*pip install 'dfd\[onnx\]'"):
                formats.optional_module(package)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["format=onxx"], "format=onxx is not one of safetensors, onnx, torch_export"),
        (["format=onnx", "output=a/b.safetensors"], "a file of format=onnx ends with .onnx"),
        (["checkpoint=gone.ckpt"], "gone.ckpt: there is no such file"),
        (["checkpoint=https://example.org/a.ckpt"], "https://example.org/a.ckpt: is an address, and addresses are"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(tiny_checkpoint, tmp_path, arguments, message):
    done = run("dfd.export", f"checkpoint={tiny_checkpoint}", f"hydra.run.dir={tmp_path}", *arguments, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_may_be_called_like_a_file(tmp_path):
    (tmp_path / "v1.onnx").mkdir()
    assert output_file(str(tmp_path / "v1.onnx"), "onnx", tmp_path) == tmp_path / "v1.onnx" / "detector.onnx"
    assert output_file(str(tmp_path / "v1.2"), "onnx", tmp_path) == tmp_path / "v1.2" / "detector.onnx"


def test_an_exported_onnx_file_is_read_back_as_ours(written, tiny_checkpoint):
    file = read_onnx(written[0] / "onnx" / "detector.onnx")
    card = load_checkpoint(tiny_checkpoint)[0]
    assert file.card.to_dict() == json.loads(json.dumps(replace(card, caveat=caveat_of(card)).to_dict()))
