"""Warnings about evaluations whose numbers would mislead."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dfd.base.types import Label
from dfd.data.clips.module import ClipDataModule
from dfd.metrics.formulas import one_sided_warning
from dfd.models.files.card import DetectorCard
from dfd.scoring.aggregation import verdict

logger = logging.getLogger(__name__)


def warn_about_crops(trained: Mapping[str, Any], evaluated: Mapping[str, Any]) -> None:
    """Warn if the store's crops were made differently from those that the detector was trained on."""
    for key in ("extraction", "face_detector"):
        here, there = evaluated.get(key), trained.get(key)
        if here != there:
            words = "this store was made with %s=%s, but the detector was trained on %s; its scores may be worse"
            logger.warning(words, key, here, there)


def warn_about_calibration(card: DetectorCard, split: str, data: ClipDataModule) -> None:
    """Warn if the detector is evaluated on the videos that its temperature and threshold were fitted on."""
    fitted = card.calibration
    here = {"split": split, **{key: data.summary()[key] for key in ("index_sha256", "videos_sha256")}}
    if card.temperature is not None and all(fitted.get(key) == value for key, value in here.items()):
        logger.warning(
            "the detector's temperature and threshold were fitted on these videos: its calibration error and accuracy "
            "are better on them than on others"
        )


def warn_if_one_sided(table: pd.DataFrame, threshold: float) -> None:
    """Warn if nearly all videos get the same verdict, unless nearly all of them have that label."""
    scored = table.dropna(subset="prob_fake")
    verdicts = Counter(str(verdict(prob, threshold=threshold)) for prob in scored["prob_fake"])
    labels = Counter(str(Label(label)) for label in scored["label"])
    message = one_sided_warning(verdicts)
    if message and not (one_sided_warning(labels) and labels.most_common(1)[0][0] == verdicts.most_common(1)[0][0]):
        logger.warning(message)
