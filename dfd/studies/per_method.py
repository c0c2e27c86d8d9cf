"""Sweeper that trains a detector for each method of a store's fakes, and measures their mean and their vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dfd.base.errors import ConfigError
from dfd.config.cli.kinds import quoted
from dfd.runs.records import JobRecord, Outcome
from dfd.studies.sweepers import StudySweeper

KEY = "data.methods"
RULES = ("mean", "vote")


@dataclass(kw_only=True, eq=False)
class PerMethodSweeper(StudySweeper):
    """Sweeper of ``study=per_method``; the finished detectors together are two more rows of its report."""

    def run_study(self, overrides: Sequence[Override]) -> None:
        """Train on each method, then measure the ensembles of all of them.

        Raises:
            ConfigError: options have several values, or the methods are given already.
            StoreError: the store cannot be read, or its training split has fewer than two methods.
        """
        for override in overrides:
            if override.is_sweep_override() or override.get_key_element() == KEY:
                raise ConfigError(f"{override.input_line}: study=per_method varies {KEY} alone, by the store's methods")
        lines = BasicSweeper.split_arguments([*overrides], None)[0][0]
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(lines))
        # Later than at the top, where Hydra would import torch with every command.
        needs, together = (import_module(f"dfd.{name}") for name in ("studies.needs", "evaluation.several.together"))
        methods, _ = needs.methods_of(config.data)
        values = [f"[{quoted(method)}]" for method in methods]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        with self.study([*overrides, *parser.parse_overrides([f"{KEY}={','.join(values)}"])]):
            jobs = [self.job(number, [*lines, f"{KEY}={value}"]) for number, value in enumerate(values)]
            self.run(jobs)
            finished = [job.folder for job in jobs if job.record and job.record.outcome is Outcome.FINISHED]
            files = [folder / "detector.safetensors" for folder in finished]
            if len(files) < len(jobs) or not all(file.is_file() for file in files):
                print("no ensemble: not every method has a detector")
                return
            for rule in RULES:
                record = JobRecord.read(self.folder / rule)
                if record is None or record.outcome is not Outcome.FINISHED:
                    together.measure(files, rule=rule, folder=self.folder / rule)
                    JobRecord(Outcome.FINISHED, [f"{KEY}={rule} of all"]).write(self.folder / rule)
