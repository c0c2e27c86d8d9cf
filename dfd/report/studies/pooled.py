"""Folds of a cross-validation put together: every video once, scored by the fold that did not train on it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfd.base.types import Label
from dfd.metrics.groups import by_kind
from dfd.metrics.intervals import MIN_OF_LABEL, intervals
from dfd.metrics.videos import video_metrics
from dfd.report.comparison.results import DEFAULT_THRESHOLD, Result, is_fold, shown_settings
from dfd.report.page.document import Cell, Table
from dfd.report.page.formatting import estimate, interval_words, number
from dfd.runs.folder import Run

OF_SCORES = ("auc", "ap", "eer")
OF_VERDICTS = ("balanced_accuracy", "recall", "recall_real")
HEAD = ("AUC", "AP", "EER", "balanced accuracy", "fakes found", "real left alone")
CSV_COLUMNS = ("video_id", "dataset", "method", "label", "prob_fake", "rank", "fold", "folds_of")


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Finished folds of one configuration.

    Attributes:
        name: name of the configuration.
        runs: runs by the number of their fold, from 0.
        count: number of folds that the videos were divided into.
    """

    name: str
    runs: Mapping[int, Run]
    count: int

    @property
    def is_calibrated(self) -> bool:
        """Whether the scores of every fold are calibrated, each on its own validation videos."""
        return all(run.temperature is not None for run in self.runs.values())

    def table(self) -> pd.DataFrame:
        """Scored videos of all folds, with ``rank`` (0..1, within the fold), ``is_called`` fake there, and ``fold``."""
        parts = []
        for fold, run in sorted(self.runs.items()):
            assert run.test is not None  # folds_of has taken tested runs only
            scored = run.test[run.test["prob_fake"].notna()]
            threshold = DEFAULT_THRESHOLD if run.threshold is None else run.threshold
            rank = (scored["prob_fake"].rank(method="average") - 0.5) / len(scored)
            parts.append(scored.assign(rank=rank, is_called=scored["prob_fake"] >= threshold, fold=fold))
        return pd.concat(parts, ignore_index=True)

    def seen(self, table: pd.DataFrame) -> dict[str, bool | None]:
        """Whether the folds that tested a kind had trained on its method; None: some had and some had not."""
        found: dict[str, set[bool]] = defaultdict(set)
        fakes = table[table["label"] == Label.FAKE]
        for dataset, method, fold in set(zip(fakes["dataset"], fakes["method"], fakes["fold"], strict=True)):
            trained = self.runs[fold].data("splits", "train", "methods") or {}
            found[f"{dataset}/{method}"].add(method in trained)
        return {kind: was.pop() if len(was) == 1 else None for kind, was in found.items()}


def folds_of(results: Sequence[Result]) -> list[Folds]:
    """Sets of two or more tested folds that differ in nothing else; empty where no video was tested once only."""
    sets: dict[tuple[Any, ...], list[tuple[int, Result]]] = defaultdict(list)
    for result in results:
        if result.is_tested and is_fold(result.run.split_mode):
            fold, count = map(int, result.run.split_mode.split("/"))
            sets[count, result.run.model, *shown_settings(result.run, ignoring=("data.split",))].append((fold, result))
    found = []
    for key, members in sets.items():
        runs = {fold: result.run for fold, result in members}
        videos = [run.test["video_id"] for run in runs.values() if run.test is not None]
        is_apart = len(runs) == len(members) > 1 and not pd.concat(videos).duplicated().any()
        if is_apart:
            found.append(Folds(members[0][1].run.model, runs, key[0]))
    names = Counter(one.name for one in found)
    return [
        Folds(f"{one.name}, set {place}", one.runs, one.count) if names[one.name] > 1 else one
        for place, one in enumerate(found, start=1)
    ]


def pooled_tables(sets: Sequence[Folds]) -> list[Table]:
    """Tables of the folds with their pooled rows, and of the kinds of fakes over all folds; empty without folds."""
    if not sets:
        return []
    tables = {one.name: one.table() for one in sets}
    rows = [row for one in sets for row in _rows(one, tables[one.name])]
    missing = [f"{one.name}: {len(one.runs)} of {one.count} folds." for one in sets if len(one.runs) < one.count]
    notes = [
        "Pooled: all videos at once, each scored by the fold that did not train on it. The scores are taken as each "
        "fold calibrated them on its own validation videos; or their ranks within the fold, which no shift between the "
        "folds can move, and which take the share of fakes to be alike in all. Verdicts are those at each fold's own "
        "threshold.",
        "Intervals resample videos; that the folds share most of their training videos is not in them.",
        "The scores are in pooled_predictions.csv: dfd evaluate --scores measures whatever else is wanted.",
        *missing,
    ]
    head = ["configuration", "fold", "real / fake", *HEAD]
    found = [Table("table_folds", "Every fold, and all of them pooled", head, rows, notes, num_labels=2)]
    kinds = [row for one in sets for row in _kind_rows(one, tables[one.name])]
    if kinds:
        note = (
            "Fakes of all folds against all real videos of their data set. New: no fold that tested the method had "
            "trained on it; trained on: each had; some: some had. No interval: fewer than "
            f"{MIN_OF_LABEL} real or fake videos."
        )
        head = ["configuration", "kind is", "data set / method", "real / fake", "AUC"]
        caption = "Kinds of fakes over all folds"
        found.append(Table("table_fold_kinds", caption, head, kinds, [note], num_labels=3, max_shown=60))
    return found


def pooled_summary(sets: Sequence[Folds]) -> list[str]:
    """Sentence on each set of folds: the AUC over all of its videos."""
    lines = []
    for one in sets:
        table, how = one.table(), "calibrated scores" if one.is_calibrated else "ranks within each fold"
        prob, label = table["prob_fake" if one.is_calibrated else "rank"], table["label"]
        values, ends = video_metrics(prob, label), intervals(prob, label, ["auc"], threshold=0.5)
        lines.append(
            f"{one.name}: {len(one.runs)} folds pooled reach an AUC of {number(values['auc'])} "
            f"({interval_words(ends['auc'])}; {how}) over {values['num_real']} real and {values['num_fake']} fake "
            "videos, each scored by the fold that had not trained on it."
        )
    return lines


def pooled_predictions(sets: Sequence[Folds]) -> list[dict[str, Any]]:
    """Rows of pooled_predictions.csv: every tested video, with its score and its rank within its fold."""
    rows = []
    for one in sets:
        table = one.table()
        table["label"] = [str(Label(value)) for value in table["label"]]
        columns = [name for name in CSV_COLUMNS if name in table]
        rows += [{**row, "folds_of": one.name} for row in table[columns].to_dict("records")]
    return [{str(key): value for key, value in row.items()} for row in rows]


def _rows(one: Folds, table: pd.DataFrame) -> list[list[Cell | str]]:
    rows = [
        [one.name, f"{fold}/{one.count}", *_cells(table[table["fold"] == fold], "prob_fake")]
        for fold in sorted(one.runs)
    ]
    ways = {"pooled, calibrated": "prob_fake"} if one.is_calibrated else {}
    return rows + [
        [one.name, name, *_cells(table, column)] for name, column in {**ways, "pooled, by rank": "rank"}.items()
    ]


def _cells(table: pd.DataFrame, column: str) -> list[Cell | str]:
    label = table["label"]
    cells: list[Cell | str] = []
    for prob, names in ((table[column], OF_SCORES), (table["is_called"].astype(float), OF_VERDICTS)):
        values, ends = video_metrics(prob, label), intervals(prob, label, names, threshold=0.5)
        cells += [estimate(values[name], ends[name]) for name in names]
    num_fake = int((label == Label.FAKE).sum())
    return [f"{len(label) - num_fake} / {num_fake}", *cells]


def _kind_rows(one: Folds, table: pd.DataFrame) -> list[list[Cell | str]]:
    scored = table.assign(prob_fake=table["prob_fake" if one.is_calibrated else "rank"])
    found = by_kind(scored, one.seen(table))
    rows: list[list[Cell | str]] = []
    for side, words in (("unseen", "new"), ("seen", "trained on"), ("unknown", "some")):
        kinds = [kind for kind in found["kinds"] if kind["seen"] is {"unseen": False, "seen": True}.get(side)]
        for kind in sorted(kinds, key=lambda kind: (-(kind["auc"] or 0.0), kind["method"])):
            counts = f"{kind['num_real']} / {kind['num_fake']}"
            name = f"{kind['dataset']} / {kind['method']}"
            rows.append([one.name, words, name, counts, estimate(kind["auc"], kind["interval"])])
        if found[side] and len(kinds) > 1:
            mean = found[side]
            rows.append([one.name, words, f"mean of {mean['num_kinds']}", "", Cell(number(mean["auc"]))])
    return rows
