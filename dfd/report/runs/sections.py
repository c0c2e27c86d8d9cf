"""Sections of a report on training runs: tables, figures and the text around them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import dfd
from dfd.base.words import show_setting
from dfd.figures import style as plots
from dfd.figures.comparison import metric_against
from dfd.metrics.intervals import MIN_OF_LABEL
from dfd.report.comparison import results as outcomes
from dfd.report.comparison.conclusions import SIGNIFICANT, summary, warnings
from dfd.report.comparison.pairs import COMPARED, Difference, Pair, compare
from dfd.report.comparison.repetitions import Configuration, seed_words
from dfd.report.comparison.results import SEEDS, Result, leaks, videos_tested
from dfd.report.page.document import Cell, Document, Picture, Section, Table, Text
from dfd.report.page.formatting import DASH, estimate, listed, number, p_value
from dfd.report.runs.reproduction import reproduction_section
from dfd.report.runs.training import _seeds_column, _whisker_words, _without_interval, test_section, training_section
from dfd.report.studies.pooled import folds_of, pooled_summary, pooled_tables
from dfd.report.studies.section import study_section
from dfd.report.studies.study import Study
from dfd.runs.settings import differing


def document(
    configurations: Sequence[Configuration], folder: Path, *, title: str, study: Study | None = None
) -> Document:
    """Build the report, and write its figures to ``folder``; a study's section with all jobs comes first."""
    results = [result for found in configurations for result in found.results]
    pairs = compare(configurations)
    tested = [found for found in configurations if found.is_tested]
    folds = folds_of(results)
    said = pooled_summary(folds) or (summary(configurations, pairs) if results else [])
    num_videos = len(frozenset().union(*(videos_tested(result) for found in tested for result in found.tested)))
    parts = [study.counts()] if study else []
    parts += [f"{len(results)} run{'s' if len(results) != 1 else ''}: {', '.join(models(results))}"] if results else []
    parts += [f"{num_videos} test videos"] if tested else []
    parts += [f"written {datetime.now():%Y-%m-%d %H:%M}", f"dfd {dfd.__version__}"]
    sections = [
        study_section(study, results, folder) if study else None,
        Section("All folds together", pooled_tables(folds)) if folds else None,
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
        [*(study.summary() if study else []), *said],
        [*(study.warnings() if study else []), *warnings(results, pairs, configurations)],
        [section for section in sections if section],
    )


def models(results: Iterable[Result]) -> list[str]:
    """Distinct models, each with its number of runs if there are several."""
    counts = Counter(result.run.model for result in results)
    return [model if count == 1 else f"{model} (x{count})" for model, count in counts.items()]


def group_section(tested: Sequence[Configuration]) -> Section | None:
    """Section with the AUC per data set and forging method, if there is more than one."""
    groups = _groups(tested)
    if len(groups) < 2:
        return None

    def videos(group: str) -> str:
        found = [result.groups[group][0] for result in tested if group in result.groups]
        counts = {f"{metrics['num_real']} / {metrics['num_fake']}" for metrics in found}
        return counts.pop() if len(counts) == 1 else "differ"

    counts = list(map(videos, groups))
    by_model: list[list[Cell | str]] = [["real / fake", *counts]]
    by_model += [[result.name, *(result.group_cell(group) for group in groups)] for result in tested]
    shown = [group.replace("/", " / ") for group in groups]
    head, rows = _narrower(by_model, shown, "model", "data set / method", is_narrow=len(tested) > len(groups))
    note = "A method's fakes are compared with all real videos of their data set. Few videos make wide intervals."
    if "differ" in counts:
        note += " The counts that differ between the runs are in runs.csv."
    spreads = "deviations over seeds" if all(found.is_repeated for found in tested) else "95 % intervals"
    caption = f"AUC per data set and per forging method, with {spreads}, and the number of videos"
    notes = [note, *_without_interval(rows, f"there are fewer than {MIN_OF_LABEL} real or fake videos, or ")]
    return Section("Data sets and methods", [Table("table_groups", caption, head, rows, notes)])


def _narrower(
    rows: Sequence[Sequence[Cell | str]], columns: Sequence[str], by_row: str, by_column: str, *, is_narrow: bool
) -> tuple[list[str], list[list[Cell | str]]]:
    """Head and rows of a table whose rows begin with their names; turned by a quarter unless ``is_narrow``."""
    if is_narrow:
        return [by_row, *columns], [list(row) for row in rows]
    names, *cells = zip(*rows, strict=True)
    return [by_column, *map(str, names)], [[name, *row] for name, row in zip(columns, cells, strict=True)]


def _groups(tested: Sequence[Result]) -> list[str]:
    """Data sets, each followed by its methods unless it has only one, which would repeat the data set's result."""
    found = sorted({group for result in tested for group in result.groups})
    num_methods = Counter(group.partition("/")[0] for group in found if "/" in group)
    return [group for group in found if "/" not in group or num_methods[group.partition("/")[0]] > 1]


def settings_section(results: Sequence[Configuration], folder: Path) -> Section | None:
    """Section with the settings that differ, and the effect of a varied number."""
    if sum(len(found.results) for found in results) < 2:
        return None
    settings = [result.run.settings for result in results]
    keys = [key for key in differing(settings) if key not in SEEDS]
    heading = "What differs between the runs"
    if not keys:
        text = "The runs' configs do not differ, as far as they are known."
        if _seeds_column(results):
            text = "The runs' configs differ only in the seed: they are repetitions and are summarised together."
        return Section(heading, [Text(text)])
    shown = [[show_setting(one[key]) if key in one else DASH for key in keys] for one in settings]
    by_model = [[result.name, *cells] for result, cells in zip(results, shown, strict=True)]
    head, rows = _narrower(by_model, keys, "model", "setting", is_narrow=len(keys) <= len(results))
    note = "All other settings are the same, except output folders and the number of reading processes."
    if seeds := [f"{r.name}: {listed([seed_words(one) for one in r.results])}" for r in results if r.is_repeated]:
        note += f" Seeds are repetitions, not settings. {'; '.join(seeds)}."
    table = Table("table_settings", "Settings that differ", head, rows, [note])
    picture = _against_setting(results, folder)
    return Section(heading, [table, *([picture] if picture else [])])


def _against_setting(results: Sequence[Configuration], folder: Path) -> Picture | None:
    tested = [result for result in results if result.is_tested]
    setting = outcomes.varied_setting([result.run for result in tested])
    if setting is None:
        return None
    grouped: dict[str, list[Configuration]] = outcomes.series(tested, setting)
    panels = {
        f"test {shown}, per video": {
            name: {float(result.run.settings[setting] or 0): result.whisker(metric) for result in group}
            for name, group in grouped.items()
        }
        for metric, shown in (("accuracy", "accuracy"), ("auc", "AUC"))
    }
    path = plots.save(metric_against(setting, panels), folder / "against_setting.png")
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
    """Section on the effect of the split on the same model, or on why it cannot be measured though splits differ."""
    heading = "Effect of the split"
    found = leaks(results)
    if not found:
        reason = outcomes.why_no_leak(results)
        return Section(heading, [Text(reason)]) if reason else None
    head = ["model"]
    rows: list[list[Cell | str]] = [[leak.label] for leak in found]
    for metric, shown in (("accuracy", "accuracy"), ("auc", "AUC")):
        head += [f"{shown}, split by source", f"{shown}, split by video", "difference"]
        for row, leak in zip(rows, found, strict=True):
            gain = leak.gain(metric)
            row += [estimate(*leak.apart.estimate(metric)), estimate(*leak.dealt.estimate(metric))]
            row.append(DASH if gain is None else f"{gain:+.3f}")
    notes = [
        "In a split by video, people from the training are in the test too, so the detector can be right by "
        "recognising them. A study that splits its videos this way overstates its results by the difference."
    ]
    if blind := [leak.label for leak in found if leak.knows_no_source]:
        notes.append(f"The videos of {listed(blind)} have no known source ids: neither split keeps people apart.")
    caption = "The same model and settings, split by source and split by single videos"
    return Section(heading, [Table("table_leak", caption, head, rows, [*notes, *_without_interval(rows)])])


MAX_PAIRS = 15
"""Number of pairs on the page, smallest p first."""


def chance_section(pairs: Sequence[Pair]) -> Section | None:
    """Section that tests every pair of configurations for chance, over videos and over seeds."""
    if not pairs:
        return None
    tables = [mcnemar_table(pairs)]
    if differing_pairs := [pair for pair in pairs if pair.differences]:
        tables.append(seeds_table(differing_pairs))
    return Section("Is the difference chance?", tables)


def seeds_table(pairs: Sequence[Pair]) -> Table:
    """Table of differences between runs of the same seed, with paired t tests."""

    def cells(found: Difference | None) -> list[Cell | str]:
        if found is None:
            return [DASH] * 3
        shown = Cell(f"{found.spread.mean:+.3f}", f"± {found.spread.deviation or 0.0:.3f}")
        return [shown, *(DASH if p is None else p_value(p) for p in (found.p_value, found.adjusted))]

    rows = [
        [pair.a.name, pair.b.name, str(pair.num_seeds), *(c for m in COMPARED for c in cells(pair.differences.get(m)))]
        for pair in pairs
    ]
    heads = [head for shown in ("accuracy", "AUC") for head in (f"{shown}: first less second", "p", "p after Holm")]
    return Table(
        "table_seeds",
        "Differences in test results between runs of the same seed",
        ["first", "second", "seeds of both", *heads],
        rows,
        [
            "Mean and standard deviation of the differences between runs of the same seed, with a paired t test of "
            "whether the mean is 0. The test is about training again with other seeds, on these videos. Few seeds can "
            "show only large differences; if all differences are equal (–), the test is not defined."
        ],
        max_shown=MAX_PAIRS,
        num_labels=2,
    )


def mcnemar_table(pairs: Sequence[Pair]) -> Table:
    """Table of McNemar tests between configurations on the same videos."""
    with_seeds = any(pair.num_seeds > 1 for pair in pairs)
    rows = []
    for pair in sorted(pairs, key=lambda pair: pair.test.p_value if pair.test else 1.0):
        names = [pair.a.name, pair.b.name, *([str(pair.num_seeds)] if with_seeds else [])]
        if pair.test is None or pair.adjusted is None:
            rows.append([*names, "0", *[DASH] * 6])
            continue
        right = f"{number(pair.accuracy_a)} / {number(pair.accuracy_b)}"
        p_values = [p_value(pair.test.p_value), p_value(pair.adjusted)]
        cells = [str(pair.num_common), right, str(pair.test.b), str(pair.test.c), *p_values]
        rows.append([*names, *cells, "yes" if pair.adjusted < SIGNIFICANT else "no"])
    head = ["first", "second", *(["seeds of both"] if with_seeds else []), "common videos"]
    head += ["accuracy on these", "b: only first right", "c: only second right"]
    name = "McNemar's exact test between two runs on the same videos"
    by_seeds = []
    if with_seeds:
        name = "McNemar's exact test on the same videos, between runs of the same seed"
        by_seeds = [
            "Only runs of the same seed are compared; b and c are sums over the seeds. Since all seeds judge the same "
            "videos, each video counts once in the test: the signs of the videos' sums are randomised (the exact "
            "randomisation test, which for one seed is McNemar's). The test is about other videos, with these trained "
            "models."
        ]
    several = f"Holm's method accounts for making {len(pairs)} comparisons at once. " if len(pairs) > 1 else ""
    return Table(
        "table_mcnemar",
        name,
        [*head, "p", "p after Holm", f"p < {SIGNIFICANT:g}"],
        rows,
        [
            "Videos that both models get right, or both wrong, do not distinguish them; the test asks whether b and c "
            f'differ more than coin tosses would. {several}"No" does not mean that the models are equally good, but '
            "that these videos cannot show a difference.",
            *by_seeds,
        ],
        max_shown=MAX_PAIRS,
        num_labels=2,
    )
