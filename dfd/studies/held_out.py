"""Sweeper that trains without one method or data set at a time, and measures each detector on what it never saw."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dfd.base.errors import ConfigError, StoreError
from dfd.base.files import write_table
from dfd.base.untrusted import read_json
from dfd.config.cli.kinds import quoted
from dfd.runs.records import Outcome
from dfd.studies.sweepers import StudySweeper

COLUMNS = ["num_real", "num_fake", "auc", "auc_low", "auc_high", "note"]

By = Literal["method", "dataset"]


def table_name(by: By) -> str:
    """Name of the study's table."""
    return f"leave_one_{by}_out.csv"


@dataclass(kw_only=True, eq=False)
class LeaveOneOutSweeper(StudySweeper):
    """Sweeper of ``study=leave_one_method_out`` and ``leave_one_dataset_out``; a row of its table is what was left out.

    Args:
        by: what is left out, one at a time.
        leave_out: names of those to leave out; None: each that is in train and, as a method by its fakes, in test.
    """

    by: By = "method"
    leave_out: list[str] | None = None

    def run_study(self, overrides: Sequence[Override]) -> None:
        """Train once without each of them, then write the table.

        Raises:
            ConfigError: options have several values, or what is trained on is given already, or one to leave out is
                unknown.
            StoreError: the store cannot be read, or its training split has fewer than two, or none of them is in test.
        """
        key = f"data.{self.by}s"
        for override in overrides:
            if override.is_sweep_override() or override.get_key_element() == key:
                raise ConfigError(f"{override.input_line}: study=leave_one_{self.by}_out varies {key} alone")
        lines = list(BasicSweeper.split_arguments([*overrides], None)[0][0])
        config = self.hydra_context.config_loader.load_sweep_config(self.config, lines)
        # Later than at the top, where Hydra would import torch with every command.
        needs, suites = (import_module(f"dfd.{name}") for name in ("studies.needs", "evaluation.suites"))
        there, in_test = (needs.methods_of if self.by == "method" else needs.datasets_of)(config.data)
        # A store that was divided by generator may have no method on both sides: a training would measure nothing.
        left_out = [name for name in there if name in in_test] if self.leave_out is None else list(self.leave_out)
        if unknown := [name for name in left_out if name not in there]:
            raise ConfigError(
                f"hydra.sweeper.leave_out names {unknown[0]!r}, and the training split has the {self.by}s "
                f"{', '.join(there)}"
            )
        if not left_out:
            what = "method has fakes" if self.by == "method" else "data set has videos"
            raise StoreError(
                f"{config.data.store}: no {what} in both train and test, so none can be left out and measured; "
                "data.split=0/5 divides the videos anew by source"
            )
        values = [f"[{','.join(quoted(other) for other in there if other != one)}]" for one in left_out]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        with self.study([*overrides, *parser.parse_overrides([f"{key}={','.join(values)}"])]):
            jobs = [self.job(number, [*lines, f"{key}={value}"]) for number, value in enumerate(values)]
            self.run(jobs)
            rows = []
            for name, job in zip(left_out, jobs, strict=True):
                is_there = job.record and job.record.outcome is Outcome.FINISHED
                rows.append(row_of(name, job.folder if is_there else None, suites.measures, by=self.by))
            if self.leave_out is None:
                rows += one_sided(there, in_test, by=self.by)
            table = self.folder / table_name(self.by)
            write_table(table, rows, [self.by, *COLUMNS])
            print(f"each {self.by}, measured by the detector that was trained without it: {table}")


def one_sided(in_train: Sequence[str], in_test: Collection[str], *, by: By) -> list[Mapping[str, Any]]:
    """Rows of the table that name what is in train or in test alone and so was not left out of any training.

    >>> [row["method"] for row in one_sided(["a", "b"], {"b", "c"}, by="method")]
    ['a', 'c']
    """
    others = "data.split=0/5 to 4/5 put others in test"
    only_train = f"in train alone, so it cannot be measured; {others}"
    only_test = f"in test alone: no training of the study has seen it; {others}"
    rows = [(name, only_train) for name in in_train if name not in in_test]
    rows += [(name, only_test) for name in sorted(set(in_test) - set(in_train))]
    return [{by: name, "note": note} for name, note in rows]


def row_of(name: str, run: Path | None, measures: Any, *, by: By = "method") -> Mapping[str, Any]:
    """Row of the table, with a 95 % interval.

    Args:
        name: what the run left out of train and val: a method, whose fakes in test are measured against all real videos
            there, or a data set, whose videos in test are measured.
        run: folder of the run; None if it has not finished.
        measures: :func:`dfd.evaluation.suites.measures`.
        by: whether ``name`` is of a method or a data set.
    """
    pandas = import_module("pandas")
    if run is None or not (run / "test" / "predictions.csv").is_file():
        return {by: name, "note": "the training without it has no test"}
    table = pandas.read_csv(run / "test" / "predictions.csv", dtype=str, keep_default_na=False)
    table = table[(table[by] == name) | ((table["label"] == "real") & (by == "method"))]
    table = table.assign(
        label=(table["label"] == "fake").astype(int), prob_fake=pandas.to_numeric(table["prob_fake"], errors="coerce")
    )
    threshold = read_json(run / "test" / "metrics.json").get("threshold", 0.5)
    row = measures(table, threshold=float(threshold))
    return {by: name, **{column: row[column] for column in COLUMNS if row.get(column) is not None}}
