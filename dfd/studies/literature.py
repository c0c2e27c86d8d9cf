"""Sweeper over the experiments of the literature: trains each that fits the data, and says why others do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dfd.base.errors import ConfigError
from dfd.base.words import did_you_mean
from dfd.config.cli.kinds import quoted
from dfd.runs.records import JobRecord, Outcome
from dfd.studies.sweepers import Job, StudySweeper

TAG = "literature"
"""Entry of ``tags`` in the file of an experiment that the study trains."""
CHOSEN_HERE = ("data", "data.store", "experiment")
"""Options that the study sets for each experiment: an experiment says itself which kind of data it takes."""


@dataclass(kw_only=True, eq=False)
class LiteratureSweeper(StudySweeper):
    """Sweeper of ``study=literature``.

    ``data.store`` may name several stores of the same videos, prepared with other crops; each experiment takes the
    first that meets its needs. ``experiment`` may name experiments; without it, all that have the tag ``literature``
    are tried. Other overrides hold for all experiments that have such an option.
    """

    def run_study(self, overrides: Sequence[Override]) -> None:
        """Train every experiment that fits, one after the other.

        Raises:
            ConfigError: no store or no such experiment is given, or no experiment has an option that is.
            StoreError: a store cannot be read.
        """
        names = self._names(_values(overrides, "experiment"))
        stores = _values(overrides, "data.store")
        if not stores:
            raise ConfigError("study=literature needs data.store=DIR, or DIR,DIR of the same videos in other crops")
        given = [override for override in overrides if override.get_key_element() not in CHOSEN_HERE]
        has_option = {name: self._options_of(name, stores[0], given) for name in names}
        for override in given:
            if not any(override in known for known in has_option.values()):
                raise ConfigError(f"{override.input_line}: no experiment of the study has this option")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        swept = parser.parse_overrides([f"experiment={','.join(names)}"])
        with self.study([*given, *swept]):
            jobs: list[Job] = []
            for name in names:
                store, reason = self._store_for(name, stores, has_option[name])
                if store is None:
                    self._leave_out(name, reason)
                else:
                    jobs += self._jobs(name, store, has_option[name], first=len(jobs))
            self.run(jobs)

    def _names(self, given: Sequence[str]) -> list[str]:
        loader = self.hydra_context.config_loader
        there = loader.get_group_options("experiment", results_filter=ObjectType.CONFIG)
        for name in given:
            if name not in there:
                raise ConfigError(f"experiment={name}: there is no such experiment{did_you_mean(name, there)}")
        if given:
            return list(given)
        found = []
        for name in there:
            file: Any = loader.repository.load_config(f"experiment/{name}")  # type: ignore[attr-defined]
            if file is not None and TAG in (file.config.get("tags") or []):
                found.append(name)
        return sorted(found)

    def _options_of(self, name: str, store: str, given: Sequence[Override]) -> list[Override]:
        """Overrides that the configuration of an experiment has a place for."""
        known = self.config.hydra.runtime.choices
        groups = [override for override in given if override.key_or_group in known]
        chosen = [str(group.input_line) for group in groups if not group.is_sweep_override()]
        config = self._composed([*chosen, f"experiment={name}", f"data.store={quoted(store)}"])
        return [each for each in given if each in groups or each.is_add() or _has(config, each)]

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _store_for(self, name: str, stores: Sequence[str], given: Sequence[Override]) -> tuple[str | None, str]:
        """First store that an experiment fits, or None and what the store lacks that comes nearest."""
        # Later than at the top, where Hydra would import torch with every command.
        unmet_needs = import_module("dfd.studies.needs").unmet_needs
        lacking: list[tuple[int, str]] = []
        for store in stores:
            # Of options with several values, the first stands for all.
            lines = BasicSweeper.split_arguments([*given], None)[0][0]
            config = self._composed([*lines, f"experiment={name}", f"data.store={quoted(store)}"])
            needs: Any = OmegaConf.to_container(config.needs, resolve=True) if config.get("needs") else {}
            try:
                unmet = unmet_needs(store, **needs)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"experiment={name}: {error}") from error
            if not unmet:
                return store, ""
            named = f"none of the {len(stores)} stores fits; of {store}: " if len(stores) > 1 else ""
            lacking.append((len(unmet), named + "; ".join(unmet)))
        return None, min(lacking, key=lambda each: each[0])[1]

    def _leave_out(self, name: str, reason: str) -> None:
        """Record and say that an experiment does not fit; a job of an earlier call in this folder stays."""
        folder = self.folder / name
        known = JobRecord.read(folder)
        if known is None or known.outcome is Outcome.LEFT_OUT:
            JobRecord(Outcome.LEFT_OUT, [f"experiment={name}"], message=reason).write(folder)
        print(f"{name} is left out: {reason}")

    def _jobs(self, name: str, store: str, given: Sequence[Override], *, first: int) -> list[Job]:
        combinations = BasicSweeper.split_arguments([*given], None)[0]
        jobs = []
        for number, lines in enumerate(combinations):
            subdir = name if len(combinations) == 1 else f"{name}-{number}"
            own = [f"experiment={name}", f"data.store={quoted(store)}", f"hydra.sweep.subdir={quoted(subdir)}"]
            jobs.append(self.job(first + number, [*lines, *own]))
        return jobs


def _has(config: DictConfig, override: Override) -> bool:
    """Whether a configuration has a place for a value; one that is still to be given counts."""
    *parents, last = override.key_or_group.split(".")
    node: Any = OmegaConf.select(config, ".".join(parents)) if parents else config
    return not isinstance(node, DictConfig) or last in node.keys()  # noqa: SIM118 - `in` skips what is still missing


def _values(overrides: Sequence[Override], key: str) -> list[str]:
    """Values that the command gives for a key, none if it does not name it."""
    for override in overrides:
        if override.get_key_element() == key and override.is_sweep_override():
            return [str(text).strip("'\"") for text in override.sweep_string_iterator()]
        if override.get_key_element() == key:
            return [str(override.value())]
    return []
