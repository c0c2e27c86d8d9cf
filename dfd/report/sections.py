"""The sections of a report: tables, figures and the sentences around them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

import dfd
from dfd import plots
from dfd.report.chance import chance_section
from dfd.report.conclusions import summary, warnings
from dfd.report.document import Cell, Document, Gallery, Picture, Section, Table, Text
from dfd.report.formatting import DASH, NO_INTERVAL, estimate, listed, number, whole
from dfd.report.pairs import compare
from dfd.report.repetitions import SEEDS_NOTE, Configuration, seed_words
from dfd.report.reproduction import reproduction_section
from dfd.report.results import (
    FIT_METRICS,
    MIN_OF_LABEL,
    SEEDS,
    Result,
    known,
    leaks,
    series,
    varied_setting,
    videos_tested,
    why_no_leak,
)
from dfd.report.runs import differing, show_setting
from dfd.report.study import Study
from dfd.report.study_section import study_section

LOSSES = ("train/loss", "val/loss")


def document(
    configurations: Sequence[Configuration], folder: Path, *, title: str, study: Study | None = None
) -> Document:
    """The whole report; its figures are written to ``folder``. Of a study all jobs are shown first."""
    results = [result for found in configurations for result in found.results]
    pairs = compare(configurations)
    tested = [found for found in configurations if found.is_tested]
    num_videos = len(frozenset().union(*(videos_tested(result) for found in tested for result in found.tested)))
    parts = [study.counts()] if study else []
    parts += [f"{len(results)} run{'s' if len(results) != 1 else ''}: {', '.join(models(results))}"] if results else []
    parts += [f"{num_videos} test videos"] if tested else []
    parts += [f"written {datetime.now():%Y-%m-%d %H:%M}", f"dfd {dfd.__version__}"]
    sections = [
        study_section(study, results, folder) if study else None,
        training_section(configurations, folder) if results else None,
        test_section(tested, folder),
        group_section(tested),
        chance_section(pairs),
        settings_section(configurations, folder) if results else None,
        leak_section(configurations),
        reproduction_section(configurations) if results else None,
    ]
    return Document(
        title,
        " · ".join(parts),
        [*(study.summary() if study else []), *(summary(configurations, pairs) if results else [])],
        [*(study.warnings() if study else []), *warnings(results, pairs, configurations)],
        [section for section in sections if section],
    )


def models(results: Iterable[Result]) -> list[str]:
    """Every model once, with how many runs it has if several."""
    counts = Counter(result.run.model for result in results)
    return [model if count == 1 else f"{model} (x{count})" for model, count in counts.items()]


def _seeds_column(configurations: Sequence[Configuration]) -> bool:
    """Whether a table says of each row how many seeds it is of."""
    return any(found.is_repeated for found in configurations)


def training_section(configurations: Sequence[Configuration], folder: Path) -> Section:
    """The original study's Table 4.1, and the curves."""
    with_seeds = _seeds_column(configurations)
    rows: list[list[Cell | str]] = [
        [
            found.name,
            *([_counted(sum(r.fit("val/loss") is not None for r in found.counting), found)] if with_seeds else []),
            *(_fit_cell(found, metric) for metric in FIT_METRICS),
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
            "Training numbers are running means over the epoch, taken while the weights change, with dropout and "
            "any augmentation on and of the loss that is minimised: they are not those of the finished epoch. "
            "Validation numbers are of the finished epoch, without dropout, and of the plain cross-entropy.",
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
        figure = plots.learning_curves(history, title=found.name, chosen_epochs=epochs, max_loss=max_loss)
        path = plots.save(figure, folder / f"learning_curves_{index + 1}.png")
        alt = f"Loss and accuracy per epoch of {found.name}, of training and validation."
        pictures.append(Picture(path, _curve_words(found), f"{alt} {_curve_words(found)}"))
    blocks: list[Table | Picture | Gallery | Text] = [table]
    if pictures:
        blocks.append(Gallery(pictures) if len(pictures) > 1 else pictures[0])
    return Section("Training and validation", blocks)


def _counted(number: int, found: Configuration) -> str:
    total = len(found.results)
    return str(total) if number == total else f"{number} of {total}"


def _fit_cell(found: Configuration, metric: str) -> Cell:
    spread = found.fit_spread(metric)
    return spread.cell() if spread else Cell(DASH)


def _epochs_cell(found: Configuration) -> str:
    runs = found.counting or found.results
    chosen = ", ".join(whole(result.chosen_epoch) for result in runs)
    return f"{chosen} of {_alike([result.num_epochs for result in runs])}"


def _alike(counts: Sequence[int | None]) -> str:
    return whole(counts[0]) if len(set(counts)) == 1 else ", ".join(map(whole, counts))


def _curve_words(found: Configuration) -> str:
    chosen = [str(epoch) for result in found.counting if (epoch := result.chosen_epoch) is not None]
    if not chosen:
        return f"{found.name}: no epoch is chosen yet."
    loss, accuracy = number(found.fit("val/loss")), number(found.fit("val/accuracy"))
    if not found.is_repeated:
        return f"{found.name}: epoch {chosen[0]} was chosen; validation loss {loss}, accuracy {accuracy}."
    return (
        f"{found.name}: the mean over {len(found.counting)} seeds, in a band of one standard deviation; the epochs "
        f"{listed(chosen)} were chosen; mean validation loss {loss}, accuracy {accuracy}."
    )


def test_section(tested: Sequence[Configuration], folder: Path) -> Section | None:
    """The test at video level, and the figures that compare."""
    if not tested:
        return None
    with_seeds = _seeds_column(tested)
    seeds_note = "With several seeds: mean and standard deviation, as above."
    with_what = "standard deviations over seeds" if with_seeds else "95 % intervals"
    if with_seeds and any(not found.is_repeated for found in tested):
        with_what += ", of one seed with 95 % intervals"
        seeds_note += " A row of one seed has the 95 % interval of its test videos instead."
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
        threshold = f"A video is called fake from a probability on that is each run's own: {shown}."
    table = Table(
        "table_test",
        f"Test, per video, with {with_what}; fake is the positive class",
        [
            "model",
            *(["seeds"] if with_seeds else []),
            "videos",
            "accuracy",
            "balanced accuracy",
            "majority baseline",
            "precision",
            "recall",
            "F1",
            "AUC",
        ],
        rows,
        [
            *([seeds_note] if with_seeds else []),
            f"{threshold} AUC does not depend on it. Majority baseline: the accuracy of always giving the more "
            "frequent answer.",
            "Intervals are percentile bootstraps of 1000 resamples of the test videos within each label; where all "
            "resamples are alike, a share's is the exact binomial one (Clopper and Pearson). Videos of one person or "
            "source are not independent, so the true intervals are somewhat wider. They are about the test videos, not "
            "about training again with another seed.",
            *_without_interval(rows),
        ],
    )
    return Section("Test", [table, _bars(tested, folder), *_curves_and_counts(tested, folder)])


def _without_interval(rows: Iterable[Iterable[Cell | str]], reason: str = "") -> list[str]:
    """The footnote of a table in which a number has no interval. ``reason``: one more that it can have."""
    if not any(isinstance(cell, Cell) and cell.detail == NO_INTERVAL for row in rows for cell in row):
        return []
    return [
        f"{NO_INTERVAL.capitalize()}: {reason}the number is the same in every resample, as where all videos are told "
        "rightly or all are called fake. Such a number is not certain: these videos cannot show how uncertain it is."
    ]


def _bars(tested: Sequence[Configuration], folder: Path) -> Picture:
    baselines = {result.overall.get("majority_baseline") for result in tested}
    baseline = known(baselines.pop()) if len(baselines) == 1 else None
    figure = plots.bar_comparison(
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
        f"The models compared. Whiskers: {_whisker_words(tested)}. Training numbers are of the chosen epoch, "
        "as in the table of training."
    )
    return Picture(plots.save(figure, folder / "comparison.png"), caption, f"Bar charts. {words}.")


def _fit_whisker(found: Configuration, metric: str) -> plots.Estimate:
    spread = found.fit_spread(metric)
    return (None, None) if spread is None else (spread.mean, spread.ends)


def _whisker_words(configurations: Sequence[Configuration]) -> str:
    intervals = "95 % intervals, where there are any"
    if not _seeds_column(configurations):
        return intervals
    one = "" if all(found.is_repeated for found in configurations) else f"; of one seed, {intervals}"
    return f"one standard deviation over the seeds to either side of their mean{one}"


def _curves_and_counts(tested: Sequence[Configuration], folder: Path) -> list[Picture]:
    figure = plots.confusion_matrices({result.name: result.overall for result in tested})
    words = "; ".join(
        f"{r.name}: {r.overall['tp']} fakes called fake, {r.overall['fn']} fakes called real, {r.overall['fp']} reals "
        f"called fake, {r.overall['tn']} reals called real"
        for r in tested
    )
    caption = "Confusion matrices of the test videos. Rows: what a video is. Columns: what it was called."
    caption += " Of several seeds, the counts are added up." if _seeds_column(tested) else ""
    path = plots.save(figure, folder / "confusion_matrices.png")
    pictures = [Picture(path, caption, f"Confusion matrices. {words}.", narrow=len(tested) == 1)]
    scores = {}
    for result in tested:
        tables = [
            run.run.test.dropna(subset="prob_fake")
            for run in result.tested
            if run.overall.get("auc") is not None and run.run.test is not None
        ]
        if tables:
            scores[result.name] = [(t["prob_fake"].to_numpy(float), t["label"].to_numpy(int)) for t in tables]
    if scores:
        path = plots.save(plots.roc_overlay(scores), folder / "roc.png")
        caption = "ROC curves of the test videos: fakes found against real videos called fake, over all thresholds."
        caption += " Of several seeds: the mean, in a band of one standard deviation." if _seeds_column(tested) else ""
        words = "; ".join(f"{r.name}: AUC {number(r.overall.get('auc'))}" for r in tested)
        pictures.append(Picture(path, caption, f"ROC curves. {words}.", narrow=True))
    return pictures


def group_section(tested: Sequence[Configuration]) -> Section | None:
    """AUC per data set and per forging method, where there is more than one."""
    groups = _groups(tested)
    if len(groups) < 2:
        return None

    def videos(group: str) -> str:
        counts = {
            f"{m['num_real']} / {m['num_fake']}" for r in tested if group in r.groups for m in [r.groups[group][0]]
        }
        return counts.pop() if len(counts) == 1 else "differ"

    shown = {group: group.replace("/", " / ") for group in groups}
    head: list[str]
    rows: list[list[Cell | str]]
    if len(tested) > len(groups):  # the narrower of the two
        head = ["model", *shown.values()]
        rows = [["real / fake", *map(videos, groups)]]
        rows += [[result.name, *(result.group_cell(group) for group in groups)] for result in tested]
    else:
        head = ["data set / method", "real / fake", *(result.name for result in tested)]
        rows = [[shown[group], videos(group), *(result.group_cell(group) for result in tested)] for group in groups]
    note = "A method's fakes are set against all real videos of their data set. Few videos make wide intervals."
    if any(videos(group) == "differ" for group in groups):
        note += " The counts that differ between the runs are in runs.csv."
    spreads = "deviations over seeds" if all(found.is_repeated for found in tested) else "95 % intervals"
    caption = f"AUC per data set and per forging method, with {spreads}, and the number of videos"
    notes = [note, *_without_interval(rows, f"there are fewer than {MIN_OF_LABEL} real or fake videos, or ")]
    return Section("Data sets and methods", [Table("table_groups", caption, head, rows, notes)])


def _groups(tested: Sequence[Result]) -> list[str]:
    """Data sets, each followed by its methods; a data set's only method would say the same again."""
    found = sorted({group for result in tested for group in result.groups})
    num_methods = Counter(group.partition("/")[0] for group in found if "/" in group)
    return [group for group in found if "/" not in group or num_methods[group.partition("/")[0]] > 1]


def settings_section(results: Sequence[Configuration], folder: Path) -> Section | None:
    """What was set differently, and what a varied number did."""
    if sum(len(found.results) for found in results) < 2:
        return None
    settings = [result.run.settings for result in results]
    keys = [key for key in differing(settings) if key not in SEEDS]
    if not keys:
        text = "The runs' configs do not differ, as far as they are known."
        if _seeds_column(results):
            text = "The runs' configs differ in nothing but the seed: they are repetitions, and count together."
        blocks: list[Table | Picture | Gallery | Text] = [Text(text)]
        return Section("What differs between the runs", blocks)

    def shown(result: Result, key: str) -> str:
        return show_setting(result.run.settings[key]) if key in result.run.settings else DASH

    if len(keys) <= len(results):
        head = ["model", *keys]
        rows = [[result.name, *(shown(result, key) for key in keys)] for result in results]
    else:
        head = ["setting", *(result.name for result in results)]
        rows = [[key, *(shown(result, key) for result in results)] for key in keys]
    note = "All other settings are the same, but for where a run writes and how many processes read for it."
    if seeds := [f"{r.name}: {listed([seed_words(one) for one in r.results])}" for r in results if r.is_repeated]:
        note += f" Seeds are repetitions, not settings. {'; '.join(seeds)}."
    table = Table("table_settings", "Settings that differ", head, rows, [note])
    picture = _against_setting(results, folder)
    return Section("What differs between the runs", [table, *([picture] if picture else [])])


def _against_setting(results: Sequence[Configuration], folder: Path) -> Picture | None:
    tested = [result for result in results if result.is_tested]
    setting = varied_setting([result.run for result in tested])
    if setting is None:
        return None
    grouped: dict[str, list[Configuration]] = series(tested, setting)
    panels = {
        f"test {shown}, per video": {
            name: {float(result.run.settings[setting] or 0): result.whisker(metric) for result in group}
            for name, group in grouped.items()
        }
        for metric, shown in (("accuracy", "accuracy"), ("auc", "AUC"))
    }
    path = plots.save(plots.metric_against(setting, panels), folder / "against_setting.png")
    words = "; ".join(
        f"{name} at {show_setting(r.run.settings[setting])}: accuracy {number(r.estimate('accuracy')[0])}, "
        f"AUC {number(r.estimate('auc')[0])}"
        for name, group in grouped.items()
        for r in group
    )
    caption = f"Test accuracy and AUC against {setting}. Whiskers: {_whisker_words(tested)}. " + (
        "A point is the mean over its seeds." if _seeds_column(tested) else "One training run per point."
    )
    return Picture(path, caption, f"Line charts. {words}.")


def leak_section(results: Sequence[Result]) -> Section | None:
    """The same model on two splits of the same videos, or why it is not there though splits differ."""
    heading = "What the split flatters"
    found = leaks(results)
    if not found:
        reason = why_no_leak(results)
        return Section(heading, [Text(reason)]) if reason else None
    rows = []
    for leak in found:
        row: list[Cell | str] = [leak.label]
        for metric in ("accuracy", "auc"):
            gain = leak.gain(metric)
            row += [estimate(*leak.apart.estimate(metric)), estimate(*leak.dealt.estimate(metric))]
            row.append(DASH if gain is None else f"{gain:+.3f}")
        rows.append(row)
    blind = [leak.label for leak in found if leak.knows_no_source]
    unknown = (
        [f"No source ids are known of the videos of {listed(blind)}: both splits are blind to people."] if blind else []
    )
    head = ["model"]
    for shown in ("accuracy", "AUC"):
        head += [f"{shown}, split by source", f"{shown}, split by video", "difference"]
    table = Table(
        "table_leak",
        "The same model and settings, split by source and with videos dealt out one by one",
        head,
        rows,
        [
            "Split by video, a person whom the detector knows from training is in its test too: it can be right by "
            "recognising who it is. What is gained so, a study that divides its videos this way reports too much.",
            *unknown,
            *_without_interval(rows),
        ],
    )
    return Section(heading, [table])
