"""Reads published files of weights, which may be any file: nothing in them is run, and each refusal is one sentence."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.base.files import file_sha256
from dfd.models.published.entry import Published, PublishedFile
from dfd.models.published.table import PUBLISHED, recognised
from dfd.models.tensor_files import MAX_TENSORS, is_state_dict, read_tensor_file, refuse_hollow

_WRAPPED_AS = ("state_dict", "model", "net", "model_state_dict")
"""Keys under which training code keeps a state dict beside other values."""
_HDF_MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_HDF_BYTES = 64 * 10**6
"""Maximum size of a Keras file. MesoNet's have 0.2 MB."""
# Numbers of NumPy, which training code likes to keep beside the weights.
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *((np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)),
]


def published_state_dicts(entry: Published, paths: Sequence[Path]) -> list[dict[str, Tensor]]:
    """Read the published files of a detector and return the state dict of each of its networks: one, or an ensemble's.

    Args:
        entry: the detector.
        paths: its files; those of an ensemble in the order of ``entry.files``, others in any order.

    Raises:
        WeightsMissing: when a file is missing, cut short, damaged, of another detector or another edition, or holds
            more than tensors and plain values.
        ConfigError: when a package that reads the format is not installed.
    """
    if len(paths) != len(entry.files):
        names = ", ".join(file.name for file in entry.files)
        raise WeightsMissing(f"{entry.name} is made of {len(entry.files)} files ({names}), got {len(paths)}")
    hashes = {path: _sha256(path) for path in paths}
    if len(set(hashes.values())) < len(paths):
        raise WeightsMissing(
            f"{entry.name} is made of {len(entry.files)} different files, and two of these are the same"
        )
    assigned = _assigned(entry, paths, hashes)
    contents = {path: _checked(entry, file, path, hashes[path]) for file, path in assigned}
    network = entry.build()
    groups = [[path] for _, path in assigned] if entry.is_ensemble else [list(paths)]
    states = []
    for group in groups:
        try:
            together = {name: tensor for path in group for name, tensor in contents[path].items()}
            states.append(entry.convert(together, network))
        except WeightsMissing as error:
            raise WeightsMissing(f"{', '.join(map(str, group))}: {error}") from error
    return states


def read_published(path: Path) -> dict[str, Tensor]:
    """Tensors of a published file by name: of safetensors, torch's format, or Keras' HDF5.

    Raises:
        ValueError: when it is none of them, is damaged, or holds more than tensors and plain values.
        ConfigError: when h5py is not installed and the file is HDF5.
    """
    with path.open("rb") as file:
        if file.read(len(_HDF_MAGIC)) == _HDF_MAGIC:
            return _read_hdf(path)
    with torch.serialization.safe_globals(_NUMPY_NUMBERS):
        content, _ = read_tensor_file(path)
    for key in _WRAPPED_AS:
        if isinstance(content, dict) and is_state_dict(content.get(key)):
            content = content[key]
    if not is_state_dict(content):
        raise ValueError("holds no state dict (names and tensors)")
    refuse_hollow(content, path)
    return dict(content)


def _checked(entry: Published, file: PublishedFile, path: Path, sha256: str) -> dict[str, Tensor]:
    """Content of a file that is what it should be."""
    for other in PUBLISHED.values():
        for theirs in other.files:
            if theirs not in entry.files and theirs.sha256 is not None and sha256.startswith(theirs.sha256):
                raise WeightsMissing(_of_another(path, [other.name], entry))
    again = f"fetch it again: {file.url}"
    cut = _cut_short(file, path)
    try:
        tensors = read_published(path)
    except (ValueError, OSError) as error:
        if cut:
            raise WeightsMissing(f"{cut}; {again}") from error
        raise WeightsMissing(
            f"{path}: {error}; it is not {file.name} of {entry.name}, or not whole; {again}"
        ) from error
    others = recognised(tensors)
    if others and entry.name not in others:
        raise WeightsMissing(_of_another(path, others, entry))
    if cut:
        raise WeightsMissing(f"{cut}; {again}")
    if file.sha256 is not None and not sha256.startswith(file.sha256):
        raise WeightsMissing(
            f"{path}: its SHA-256 is {sha256} and that of {file.name} begins with {file.sha256[:16]}: it is another "
            f"edition or damaged; {again}"
        )
    return tensors


def _cut_short(file: PublishedFile, path: Path) -> str:
    size = path.stat().st_size
    if file.size_bytes is None or size >= file.size_bytes:
        return ""
    return f"{path}: has {size:,} bytes and {file.name} {file.size_bytes:,}: the download is not complete"


def _of_another(path: Path, names: Sequence[str], entry: Published) -> str:
    found = " or ".join(names)
    return f"{path}: is a file of {found} and not of {entry.name}; adopt it as that: dfd adopt {names[0]} file={path}"


def _assigned(entry: Published, paths: Sequence[Path], hashes: Mapping[Path, str]) -> list[tuple[PublishedFile, Path]]:
    """Each file of the detector with its path: by its hash where it is known, else in the given order."""
    left = list(paths)
    found: dict[int, Path] = {}
    for number, file in enumerate(entry.files):
        fitting = [path for path in left if file.sha256 is not None and hashes[path].startswith(file.sha256)]
        if fitting:
            found[number] = fitting[0]
            left.remove(fitting[0])
    return [(file, found[number] if number in found else left.pop(0)) for number, file in enumerate(entry.files)]


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise WeightsMissing(f"{path}: {'is a directory, not a file' if path.is_dir() else 'no such file'}")
    return file_sha256(path)


def _read_hdf(path: Path) -> dict[str, Tensor]:
    """Arrays of a Keras file as ``layer/kind``; only what is stored in the file itself, and no more than its size."""
    try:
        h5py: Any = importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{path}: Keras' format needs the package h5py; install it with: pip install 'dfd[adopt]'"
        ) from error
    size = path.stat().st_size
    if size > MAX_HDF_BYTES:
        raise ValueError(f"is larger than any Keras file that dfd reads ({MAX_HDF_BYTES // 10**6} MB)")
    tensors: dict[str, Tensor] = {}
    num_bytes = 0

    def take(name: str, item: Any) -> None:
        nonlocal num_bytes
        if not isinstance(item, h5py.Dataset):
            return
        num_bytes += int(item.size or 0) * item.dtype.itemsize
        if item.external or item.is_virtual or item.dtype.kind != "f" or num_bytes > size or len(tensors) > MAX_TENSORS:
            raise ValueError(f"{name[:120]} is no plain array of numbers within the file")
        layer, _, kind = name.partition("/")
        tensors[f"{layer}/{kind.rpartition('/')[2].removesuffix(':0')}"] = torch.from_numpy(item[...])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        raise ValueError(f"not an HDF5 file, or damaged ({str(error)[:200]})") from error
    if not tensors:
        raise ValueError("holds no weights")
    return tensors
