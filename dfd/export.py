"""``python -m dfd.export``: a detector as one file to share, with a model card beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dfd.config import ExportConfig, check, entry_point, output_dir
from dfd.errors import ConfigError
from dfd.files import written_whole

if TYPE_CHECKING:
    from dfd.card import DetectorCard
    from dfd.models.classifier import ClipClassifier

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
    """``card`` without the folder that the first weights lay in: where things are on a machine is nobody's business."""
    from dataclasses import replace

    backbone = dict(card.model.get("backbone", {}))
    if backbone.get("weights"):
        backbone["weights"] = Path(str(backbone["weights"])).name
    return replace(card, model={**card.model, "backbone": backbone})


def export(model: ClipClassifier, card: DetectorCard, path: Path, format: str, *, half: bool = False) -> float | None:
    """Write the detector whole or not at all; returns by how much its probabilities differ from the model's at most.

    safetensors holds the weights as they are: None. With ``half``, it holds them in 16 bits.

    Raises:
        CheckpointError: the model is not to be handed on, cannot be expressed in this form, or differs in it.
        ConfigError: a package that the form needs is not installed.
    """
    import torch

    from dfd import formats, runtimes
    from dfd.checkpoint import load_model, save_safetensors

    if format == "safetensors":
        save_safetensors(path, model, card, half=half)
        text = json.dumps(card.to_dict(), indent=2, allow_nan=False)
        with written_whole(path.with_suffix(".json")) as unfinished:
            unfinished.write_text(text + "\n")
        if not half:
            return None
        rounded = runtimes.TorchRuntime(load_model(path)[0], card, "cpu")
        return runtimes.largest_difference(runtimes.TorchRuntime(model, card, "cpu"), rounded, card)
    if format == "onnx":
        content, difference = runtimes.checked_onnx(model, card)
        with written_whole(path) as unfinished:
            unfinished.write_bytes(content)
        return difference
    program = formats.to_program(model, card)
    with written_whole(path) as unfinished:
        formats.save_program(unfinished, program, model, card)
        loaded = runtimes.ProgramRuntime(torch.export.load(unfinished))
        difference = runtimes.largest_difference(runtimes.TorchRuntime(model, card, "cpu"), loaded, card)
        runtimes.refuse_difference(difference, format)
    return difference


@entry_point("export")
def main(cfg: DictConfig) -> None:
    """Export a detector."""
    config = check(cfg, ExportConfig)
    path = output_file(config.output, config.format, output_dir())
    if config.half and config.format != "safetensors":
        raise ConfigError(f"half=true is for format=safetensors, not {config.format}: the others are run as they are")

    import hashlib

    from dfd.checkpoint import load_model
    from dfd.model_card import model_card
    from dfd.runtimes import MAX_DIFFERENCE
    from dfd.starter import checkpoint_path

    model, card = load_model(checkpoint_path(config.checkpoint))
    card = shareable(card)
    difference = export(model, card, path, config.format, half=config.half)
    content = path.read_bytes()
    text = model_card(card, file=path.name, sha256=hashlib.sha256(content).hexdigest(), licence=config.licence)
    beside = path.with_name(f"{path.name}.md")  # with the format: the card of one says how to open that one
    with written_whole(beside) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    if difference is not None:
        allowed = "" if config.half else f" ({MAX_DIFFERENCE:g} allowed)"
        print(f"its probabilities differ from the checkpoint's by {difference:.1e} at most{allowed}")
    print(f"{path.name} ({len(content) / 1e6:.1f} MB) and its model card {beside.name} are in {path.parent}")


if __name__ == "__main__":
    main()
