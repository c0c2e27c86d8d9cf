"""Rough time that scoring takes, by what cards say, before torch is imported."""

from collections.abc import Sequence
from pathlib import Path

from dfd.base.machine import num_cores
from dfd.config.schemas import PredictConfig
from dfd.models.files.card import read_card

START_SECONDS, TUNED = 6.0, 0.7
"""Rough time until a detector is loaded, and the share of a crop's time in an untuned network that it takes."""


def expected_seconds(config: PredictConfig, checkpoints: Sequence[Path], num_videos: int) -> float | None:
    """Rough time that scoring takes on this CPU, by what the detectors' cards say a crop takes.

    None if a card does not say it, or if a GPU may do it.
    """
    if config.device not in ("auto", "cpu") or (config.device == "auto" and Path("/dev/nvidia0").exists()):
        return None
    seconds = 0.0
    for card in map(read_card, checkpoints):
        cost = card.origin.get("seconds_per_crop") if card else None
        if card is None or not isinstance(cost, int | float) or not 0 < cost < 1000:
            return None
        windows = card.scoring.get("max_windows", 32) if config.max_windows == "auto" else config.max_windows
        if not isinstance(windows, int):
            return None
        shown = config.moments_per_face if config.heatmaps else 0
        seconds += cost * (windows + shown)
    return START_SECONDS + TUNED * seconds * num_videos / num_cores()
