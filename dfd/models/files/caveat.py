"""What must be said beside a detector's scores, and why a detector gives no verdict."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfd.base.types import Label
from dfd.models.files.card import DetectorCard
from dfd.models.files.scope import Scope, scope_sentences

DEMO = "This detector was trained on drawn demonstration videos: its scores say nothing about real deepfakes."
UNKNOWN = "It is not known what this detector was trained on."
BLENDS = "fakes made from them by blending, never on recorded fakes"
ON_BLENDS = (
    "its threshold was fitted to fakes that were made by blending, not to recorded ones. For verdicts, fit it to "
    "videos with known labels (dfd calibrate), or adopt a published detector (dfd adopt lists them)"
)
"""Reason why a detector that knows only blends gives no verdict."""


def caveat_of(card: DetectorCard) -> str:
    """Caveat of a detector: the one in its card, else the one that follows from its training and test."""
    return card.caveat or made_caveat(card)


def made_caveat(card: DetectorCard) -> str:
    """Caveat that follows from a card: what the detector was trained on, on what it was tested and how it did.

    A result on videos of the training's own data sets is not told: it says little about other videos, and reads as if
    it did. The model card has it.

    >>> made_caveat(DetectorCard(model={}, image_size=64, clip_len=1, data={"is_demo": True}))
    'This detector was trained on drawn demonstration videos: its scores say nothing about real deepfakes.'
    """
    if card.data.get("is_demo"):
        return DEMO
    if card.origin:
        known = card.origin.get("training_data")
        words = f"This detector was trained on {known}." if known else UNKNOWN
        return f"{words} {scope_sentences(Scope.of(card.scope))}" if card.scope else words
    words = training_words(card.data)
    ancestors = (one.get("name") or one.get("detector") for one in card.lineage)
    began = ", ".join(str(name) for name in ancestors if name)
    origin = f" Its weights began from {began}." if began else ""
    if not words:
        return UNKNOWN
    measured = scope_sentences(Scope.of(card.scope)) if card.scope else _tested(card)
    return f"This detector was trained on {words}.{origin} {measured}"


def with_made_caveat(card: DetectorCard, **changes: Any) -> DetectorCard:
    """Copy of a card with changes, and with the caveat that follows from it, unless the card has one of its own."""
    has_own = bool(card.origin) or card.caveat not in ("", made_caveat(card))
    changed = replace(card, **changes)
    return changed if has_own else replace(changed, caveat=made_caveat(changed))


def training_words(data: object) -> str:
    """Describe the videos that a detector was trained on, from its card; empty if not known.

    >>> train = {"num_videos": 210, "labels": {"real": 70, "fake": 140}, "datasets": {"ffpp": 210}}
    >>> training_words({"splits": {"train": {**train, "methods": {"FaceSwap": 140}}}})
    '210 videos (70 real, 140 fake) of ffpp; forgeries: FaceSwap'
    >>> training_words({"splits": {"train": train}, "blend": {"opacity": 1.0}})
    '70 real videos or photographs of ffpp, and on fakes made from them by blending, never on recorded fakes'
    """
    train = _part(data, "train")
    if not train or not isinstance(data, Mapping):
        return ""
    labels, datasets, methods = (
        found if isinstance(found := train.get(key), Mapping) else {} for key in ("labels", "datasets", "methods")
    )
    sets = f" of {', '.join(map(str, datasets))}" if datasets else ""
    if data.get("blend"):
        return f"{labels.get('real', train.get('num_videos', ''))} real videos or photographs{sets}, and on {BLENDS}"
    counts = f" ({', '.join(f'{number} {label}' for label, number in labels.items())})" if labels else ""
    forgeries = f"; forgeries: {', '.join(map(str, methods))}" if methods else ""
    return f"{train.get('num_videos', 'unknown')} videos{counts}{sets}{forgeries}"


def _tested(card: DetectorCard) -> str:
    """Sentence about the test: the result if it was on other data sets than the training, else that it was not."""
    unknown = (
        "How well it does on other videos was not measured: expect it to miss many fakes, and to suspect real videos."
    )
    if not card.test:
        return unknown
    if card.data.get("blend"):
        return f"It was tested on such blends only. {unknown}"
    seen, tested = (set(_mapping(_part(card.data, split), "datasets")) for split in ("train", "test"))
    if not tested or seen & tested or card.test.get("index_sha256") != card.data.get("index_sha256"):
        return f"It was tested only on videos of the same data sets. {unknown}"
    numbers = [f"{card.test.get(f'num_{label}')} {label}" for label in Label]
    auc = _mapping(card.test, "metrics").get("auc")
    if not isinstance(auc, int | float):
        return unknown
    match _mapping(card.test, "intervals").get("auc"):
        case [int() | float() as low, int() | float() as high]:
            words = f"95 % interval {low:.2f} to {high:.2f}"
        case _:
            words = "no interval is known"
    return (
        f"It was tested on videos of other data sets ({', '.join(sorted(map(str, tested)))}; {', '.join(numbers)}): "
        f"video AUC {auc:.2f} ({words}; 0.5 is guessing, 1 is perfect)."
    )


def scope_of(card: DetectorCard, threshold: float) -> Scope | None:
    """Scope of a detector at a threshold; None for one of the demonstration, whose drawn fakes are of no kind."""
    return None if card.data.get("is_demo") else Scope.of(card.scope).at(threshold)


def why_no_verdict(card: DetectorCard, name: str) -> str:
    """Reason why a detector's scores come without a verdict; empty if they come with one.

    An adopted detector gives none until it is calibrated here: its threshold is its authors', on their videos.
    """
    if card.no_verdict:
        return card.no_verdict
    if card.origin and card.temperature is None:
        named = card.origin.get("name", name)
        return f"{named} is not calibrated. For verdicts, fit it to videos with known labels (dfd calibrate)"
    return ""


def first_sentence(text: str) -> str:
    """First sentence of a text, with its full stop.

    >>> first_sentence("Trained on FF++ (Rössler et al. 2019). Published: AUC 0.9.")
    'Trained on FF++ (Rössler et al. 2019).'
    """
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text, maxsplit=1)[0]


def _part(data: object, split: str) -> Mapping[str, Any]:
    return _mapping(_mapping(data, "splits"), split)


def _mapping(value: object, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}
