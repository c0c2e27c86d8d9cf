"""Sweeper that trains without one method of fakes at a time, and measures each detector on the method it never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dfd.base.errors import ConfigError, StoreError
from dfd.base.files import write_table
from dfd.base.untrusted import read_json
from dfd.runs.records import Outcome
from dfd.studies.sweepers import StudySweeper, quoted

KEY = "data.methods"
TABLE = "leave_one_method_out.csv"
COLUMNS = ["method", "num_real", "num_fake", "auc", "auc_low", "auc_high", "note"]


@dataclass(kw_only=True, eq=False)
class LeaveOneMethodOutSweeper(StudySweeper):
    """Sweeper of ``study=leave_one_method_out``; a row of its table is a method, measured without it.

    Args:
        leave_out: methods to leave out, one at a time; None: each that has fakes in train and in test.
    """

    leave_out: list[str] | None = None

    def run_study(self, overrides: Sequence[Override]) -> None:
        """Train once without each method, then write the table.

        Raises:
            ConfigError: options have several values, or the methods are given already, or one to leave out is unknown.
            StoreError: the store cannot be read, or its training split has fewer than two methods, or none of them is
                in test.
        """
        for override in overrides:
            if override.is_sweep_override() or override.get_key_element() == KEY:
                raise ConfigError(
                    f"{override.input_line}: study=leave_one_method_out varies {KEY} alone, by the store's methods"
                )
        lines = list(BasicSweeper.split_arguments([*overrides], None)[0][0])
        config = self.hydra_context.config_loader.load_sweep_config(self.config, lines)
        # Later than at the top, where Hydra would import torch with every command.
        needs, suites = (import_module(f"dfd.{name}") for name in ("studies.needs", "evaluation.suites"))
        methods, in_test = needs.methods_of(config.data)
        # A store that was divided by generator may have no method on both sides: a training would measure nothing.
        left_out = [one for one in methods if one in in_test] if self.leave_out is None else list(self.leave_out)
        if unknown := [name for name in left_out if name not in methods]:
            raise ConfigError(
                f"hydra.sweeper.leave_out names {unknown[0]!r}, and the fakes of the training split are of "
                f"{', '.join(methods)}"
            )
        if not left_out:
            raise StoreError(
                f"{config.data.store}: no method has fakes in both train and test, so none can be left out and "
                "measured; data.split=0/5 divides the videos anew by source"
            )
        values = [f"[{','.join(quoted(other) for other in methods if other != one)}]" for one in left_out]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        with self.study([*overrides, *parser.parse_overrides([f"{KEY}={','.join(values)}"])]):
            jobs = [self.job(number, [*lines, f"{KEY}={value}"]) for number, value in enumerate(values)]
            self.run(jobs)
            rows = []
            for method, job in zip(left_out, jobs, strict=True):
                is_there = job.record and job.record.outcome is Outcome.FINISHED
                rows.append(row_of(method, job.folder if is_there else None, suites.measures))
            write_table(self.folder / TABLE, rows, COLUMNS)
            print(f"each method, measured by the detector that was trained without it: {self.folder / TABLE}")


def row_of(method: str, run: Path | None, measures: Any) -> Mapping[str, Any]:
    """Row of a method: the fakes of it in a run's test against all real videos there, with a 95 % interval.

    Args:
        method: the method that the run left out of train and val.
        run: folder of the run; None if it has not finished.
        measures: :func:`dfd.evaluation.suites.measures`.
    """
    pandas = import_module("pandas")
    if run is None or not (run / "test" / "predictions.csv").is_file():
        return {"method": method, "note": "the training without it has no test"}
    table = pandas.read_csv(run / "test" / "predictions.csv", dtype=str, keep_default_na=False)
    table = table[(table["label"] == "real") | (table["method"] == method)]
    table = table.assign(
        label=(table["label"] == "fake").astype(int), prob_fake=pandas.to_numeric(table["prob_fake"], errors="coerce")
    )
    threshold = read_json(run / "test" / "metrics.json").get("threshold", 0.5)
    row = {"method": method, **measures(table, threshold=float(threshold))}
    return {name: row[name] for name in COLUMNS if row.get(name) is not None}
