"""Calibration of several networks as one detector, and the files of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfd.base.errors import CheckpointError, ConfigError
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.calibration import DEFAULT_THRESHOLD, chosen_threshold, quality, video_probs
from dfd.evaluation.members import Members
from dfd.evaluation.splits import calibrated_card, score_windows
from dfd.metrics.formulas import combined
from dfd.models.files.card import MAX_NETWORKS, DetectorCard
from dfd.models.files.caveat import with_made_caveat
from dfd.models.files.checkpoint import save_safetensors
from dfd.models.published.names import members as files_of


def calibrated_cards(
    ensemble: Members, data: ClipDataModule, split: str, *, false_alarms: float | None = None
) -> list[DetectorCard]:
    """Cards of the networks with a temperature each, and one threshold for what their rule makes of their scores.

    If nothing can be fitted to one of them, the threshold is 0.5, and that card's calibration says why.
    """
    tables = [score_windows(one, data, split) for one in ensemble.detectors]
    pairs = list(zip(ensemble.detectors, tables, strict=True))
    cards = [calibrated_card(one, data, split, windows=table) for one, table in pairs]
    rule = {"num_networks": len(cards), "combine": ensemble.rule}
    cards = [replace(card, scoring={**card.scoring, **rule}) for card in cards]
    if any(card.temperature is None for card in cards):
        return [replace(card, threshold=DEFAULT_THRESHOLD) for card in cards]
    label = tables[0]["label"].to_numpy(int)

    def together(temperatures: Sequence[float | None]) -> list[float]:
        each = [
            video_probs(table["log_odds"].tolist(), temperature=temperature, aggregation=one.aggregation_name)
            for (one, table), temperature in zip(pairs, temperatures, strict=True)
        ]
        return [combined(row, ensemble.rule) for row in np.stack(each, axis=1).tolist()]

    before = together([one.card.temperature for one in ensemble.detectors])
    after = together([card.temperature for card in cards])
    found = chosen_threshold(after, label, false_alarms)
    threshold = DEFAULT_THRESHOLD if found is None else found
    facts = {
        "before": quality(np.array(before), label, ensemble.card.threshold),
        "after": quality(np.array(after), label, threshold),
        "note": "no threshold separates these videos better than chance, so it stays at 0.5" if found is None else "",
    }
    return [
        with_made_caveat(
            card,
            threshold=threshold,
            # The scores of labelled videos are those of one network; the ensemble's are others.
            calibration={**{key: value for key, value in card.calibration.items() if key != "labelled"}, **facts},
        )
        for card in cards
    ]


def save_ensemble(path: Path, ensemble: Members, cards: Sequence[DetectorCard]) -> list[Path]:
    """Write an ensemble with these cards: ``mine.safetensors``, ``mine.2.safetensors`` and so on; returns the files.

    Raises:
        CheckpointError: when a network is in a file that cannot be written anew, such as a ``.onnx``.
        ConfigError: when there are too many networks.
    """
    if len(cards) > MAX_NETWORKS:
        raise ConfigError(f"checkpoint: an ensemble has {MAX_NETWORKS} networks at most, got {len(cards)}")
    paths = files_of(path, len(cards))
    for file, one, card in zip(paths, ensemble.detectors, cards, strict=True):
        if one.model is None:
            raise CheckpointError(f"{one.name}: has no network to write; give the .safetensors that it was made from")
        save_safetensors(file, one.model, card)
    return paths
