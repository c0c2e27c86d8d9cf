"""Measure a detector on a split, under disturbances or on several data sets: ``python -m dfd.evaluate``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.config.entry import output_dir, refusing
from dfd.config.schemas import EvaluateConfig, inputs_of
from dfd.data.augment.disturbances import chosen
from dfd.data.clips.module import ClipDataModule
from dfd.data.splits.people import ALL, SPLITS
from dfd.evaluation.cross_dataset import cross_dataset, named_stores
from dfd.evaluation.labelled.measured import SEGMENTS, Options
from dfd.evaluation.labelled.protocols import checked_protocol, protocol_named
from dfd.evaluation.labelled.scores import named_scores
from dfd.evaluation.labelled.videos import (
    has_segments,
    labels_of_manifest,
    labels_of_store,
    split_mode,
    with_manifest_columns,
)
from dfd.evaluation.members import Members, load_measured
from dfd.evaluation.robustness import robustness
from dfd.evaluation.scope import foreign_videos, measured_scope, scope_lines, with_kinds
from dfd.evaluation.splits import data_of_split, evaluated, scored_videos
from dfd.evaluation.warnings import warn_about_calibration
from dfd.figures import style as plots
from dfd.figures.curves import learning_curves, read_history
from dfd.metrics.alike import check_prevalence
from dfd.models.files.card import num_networks, read_card
from dfd.models.files.caveat import with_made_caveat
from dfd.models.files.checkpoint import replace_card
from dfd.models.starter import NAME, checkpoint_path
from dfd.report.evaluations.foreign import foreign_subjects, methods_by_name
from dfd.report.evaluations.tables import Subject
from dfd.report.evaluations.terminal import print_cross_dataset, print_metrics, print_points, print_robustness
from dfd.report.evaluations.write import write_evaluation
from dfd.scoring.detector import Detector


def evaluate_robustness(config: EvaluateConfig, detector: Detector | Members, folder: Path) -> None:
    """``suite=robustness``: one store, under each disturbance."""
    with refusing("disturbances"):
        disturbances = chosen(config.disturbances, fingerprint_weights=config.fingerprint_weights)
    data = data_of_split(config.data, detector.card, config.split)

    def score(description: str) -> pd.DataFrame:
        return scored_videos(detector, data, config.split, description=description)

    options = {"disturbances": disturbances, **_facts(config, detector)}
    print_robustness(robustness(score, data, config.split, folder, **options))
    print(f"robustness.csv, robustness.json and figures are in {folder}")


def evaluate_stores(config: EvaluateConfig, detector: Detector | Members, folder: Path) -> None:
    """``suite=cross_dataset``: several stores, each data set and method of its own."""
    trained_on = detector.card.data.get("splits", {}).get("train", {}).get("datasets", {})
    stores = {
        name: data_of_split({**config.data, "store": path}, detector.card, config.split)
        for name, path in named_stores(config.stores).items()
    }

    def score(data: ClipDataModule, description: str) -> pd.DataFrame:
        return scored_videos(detector, data, config.split, description=description)

    options = {"trained_on": trained_on, **_facts(config, detector)}
    print_cross_dataset(cross_dataset(score, stores, config.split, folder, **options))
    print(f"cross_dataset.csv, cross_dataset.json and the figure are in {folder}")


def _facts(config: EvaluateConfig, detector: Detector | Members) -> dict[str, Any]:
    threshold = detector.card.threshold if config.threshold is None else config.threshold
    return {"threshold": threshold, "detector": detector.name, "temperature": detector.card.temperature}


SUITES = {"robustness": evaluate_robustness, "cross_dataset": evaluate_stores}


def evaluate(config: EvaluateConfig) -> None:
    """Measure the detector; writes the report, predictions.csv, metrics.json and figures, or the tables of a suite."""
    splits = (*SPLITS, *([] if config.suite else [ALL]))
    if config.split not in splits:
        raise ConfigError(f"split={config.split} is not one of {', '.join(splits)}")
    with refusing("prevalence"):
        check_prevalence(config.prevalence)
    if config.threshold is not None and not 0 <= config.threshold <= 1:
        raise ConfigError(f"threshold must be in 0..1, got {config.threshold}")
    if config.suite not in (None, *SUITES):
        raise ConfigError(f"suite={config.suite} is not one of {', '.join(SUITES)}")
    suites = {"stores": "cross_dataset", "disturbances": "robustness", "fingerprint_weights": "robustness"}
    for option, suite in suites.items():
        if getattr(config, option) is not None and config.suite != suite:
            raise ConfigError(f"{option} is only for suite={suite}")
    check_scores(config)
    folder = Path(config.output) if config.output else output_dir()
    if not config.checkpoint:
        evaluate_scores(config, [], folder)
        return
    names = inputs_of(config.checkpoint)
    files = [checkpoint_path(name) for name in names]
    if config.update_scope:
        refuse_scope(config, files)
    detector = load_measured(files, rule=config.combine, device=config.device, for_comparison=True)
    if config.suite is not None:
        SUITES[config.suite](config, detector, folder)
        return
    data = data_of_split(config.data, detector.card, config.split)
    warn_about_calibration(detector.card, config.split, data)
    threshold = _facts(config, detector)["threshold"]
    options = Options(threshold, config.prevalence, config.groups or ())
    metrics, table = evaluated(detector, data, config.split, folder, options, checkpoint=" + ".join(names))
    # Beside detector.safetensors; one folder up from checkpoints/best.ckpt.
    histories = [folder / "metrics.csv" for folder in list(Path(names[0]).absolute().parents)[:2]]
    for history in [path for path in histories if path.exists() and len(names) == 1][:1]:
        plots.save(learning_curves(read_history(history)), folder / "learning_curves.png")
    print_metrics(metrics)
    print_points(metrics)
    if config.update_scope:
        assert isinstance(detector, Detector)  # refuse_scope has refused ensembles
        update_scope(config, detector, data, files[0], folder)
    shown = " + ".join(Path(name).name for name in names)
    evaluate_scores(config, [Subject(detector.name, table, metrics, threshold, shown)], folder)


def check_scores(config: EvaluateConfig) -> None:
    """Refuse tables of scores, and labels without a store, where nothing could be done with them.

    Raises:
        ConfigError: when an option lacks another, or excludes it.
    """
    if config.manifest is not None and (config.checkpoint or config.scores is None):
        raise ConfigError("manifest holds the labels of scores=FILE alone; a checkpoint needs a store: data.store=DIR")
    if config.methods_trained is not None and config.scores is None:
        raise ConfigError("methods_trained is of scores=FILE; a checkpoint's own card names its methods")
    if config.protocol is not None:
        protocol_named(config.protocol)
        if config.split != "test" or config.suite is not None:
            raise ConfigError(f"protocol={config.protocol} is about the test split as it is: split=test, no suite")
    if config.update_scope and not config.checkpoint:
        raise ConfigError("update_scope=true writes into a detector's file: give checkpoint=FILE, too")
    if config.scores is not None and config.suite is not None:
        raise ConfigError(f"scores are of the videos as they are, so they have no part in suite={config.suite}")


def evaluate_scores(config: EvaluateConfig, ours: Sequence[Subject], folder: Path) -> None:
    """Measure ``scores=`` on the same videos as our own detector, if there is one, and write the report of all."""
    subjects, notes = [*ours], list[str]()
    if config.scores is not None:
        if config.manifest is not None:
            labelled = labels_of_manifest(Path(config.manifest), config.split)
        else:
            store = Path(str(config.data["store"])).expanduser()
            labelled = labels_of_store(store, ALL if ours else config.split)
            if ours:
                labelled = labelled[labelled["video_id"].isin(ours[0].table["video_id"])].reset_index(drop=True)
            segments = [SEGMENTS] if has_segments(store) else []
            labelled = with_manifest_columns(labelled, store, [*(config.groups or ()), *segments])
        options = Options(0.5 if config.threshold is None else config.threshold, config.prevalence, config.groups or ())
        named = named_scores(config.scores)
        methods = methods_by_name(config.methods_trained, [*named])
        theirs, notes = foreign_subjects(named, labelled, folder, options, alone=not ours, methods=methods)
        subjects += theirs
        for subject in theirs:
            print(f"{subject.name}:")
            print_metrics(subject.metrics)
            print_points(subject.metrics)
    made = []
    if config.protocol is not None:
        mode = None if config.manifest is not None else config.data.get("split") or split_mode(config.data["store"])
        facts, differing = checked_protocol(config.protocol, subjects[0].table, split_mode=mode)
        notes += differing
        made = [] if differing else [f"These are the videos of the protocol {config.protocol}: {facts['source']}."]
    for note in [*notes, *made]:
        print(note)
    names = ", ".join(subject.name for subject in subjects)
    page = write_evaluation(subjects, folder, title=f"Evaluation of {names} on {config.split}", notes=notes, made=made)
    print(f"predictions.csv, metrics.json and figures are in {folder}; the report of all is {page}")


def refuse_scope(config: EvaluateConfig, files: Sequence[Path]) -> None:
    """Refuse to update a scope where none could be written, before anything is scored.

    Raises:
        ConfigError: when the file is not a detector of one's own, or the evaluation is not of its own threshold.
    """
    path = files[0]
    if len(files) > 1 or num_networks(read_card(path)) > 1:
        raise ConfigError("update_scope=true is for a detector of one network: its file has one scope")
    if path.suffix != ".safetensors" or inputs_of(config.checkpoint) == [NAME]:
        remedy = "export it first (dfd export)" if path.suffix != ".safetensors" else "export it to a file of your own"
        raise ConfigError(f"update_scope=true writes into a .safetensors; checkpoint={config.checkpoint}: {remedy}")
    if config.suite is not None or config.threshold is not None:
        raise ConfigError("update_scope=true measures the detector as it is: leave out suite and threshold")


def update_scope(config: EvaluateConfig, detector: Detector, data: ClipDataModule, path: Path, folder: Path) -> None:
    """``update_scope=true``: write into the detector's file for which kinds of fakes it was shown to work."""
    scored = pd.read_csv(folder / "predictions.csv", dtype={"video_id": str}, keep_default_na=False)
    scored["prob_fake"] = pd.to_numeric(scored["prob_fake"])
    scored["label"] = [int(Label.parse(label)) for label in scored["label"]]
    found = foreign_videos(scored, data.store, config.split, detector.card, config.trained_on)
    table = with_kinds(found.table, data.store)
    summary = data.summary()
    facts = {
        **{key: summary[key] for key in ("store", "index_sha256")},
        **{"split": config.split, "windows_per_track": data.num_eval_clips},
        **{"left_out": found.num_left_out, "checked": found.checked},
        "datasets": dict(sorted(Counter(table["dataset"]).items())),
        "methods": dict(sorted(Counter(method for method in table["method"] if method).items())),
    }
    scope = measured_scope(table, threshold=detector.card.threshold, data=facts)
    replace_card(path, with_made_caveat(detector.card, scope=scope.to_dict()))
    if found.num_left_out:
        print(f"{found.num_left_out} videos made the detector, or show its people or sources, and were left out")
    print("\n".join(["scope:", *(f"  {line}" for line in scope_lines(scope))]))
    print(f"the scope is written into {path}; for its model card: dfd export {path}")
