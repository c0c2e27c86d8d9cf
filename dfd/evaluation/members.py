"""Several networks that score the clips of a store as one detector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.metrics.formulas import combined
from dfd.models.files.card import Combine, DetectorCard, num_networks, read_card
from dfd.models.published.names import members
from dfd.scoring.detector import Detector


@dataclass(frozen=True)
class Members:
    """Networks that score the same clips, and the rule that makes one score of theirs.

    Args:
        detectors: the networks, each with its own temperature.
        rule: one of :func:`dfd.metrics.formulas.combined`.

    Raises:
        ConfigError: when their clips are not alike.
    """

    detectors: Sequence[Detector]
    rule: str

    def __post_init__(self) -> None:
        first = self.detectors[0].card
        for detector in self.detectors[1:]:
            ours, theirs = ((card.clip_len, card.clip_stride) for card in (first, detector.card))
            if ours != theirs:
                raise ConfigError(
                    f"checkpoint: several detectors are measured together if their clips are alike, and "
                    f"{self.detectors[0].name} takes {ours[0]} frames (stride {ours[1]}), {detector.name} {theirs[0]} "
                    f"(stride {theirs[1]}); measure them one by one"
                )

    @property
    def name(self) -> str:
        """Names of the networks."""
        return " + ".join(detector.name for detector in self.detectors)

    @property
    def card(self) -> DetectorCard:
        """Card of the first network, with the threshold of the combined score and the methods of all networks."""
        first = self.detectors[0].card
        thresholds = [detector.card.threshold for detector in self.detectors]
        selection = {key: value for key, value in first.data.get("selection", {}).items() if key != "methods"}
        data = {**first.data, **({"selection": selection} if selection else {})}
        return replace(first, threshold=combined(thresholds, self.rule), data=data)

    def together(self, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Make one table of scored videos of those of the networks, in the same order of videos."""
        table = tables[0].copy()
        for column in ("prob_fake", "prob_uncalibrated"):
            if all(column in each for each in tables):
                rows = zip(*(each[column] for each in tables), strict=True)
                table[column] = [combined(row, self.rule) for row in rows]
        if "window_probs" in table:
            videos = [each["window_probs"] for each in tables]
            table["window_probs"] = [self._of_windows(tracks) for tracks in zip(*videos, strict=True)]
        return table

    def _of_windows(self, tracks: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
        """Windows of a video's tracks, each with the combined score; all networks see the same windows."""
        of_track = zip(*tracks, strict=True)
        return [[combined(window, self.rule) for window in zip(*each, strict=True)] for each in of_track]


def load_measured(
    files: Sequence[Path],
    *,
    rule: str | None = None,
    device: str = "auto",
    default: str = "log_odds",
    for_comparison: bool = False,
) -> Detector | Members:
    """Load what is measured on a store: one network, an ensemble, or several networks.

    Args:
        files: one for each detector; of an ensemble, that of its first network.
        rule: rule of their scores; None: that of the ensemble, and of several detectors ``default``.
        device: ``auto``, ``cpu`` or ``cuda``.
        default: rule of several detectors; ``log_odds`` is that of ``dfd predict``.
        for_comparison: accept a single network whose scores mean something only within their batch.

    Raises:
        CheckpointError: a file is missing, damaged, or of another program.
        ConfigError: there is no such rule, one of several is an ensemble, or their clips are not alike.
    """
    if rule is not None and rule not in get_args(Combine):
        raise ConfigError(f"combine={rule} is not one of {', '.join(get_args(Combine))}")
    cards = [read_card(path) for path in files]
    if len(files) == 1 and num_networks(cards[0]) == 1:
        if rule is not None:
            raise ConfigError("combine is for several detectors: checkpoint=[a,b], or an ensemble")
        return Detector.load(files[0], device=device, for_comparison=for_comparison)
    if len(files) > 1 and any(num_networks(card) > 1 for card in cards):
        raise ConfigError("checkpoint: an ensemble is measured alone; give one of its files, that of the first network")
    return load_members(files, rule=rule or (default if len(files) > 1 else None), device=device)


def load_members(files: Sequence[Path], *, rule: str | None = None, device: str = "auto") -> Members:
    """Load several networks, or an ensemble by the file of its first network.

    Raises:
        CheckpointError: a file is missing, damaged, or of another program.
        ConfigError: their clips are not alike.
    """
    first = read_card(files[0])
    is_ensemble = len(files) == 1
    networks = members(files[0], num_networks(first)) if is_ensemble else files
    own = first.scoring.get("combine") if is_ensemble and first else None
    detectors = [Detector.load(path, device=device, is_part=is_ensemble) for path in networks]
    return Members(detectors, rule or own or "mean")
