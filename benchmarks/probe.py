"""Whether file, resizing, codec or colour give the labels away: python benchmarks/probe.py data=clips data.store=DIR

A linear probe (logistic regression) is trained on statistics that have nothing to do with forgeries, of the training's
crops as the recipe makes them, augmentation included, and tested on generators and sources that it has not seen. An AUC
of 0.6 or more says that a detector trained on these crops can pass for good without looking at the faces. The arguments
are those of train.py: experiment=starter data=blend data.store=DIR.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import open_dict
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfd.base.types import Label
from dfd.config.build import build
from dfd.config.check import check
from dfd.config.folders import CONFIG_DIR
from dfd.config.schemas import TrainConfig
from dfd.data.clips.module import ClipDataModule
from dfd.metrics.videos import bootstrap_intervals, video_metrics
from dfd.signals.rendering.quality import quality

Floats = NDArray[np.float64]
SUSPECT = 0.6
"""AUC from which the labels are given away."""
GROUPS = {
    "file": ("face_pixels", "num_frames", "fps"),
    "resizing": ("band_1", "band_2", "band_3", "band_4", "doubled"),
    "codec": ("grid_8", "grid_8_chroma", "noise"),
    "colour": ("red", "green", "blue", "red_spread", "green_spread", "blue_spread", "saturation"),
}
"""Statistics of each kind."""
FOLDS = 5


def table_of(data: ClipDataModule, *, num_clips: int) -> tuple[Floats, list[str], list[dict[str, Any]]]:
    """Statistics of the training's clips (N, K), their names, and the facts of each clip, in the training's order."""
    index = data.index.drop_duplicates("video_id").set_index("video_id")
    rows, facts = [], []
    loader = data.train_dataloader()
    for batch in track(loader, description="crops", total=min(len(loader), -(-num_clips // data.batch_size))):
        for number, frames in enumerate(batch["frames"].numpy()):
            video = str(batch["video_id"][number]).partition("+")[0]
            row = index.loc[video]
            file = {name: float(row[name]) for name in GROUPS["file"]}
            rows.append({**file, **quality(np.moveaxis(frames, 1, -1))})
            facts.append(
                {
                    "label": int(batch["label"][number]),
                    "method": str(batch["method"][number]),
                    "sources": set(str(row["source_ids"]).split(";")),
                }
            )
        if len(rows) >= num_clips:
            break
    names = list(rows[0])
    return np.array([[row[name] for name in names] for row in rows]), names, facts


def folds(facts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[int], list[int]]]:
    """Places to train on and to test on: a generator is held out, with sources that the other side does not have.

    With one generator alone, sources are held out.
    """
    methods = sorted({one["method"] for one in facts if one["label"] == Label.FAKE})
    names = sorted({source for one in facts for source in one["sources"]})
    shuffled = np.random.default_rng(0).permutation(len(names))
    place_of = {name: int(place) for name, place in zip(names, shuffled, strict=True)}
    parts = len(methods) if len(methods) > 1 else FOLDS
    for fold in range(parts):
        method = methods[fold] if len(methods) > 1 else None
        out = {
            source
            for one in facts
            for source in one["sources"]
            if (one["method"] == method if one["label"] == Label.FAKE and method else place_of[source] % parts == fold)
        }
        test = [
            place
            for place, one in enumerate(facts)
            if one["sources"] & out and (one["label"] == Label.REAL or method in (None, one["method"]))
        ]
        train = [
            place
            for place, one in enumerate(facts)
            if not one["sources"] & out and (one["label"] == Label.REAL or method is None or one["method"] != method)
        ]
        if len({facts[place]["label"] for place in train}) == 2 and test:
            yield train, test


def probed(values: Floats, facts: Sequence[Mapping[str, Any]]) -> tuple[float | None, tuple[float, float] | None, int]:
    """AUC of the probe on what was held out, its 95 % interval, and the number of clips."""
    labels = np.array([one["label"] for one in facts])
    probs: list[float] = []
    truth: list[int] = []
    for train, test in folds(facts):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"))
        probe.fit(values[train], labels[train])
        probs += probe.predict_proba(values[test])[:, 1].tolist()
        truth += labels[test].tolist()
    if len(set(truth)) < 2:
        return None, None, len(truth)
    auc = video_metrics(probs, truth)["auc"]
    return auc, bootstrap_intervals(probs, truth, ["auc"])["auc"], len(truth)


def recipe(overrides: Sequence[str]) -> TrainConfig:
    """Options of a training, as train.py takes them.

    Raises:
        ConfigError: an option is unknown or wrong.
    """
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", [*overrides], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = "."  # nothing is written
        HydraConfig.instance().set_config(config)
        del config["hydra"]
    return check(config, TrainConfig)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="as for train.py; data.store=DIR is needed")
    parser.add_argument("--clips", type=int, default=2000, help="crops to look at (default: 2000)")
    options = parser.parse_args()
    torch.manual_seed(0)
    data: ClipDataModule = build(recipe([*options.overrides, "data.num_workers=0"]).data)
    data.setup("fit")
    values, names, facts = table_of(data, num_clips=options.clips)
    counts = {label: sum(one["label"] == label for one in facts) for label in Label}
    methods = {one["method"] for one in facts if one["label"] == Label.FAKE}
    print(f"{counts[Label.REAL]} real and {counts[Label.FAKE]} fake crops, {len(methods)} generators")
    print("| statistics | AUC | 95 % interval | held-out crops |\n|---|---|---|---|")
    worst = 0.0
    for name, members in {**GROUPS, "all": names}.items():
        chosen = [names.index(member) for member in members]
        auc, interval, number = probed(values[:, chosen], facts)
        if auc is None or interval is None:
            print(f"| {name} | – | – | {number} |")
            continue
        worst = max(worst, auc)
        print(f"| {name} | {auc:.3f} | {interval[0]:.3f} to {interval[1]:.3f} | {number} |")
    said = "give the labels away" if worst >= SUSPECT else "do not give the labels away"
    print(f"these statistics {said} (highest AUC {worst:.3f}, {SUSPECT} is suspect)")


if __name__ == "__main__":
    main()
