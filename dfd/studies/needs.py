"""Needs of an experiment, such as a kind of crop, and a sentence for each that a store does not meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dfd.base.errors import StoreError
from dfd.base.types import Label
from dfd.config.build import build
from dfd.data.clips.module import ClipDataModule
from dfd.faces.crop import CROPS


@dataclass(frozen=True, slots=True)
class Needs:
    """Facts about a store without which an experiment is not what it says.

    Args:
        crop: kind of the store's crop, such as ``native``; None: any.
        num_frames: consecutive frames that some training clip must have; a shorter one repeats its last frame.
        num_methods: number of methods of fakes in the training split.

    Raises:
        ValueError: when an option is out of range.
    """

    crop: str | None = None
    num_frames: int = 1
    num_methods: int = 0

    def __post_init__(self) -> None:
        if self.crop is not None and self.crop not in CROPS:
            raise ValueError(f"needs.crop={self.crop} is not one of {', '.join(CROPS)}")
        for name in ("num_frames", "num_methods"):
            if getattr(self, name) < 0:
                raise ValueError(f"needs.{name} must be 0 or more, got {getattr(self, name)}")

    def unmet(self, data: ClipDataModule) -> list[str]:
        """Sentences that say what the data lack, and what to do; empty if they have all of it."""
        found = []
        crop = crop_kind(data)
        if self.crop not in (None, crop):
            fixed = " face_detector=fixed_box" if self.crop == "whole_frame" else ""
            found.append(
                f"it needs crop={self.crop}, and the store has {crop}: prepare the same videos with "
                f"crop={self.crop}{fixed} into another store (needs.crop=null trains all the same)"
            )
        train = data.index[data.index["split"] == "train"]
        longest = int(train["num_frames"].max()) if len(train) else 0
        if longest < self.num_frames:
            found.append(
                f"it needs {self.num_frames} consecutive frames, and the longest training clip has {longest}: prepare "
                "longer clips (num_frames of dfd preprocess)"
            )
        methods = _methods(data)
        if len(methods) < self.num_methods:
            found.append(
                f"it needs fakes of {self.num_methods} methods, and the training split has {len(methods)} "
                f"({', '.join(methods) or 'none'}): name them in the manifest's column method"
            )
        return found

    def check(self, data: ClipDataModule) -> None:
        """Refuse data that do not meet the needs.

        Raises:
            StoreError: when a need is not met.
        """
        if unmet := self.unmet(data):
            raise StoreError(f"{data.store}: does not fit this experiment: {'; '.join(unmet)}")


def crop_kind(data: ClipDataModule) -> str:
    """Kind of the crops of a store, such as ``square``."""
    crop = data.summary()["crop"]["extraction"].get("crop")
    return str(crop["kind"]) if isinstance(crop, dict) and "kind" in crop else "square"


def unmet_needs(store: str, **needs: Any) -> list[str]:
    """Sentences that say what a store lacks for an experiment with these needs; empty if it has all of it.

    Raises:
        ValueError: when a need is out of range.
        StoreError: when the store cannot be read.
    """
    return Needs(**needs).unmet(_data(store))


@cache
def _data(store: str) -> ClipDataModule:
    """Data of a store, whose index is read once."""
    return ClipDataModule(store)


def methods_of(options: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Names of the methods of the fakes in a training split, and of those in the test split.

    Args:
        options: the node ``data`` of a run's configuration, whose options may divide the store anew.

    Raises:
        StoreError: when the store cannot be read, or its training split names fewer than two methods.
    """
    data: ClipDataModule = build(options)
    methods = _methods(data)
    if len(methods) < 2:
        raise StoreError(
            f"{data.store}: the fakes of the training split are of {len(methods)} methods "
            f"({', '.join(methods) or 'none'}), and a detector per method needs two or more: name them in the "
            "manifest's column method"
        )
    return methods, set(_methods(data, "test"))


def datasets_of(options: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Names of the data sets in a training split, and of those in the test split.

    Args:
        options: as for :func:`methods_of`.

    Raises:
        StoreError: when the store cannot be read, or its training split has one data set.
    """
    data: ClipDataModule = build(options)
    train, test = (set(data.index.loc[data.index["split"] == split, "dataset"]) for split in ("train", "test"))
    if len(train) < 2:
        raise StoreError(
            f"{data.store}: the training split is of the data set {', '.join(train)} alone, and leaving one out takes "
            "two or more: preprocess another into the same store"
        )
    return sorted(train), test


def _methods(data: ClipDataModule, split: str = "train") -> list[str]:
    is_fake = (data.index["split"] == split) & (data.index["label"] == str(Label.FAKE))
    return sorted(set(data.index.loc[is_fake, "method"]) - {""})
