"""Fine-tuning: a run that starts from the weights of a trained detector, an adopted one too."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dfd.base.errors import CheckpointError
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard, refuse_part
from dfd.models.files.checkpoint import load_checkpoint, weights_sha256
from dfd.models.networks.lora import is_lora
from dfd.models.starter import checkpoint_path

logger = logging.getLogger(__name__)

PARTS = ("backbone", "temporal", "classify")
"""Parts of a :class:`~dfd.models.classifier.ClipClassifier`; the first has to fit."""


@dataclass(frozen=True)
class Start:
    """Detector that a run starts from.

    Args:
        path: its file.
        card: its card.
        tensors: its weights.
    """

    path: Path
    card: DetectorCard
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, source: str) -> "Start":
        """Read a detector by its file or name.

        Raises:
            CheckpointError: the file is missing, damaged or no detector, or is one network of an ensemble.
        """
        path = checkpoint_path(source)
        card, tensors = load_checkpoint(path)
        refuse_part(card, str(path))
        return cls(path, card, tensors)

    def copy_into(self, model: ClipClassifier) -> list[dict[str, Any]]:
        """Copy the weights into a new model and return the lineage for its card, the nearest ancestor first.

        A temporal head or last layers of other shapes keep their initial weights, which is logged.

        Raises:
            CheckpointError: the backbone's weights do not fit; the message says which options it has in its card.
        """
        kept: list[str] = []
        for part in PARTS:
            expected = {name: tensor for name, tensor in getattr(model, part).state_dict().items() if not is_lora(name)}
            given = {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in self.tensors.items()
                if name.startswith(f"{part}.")
            }
            if {name: tensor.shape for name, tensor in given.items()} == {
                name: tensor.shape for name, tensor in expected.items()
            } and self._is_alike(model, part):
                getattr(model, part).load_state_dict(given, strict=False)
            elif part == "backbone":
                raise CheckpointError(
                    f"init_from: the weights of {self.path} do not fit this backbone "
                    f"({_first_misfit(given, expected)}); it was trained with {_words(self.card.model['backbone'])}"
                )
            else:
                kept.append(part)
        for part in kept:
            what = {"temporal": "temporal head is", "classify": "last layers are"}[part]
            logger.warning("init_from=%s: the %s new, since the detector has others", self.path, what)
        copied = [part for part in PARTS if part not in kept]
        facts = {"detector": self.path.stem, "weights_sha256": weights_sha256(self.tensors), "copied": copied}
        facts |= {key: self.card.data[key] for key in ("store", "index_sha256") if key in self.card.data}
        facts |= {key: self.card.origin[key] for key in ("name", "licence_weights") if key in self.card.origin}
        return [facts, *self.card.lineage]

    def _is_alike(self, model: ClipClassifier, part: str) -> bool:
        """Whether the part is the same function; parts of other kinds may have tensors of the same shapes."""
        if part == "backbone" or not model.config:
            return True
        key = {"temporal": "temporal", "classify": "head"}[part]
        theirs = self.card.model.get(key) or {}
        ours = model.config.get(key) or {}
        return bool(theirs.get("_target_") == ours.get("_target_"))

    def warn_about(self, summary: Mapping[str, Any]) -> None:
        """Warn if the new data are cropped otherwise, or divided otherwise than the detector's own data were.

        Args:
            summary: of the new data, see :meth:`~dfd.data.clips.module.ClipDataModule.summary`.
        """
        theirs, ours = (each.get("extraction", {}) for each in (self.card.crop, summary["crop"]))
        if theirs.get("crop") != ours.get("crop") or self.card.image_size != summary["image_size"]:
            logger.warning(
                "init_from=%s: it was trained on crops of %d px (%s), and these are of %d px (%s)",
                self.path,
                self.card.image_size,
                theirs.get("crop"),
                summary["image_size"],
                ours.get("crop"),
            )
        same_store = self.card.data.get("index_sha256") == summary["index_sha256"]
        if same_store and self.card.data.get("videos_sha256") != summary["videos_sha256"]:
            logger.warning(
                "init_from=%s: it was trained on another division of this store, so it may know videos of val and test",
                self.path,
            )


def _first_misfit(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    for name, tensor in expected.items():
        if name not in given:
            return f"{name} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} has the shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
    return f"{next(name for name in given if name not in expected)} is not in it"


def _words(backbone: Mapping[str, Any]) -> str:
    """Options of a backbone, as they are typed."""
    chosen = {key: value for key, value in backbone.items() if value not in (None, False)}
    ignored = ("_target_", "pretrained", "weights", "freeze", "mean", "std")
    named = [f"backbone.{key}={value}" for key, value in chosen.items() if key not in ignored]
    return " ".join([f"backbone={str(backbone['_target_']).rpartition('.')[2]}", *named])
