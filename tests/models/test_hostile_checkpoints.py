"""What a stranger's checkpoint may say: each of these is a sentence, soon, and costs next to nothing."""

import json
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfd.base.errors import CheckpointError
from dfd.faces.crop import Square
from dfd.faces.settings import extraction_of, face_detector_of
from dfd.models.classifier import build_model
from dfd.models.files.card import DetectorCard, read_card
from dfd.models.files.checkpoint import load_model
from dfd.scoring.detector import Detector
from dfd.scoring.look.workers import look_settings

MODEL = {
    "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 8},
    "dropout": 0.4,
}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(levels, width=10):
    """Small in memory and in a pickle, and ``width ** levels`` values for whoever walks it."""
    value = ["x"]
    for _ in range(levels):
        value = [value] * width
    return value


def cyclic():
    value: dict[str, object] = {}
    value["again"] = value
    return value


def part(which, **options):
    return {"model": {**MODEL, which: {**MODEL[which], **options}}}


def transformer(**options):
    return {"model": {**MODEL, "temporal": {"_target_": "dfd.models.temporal.transformer", **options}}}


# What the card says; a callable is called when it is needed, for what is large.
CARDS = {
    **{f"{field} is a dag": {field: doubled(12)} for field in ("model", "crop", "data", "calibration", "versions")},
    **{
        f"{field} is a dag": {field: doubled(12)}
        for field in ("clip_len", "threshold", "label_order", "format_version")
    },
    "wide dag": {"data": {"a": [["x"] * 10_000] * 10_000}},
    "one long text many times": {"data": {"a": ["x" * 100_000] * 1000}},
    "cycle": {"data": cyclic()},
    "cycle in the model": {"model": cyclic()},
    "depth": {"data": {"a": nested(150)}},
    "nan in data": {"data": {"num": float("nan")}},
    "infinity in crop": {"crop": {"extraction": {"margin_fraction": float("inf")}}},
    "bytes": {"data": {"a": b"x"}},
    "tensor": {"data": {"a": torch.zeros(3)}},
    "number as a name": {"data": {3: 4}},
    "digits": {"clip_len": 10**5000},
    "a long version": {"versions": {"dfd": "x" * 10_000}, "clip_len": 0},
    "a long option": {"model": {**MODEL, "x" * 10_000: 1}},
    "clip_len": {"clip_len": 10**9},
    "clip_stride": {"clip_stride": 10**9},
    "image_size": {"image_size": 10**6},
    "a clip of too many pixels": {"clip_len": 1000, "image_size": 1000},
    "model is text": {"model": "resnext50"},
    "backbone is text": {"model": {**MODEL, "backbone": "resnext50"}},
    "no such backbone": part("backbone", _target_="os.system"),
    "name=5": part("backbone", name=5),
    "name of a hub": part("backbone", name="hf-hub:a/b"),
    "name of a folder": part("backbone", name="local-dir:/etc"),
    "input_size='x'": part("backbone", input_size="x"),
    "input_size": part("backbone", input_size=10**6),
    "a giant by its name": part("backbone", name="vit_giant_patch14_224"),
    "img_size": part("backbone", img_size=10**6),
    "global_pool": part("backbone", global_pool="x" * 10_000),
    "pads='x'": part("backbone", pads="x"),
    "mean is a dag": part("backbone", mean=doubled(12)),
    "std=0": part("backbone", std=[0, 0, 0]),
    "head is text": {"model": {**MODEL, "head": "linear"}},
    "no such head": {"model": {**MODEL, "head": {"_target_": "os.system"}}},
    "head is a backbone": {"model": {**MODEL, "head": {"_target_": "dfd.models.backbones.timm", "name": "resnet18"}}},
    "outputs": {"model": {**MODEL, "head": {"_target_": "dfd.models.heads.linear", "outputs": 10**9}}},
    "head on features that are no map": {"model": {**MODEL, "head": {"_target_": "dfd.models.heads.capsule"}}},
    "num_layers": part("temporal", num_layers=10**5),
    "num_layers within bounds": part("temporal", num_layers=64, hidden_features=16384),
    "hidden_features": part("temporal", hidden_features=10**9),
    "hidden_features='x'": part("temporal", hidden_features="x"),
    "bidirectional=3": part("temporal", bidirectional=3),
    "reduce": part("temporal", reduce=["mean"]),
    "temporal dropout": part("temporal", dropout=float("nan")),
    "dropout=nan": {"model": {**MODEL, "dropout": float("nan")}},
    "dropout='x'": {"model": {**MODEL, "dropout": "x"}},
    "dropout=2": {"model": {**MODEL, "dropout": 2}},
    "width": transformer(width=10**9),
    "max_len": transformer(max_len=10**12),
    "num_heads=0": transformer(num_heads=0),
}

LOOKS = {
    "face_detector='mtcnn'": {"face_detector": "mtcnn"},
    "face_detector is a list": {"face_detector": ["mtcnn"]},
    "no such face detector": {"face_detector": {"name": "os.system"}},
    "name of the face detector": {"face_detector": {"name": 5}},
    "unknown option": {"face_detector": {"name": "mtcnn", "command": "x"}},
    "threshold='x'": {"face_detector": {"name": "mtcnn", "threshold": "x"}},
    "tiny faces": {"face_detector": {"name": "mtcnn", "min_face_fraction": 1e-9}},
    "batch_size": {"face_detector": {"name": "retinaface", "batch_size": 10**9}},
    "extraction is a list": {"extraction": [1]},
    "crop_size": {"extraction": {"crop_size": 10**9}},
    "crop_size='x'": {"extraction": {"crop_size": "x"}},
    "key_frame_stride": {"extraction": {"key_frame_stride": 10**9}},
    "frames held": {"extraction": {"key_frame_stride": 100, "max_missed": 10}},
    "max_missed": {"extraction": {"max_missed": 10**9}},
    "whole_every": {"extraction": {"whole_every": 10**9}},
    "unknown kind of crop": {"extraction": {"crop": {"kind": "os.system"}}},
    "crop is a list": {"extraction": {"crop": [1]}},
    "unknown option of a crop": {"extraction": {"crop": {"kind": "box", "surprise": 1}}},
    "huge crop": {"extraction": {"crop": {"kind": "native", "size": 10**9}}},
    "template": {"extraction": {"crop": {"kind": "five_points", "template": "/etc/passwd"}}},
    "unknown extraction": {"extraction": {"surprise": 1}},
}


def quantized():
    return torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)


# What stands in place of one of its weights.
TENSORS = {
    "meta": lambda shape: torch.zeros(shape, device="meta"),
    "sparse": lambda shape: torch.zeros(shape).to_sparse(),
    "quantized": lambda shape: quantized(),
    "one value, seen as many": lambda shape: torch.zeros(1).expand(10**12),
    "one value, seen as the shape": lambda shape: torch.zeros(1).as_strided(shape, [0] * len(shape)),
    "complex": lambda shape: torch.zeros(shape, dtype=torch.complex64),
    "another shape": lambda shape: torch.zeros(5),
    "text": lambda shape: "x",
}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return {name: value.contiguous() for name, value in build_model(MODEL).state_dict().items()}


@pytest.fixture(scope="module")
def card():
    return DetectorCard(model=MODEL, image_size=64, clip_len=4).to_dict()


def refused(path: Path) -> str:
    began = time.process_time()
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert time.process_time() - began < 5
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 1500
    return str(error.value)


def ckpt(path, weights, card):
    torch.save({"state_dict": {f"model.{name}": value for name, value in weights.items()}, "dfd": card}, path)
    return path


@pytest.mark.parametrize("how", CARDS)
def test_a_card_that_cannot_be_is_a_sentence_soon(tmp_path, weights, card, how):
    refused(ckpt(tmp_path / "hostile.ckpt", weights, {**card, **CARDS[how]}))


# Not those that are large or others only as a pickle.
NOT_JSON = ("dag", "cycle", "long text", "number as a name")


@pytest.mark.parametrize("how", [how for how in CARDS if not any(word in how for word in NOT_JSON)])
def test_a_card_that_cannot_be_is_refused_as_json_too(tmp_path, weights, card, how):
    try:
        text = json.dumps({**card, **CARDS[how]})
    except (TypeError, ValueError):
        return  # JSON cannot say it
    path = tmp_path / "hostile.safetensors"
    save_file(weights, path, metadata={"dfd": text})
    refused(path)
    read_card(path)  # says nothing, and neither hangs nor raises


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000, "[" * 900 + "]" * 900, "1" * 10**6, '"' + "x" * 2**21 + '"']
)
def test_json_that_is_deep_or_long_is_refused_in_a_header(tmp_path, weights, text):
    path = tmp_path / "hostile.safetensors"
    save_file(weights, path, metadata={"dfd": text})
    refused(path)
    assert read_card(path) is None


@pytest.mark.parametrize("how", TENSORS)
def test_a_tensor_that_is_not_in_the_file_as_it_claims_is_refused(tmp_path, weights, card, how):
    name = "classify.weight"
    refused(ckpt(tmp_path / "hostile.ckpt", {**weights, name: TENSORS[how](weights[name].shape)}, card))


def test_a_model_of_views_of_one_value_is_refused_though_every_shape_fits(tmp_path, card):
    model = {**MODEL, "temporal": {**MODEL["temporal"], "hidden_features": 16384}}
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build_model(model).state_dict().items()}
    one = torch.zeros(1)
    hollow = {name: one.expand(shape) if shape else torch.tensor(0) for name, shape in shapes.items()}
    path = ckpt(tmp_path / "hostile.ckpt", hollow, {**card, "model": model})
    assert path.stat().st_size < 100_000
    assert "not plain tensors" in refused(path)


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("size", [10**13, 10**18])
def test_a_pickle_that_asks_for_memory_is_refused(tmp_path, size):
    torch.save({"state_dict": OrderedDict(), "dfd": Call(bytearray, size)}, tmp_path / "hostile.ckpt")
    refused(tmp_path / "hostile.ckpt")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt"])
def test_a_torch_file_that_unpacks_to_more_than_it_is_is_not_unpacked(tmp_path, weights, card, suffix):
    plain, packed = (
        ckpt(tmp_path / "plain.ckpt", {**weights, "zeros": torch.zeros(50_000_000)}, card),
        tmp_path / f"bomb{suffix}",
    )
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert packed.stat().st_size < 2_000_000
    assert "unpacks to more than its size" in refused(packed)


@pytest.mark.parametrize("how", LOOKS)
def test_a_card_whose_face_detection_cannot_be_is_a_sentence(how):
    card = DetectorCard(model=MODEL, image_size=64, clip_len=4, crop=LOOKS[how])
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt: its card"):
        look_settings(card, name="hostile.ckpt")


def test_a_card_may_not_name_a_file_of_this_machine(tmp_path, caplog):
    crop = {"face_detector": {"name": "yunet", "threshold": 0.5, "weights": "/etc/passwd"}}
    assert face_detector_of(crop, name="d.ckpt") == {"name": "yunet", "threshold": 0.5}
    assert "must not choose files on this machine" in caplog.text


def test_what_a_card_of_ours_says_of_faces_is_taken():
    crop = {
        "extraction": {"crop_size": 160, "margin_fraction": 0},
        "face_detector": {"name": "mtcnn", "threshold": 0.8},
    }
    assert extraction_of(crop, name="d.ckpt").crop == Square(160, 0)
    assert face_detector_of(crop, name="d.ckpt") == crop["face_detector"]
    assert face_detector_of({}, name="d.ckpt") == {"name": "mtcnn"}


@pytest.mark.parametrize(
    ("name", "temporal", "num_parameters"),
    [
        ("vit_large_patch14_224", {"_target_": "dfd.models.temporal.transformer", "width": 1024, "num_layers": 4}, 3e8),
        ("tf_efficientnet_b7", {"_target_": "dfd.models.temporal.lstm"}, 6e7),
    ],
)
def test_bounds_leave_room_for_the_largest_that_people_use(name, temporal, num_parameters):
    with torch.device("meta"):
        model = build_model({"backbone": {**MODEL["backbone"], "name": name}, "temporal": temporal})
    assert sum(parameter.numel() for parameter in model.parameters()) > num_parameters
    DetectorCard(model=model.config, image_size=380, clip_len=100)


def test_loading_draws_no_random_numbers_and_leaves_none_of_them_in_the_network(tmp_path, weights, card):
    path = ckpt(tmp_path / "d.ckpt", weights, card)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    loaded, _ = load_model(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())


def test_what_a_hostile_file_costs_in_memory_is_bounded(tmp_path, weights, card):
    for number, how in enumerate(CARDS):
        ckpt(tmp_path / f"{number}.ckpt", weights, {**card, **CARDS[how]})
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from dfd.models.files.checkpoint import load_model\n"
        "from dfd.base.errors import CheckpointError\n"
        "import timm\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in Path(sys.argv[1]).glob('*.ckpt'):\n"
        "    try:\n"
        "        load_model(path)\n"
        "    except CheckpointError:\n"
        "        continue\n"
        "    sys.exit(f'{path} was loaded')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000  # kB


def test_the_bombs_of_the_field_are_refused(shared_field):
    for name in ("dag_card.ckpt", "layers_card.safetensors"):
        refused(shared_field / "bombs" / name)
    began = time.process_time()
    with pytest.raises(CheckpointError, match=r"endless_loop\.onnx: it controls how long it runs \(Loop\)"):
        Detector.load(shared_field / "bombs" / "endless_loop.onnx")
    assert time.process_time() - began < 5
