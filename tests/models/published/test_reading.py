"""Files that are not what they should be: one sentence each, and nothing in them is run."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.base.files import file_sha256
from dfd.models.classifier import build_model
from dfd.models.published import reading
from dfd.models.published.entry import Published, PublishedFile
from dfd.models.published.naming import Source, converted, from_names
from dfd.models.published.reading import published_state_dicts, read_published
from dfd.models.published.table import PUBLISHED

h5py = pytest.importorskip("h5py")


def tiny(*files: PublishedFile, **facts) -> Published:
    """An entry whose network is small and whose tensors are named ``net.*`` and ``fc.*``."""
    model = {
        "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
        "temporal": {"_target_": "dfd.models.temporal.mean"},
        "head": {"_target_": "dfd.models.heads.linear", "outputs": 2},
        "dropout": 0.0,
    }
    return Published(
        **{"name": "tiny", "title": "A small one", "home": "https://example.org", "files": files, "model": model},
        **{"licence_code": "MIT", "licence_weights": "MIT", "training_data": "none", "citation": "none"},
        **{"verified": "all", "seconds_per_crop": None, "input": {"kind": "square", "size": 64}},
        recipe=from_names(lambda name: name.replace("backbone.network.", "net.").replace("classify.", "fc.")),
        recognises=lambda tensors: "net.conv1.0.weight" in tensors or "net.conv1.weight" in tensors,
        **facts,
    )


def tensors_of(entry: Published) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = build_model(entry.model).state_dict()
    return {source.names[0]: state[name].contiguous() for name, source in entry.recipe(state).items()}


@pytest.fixture(autouse=True)
def the_table_has_the_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED, "tiny", tiny(FILE))


FILE = PublishedFile(name="w.pth", url="https://example.org/w.pth")
WRAPPED = {
    "plain": lambda tensors: tensors,
    "state_dict": lambda tensors: {"state_dict": tensors, "epoch": 3, "best": 0.9},
    "model": lambda tensors: {"model": tensors, "optimizer": {"state": {}, "lr": [1e-3]}},
    "net": lambda tensors: {"net": tensors},
    "numbers of numpy": lambda tensors: {"state_dict": tensors, "best": np.float64(0.9), "epoch": np.int64(3)},
    "of a wrapper": lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_state_dict_is_read_however_training_code_kept_it(tmp_path: Path, how: str) -> None:
    entry = PUBLISHED["tiny"]
    tensors = tensors_of(entry)
    torch.save(WRAPPED[how](tensors), tmp_path / "w.pth")
    (state,) = published_state_dicts(entry, [tmp_path / "w.pth"])
    model = build_model(entry.model)
    model.load_state_dict(state, strict=True)
    assert torch.equal(model.classify.weight, tensors["fc.weight"])


def test_a_safetensors_file_is_read(tmp_path: Path) -> None:
    entry = PUBLISHED["tiny"]
    save_file(tensors_of(entry), tmp_path / "w.safetensors")
    assert len(published_state_dicts(entry, [tmp_path / "w.safetensors"])) == 1


def refused(entry: Published, *paths: Path) -> str:
    with pytest.raises(WeightsMissing) as error:
        published_state_dicts(entry, paths)
    text = str(error.value)
    assert str(paths[0]) in text
    assert "\n" not in text
    assert len(text) < 900
    return text


class Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (lambda folder: argparse.Namespace(lr=1), "argparse.Namespace"),
        (lambda folder: Touch(folder / "marker"), "getattr"),  # by which a method is named
        (lambda folder: nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_a_pickle_that_holds_more_than_tensors_is_refused_and_not_run(tmp_path: Path, what, named: str) -> None:
    entry = PUBLISHED["tiny"]
    torch.save({"state_dict": tensors_of(entry), "args": what(tmp_path)}, tmp_path / "w.pth")
    text = refused(entry, tmp_path / "w.pth")
    assert "not a file of tensors and plain values" in text
    assert "nothing in it was run" in text
    assert named in text
    assert not (tmp_path / "marker").exists()


def test_missing_and_unexpected_tensors_are_refused_and_the_first_three_of_each_named(tmp_path: Path) -> None:
    entry = PUBLISHED["tiny"]
    tensors = tensors_of(entry)
    lost = [name for name in tensors if not name.endswith("num_batches_tracked")][2:7]
    more = {f"extra.{number}": torch.zeros(1) for number in range(4)}
    given = {name: tensor for name, tensor in {**tensors, **more}.items() if name not in lost}
    torch.save(given, tmp_path / "w.pth")
    text = refused(entry, tmp_path / "w.pth")
    assert f"missing: {', '.join(lost[:3])} and 2 more" in text
    assert "unexpected: extra.0, extra.1, extra.2 and 1 more" in text
    assert lost[3] not in text


def test_a_tensor_of_another_shape_is_refused_and_named(tmp_path: Path) -> None:
    entry = PUBLISHED["tiny"]
    torch.save({**tensors_of(entry), "fc.weight": torch.zeros(3, 5)}, tmp_path / "w.pth")
    assert "of another shape: fc.weight (3, 5)" in refused(entry, tmp_path / "w.pth")


def test_tensors_that_are_unused_may_be_there_or_not() -> None:
    recipe = from_names(lambda name: f"theirs.{name}")
    network = {"a": torch.zeros(2)}
    tensors = {"theirs.a": torch.ones(2), "theirs.b": torch.ones(3)}
    found = converted(tensors, recipe, network, unused=lambda name: name == "theirs.b")
    assert torch.equal(found["a"], torch.ones(2))
    with pytest.raises(ValueError, match=r"^unexpected: theirs\.b$"):
        converted(tensors, recipe, network)


def test_counters_of_batch_normalisation_may_be_missing_and_nothing_else() -> None:
    recipe = from_names(lambda name: name)
    network = {"bn.num_batches_tracked": torch.tensor(5), "bn.weight": torch.zeros(2)}
    assert converted({"bn.weight": torch.ones(2)}, recipe, network)["bn.num_batches_tracked"] == 0
    with pytest.raises(ValueError, match=r"^missing: bn\.weight$"):
        converted({"bn.num_batches_tracked": torch.tensor(1)}, recipe, network)


def test_a_source_whose_tensors_do_not_go_together_is_a_wrong_shape() -> None:
    def recipe(names):
        return {name: Source(("q", "k"), lambda q, k: torch.cat([q, k])) for name in names}

    with pytest.raises(ValueError, match=r"of another shape: q \(2, 3\)"):
        converted({"q": torch.zeros(2, 3), "k": torch.zeros(2, 4)}, recipe, {"qk": torch.zeros(4, 3)})


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_download_that_was_cut_short_is_told_with_both_sizes(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    whole = PUBLISHED["tiny"]
    save_file(tensors_of(whole), path) if name.endswith("safetensors") else torch.save(tensors_of(whole), path)
    size = path.stat().st_size
    file = PublishedFile(name="w", url="https://example.org/w", size_bytes=size, sha256=file_sha256(path))
    path.write_bytes(path.read_bytes()[: int(size * share)])
    text = refused(tiny(file), path)
    assert f"has {int(size * share):,} bytes and w {size:,}: the download is not complete" in text
    assert "fetch it again: https://example.org/w" in text
    assert "not whole; fetch it again" in refused(tiny(FILE), path)  # if nobody states the size


def test_another_edition_is_told_by_its_hash(tmp_path: Path) -> None:
    torch.save(tensors_of(PUBLISHED["tiny"]), tmp_path / "w.pth")
    found = file_sha256(tmp_path / "w.pth")
    text = refused(tiny(PublishedFile(name="w", url="https://example.org/w", sha256="0" * 64)), tmp_path / "w.pth")
    assert f"its SHA-256 is {found} and that of w begins with {'0' * 16}" in text
    good = tiny(PublishedFile(name="w", url="https://example.org/w", sha256=found[:8]))
    assert len(published_state_dicts(good, [tmp_path / "w.pth"])) == 1


def test_a_file_of_another_published_detector_is_named_with_the_command_that_takes_it(tmp_path: Path) -> None:
    names = {"net._conv_stem.weight": torch.zeros(1), "net._fc.weight": torch.zeros(1)}
    torch.save(names, tmp_path / "sbi.tar")
    text = refused(PUBLISHED["tiny"], tmp_path / "sbi.tar")
    assert "is a file of sbi and not of tiny" in text
    assert f"dfd adopt sbi file={tmp_path / 'sbi.tar'}" in text
    assert "is a file of tiny and not of sbi" in refused_as_sbi(tmp_path)


def refused_as_sbi(folder: Path) -> str:
    torch.save(tensors_of(PUBLISHED["tiny"]), folder / "tiny.pth")
    return refused(PUBLISHED["sbi"], folder / "tiny.pth")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>Google Drive</title>", b"\x00" * 1000])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.h5", "w"])
def test_a_page_in_place_of_the_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "fetch it again" in refused(PUBLISHED["tiny"], tmp_path / name)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": 3}}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "holds no state dict" in refused(PUBLISHED["tiny"], tmp_path / "w.pth")


def test_hollow_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"net.conv1.weight": torch.zeros(1).expand(10**12)}, tmp_path / "w.pth")
    assert "not plain tensors" in refused(PUBLISHED["tiny"], tmp_path / "w.pth")


def test_missing_files_and_wrong_numbers_of_files_are_told(tmp_path: Path) -> None:
    entry = PUBLISHED["tiny"]
    assert "no such file" in refused(entry, tmp_path / "gone.pth")
    assert "is a directory" in refused(entry, tmp_path)
    with pytest.raises(WeightsMissing, match=r"dfdc-b7 is made of 7 files \(final_111_.*\), got 1"):
        published_state_dicts(PUBLISHED["dfdc-b7"], [tmp_path / "a"])


def test_an_ensemble_gives_a_state_dict_for_each_of_its_files_in_their_order(tmp_path: Path) -> None:
    files = tuple(PublishedFile(name=f"w{n}", url=f"https://example.org/w{n}") for n in range(3))
    entry = tiny(*files, is_ensemble=True)
    tensors = tensors_of(entry)
    paths = [tmp_path / f"w{number}" for number in range(3)]
    for number, path in enumerate(paths):
        torch.save({**tensors, "fc.bias": torch.full((2,), float(number))}, path)
    states = published_state_dicts(entry, paths)
    assert [float(state["classify.bias"][0]) for state in states] == [0, 1, 2]
    with pytest.raises(WeightsMissing, match="3 different files, and two of these are the same"):
        published_state_dicts(entry, [paths[0], paths[1], paths[0]])
    torch.save({"fc.bias": torch.zeros(2)}, paths[2])
    assert refused_member(entry, paths).startswith(f"{paths[2]}: these are not the weights of tiny")


def refused_member(entry: Published, paths: list[Path]) -> str:
    with pytest.raises(WeightsMissing) as error:
        published_state_dicts(entry, paths)
    return str(error.value)


def test_parts_of_one_network_may_come_in_any_order(tmp_path: Path) -> None:
    tensors = tensors_of(PUBLISHED["tiny"])
    parts = {"trunk": "net.", "head": "fc."}
    files = []
    for name, prefix in parts.items():
        torch.save({key: value for key, value in tensors.items() if key.startswith(prefix)}, tmp_path / name)
        files.append(PublishedFile(name=name, url="https://example.org", sha256=file_sha256(tmp_path / name)))
    for order in (("trunk", "head"), ("head", "trunk")):
        (state,) = published_state_dicts(tiny(*files), [tmp_path / name for name in order])
        assert torch.equal(state["classify.weight"], tensors["fc.weight"])


# -- Keras' format --


def write_hdf(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, kind = name.split("/")
            file.create_dataset(f"{layer}/{layer}/{kind}:0", data=array)
    return path


def test_arrays_of_a_keras_file_are_read_under_layer_and_kind(tmp_path: Path) -> None:
    arrays = {"conv2d_5/kernel": np.ones((3, 3, 3, 8), np.float32), "conv2d_5/bias": np.zeros(8, np.float32)}
    tensors = read_published(write_hdf(tmp_path / "w.h5", arrays))
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "conv2d_5/bias": (8,),
        "conv2d_5/kernel": (3, 3, 3, 8),
    }


def test_a_keras_file_without_h5py_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_hdf(tmp_path / "w.h5", {"dense_1/bias": np.zeros(2, np.float32)})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"w\.h5: .*h5py; install it with: pip install 'dfd\[adopt\]'"):
        read_published(path)


def hostile_hdf(path: Path, how: str) -> None:
    with h5py.File(path, "w") as file:
        if how == "larger than the file":
            file.create_dataset("dense_1/kernel:0", (10**6, 10**6), "f4", chunks=(1000, 1000), fillvalue=1.0)
        elif how == "compressed":
            file.create_dataset("dense_1/kernel:0", data=np.zeros((3000, 3000), np.float32), compression="gzip")
        elif how == "text":
            file.create_dataset("dense_1/kernel:0", data=np.array([b"x"]))
        elif how == "another file's bytes":
            file.create_dataset("dense_1/kernel:0", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        elif how == "another file's array":
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "a", (4,))
            file.create_virtual_dataset("dense_1/kernel:0", layout)
        elif how == "a link to another file":
            file["dense_1/kernel:0"] = h5py.ExternalLink(str(path.with_name("other.h5")), "a")


@pytest.mark.parametrize(
    "how",
    [
        "larger than the file",
        "compressed",
        "text",
        "another file's bytes",
        "another file's array",
        "a link to another file",
    ],
)
def test_a_keras_file_that_is_more_than_its_arrays_is_refused(tmp_path: Path, how: str) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.ones(4, np.float32)
    hostile_hdf(tmp_path / "w.h5", how)
    with pytest.raises(ValueError, match=r"is no plain array of numbers within the file|holds no weights"):
        read_published(tmp_path / "w.h5")


def test_a_large_keras_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_hdf(tmp_path / "w.h5", {"dense_1/bias": np.zeros(2, np.float32)})
    monkeypatch.setattr(reading, "MAX_HDF_BYTES", 100)
    with pytest.raises(ValueError, match="larger than any Keras file"):
        read_published(path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_damaged_keras_file_is_refused(tmp_path: Path, share: float) -> None:
    path = write_hdf(tmp_path / "w.h5", {"dense_1/kernel": np.ones((64, 64), np.float32)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match="not an HDF5 file, or damaged"):
        read_published(path)
