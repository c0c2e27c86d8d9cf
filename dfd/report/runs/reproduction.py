"""Section with everything needed to reproduce runs, and all their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from dfd.report.comparison.repetitions import Configuration, best_of_seeds
from dfd.report.comparison.results import FIT_METRICS, Result, overlap
from dfd.report.page.document import Cell, Section, Table, Text
from dfd.report.page.formatting import DASH, HASH_LENGTH, short_hash, text_of
from dfd.runs.records import is_minimized

DETECTOR_NOTE = (
    "*: for a configuration with several seeds, the run whose detector.safetensors to use: the median by validation "
    "AUC (or by the loss if that is not known), the better one of two. The configuration's mean describes this run; "
    "the seed with the best validation was partly lucky and would do worse on new videos."
)


CONFIG_NOTE = "config.yaml in each run's folder has all its settings, and videos.csv the videos that it used."
HASH_NOTE = (
    "Manifest: the videos with their labels and sources. Clip index: the face clips made from them. The first "
    f"{HASH_LENGTH} digits of SHA-256; runs.csv has all of them."
)


def reproduction_section(configurations: Sequence[Configuration]) -> Section:
    """Section with the data, models, hashes and versions of the runs."""
    results = [result for found in configurations for result in found.results]
    take = {id(chosen) for found in configurations if found.is_repeated and (chosen := detector_of(found))}

    def counts(result: Result, split: str) -> Cell | str:
        labels = result.run.data("splits", split, "labels")
        videos = result.run.data("splits", split, "num_videos")
        if videos is None or not isinstance(labels, Mapping):
            return DASH if videos is None else str(videos)
        return Cell(str(videos), f"{labels.get('real', DASH)} real, {labels.get('fake', DASH)} fake")

    split_rows = [
        [
            result.name,
            *(counts(result, split) for split in ("train", "val", "test")),
            str(result.run.data("split", "mode") or DASH),
            *(_overlap_cell(result, pair) for pair in ("train-val", "train-test")),
        ]
        for result in configurations
    ]
    model_rows, hash_rows = [], []
    for result in results:
        run, summary = result.run, result.run.summary
        place = f"{run.place} *" if id(result) in take else run.place
        seed, size = text_of(run.settings.get("seed", summary.get("seed"))), summary.get("num_parameters")
        shown_size = f"{int(size):,}".replace(",", "\u202f") if size else DASH
        model_rows.append([result.name, place, seed, shown_size, text_of(_initial(result, "pretrained"))])
        hashes = [run.data("manifest_sha256"), run.data("index_sha256"), _initial(result, "sha256")]
        hash_rows.append([result.name, *map(short_hash, [*hashes, summary.get("weights_sha256")])])
    split_heads = ["model", "train", "val", "test", "split by", "ids in train and val", "ids in train and test"]
    model_heads = ["model", "run", "seed", "parameters", "pretrained"]
    hash_heads = ["model", "manifest", "clip index", "initial weights", "trained weights"]
    notes = [CONFIG_NOTE, *([DETECTOR_NOTE] if take else [])]
    caption = "Data: videos per split, how they were divided, and the source ids that splits share"
    return Section(
        "To reproduce",
        [
            Table("table_data", caption, split_heads, split_rows),
            *_frames_table(configurations),
            Table(
                "table_models",
                "Models and runs",
                model_heads,
                model_rows,
                notes,
            ),
            Table("table_hashes", "Hashes: equal hashes mean equal contents", hash_heads, hash_rows, [HASH_NOTE]),
            _versions(results),
        ],
    )


def _frames_table(results: Sequence[Result]) -> list[Table]:
    heads = {
        "prepared": "frames prepared at most",
        "in_clips_mean": "in clips, mean",
        "in_clips_min": "in clips, least",
        "per_training_sample": "in a training sample",
        "scored_in_test_at_most": "scored in the test at most",
    }
    frames = [result.run.summary.get("frames_per_video") or {} for result in results]
    rows = [[one.name, *(text_of(found.get(key)) for key in heads)] for one, found in zip(results, frames, strict=True)]
    return [Table("table_frames", "Frames per video", ["model", *heads.values()], rows)] if any(frames) else []


def _versions(results: Sequence[Result]) -> Text | Table:
    versions = [result.run.summary.get("versions") or {} for result in results]
    packages = list(dict.fromkeys(package for found in versions for package in found))
    if not packages:
        return Text("The versions of the libraries were not recorded.")
    if all(found == versions[0] for found in versions):
        return Text(f"All with {', '.join(f'{package} {versions[0][package]}' for package in packages)}.")
    rows = [[r.name, *(text_of(found.get(p)) for p in packages)] for r, found in zip(results, versions, strict=True)]
    return Table("table_versions", "Versions", ["model", *packages], rows)


def detector_of(configuration: Configuration) -> Result | None:
    """Run whose detector represents a configuration of several seeds; None if none has a validation metric."""
    usable = [result for result in configuration.results if result.run.summary and not result.run.failure]
    metric = "val/auc" if all(result.fit("val/auc") is not None for result in usable) else "val/loss"
    values = [result.fit(metric) for result in usable]
    return best_of_seeds(usable, values, minimized=is_minimized(metric))


def all_numbers(result: Result, configuration: str) -> dict[str, Any]:
    """Row of runs.csv: every number of a run, unrounded."""
    run, summary = result.run, result.run.summary
    row: dict[str, Any] = {
        "name": result.name,
        "configuration": configuration,
        **{key: getattr(run, key) for key in ("failure", "model")},
        "run": run.place,
        "split_mode": run.data("split", "mode"),
        "chosen_epoch": result.chosen_epoch,
        "num_epochs": result.num_epochs,
        "seed": run.settings.get("seed", summary.get("seed")),
        "threshold": run.threshold,
        "seconds_per_video": run.seconds_per_video,
        **{key: summary.get(key) for key in ("num_parameters", "weights_sha256", "comparison_only")},
        **{key: run.data(key) for key in ("manifest_sha256", "index_sha256")},
        "initial_weights_sha256": _initial(result, "sha256"),
        **{f"frames_{key}": value for key, value in (summary.get("frames_per_video") or {}).items()},
    }
    for pair, counts in overlap(result.run).items():
        row |= {f"overlap_{pair}_{key}": value for key, value in counts.items()}
    for part in ("train", "val", "test"):
        row |= {f"{name}_over_clips": value for name, value in (summary.get(part) or {}).items()}
    row |= {f"{metric}_over_clips": result.fit(metric) for metric in FIT_METRICS}
    for metric, value in result.overall.items():
        row[f"test_{metric}"] = value
        if interval := result.intervals.get(metric):
            row |= {f"test_{metric}_low": interval[0], f"test_{metric}_high": interval[1]}
    for group, (metrics, interval) in result.groups.items():
        row |= {f"{group} {key}": metrics[key] for key in ("num_real", "num_fake", "auc", "accuracy")}
        if interval:
            row |= {f"{group} auc_low": interval[0], f"{group} auc_high": interval[1]}
    return row


def _initial(result: Result, key: str) -> Any:
    return (result.run.summary.get("initial_weights") or {}).get(key)


def _overlap_cell(result: Result, pair: str) -> Cell | str:
    if result.run.data("split", "overlap") is None:
        return DASH
    counts = overlap(result.run).get(pair, {})
    if not counts:
        return "0"
    return Cell(str(counts["num_source_ids"]), f"in {counts['num_videos']} videos" if "num_videos" in counts else "")
