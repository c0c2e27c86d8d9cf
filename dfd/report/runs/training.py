"""Sections of a report on training and validation, and on the test."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dfd.figures import style as plots
from dfd.figures.comparison import bar_comparison, roc_overlay
from dfd.figures.curves import confusion_matrices, learning_curves
from dfd.report.comparison.repetitions import SEEDS_NOTE, Configuration, spread_cell
from dfd.report.comparison.results import FIT_METRICS, known
from dfd.report.page.document import Cell, Gallery, Picture, Section, Table, Text
from dfd.report.page.formatting import NO_INTERVAL, listed, number, whole

LOSSES = ("train/loss", "val/loss")


def _seeds_column(configurations: Sequence[Configuration]) -> bool:
    """Whether a table needs a column with the number of seeds."""
    return any(found.is_repeated for found in configurations)


def training_section(configurations: Sequence[Configuration], folder: Path) -> Section:
    """Section with the original study's Table 4.1 and the learning curves."""
    with_seeds = _seeds_column(configurations)
    rows: list[list[Cell | str]] = [
        [
            found.name,
            *([found.counted(sum(r.fit("val/loss") is not None for r in found.counting))] if with_seeds else []),
            *(spread_cell(found.fit_spread(metric)) for metric in FIT_METRICS),
            _epochs_cell(found),
        ]
        for found in configurations
    ]
    monitors = {str(m) for r in configurations if (m := r.run.settings.get("callbacks.checkpoint.monitor"))}
    chosen_by = f" by {monitors.pop()}" if len(monitors) == 1 else ""
    table = Table(
        "table_training",
        "Training and validation, over clips, at the chosen epoch",
        ["model", *(["seeds"] if with_seeds else []), *FIT_METRICS.values(), "epoch chosen"],
        rows,
        [
            *([SEEDS_NOTE] if with_seeds else []),
            "Training numbers are running means over the epoch of the minimised loss, taken while the weights change, "
            "with dropout and any augmentation: they are not those of the finished epoch. Validation numbers are those "
            "of the finished epoch, without dropout, with the plain cross-entropy.",
            f"The epoch is chosen on the validation split{chosen_by}, never on the test split.",
        ],
    )
    drawn = {
        index: pd.concat(histories)
        for index, found in enumerate(configurations)
        if (histories := [r.run.history for r in found.counting if r.run.history is not None and len(r.run.history)])
    }
    losses = [known(loss) for table in drawn.values() for name in LOSSES if name in table for loss in table[name]]
    max_loss = 1.05 * max((loss for loss in losses if loss is not None), default=1.0)
    pictures = []
    for index, history in drawn.items():
        found = configurations[index]
        epochs = [epoch for result in found.counting if (epoch := result.chosen_epoch) is not None]
        figure = learning_curves(history, title=found.name, chosen_epochs=epochs, max_loss=max_loss)
        path = plots.save(figure, folder / f"learning_curves_{index + 1}.png")
        alt, words = f"Loss and accuracy per epoch of {found.name}, of training and validation.", _words(found, epochs)
        pictures.append(Picture(path, words, f"{alt} {words}"))
    blocks: list[Table | Picture | Gallery | Text] = [table]
    if pictures:
        blocks.append(Gallery(pictures) if len(pictures) > 1 else pictures[0])
    return Section("Training and validation", blocks)


def _epochs_cell(found: Configuration) -> str:
    runs = found.counting or found.results
    counts = [whole(result.num_epochs) for result in runs]
    alike = counts[0] if len(set(counts)) == 1 else ", ".join(counts)
    return f"{', '.join(whole(result.chosen_epoch) for result in runs)} of {alike}"


def _words(found: Configuration, chosen: Sequence[int]) -> str:
    if not chosen:
        return f"{found.name}: no epoch is chosen yet."
    loss, accuracy = number(found.fit("val/loss")), number(found.fit("val/accuracy"))
    if not found.is_repeated:
        return f"{found.name}: epoch {chosen[0]} was chosen; validation loss {loss}, accuracy {accuracy}."
    return (
        f"{found.name}: the mean over {len(found.counting)} seeds, in a band of one standard deviation; the epochs "
        f"{listed(list(map(str, chosen)))} were chosen; mean validation loss {loss}, accuracy {accuracy}."
    )


HEADS = ("videos", "accuracy", "balanced accuracy", "majority baseline", "precision", "recall", "F1", "AUC")


def test_section(tested: Sequence[Configuration], folder: Path) -> Section | None:
    """Section with the video-level test and the comparing figures."""
    if not tested:
        return None
    with_seeds = _seeds_column(tested)
    seeds_note = "With several seeds: mean and standard deviation, as above."
    with_what = "standard deviations over seeds" if with_seeds else "95 % intervals"
    if with_seeds and any(not found.is_repeated for found in tested):
        with_what += ", for one seed with 95 % intervals"
        seeds_note += " A row with one seed has the 95 % interval of its test videos instead."
    rows: list[list[Cell | str]] = [
        [
            result.name,
            *([result.counted()] if with_seeds else []),
            Cell(str(result.num_scored), f"{result.overall['num_real']} real, {result.overall['num_fake']} fake"),
            *(result.cell(metric) for metric in ("accuracy", "balanced_accuracy")),
            number(result.overall.get("majority_baseline")),
            *(result.cell(metric) for metric in ("precision", "recall", "f1", "auc")),
        ]
        for result in tested
    ]
    thresholds = set().union(*(result.thresholds for result in tested))
    if len(thresholds) == 1:
        threshold = f"A video is called fake from a probability of {thresholds.pop():g} on."
    else:
        shown = listed([f"{', '.join(f'{one.threshold:g}' for one in r.tested)} ({r.name})" for r in tested])
        threshold = f"The probability from which a video is called fake is each run's own: {shown}."
    table = Table(
        "table_test",
        f"Test, per video, with {with_what}; fake is the positive class",
        ["model", *(["seeds"] if with_seeds else []), *HEADS],
        rows,
        [
            *([seeds_note] if with_seeds else []),
            f"{threshold} AUC does not depend on it. Majority baseline: the accuracy of always giving the more "
            "frequent answer.",
            "Intervals are percentile bootstraps of 1000 resamples of the test videos within each label; if all "
            "resamples are identical, the interval of a share is the exact binomial one (Clopper and Pearson). Videos "
            "of one person or source are not independent, so the true intervals are somewhat wider. They are about the "
            "test videos, not about training again with another seed.",
            *_without_interval(rows),
        ],
    )
    return Section("Test", [table, _bars(tested, folder), *_curves_and_counts(tested, folder)])


def _without_interval(rows: Iterable[Iterable[Cell | str]], reason: str = "") -> list[str]:
    """Footnote of a table if a number has no interval; ``reason`` is an additional possible reason."""
    if not any(isinstance(cell, Cell) and cell.detail == NO_INTERVAL for row in rows for cell in row):
        return []
    return [
        f"{NO_INTERVAL.capitalize()}: {reason}the number is the same in every resample, as when all videos are "
        "classified correctly or all are called fake. Such a number is not certain: these videos cannot show how "
        "uncertain it is."
    ]


def _bars(tested: Sequence[Configuration], folder: Path) -> Picture:
    baselines = {result.overall.get("majority_baseline") for result in tested}
    baseline = known(baselines.pop()) if len(baselines) == 1 else None
    figure = bar_comparison(
        [result.name for result in tested],
        {
            "test accuracy, per video": [result.whisker("accuracy") for result in tested],
            "training loss": [_fit_whisker(result, "train/loss") for result in tested],
            "training accuracy": [_fit_whisker(result, "train/accuracy") for result in tested],
        },
        reference=None if baseline is None else {"test accuracy, per video": ("majority baseline", baseline)},
    )
    words = "; ".join(
        f"{r.name}: test accuracy {number(r.estimate('accuracy')[0])}, training loss {number(r.fit('train/loss'))}, "
        f"training accuracy {number(r.fit('train/accuracy'))}"
        for r in tested
    )
    caption = (
        f"Comparison of the models. Whiskers: {_whisker_words(tested)}. Training numbers are those of the chosen "
        "epoch, as in the training table."
    )
    return Picture(plots.save(figure, folder / "comparison.png"), caption, f"Bar charts. {words}.")


def _fit_whisker(found: Configuration, metric: str) -> plots.Estimate:
    spread = found.fit_spread(metric)
    return (None, None) if spread is None else (spread.mean, spread.ends)


def _whisker_words(configurations: Sequence[Configuration]) -> str:
    intervals = "95 % intervals, where there are any"
    if not _seeds_column(configurations):
        return intervals
    one = "" if all(found.is_repeated for found in configurations) else f"; for one seed, {intervals}"
    return f"one standard deviation over the seeds to either side of their mean{one}"


def _curves_and_counts(tested: Sequence[Configuration], folder: Path) -> list[Picture]:
    figure = confusion_matrices({result.name: result.overall for result in tested})
    words = "; ".join(
        f"{r.name}: {r.overall['tp']} fakes called fake, {r.overall['fn']} fakes called real, {r.overall['fp']} reals "
        f"called fake, {r.overall['tn']} reals called real"
        for r in tested
    )
    caption = "Confusion matrices of the test videos. Rows: what a video is. Columns: what it was called."
    caption += " For several seeds, counts are added up." if _seeds_column(tested) else ""
    path = plots.save(figure, folder / "confusion_matrices.png")
    pictures = [Picture(path, caption, f"Confusion matrices. {words}.", narrow=len(tested) == 1)]
    scores = {}
    for result in tested:
        tests = [run.run.test for run in result.tested if run.overall.get("auc") is not None]
        tables = [test.dropna(subset="prob_fake") for test in tests if test is not None]
        if tables:
            scores[result.name] = [(t["prob_fake"].to_numpy(float), t["label"].to_numpy(int)) for t in tables]
    if scores:
        path = plots.save(roc_overlay(scores), folder / "roc.png")
        caption = "ROC curves of the test videos: fakes found against real videos called fake, over all thresholds."
        caption += " For several seeds: mean with a band of one standard deviation." if _seeds_column(tested) else ""
        words = "; ".join(f"{r.name}: AUC {number(r.overall.get('auc'))}" for r in tested)
        pictures.append(Picture(path, caption, f"ROC curves. {words}.", narrow=True))
    return pictures
