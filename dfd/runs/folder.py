"""Folders of training runs: found, read and checked."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from dfd.base.errors import ReportError
from dfd.base.files import inside
from dfd.base.types import Label
from dfd.base.untrusted import decode, named, read_json, read_yaml, shown
from dfd.base.words import Setting, flatten, show_setting
from dfd.figures.curves import read_history
from dfd.runs.records import JobRecord, Outcome, overrides_by_key
from dfd.runs.settings import IGNORED_GROUPS, IGNORED_KEYS, _shortened, differing, nested

T = TypeVar("T")

RUN_FILES = ("summary.json", "config.yaml", "metrics.csv")
"""A folder with one of these is a run's."""

MAX_NAMED_SETTINGS = 3
INDEX_DIGITS = 12
"""Digits of the clip index's SHA-256 that tell two stores of one name apart."""

# What summary.json has that a report reads, and the kind of value. An unknown one is null.
SUMMARY_KINDS: dict[str, type] = {
    **dict.fromkeys(("train", "val", "test", "initial_weights", "versions", "frames_per_video", "data"), dict),
    **dict.fromkeys(("best_epoch", "num_epochs", "num_parameters", "epochs_counted_from"), int),
    **dict.fromkeys(("name", "weights_sha256"), str),
    "comparison_only": bool,
}
MEASURED = ("train", "val", "test")
"""Entries of the summary that hold numbers only."""

DIVERGED = "diverged: its validation loss is not a number"


@dataclass(frozen=True, slots=True, eq=False)  # tables do not compare
class Run:
    """What a run left behind. All but the folder may be missing: it has not come so far, or is of an older version."""

    folder: Path
    summary: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Settings of its config by dotted key, without the places that it writes to."""
    history: pd.DataFrame | None = None
    """Per epoch, counted from 1, as :func:`dfd.figures.curves.read_history` gives it."""
    test: pd.DataFrame | None = None
    """Per video: ``video_id, dataset, method, label`` (0 or 1), ``prob_fake`` (nan: no score)."""
    threshold: float | None = None
    """Probability from which the test called a video fake."""
    temperature: float | None = None
    """Temperature by which the scores of the test were calibrated; None if they were not."""
    seconds_per_video: float | None = None
    """Seconds that the test took for a video, from decoding its clips on; None in runs of older versions."""
    split_setting: Setting = None
    """``data.split`` as its config has it, before the mode that it came to took its place; null: the store's own."""
    experiment: str = ""
    """Experiment that its study chose for it, such as ``capsule``; empty where the study did not choose one."""
    failure: str = ""
    """Why it has no result though it ended: it diverged, or raised an error. Its numbers are then worth nothing."""
    notes: Sequence[str] = ()
    """What was written down in a form that cannot be used, and so counts as unknown, with the file it is in."""

    @property
    def model(self) -> str:
        """Backbone and head, such as ``resnext50 + lstm``."""
        if self.summary.get("name"):
            return str(self.summary["name"])
        backbone = self.settings.get("backbone.name") or self.settings.get("backbone")  # one of timm's has both
        parts = [backbone, self.settings.get("temporal")]
        return " + ".join(str(part) for part in parts if part) or self.folder.name

    @property
    def place(self) -> str:
        """The end of the folder's path: enough to find it, nothing about the machine."""
        return "/".join(self.folder.resolve().parts[-2:])

    def data(self, *keys: str) -> Any:
        """What the summary says of the data, such as ``data("split", "mode")``; None where it does not."""
        return nested(self.summary, "data", *keys)

    @property
    def split_mode(self) -> str:
        """How the videos were divided; ``source`` is all that there was before this was written down."""
        return str(self.data("split", "mode") or self.split_setting or "source")

    @property
    def knows_no_source(self) -> bool:
        """No two of its videos share a source id, so no division of them can be one by person."""
        num_shared = self.data("split", "num_shared_sources")
        return num_shared is not None and num_shared == 0


def find_runs(folders: Iterable[str | Path]) -> list[Path]:
    """The folders of runs: those given, and for a multirun's folder those of all its runs, in their order.

    A job of a multirun that ended before it wrote anything is among them, so that it is not forgotten.

    Raises:
        ReportError: a folder is neither a run's nor has any.
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ReportError(f"{folder}: no such folder; give the folder of a run, as train.py prints it at its end")
        runs = [folder] if _is_run(folder) else _runs_within(folder)
        if not runs:
            raise ReportError(
                f"{folder}: not the folder of a run (it has no {', '.join(RUN_FILES)}), and no folder in it is; "
                "give the folder that train.py prints at its end, or a multirun's"
            )
        found.update({run.resolve(): run for run in runs if run.resolve() not in found})
    return list(found.values())


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in RUN_FILES)


def _runs_within(folder: Path) -> list[Path]:
    inside = sorted((path for path in folder.iterdir() if path.is_dir()), key=_natural)
    if not any(_is_run(path) for path in inside):
        return []
    return [path for path in inside if _is_run(path) or (path / ".hydra").is_dir()]


def _natural(path: Path) -> list[tuple[int, str]]:
    """2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def read_run(folder: Path) -> Run:
    """Read what there is of a run.

    Raises:
        ReportError: a file is there and cannot be read; the message names it.
    """
    summary, notes = _known_kinds(_read_mapping(folder, "summary.json", read_json))
    tested = _read_mapping(folder, "test/metrics.json", read_json)
    threshold, temperature, seconds = (
        _usable(float, tested.get(key), "test/metrics.json", key, notes)
        for key in ("threshold", "temperature", "seconds_per_video")
    )
    config = _read_mapping(folder, "config.yaml", lambda path: read_yaml(path) or {})
    record = JobRecord.read(folder)
    return Run(
        folder,
        summary=summary,
        settings=_settings(config, summary),
        history=_readable(folder, "metrics.csv", _read_curves),
        test=_readable(folder, "test/predictions.csv", _read_predictions),
        threshold=threshold,
        temperature=temperature,
        seconds_per_video=seconds,
        split_setting=flatten(config).get("data.split"),
        experiment=overrides_by_key(record.overrides).get("experiment", "") if record else "",
        failure=_failure(record, summary),
        notes=notes,
    )


def _failure(record: JobRecord | None, summary: Mapping[str, Any]) -> str:
    """Why a run has no result: by its own record, or because its loss is no number, as older versions let it end."""
    if record is not None and record.outcome is Outcome.FAILED:
        return record.message or "failed"
    return DIVERGED if is_diverged(summary) else ""


def is_diverged(summary: Mapping[str, Any]) -> bool:
    """Whether the validation loss of the chosen epoch is no number, beside metrics that are: a summary leaves it out.

    >>> is_diverged({"val": {"val/auc": 0.67}}), is_diverged({"val": {"val/auc": 0.67, "val/loss": 0.4}})
    (True, False)
    """
    val = summary.get("val") or {}
    return bool(val) and val.get("val/loss") is None


def epochs_counted_from(summary: Mapping[str, Any]) -> int:
    """What a run's first epoch is called in its ``summary.json``: 1, and 0 in those of older versions."""
    return int(summary.get("epochs_counted_from") or 0)


def _known_kinds(summary: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What can be used of a summary, None in place of the rest, and a note of each of these."""
    notes = list[str]()
    known: dict[str, Any] = {
        key: _usable(kind, summary[key], "summary.json", key, notes)
        for key, kind in SUMMARY_KINDS.items()
        if key in summary
    }
    for part in known.keys() & set(MEASURED):
        values = (known[part] or {}).items()
        known[part] = {name: _usable(float, value, "summary.json", f"{part}: {name}", notes) for name, value in values}
    return {**summary, **known}, notes


def _usable(kind: type[T], value: object, file: str, key: str, notes: list[str]) -> T | None:
    """``value`` if it is of its kind; else None, and a note if it is of another one."""
    try:
        return None if value is None else decode(kind, value)
    except ValueError:
        notes.append(f"{file} has {shown(value)} as {key}, which is not {named(kind)}; it counts as unknown.")
        return None


def _read_curves(path: Path) -> pd.DataFrame | None:
    """None if no epoch has ended yet."""
    try:
        history = read_history(path)
    except pd.errors.EmptyDataError:  # not even a head
        return None
    return pd.DataFrame({name: pd.to_numeric(history[name]) for name in history.columns})


def _read_predictions(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
    columns = ["video_id", "dataset", "method", "label", "prob_fake"]
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")
    if table["video_id"].duplicated().any():
        raise ValueError(f"video {table.loc[table['video_id'].duplicated(), 'video_id'].iloc[0]} is in it twice")
    prob = pd.Series([float(text or "nan") for text in table["prob_fake"]], table.index, dtype=float)
    outside = table.loc[prob.notna() & ~prob.between(0, 1), "video_id"]
    if len(outside):
        raise ValueError(f"the prob_fake of video {outside.iloc[0]} is not in 0..1")
    return table[columns].assign(label=[int(Label.parse(name)) for name in table["label"]], prob_fake=prob)


def _readable(folder: Path, name: str, read: Callable[[Path], Any]) -> Any:
    """Read a file in a run's folder with ``read``; None if there is none.

    Raises:
        ReportError: it cannot read the file, or the file lies elsewhere.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        return read(inside(folder, path))
    except (OSError, ValueError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ReportError(f"{path}: cannot be read ({reason}); restore it, or leave its run out") from error


def _read_mapping(folder: Path, name: str, read: Callable[[Path], Any]) -> dict[str, Any]:
    return _readable(folder, name, lambda path: decode(dict, read(path), "its content")) or {}


def _settings(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Setting]:
    settings = dict(
        _shortened(key, value)
        for key, value in flatten(config).items()
        if key.partition(".")[0] not in IGNORED_GROUPS
        and key.rpartition(".")[2] not in IGNORED_KEYS
        and not key.startswith("callbacks.progress_bar")
    )
    if settings.get("data.seed") == settings.get("seed"):
        settings.pop("data.seed", None)  # it follows the run's
    written = Run(Path(), summary=summary)
    mode, index = written.data("split", "mode"), written.data("index_sha256")
    if settings and mode:  # says more than data.split=null, which is the store's own
        settings["data.split"] = str(mode)
    if settings and index:  # data.store is the name of a folder only
        settings["data.index"] = str(index)[:INDEX_DIGITS]
    return settings


def names(runs: Sequence[Run], *, ignoring: Iterable[str] = ()) -> list[str]:
    """A name for each run, no two alike: its experiment, where a study tried several, and its model otherwise.

    Where that repeats, the settings that differ are added; at last the folder.

    ``ignoring``: settings that are not to be named.
    """
    ignored = set(ignoring)
    chosen = {run.experiment for run in runs}
    titles = [run.experiment if len(chosen) > 1 and "" not in chosen else run.model for run in runs]
    found = []
    for run, title in zip(runs, titles, strict=True):
        alike = [other.settings for other, its in zip(runs, titles, strict=True) if its == title]
        keys = [key for key in differing(alike) if key not in ignored]
        shown = [f"{key}={show_setting(run.settings[key])}" for key in keys[:MAX_NAMED_SETTINGS] if key in run.settings]
        shown += ["…"] if len(keys) > MAX_NAMED_SETTINGS else []
        found.append(f"{title} ({', '.join(shown)})" if shown else title)
    found = [f"{name} [{run.place}]" if found.count(name) > 1 else name for run, name in zip(runs, found, strict=True)]
    return [f"{name} #{index + 1}" if found.count(name) > 1 else name for index, name in enumerate(found)]
