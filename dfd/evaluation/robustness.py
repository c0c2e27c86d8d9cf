"""Evaluation of a detector on a split under disturbances of rising strength."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from dfd.base.types import FrameArray
from dfd.data.augment.disturbances import NUM_LEVELS, Disturbance
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.suites import _MEASURES, Row, ScoreFiles, _estimate, _facts, _write, logger, measures
from dfd.figures import style as plots
from dfd.figures.robustness import disturbance_sheet, robustness_curves, robustness_intervals

UNDISTURBED = "none"
"""Name of the disturbance at level 0."""


ROBUSTNESS_COLUMNS = ["disturbance", "level", "strength", "unit", *_MEASURES]


def robustness(
    score: Callable[[str], pd.DataFrame],
    data: ClipDataModule,
    split: str,
    folder: Path,
    *,
    disturbances: Sequence[Disturbance],
    threshold: float,
    detector: str,
    temperature: float | None = None,
) -> list[Row]:
    """Score a split undisturbed and under each disturbance at each level.

    Writes robustness.csv and robustness.json, updated after each part, robustness.png, robustness_intervals.png and
    disturbances.png.

    Args:
        score: function that scores the split with the current ``data.disturb``, given a description for the progress
            bar.
        data: data module after set-up.
        split: train, val or test.
        folder: output folder; if it has scores of the same evaluation, that is continued.
        disturbances: disturbances in the order of tables and figures.
        threshold: probability from which a video is called fake.
        detector: name of the detector with the hash of its weights.
        temperature: the detector's temperature, on which the scores depend.

    Returns:
        Rows of the table: level 0 of the disturbance ``none``, then the levels of each disturbance.

    Raises:
        ConfigError: the folder has scores of another evaluation.
        DisturbanceError: an encoder failed.
    """
    facts = {"detector": detector, "temperature": temperature, "split": split, **_facts(data)}
    files = ScoreFiles(folder / "scores", facts)
    plots.save(disturbance_sheet(list(disturbed_faces(data, split, disturbances))), folder / "disturbances.png")
    parts: list[tuple[Disturbance | None, int]] = [(None, 0)]
    parts += [(disturbance, level) for disturbance in disturbances for level in range(1, NUM_LEVELS + 1)]
    rows: list[Row] = []
    try:
        for place, (disturbance, level) in enumerate(parts, start=1):
            name = disturbance.name if disturbance else UNDISTURBED
            strength = disturbance.at(level) if disturbance else None
            unit = disturbance.strength if disturbance else ""
            data.disturb = disturbance.disturb(level) if disturbance else None
            description = f"{place}/{len(parts)} " + (f"{name}, {unit} {strength:g}" if disturbance else "undisturbed")
            # The strength is in the file's name, so that scores are not reused if a later version changes it.
            version = f" {disturbance.version}" if disturbance and disturbance.version else ""
            part = UNDISTURBED if strength is None else f"{name} {level} {unit} {strength:g}{version}"
            table = files.table(part, lambda description=description: score(description))  # type: ignore[misc]
            row = {"disturbance": name, "level": level, "strength": strength, "unit": unit}
            rows.append(row | measures(table, threshold=threshold))
            _write(folder, "robustness", rows, ROBUSTNESS_COLUMNS, {**facts, "threshold": threshold})
    finally:
        data.disturb = None
    base, curves = _curves(rows)
    if base[0] is not None:
        strengths = {one.name: f"{one.strength} {', '.join(f'{s:g}' for s in one.levels)}" for one in disturbances}
        title = f"{detector} on {split} ({rows[0]['num_real']} real, {rows[0]['num_fake']} fake videos)"
        plots.save(robustness_curves(base, curves, title=title), folder / "robustness.png")
        detail = robustness_intervals(base, curves, strengths=strengths, title=title)
        plots.save(detail, folder / "robustness_intervals.png")
    else:
        logger.warning("%s: %s, so there is neither an AUC nor a figure", data.store, rows[0]["note"])
    return rows


def disturbed_faces(
    data: ClipDataModule, split: str, disturbances: Sequence[Disturbance]
) -> Iterator[tuple[str, list[tuple[str, FrameArray]]]]:
    """Yield for each disturbance its name, and captions and pictures (H, W, 3) of one face at each level.

    The picture is the last frame of the first clip, since encoders spend more bits on the first frame.
    """
    clip = data.dataset(split)[0]
    for disturbance in disturbances:
        pictures = []
        for level in range(NUM_LEVELS + 1):
            strength = disturbance.at(level)
            caption = "undisturbed" if strength is None else f"{level}: {disturbance.strength} {strength:g}"
            frames_TCHW = disturbance.disturb(level)(clip["frames"], clip["video_id"])
            pictures.append((caption, frames_TCHW[-1].permute(1, 2, 0).numpy()))
        yield disturbance.name, pictures


def _curves(rows: Sequence[Row]) -> tuple[plots.Estimate, dict[str, dict[int, plots.Estimate]]]:
    """AUC without disturbance, and AUC by disturbance and level, including level 0."""
    base = _estimate(rows[0], "auc")
    curves: dict[str, dict[int, plots.Estimate]] = {}
    for row in rows[1:]:
        curves.setdefault(row["disturbance"], {0: base})[row["level"]] = _estimate(row, "auc")
    return base, curves
