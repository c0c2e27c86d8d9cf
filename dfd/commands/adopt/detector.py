"""Make detectors of the weights that others have published: ``dfd adopt``."""

import dataclasses
import http.client
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.base.fetch import cache_folder, download
from dfd.base.files import file_sha256, write_text, written_whole
from dfd.base.types import CARD_KEY
from dfd.base.untrusted import read_json
from dfd.models.classifier import resolve_model_config
from dfd.models.files.card import DetectorCard
from dfd.models.files.model_card import model_card
from dfd.models.published.entry import Published, PublishedFile
from dfd.models.published.names import adopted_path, members
from dfd.models.published.reading import published_state_dicts
from dfd.models.published.table import PUBLISHED, caveat, published

HEAVY_SECONDS, HEAVY_FRAMES = 1.0, 8
"""CPU seconds per crop from which a detector is heavy, and the frames of a video that are scored with it by default.
The authors score 32."""
PREPROCESSOR, RESAMPLING = "preprocessor_config.json", {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""File in which a hub keeps how pictures are resized and normalised, and its numbers (Pillow's) for filters."""


def show_list() -> None:
    """Print the detectors that can be adopted: terms, size, cost, what was verified, and which are adopted already."""
    table = Table(title="published detectors: dfd adopt NAME", show_lines=True)
    table.add_column("name", no_wrap=True)
    for name in ("licence of the weights", "trained on", "download", "CPU s/crop", "verified here"):
        table.add_column(name, justify="right" if name in ("download", "CPU s/crop") else "left", overflow="fold")
    for entry in PUBLISHED.values():
        mark = "\nadopted" if adopted_path(entry.name).is_file() else ""
        cost = "" if entry.seconds_per_crop is None else f"{_seconds(entry):.2g}"
        cells = [entry.licence_weights, entry.training_data, _size(entry), cost, entry.verified]
        table.add_row(f"{entry.name}{mark}", *cells)
    Console().print(table)
    print("CPU s/crop: on one core of a server. docs/detectors.md says more of each, and how to choose.")


def adopt(name: str, given: Sequence[str], output: str | None) -> Path:
    """Write the detector of this name as dfd's own file, with its model card beside it; returns the file.

    Args:
        name: one of :data:`dfd.models.published.table.PUBLISHED`.
        given: its published files, or the folder that they lie in; empty: they are downloaded.
        output: file to write; None: the place where ``checkpoint=NAME`` finds it.

    Raises:
        ConfigError: there is no such detector, or ``output`` is no file of safetensors.
        WeightsMissing: a file is missing, damaged, or of another detector, or cannot be downloaded.
    """
    entry = published(name)
    first = adopted_path(name) if output is None else Path(output).expanduser()
    if first.suffix != ".safetensors" or first.is_dir():
        raise ConfigError(f"output={output}: give the name of a file that ends with .safetensors")
    print(f"{entry.title}: weights {entry.licence_weights}; trained on {entry.training_data}")
    paths = given_files(entry, given) if given else [fetched(entry, file) for file in entry.files]
    entry = with_preprocessor(entry, paths[0].with_name(PREPROCESSOR))
    states = published_state_dicts(entry, paths)
    card = card_of(entry, {file.name: file_sha256(path) for file, path in zip(entry.files, paths, strict=True)})
    written = members(first, len(states))
    for path, state in zip(written, states, strict=True):
        write_detector(path, state, card)
    text = model_card(card, file=first.name, sha256=file_sha256(first), licence=entry.licence_weights)
    write_text(first.with_name(f"{first.name}.md"), text)
    print(f"{', '.join(path.name for path in written)} and the model card are in {first.parent}")
    print(f"to be known beside its scores: {card.caveat}")
    print(f"score videos with it: dfd predict VIDEO --checkpoint {name if output is None else first}")
    return first


def with_preprocessor(entry: Published, path: Path) -> Published:
    """The detector with the resizing and normalisation of a hub's own file, if that lies beside its weights.

    Raises:
        WeightsMissing: the file is damaged, or resizes in a way that dfd does not have.
    """
    if not path.is_file() or all(file.hub is None for file in entry.files):
        return entry
    try:
        stated = read_json(path)
        options = {
            **({"resample": RESAMPLING[stated["resample"]]} if "resample" in stated else {}),
            **{key: list(map(float, stated[f"image_{key}"])) for key in ("mean", "std") if f"image_{key}" in stated},
        }
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise WeightsMissing(
            f"{path}: is not a preprocessor's file that dfd understands ({error!r}); move it away "
            f"to adopt {entry.name} as docs/detectors.md states it"
        ) from error
    print(f"{path}: crops are resized and normalised as it states ({options})")
    return dataclasses.replace(entry, model={**entry.model, "backbone": {**entry.model["backbone"], **options}})


def card_of(entry: Published, sha256: Mapping[str, str]) -> DetectorCard:
    """Card of an adopted detector: uncalibrated, with the authors' crop and rule, its origin and its caveat.

    Args:
        entry: what is known about it.
        sha256: hashes of the published files by name.
    """
    crop = dict(entry.input)
    heavy = entry.seconds_per_crop is not None and _seconds(entry) >= HEAVY_SECONDS
    facts = ("name", "title", "home", "licence_code", "licence_weights", "training_data", "citation", "verified")
    origin: dict[str, Any] = {fact: getattr(entry, fact) for fact in facts}
    origin["files"] = {file.name: {"url": file.url, "sha256": sha256[file.name]} for file in entry.files}
    origin["figures"] = [f"{one.data}: {one.metric} {one.value:.4g} ({one.source})" for one in entry.figures]
    if entry.seconds_per_crop is not None:
        origin["seconds_per_crop"] = round(_seconds(entry), 4)
    if entry.is_ensemble:
        origin["num_networks"] = len(entry.files)
    return DetectorCard(
        model=resolve_model_config(entry.model),
        image_size=crop["size"],
        clip_len=entry.clip_len,
        # As the authors' faces: found on the frame itself, never smoothed over time.
        crop={"extraction": {"crop": crop, "smoothing": 0.0}, "face_detector": {"name": "mtcnn"}},
        scoring={"aggregation": entry.aggregation, "max_windows": HEAVY_FRAMES if heavy else entry.frames},
        caveat=caveat(entry),
        origin=origin,
    )


def write_detector(path: Path, state: Mapping[str, Tensor], card: DetectorCard) -> None:
    """Write weights and card without building the network, whose memory they would take a second time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", CARD_KEY: json.dumps(card.to_dict(), allow_nan=False)}
    with written_whole(path) as unfinished:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, unfinished, metadata)
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o666 & ~mask)  # save_file lets only the owner read it


def given_files(entry: Published, given: Sequence[str]) -> list[Path]:
    """Files that a person has named; of a folder, those with the published names.

    Raises:
        WeightsMissing: a file is not there, or their number is wrong.
    """
    paths = [Path(word).expanduser() for word in given]
    if len(paths) == 1 and paths[0].is_dir():
        paths = [paths[0] / file.name for file in entry.files]
    if missing := [path for path in paths if not path.is_file()]:
        raise WeightsMissing(f"{missing[0]}: no such file")
    if len(paths) != len(entry.files):
        names = ", ".join(file.name for file in entry.files)
        raise WeightsMissing(
            f"{entry.name} is made of {len(entry.files)} files ({names}), and {len(paths)} were given; name each with "
            "file=PATH, or give the folder that they lie in"
        )
    return paths


def fetched(entry: Published, file: PublishedFile) -> Path:
    """A published file in dfd's cache, downloaded if it is not there.

    Raises:
        WeightsMissing: it cannot be downloaded; the message names the address, the size and what to do without a
            network.
    """
    place = cache_folder() / "published" / entry.name / file.name
    if place.is_file():
        return place
    size = "" if file.size_bytes is None else f", {file.size_bytes:,} bytes"
    known = f" (SHA-256 {file.sha256}{'' if len(file.sha256) == 64 else '…'}{size})" if file.sha256 else size
    several = len(entry.files) > 1
    remedy = (
        f"on a machine that can, get {file.name} from\n  {file.url}{known}\n  and give it: dfd adopt {entry.name} "
        f"file={'FOLDER, with all ' + str(len(entry.files)) + ' files' if several else file.name}"
    )
    if not file.is_direct:
        raise WeightsMissing(f"{file.name} of {entry.name} cannot be downloaded by a program; {remedy}")
    needed = file.size_bytes or 0
    place.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place.parent).free < 2 * needed:
        raise WeightsMissing(f"{place.parent}: has less room than the {2 * needed:,} bytes that {entry.name} needs")
    try:
        download(file.url, place, sha256=file.sha256, size_bytes=file.size_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsMissing(f"{file.name} of {entry.name} cannot be downloaded ({error}); {remedy}") from error
    return place


def _seconds(entry: Published) -> float:
    """CPU seconds that a crop takes in all networks."""
    return (entry.seconds_per_crop or 0.0) * (len(entry.files) if entry.is_ensemble else 1)


def _size(entry: Published) -> str:
    sizes = [file.size_bytes for file in entry.files if file.size_bytes is not None]
    return f"{sum(sizes) / 1e6:,.1f} MB" if sizes else "unknown"
