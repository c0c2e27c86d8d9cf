"""Write a detector as one file to share, with a model card beside it: ``python -m dfd.export``."""

from dataclasses import replace
from pathlib import Path

import torch

from dfd.base.errors import ConfigError
from dfd.base.files import file_sha256, write_bytes, write_json, write_text, written_whole
from dfd.config.entry import output_dir
from dfd.config.schemas import ExportConfig
from dfd.models.classifier import ClipClassifier
from dfd.models.files import onnx as formats
from dfd.models.files.card import DetectorCard, refuse_part
from dfd.models.files.caveat import caveat_of
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.models.files.model_card import model_card
from dfd.models.starter import checkpoint_path
from dfd.scoring.runtimes.exporting import checked_onnx, largest_difference, refuse_difference
from dfd.scoring.runtimes.runtime import MAX_DIFFERENCE, ProgramRuntime, TorchRuntime

SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "torch_export": ".pt2"}


def output_file(output: str | None, format: str, folder: Path) -> Path:
    """The file to write: ``output`` if it has the format's suffix, else ``detector.*`` in it, or in ``folder``.

    >>> print(output_file("shared", "onnx", Path("run")), output_file("a/b.pt2", "torch_export", Path("run")))
    shared/detector.onnx a/b.pt2

    Raises:
        ConfigError: there is no such format, or the suffix is of another one.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"format={format} is not one of {', '.join(SUFFIXES)}")
    path = Path(output).expanduser() if output else folder
    if path.is_dir() or path.suffix not in (*SUFFIXES.values(), ".ckpt"):
        return path / f"detector{SUFFIXES[format]}"
    if path.suffix != SUFFIXES[format]:
        raise ConfigError(f"output={path}: a file of format={format} ends with {SUFFIXES[format]}; or give a folder")
    return path


def shareable(card: DetectorCard) -> DetectorCard:
    """``card`` with its caveat in words, and without the folder that the first weights lay in."""
    backbone = dict(card.model.get("backbone", {}))
    if backbone.get("weights"):
        backbone["weights"] = Path(str(backbone["weights"])).name
    return replace(card, model={**card.model, "backbone": backbone}, caveat=caveat_of(card))


def write_detector(
    model: ClipClassifier, card: DetectorCard, path: Path, format: str, *, half: bool = False
) -> float | None:
    """Write the detector whole or not at all; returns by how much its probabilities differ from the model's at most.

    safetensors holds the weights as they are: None. With ``half``, it holds them in 16 bits.

    Raises:
        CheckpointError: the model is not to be handed on, cannot be expressed in this form, or differs in it.
        ConfigError: a package that the form needs is not installed.
    """
    if format == "safetensors":
        save_safetensors(path, model, card, half=half)
        write_json(path.with_suffix(".json"), card.to_dict())
        if not half:
            return None
        rounded = TorchRuntime(load_model(path)[0], card, "cpu")
        return largest_difference(TorchRuntime(model, card, "cpu"), rounded, card)
    if format == "onnx":
        content, difference = checked_onnx(model, card)
        write_bytes(path, content)
        return difference
    program = formats.to_program(model, card)
    with written_whole(path) as unfinished:
        formats.save_program(unfinished, program, model, card)
        loaded = ProgramRuntime(torch.export.load(unfinished))
        difference = largest_difference(TorchRuntime(model, card, "cpu"), loaded, card)
        refuse_difference(difference, format)
    return difference


def export(config: ExportConfig) -> None:
    """Write the detector in the format asked for, and its model card beside it."""
    path = output_file(config.output, config.format, output_dir())
    if config.half and config.format != "safetensors":
        raise ConfigError(f"half=true is for format=safetensors, not {config.format}: the others are run as they are")

    model, card = load_model(checkpoint_path(config.checkpoint))
    refuse_part(card, config.checkpoint)
    card = shareable(card)
    difference = write_detector(model, card, path, config.format, half=config.half)
    text = model_card(card, file=path.name, sha256=file_sha256(path), licence=config.licence)
    beside = path.with_name(f"{path.name}.md")  # with the format: the card of one says how to open that one
    write_text(beside, text)
    if difference is not None:
        allowed = "" if config.half else f" ({MAX_DIFFERENCE:g} allowed)"
        print(f"its probabilities differ from the checkpoint's by {difference:.1e} at most{allowed}")
    print(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB) and its model card {beside.name} are in {path.parent}")
