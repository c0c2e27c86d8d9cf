"""Recording of a run's test result in the card of its detector."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfd.metrics.videos import video_metrics
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.report.comparison.results import ESTIMATED, intervals, known
from dfd.runs.folder import read_run


def add_test(folder: Path, *, data: Mapping[str, Any], windows_per_track: int) -> None:
    """Write the test result in ``folder`` into the card of its ``detector.safetensors``, if both exist.

    The weights stay as they are, and the file is replaced atomically.

    Args:
        folder: folder of a run, with ``test/predictions.csv``.
        data: summary of the test data, in the form that the card has of the training data.
        windows_per_track: maximum number of windows per track in a video's score.
    """
    path, run = folder / "detector.safetensors", read_run(folder)
    if not path.is_file() or run.test is None:
        return
    model, card = load_model(path)
    scored = run.test[run.test["prob_fake"].notna()]
    threshold = card.threshold if run.threshold is None else run.threshold
    found = video_metrics(scored["prob_fake"], scored["label"], threshold=threshold)
    ends = intervals(scored, ESTIMATED, threshold)
    result = {
        **{"split": "test", "level": "video"},
        **{key: data.get(key) for key in ("store", "index_sha256", "videos_sha256")},
        **{"windows_per_track": windows_per_track, "threshold": threshold},
        **{key: found[key] for key in ("num_real", "num_fake")},
        "num_unscored": len(run.test) - len(scored),
        "metrics": {name: value for name in ESTIMATED if (value := known(found[name])) is not None},
        "intervals": {name: list(interval) for name, interval in ends.items() if interval is not None},
    }
    save_safetensors(path, model, replace(card, test=result))
