"""What dfd knows about one published detector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dfd.base.errors import WeightsMissing
from dfd.base.types import LABEL_NAMES
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.published.naming import Recipe, converted
from dfd.models.tensor_files import without_first_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One file of weights.

    Attributes:
        name: its name where it is published, or one to keep it under if that is not known.
        url: where it can be downloaded, or the page that leads to it.
        hub: repository on the Hugging Face hub that holds it under ``name``; None: it is not there.
        size_bytes: its size; None if nobody states it.
        sha256: its SHA-256, or as many leading digits as are known; None if nobody states it. The hub states that of
            its own files when they are downloaded.
        is_direct: whether ``url`` is the file itself, so that a program can download it.
    """

    name: str
    url: str
    hub: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    is_direct: bool = True

    def __post_init__(self) -> None:
        if self.sha256 is not None and (not 8 <= len(self.sha256) <= 64 or set(self.sha256) - set("0123456789abcdef")):
            raise ValueError(f"sha256 of {self.name} must be 8 to 64 lower-case hex digits, got {self.sha256!r}")


@dataclass(frozen=True, slots=True)
class Figure:
    """A published figure: the metric of a data set, and who says so."""

    data: str
    metric: str
    value: float
    source: str


def without_wrapper(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors without the ``module.`` that torch's wrappers for several GPUs put before names."""
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published detector: facts for people, how its input is made, and its network in dfd.

    Attributes:
        name: by which it is adopted and used.
        title: full name with authors and year.
        home: page of its code.
        files: of weights. Those of one network are taken together; those of an ensemble are one network each.
        is_ensemble: whether each file is a network of its own, and a video's score is the mean of theirs.
        licence_code: licence of the authors' code.
        licence_weights: licence of the weights, as far as their owners state one.
        training_data: the sets it was trained on and their terms, which the weights do not shake off.
        citation: the publication.
        figures: what its authors or others have measured.
        verified: what was checked here, and what could not be.
        warning: what must be said first, if it is no detector to rely on; empty otherwise.
        seconds_per_crop: CPU time of one crop in one network on one core of a server (AMD EPYC, 32-bit floats), as
            measured here; other machines differ, and a core that is shared takes longer. None: not measured.
        input: how a crop is made: ``kind`` and options of :func:`dfd.faces.crop.crop_of`.
        clip_len: frames that the network sees at once.
        frames: number of frames per video that its authors score.
        aggregation: rule by which the scores of frames become that of a video; of one face, ``max_of_means`` is their
            mean.
        faces: which faces of a frame are scored.
        label_order: the authors' order of labels; ``convert`` turns it into dfd's.
        model: config of dfd's network, for :func:`~dfd.models.classifier.build_model`.
        recipe: where each tensor of the network comes from.
        recognises: whether published tensors are those of this detector or of one with the same network.
        unused: whether a published tensor decides nothing.
        simplify: gives published tensors the names that ``recipe`` knows: without what a wrapper put before them.
    """

    name: str
    title: str
    home: str
    files: tuple[PublishedFile, ...]
    is_ensemble: bool = False
    licence_code: str
    licence_weights: str
    training_data: str
    citation: str
    figures: tuple[Figure, ...] = ()
    verified: str
    warning: str = ""
    seconds_per_crop: float | None
    input: Mapping[str, Any]
    clip_len: int = 1
    frames: int = 32
    aggregation: str = "max_of_means"
    faces: Literal["largest", "all"] = "largest"
    label_order: tuple[str, str] = (LABEL_NAMES[0], LABEL_NAMES[1])
    model: Mapping[str, Any]
    recipe: Recipe = field(repr=False)
    recognises: Callable[[Mapping[str, Tensor]], bool] = field(repr=False)
    unused: Callable[[str], bool] = field(default=lambda name: False, repr=False)
    simplify: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = field(default=without_wrapper, repr=False)

    def build(self) -> ClipClassifier:
        """Build the network on the ``meta`` device: names and shapes, without weights."""
        with torch.device("meta"), without_first_weights():
            return build_model(self.model)

    def convert(self, tensors: Mapping[str, Tensor], network: ClipClassifier | None = None) -> dict[str, Tensor]:
        """State dict of dfd's network, made of the published tensors of one network.

        Args:
            tensors: content of the file, or of all files of one network together.
            network: dfd's network, whose names and shapes count; None: that of ``model``.

        Raises:
            WeightsMissing: when tensors are missing, unexpected or of another shape; the message names the first three
                of each.
        """
        expected = (self.build() if network is None else network).state_dict()
        try:
            return converted(self.simplify(tensors), self.recipe, expected, unused=self.unused)
        except ValueError as error:
            raise WeightsMissing(f"these are not the weights of {self.name} ({self.title}): {error}") from error

    def is_of(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether published tensors are those of this detector, or of one with the same network."""
        return self.recognises(self.simplify(tensors))


def has(*names: str) -> Callable[[Mapping[str, Tensor]], bool]:
    """Condition that holds if tensors of all these names are there."""
    return lambda tensors: all(name in tensors for name in names)
