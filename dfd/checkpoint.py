"""Checkpoints: weights together with everything that is needed to use them.

Two forms hold the same: the ``.ckpt`` that training writes (it can also be resumed) and ``.safetensors`` (smaller, and
no pickle at all). Neither can run code when it is opened.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dfd.card import DetectorCard, parse_card
from dfd.errors import CheckpointError, ConfigError
from dfd.files import written_whole
from dfd.models.classifier import ClipClassifier, architecture, build_model
from dfd.tensor_files import (
    fitting,
    is_state_dict,
    load_exactly,
    read_tensor_file,
    refuse_hollow,
    without_first_weights,
)
from dfd.types import CARD_KEY
from dfd.untrusted import shown

_MODULE_PREFIX = "model."  # the classifier within DetectorModule
MAX_MESSAGE = 1000
"""Characters of what is wrong: the names in it are those of the file."""
_REMEDY = "give a .ckpt or .safetensors that train.py or dfd.export wrote"


def load_checkpoint(path: str | Path) -> tuple[DetectorCard, dict[str, Tensor]]:
    """The card and the classifier's state dict of a ``.ckpt`` or ``.safetensors``, on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, of another program, or would run code.
    """
    path = Path(path)
    try:
        content, metadata = read_tensor_file(path)
        if path.suffix == ".safetensors":
            text = metadata.get(CARD_KEY)
            card, tensors = None if text is None else parse_card(text), content
        else:
            content = content if isinstance(content, dict) else {}
            values = content.get(CARD_KEY)
            card = None if values is None else DetectorCard.from_dict(values)
            state = content.get("state_dict")
            state = state if is_state_dict(state) else {}
            tensors = {name.removeprefix(_MODULE_PREFIX): tensor for name, tensor in state.items()}
        if card is None or not is_state_dict(tensors):
            raise ValueError("not a checkpoint of dfd: it has no card (the settings that the weights belong to)")
        refuse_hollow(tensors, path)
        return card, dict(tensors)
    except (ValueError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {str(error)[:MAX_MESSAGE]}; {_REMEDY}") from error


def save_safetensors(path: str | Path, model: ClipClassifier, card: DetectorCard, *, half: bool = False) -> None:
    """Write the model's weights and the card; whole or, if interrupted, not at all.

    With ``half`` floats are kept in 16 bits, half the size; whoever loads them computes in 32 again.

    Raises:
        CheckpointError: the model's score of a clip depends on the rest of the batch; it is not to be handed on.
    """
    path = Path(path)
    refuse_mixed_clips(model, str(path))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: _halved(tensor) for name, tensor in tensors.items()}
    metadata = {"format": "pt", CARD_KEY: json.dumps(card.to_dict(), allow_nan=False)}
    with written_whole(path) as unfinished:
        unfinished.write_bytes(save(tensors, metadata=metadata))  # not save_file, whose files only their owner can read


def refuse_mixed_clips(model: ClipClassifier, what: str) -> None:
    """Raises:
    CheckpointError: the model is one that only a comparison may use.
    """
    if model.mixes_clips:
        raise CheckpointError(
            f"{what}: this model's score of a video depends on the other videos of its batch, an error of published "
            "code that is kept for comparison; it is neither exported nor used to predict. Train with temporal=lstm"
        )


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[ClipClassifier, DetectorCard]:
    """The detector of a checkpoint, in evaluation mode. No other file is needed, and nothing is downloaded.

    Raises:
        CheckpointError: as :func:`load_checkpoint`, or the weights do not fit the model that the card describes.
    """
    card, tensors = load_checkpoint(path)
    try:
        config = architecture(card.model)
        with torch.device("meta"), without_first_weights():  # where a network of any size takes no memory
            fitting(build_model(config), tensors)
        with without_first_weights():
            model = build_model(config)
        load_exactly(model, tensors)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its card describes a network that this dfd does not build ({shown(card.versions)} wrote it): "
            f"{str(error)[:MAX_MESSAGE]}"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its weights and its card do not belong together, or this version of dfd or timm differs from "
            f"the one that wrote it ({shown(card.versions)}): {str(error)[:MAX_MESSAGE]}"
        ) from error
    return model.to(device).eval(), card


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and values: equal for equal weights, in whatever file, layout or order they are.

    >>> import torch
    >>> a = {"x": torch.eye(2), "y": torch.zeros(3)}
    >>> weights_sha256(a) == weights_sha256(dict(reversed(a.items())))
    True
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _halved(tensor: Tensor) -> Tensor:
    """In 16 bits, unless a value is too large for them (above 65504)."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if bool(half.isfinite().all()) else tensor
