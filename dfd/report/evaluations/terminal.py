"""What an evaluation says in the terminal: tables that fit 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from dfd.data.augment.disturbances import NUM_LEVELS
from dfd.evaluation.cross_dataset import mean_auc
from dfd.evaluation.robustness import _curves
from dfd.evaluation.suites import Row, _estimate
from dfd.figures import style as plots


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """The numbers as a table in the terminal: overall first, then each data set and method."""
    # Short heads: thirteen columns have to fit a terminal of 80.
    heads = {
        **{"accuracy": "acc", "balanced_accuracy": "bal", "majority_baseline": "base", "precision": "prec"},
        **{"recall": "rec", "f1": "F1", "auc": "AUC", "ap": "AP", "eer": "EER", "ece": "ECE", "brier": "Bri"},
    }
    caption = (
        "bal: balanced accuracy; base: the accuracy of always naming the more frequent label; ECE: calibration error; "
        "Bri: Brier score, like the calibration error the lower the better"
    )
    if "uncalibrated" in metrics:
        caption += "; uncalibrated: without the temperature, at a threshold of 0.5"
    table = Table(title="video level, fake is the positive class", caption=caption, box=SIMPLE, padding=0)
    console, counted = Console(), ["real", "fake", *heads.values()]
    table.add_column("", overflow="ellipsis", no_wrap=True, max_width=max(12, console.width - 5 * len(counted) - 2))
    for head in counted:
        table.add_column(head, justify="right", min_width=4, no_wrap=True)
    groups = [("overall", metrics["overall"])]
    groups += [("uncalibrated", metrics["uncalibrated"])] if "uncalibrated" in metrics else []
    for group, values in [*groups, *metrics["datasets"].items(), *metrics["methods"].items()]:
        cells = ["–" if values[name] is None else f"{values[name]:.2f}" for name in heads]
        table.add_row(group, str(values["num_real"]), str(values["num_fake"]), *cells)
    console.print(table)


def print_points(metrics: Mapping[str, Any]) -> None:
    """Operating points, and what an alarm is worth at the stated share of fakes, as a table in the terminal."""
    points = metrics["operating_points"]
    if not points:
        return
    prevalence = metrics["prevalence"]
    caption = (
        "FPR: share of real videos called fake. PPV, NPV and real videos seen per fake found where "
        f"{100 * prevalence:.3g} % of all videos are fake (prevalence={prevalence:g})"
    )
    heads = ["", "fakes found, 95 % interval", "false alarms", "PPV", "NPV", "real/fake"]
    table = _terminal_table("operating points", heads, caption)
    for point in points:
        limit, per_fake = point["max_fpr"], point["real_per_fake"]
        table.add_row(
            "threshold" if limit is None else f"FPR {100 * limit:g} %",
            _with_ends((point["tpr"], point["tpr_interval"])),
            f"{point['fp']}/{point['num_real']}",
            *(_number(point[name]) for name in ("ppv", "npv")),
            "–" if per_fake is None else f"{per_fake:.1f}",
        )
    Console().print(table)


def print_robustness(rows: Sequence[Row]) -> None:
    """AUC by disturbance and level, as a table in the terminal."""
    base, curves = _curves(rows)
    heads = ["", *map(str, range(NUM_LEVELS + 1)), "balanced accuracy"]
    counts = f"{rows[0]['num_real']} real, {rows[0]['num_fake']} fake videos"
    last = {row["disturbance"]: row["balanced_accuracy"] for row in rows}
    caption = (
        f"Level 0 is undisturbed: AUC {_with_ends(base)}, balanced accuracy {_number(rows[0]['balanced_accuracy'])}. "
        f"The last column is at level {NUM_LEVELS}. {rows[0]['note']}"
    )
    table = _terminal_table(f"AUC at video level by level of strength, {counts}", heads, caption.strip())
    for name, levels in curves.items():
        cells = [_number(levels[level][0]) for level in range(NUM_LEVELS + 1)]
        table.add_row(name, *cells, _number(last[name]))
    Console().print(table)


def print_cross_dataset(rows: Sequence[Row]) -> None:
    """The data sets and their methods, as a table in the terminal."""
    caption = (
        f"A method is set against all real videos of its data set. Mean AUC of data sets: {_number(mean_auc(rows))}"
    )
    caption += ". known: the detector was trained on videos of it; bal.: balanced accuracy."
    if any(row["note"] for row in rows):
        caption += " –: only one label has videos."
    heads = ["", "known", "real", "fake", "AUC", "bal."]
    table = _terminal_table("AUC at video level, 95 % bootstrap intervals", heads, caption)
    for row in rows:
        name = f"  {row['method']}" if row["method"] else f"{row['store']}: {row['dataset']}"
        known = "" if row["method"] else row["in_training"]
        counts = (str(row["num_real"]), str(row["num_fake"]))
        table.add_row(name, known, *counts, _with_ends(_estimate(row, "auc")), _number(row["balanced_accuracy"]))
    Console().print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_ends(estimate: plots.Estimate) -> str:
    value, ends = estimate
    return _number(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _terminal_table(title: str, heads: Sequence[str], caption: str) -> Table:
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    for head in heads:
        # A long name gives way, so that the numbers fit a terminal of 80 columns.
        width = None if head else 26
        table.add_column(head, justify="right" if head else "left", no_wrap=True, overflow="ellipsis", max_width=width)
    return table
