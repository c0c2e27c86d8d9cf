"""What each part of a modern recipe gives: the recipe, and the recipe with one part changed, on the same blends.

    python benchmarks/recipes.py STORE --weights lite0=FILE [--weights lite1=FILE …] [--videos STORE] [--seeds 0 1]

STORE holds real faces with the splits train, val and test (docs/starter.md tells how ours was made); the fakes are made
of them. Each run is ``train.py`` as anyone calls it; then its detector scores the held-back blends of val and test,
test's again after H.264 at five strengths, and the labelled videos of another store. WEIGHTS are ImageNet's of
EfficientNet-Lite 0 to 2 under timm's names, as ``python -m dfd.models.starter.initial_weights`` writes them. Heads over
time are compared on the frozen backbone of the recipe's first run, on clips made of STORE's faces.

Runs that are done are not repeated, so the same command goes on; a variant without its weights is left out and named.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _measure import RESULTS, machine

from dfd.base.types import Label
from dfd.models.files.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "the recipe"
CLEAN, VIDEOS, H264 = "clean", "videos", "h264"
H264_LEVELS = {f"h264 {level}": f"h264 {level} crf {18 + 5 * level}" for level in range(1, 6)}
REPORTED_LEVEL = "h264 3"
LAST = ("predictions.csv", "robustness.png")
"""One of these is there when an evaluation is complete."""
BACKBONE_PREFIX = "backbone.network."

PART_BASE = {
    "data": "blend",
    "data/augmentation": "platforms",
    "temporal": "mean",
    "optimizer": "adamw",
    "scheduler": "cosine",
    "callbacks": "ema",
    "label_smoothing": "0.05",
    "dropout": "0.2",
    "backbone": "timm",
    "backbone.name": "tf_efficientnet_lite0",
    "backbone.weights": "lite0",
    "data.clip_len": "1",
    "data.batch_size": "32",
    "optimizer.lr": "5e-4",
    "callbacks.ema.decay": "0.98",  # 50 steps, a small part of a short run
}
MILD = {
    **{f"data.augmentation.{step}_prob": "0" for step in ("codec", "resize", "noise", "gamma")},
    "data.augmentation.blur_prob": "0.1",
    "data.augmentation.jpeg_quality": "[40,95]",
}
PARTS: dict[str, dict[str, str | None]] = {
    RECIPE: {},
    "random initial weights": {"backbone.weights": None, "backbone.pretrained": "false"},
    "no augmentation of platforms": {**MILD},
    "crops enlarged to 160 px": {"backbone.input_size": "160"},
    "EfficientNet-Lite1": {"backbone.name": "tf_efficientnet_lite1", "backbone.weights": "lite1"},
    "EfficientNet-Lite2": {"backbone.name": "tf_efficientnet_lite2", "backbone.weights": "lite2"},
    "no average of the weights": {"callbacks": "default", "callbacks.ema.decay": None},
    "constant learning rate": {"scheduler": "constant"},
    "Adam with L2 of 1e-3": {"optimizer": "adam"},
    "no label smoothing": {"label_smoothing": "0"},
    "learning rate 1e-4": {"optimizer.lr": "1e-4"},
    "all that modern.yaml has": {
        "data/augmentation": None,
        "scheduler": "constant",
        "backbone.name": "tf_efficientnet_lite2",
        "backbone.weights": "lite2",
    },
}
HEAD_BASE = PART_BASE | {
    "backbone.weights": "recipe",
    "backbone.freeze": "true",
    "data.clip_len": "8",
    "data.batch_size": "8",
    "+trainer.limit_train_batches": "150",
    "+trainer.limit_val_batches": "10",
}
HEADS = {
    "mean": {},
    "lstm": {"temporal": "lstm"},
    "gru": {"temporal": "gru"},
    "transformer": {"temporal": "transformer"},
}
Scores = dict[str, pd.DataFrame]
"""Of a run: per part the rows ``video_id, label (0 or 1), prob_fake``."""


@dataclass(frozen=True, slots=True)
class Study:
    """Runs that are compared with their first."""

    title: str
    base: Mapping[str, str]
    variants: Mapping[str, Mapping[str, str | None]]
    clip_len: int

    @property
    def first(self) -> str:
        return next(iter(self.variants))


STUDIES = {
    "parts": Study("Parts of the recipe, single pictures", PART_BASE, PARTS, clip_len=1),
    "heads": Study("Heads over time, clips of 8 frames, frozen backbone", HEAD_BASE, HEADS, clip_len=8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="lite0, lite1, lite2")
    parser.add_argument("--videos", type=Path, help="store of labelled videos, all of them in its split test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--studies", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--variants", nargs="+", help="some of them; default: all")
    parser.add_argument("--extra", nargs="*", default=[], help="overrides of every run, as data.proportions=…")
    parser.add_argument("--runs", type=Path, default=Path("outputs/recipes"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    weights = dict(item.split("=", 1) for item in options.weights)
    for name in options.studies:
        study = STUDIES[name]
        if name == "heads":
            recipe = folder_of(options.runs, "parts", RECIPE, options.seeds[0]) / "checkpoints" / "best.ckpt"
            weights["recipe"] = str(backbone_of(recipe, options.runs / "backbone.safetensors"))
        for seed in options.seeds:
            for variant in options.variants or study.variants:
                overrides = {k: v for k, v in (study.base | study.variants[variant]).items() if v is not None}
                wanted = overrides.get("backbone.weights")
                if wanted and wanted not in weights:
                    print(f"left out: {variant} (needs --weights {wanted}=FILE)")
                    continue
                if wanted:
                    overrides["backbone.weights"] = weights[wanted]
                overrides |= {"data.store": str(options.store), "seed": str(seed)}
                given = [f"{key}={value}" for key, value in overrides.items()]
                epochs = f"trainer.max_epochs={options.epochs}"
                run(folder_of(options.runs, name, variant, seed), [*given, epochs, *options.extra], study, options)
    write(options)


def folder_of(runs: Path, study: str, variant: str, seed: int) -> Path:
    return (runs / study / f"{variant.replace(' ', '_')}-{seed}").resolve()


def backbone_of(checkpoint: Path, target: Path) -> Path:
    """The backbone's weights of a run in a file for ``backbone.weights``."""
    from safetensors.torch import save_file

    _, tensors = load_checkpoint(checkpoint)
    chosen = {
        k.removeprefix(BACKBONE_PREFIX): v.contiguous() for k, v in tensors.items() if k.startswith(BACKBONE_PREFIX)
    }
    save_file(chosen, target)
    return target.resolve()


def run(folder: Path, overrides: Sequence[str], study: Study, options: argparse.Namespace) -> None:
    """Train in ``folder`` and score what is held back, what is not there yet of it."""
    quick = ["test=false", "calibrate=false", "num_sample_clips=0"]
    if not (folder / "summary.json").exists():
        call("train.py", *overrides, *quick, f"hydra.run.dir={folder}")
    checkpoint = f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}"
    blends = [checkpoint, "data=blend", f"data.store={options.store}", "data.num_eval_clips=1"]
    evaluated(folder / "val", [*blends, "split=val"])
    suite = ["suite=robustness", "disturbances=[h264]"] if study.clip_len == 1 else []
    evaluated(folder / "test", [*blends, "split=test", *suite])
    if options.videos:
        clips = f"data.num_eval_clips={max(1, 8 // study.clip_len)}"
        evaluated(folder / VIDEOS, [checkpoint, f"data.store={options.videos}", clips])


def evaluated(folder: Path, arguments: Sequence[str]) -> None:
    if not any((folder / last).exists() for last in LAST):
        call("-m", "dfd.evaluate", *arguments, f"output={folder}")


def call(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def scores_of(folder: Path) -> Scores:
    """``clean``: the blends of val and test; ``videos``; ``h264 1`` to ``5``: the blends of test after that."""
    suite = folder / "test" / "scores"
    files = {part: suite / f"{name}.csv" for part, name in H264_LEVELS.items()}
    files[VIDEOS] = folder / VIDEOS / "predictions.csv"
    test = suite / "none.csv" if suite.exists() else folder / "test" / "predictions.csv"
    found = {part: table_of(file) for part, file in files.items() if file.exists()}
    return found | {CLEAN: pd.concat([table_of(folder / "val" / "predictions.csv"), table_of(test)])}


def table_of(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file)
    table["label"] = table["label"].replace({"real": Label.REAL, "fake": Label.FAKE}).astype(int)
    return table[["video_id", "label", "prob_fake"]].sort_values(["video_id", "label"]).reset_index(drop=True)


def auc(table: pd.DataFrame) -> float:
    ranks = table["prob_fake"].rank().to_numpy()
    fake = table["label"].to_numpy() == 1
    num_fake, num_real = int(fake.sum()), int((~fake).sum())
    return float((ranks[fake].sum() - num_fake * (num_fake + 1) / 2) / (num_fake * num_real))


def gain(variant: Sequence[pd.DataFrame], recipe: Sequence[pd.DataFrame], repeats: int = 1000) -> list[float]:
    """Mean over the seeds of AUC(variant) - AUC(recipe), with a 95 % interval of a bootstrap over faces.

    A face is drawn together with the fake made of it, the same ones for both; what another seed of the training would
    give is not in the interval.
    """
    faces = recipe[0]["video_id"].str.partition("+")[0]
    groups = [np.flatnonzero(faces == face) for face in faces.unique()]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(repeats):
        rows = np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))])
        both = (t.iloc[rows] for t in (*variant, *recipe))
        values = [auc(table) for table in both]
        drawn.append(np.mean(values[: len(variant)]) - np.mean(values[len(variant) :]))
    middle = statistics.mean(map(auc, variant)) - statistics.mean(map(auc, recipe))
    return [middle, *(float(q) for q in np.quantile(drawn, [0.025, 0.975]))]


def write(options: argparse.Namespace) -> None:
    """``recipes.md`` and ``recipes.json`` of all runs that are complete."""
    lines: list[str] = []
    content: dict[str, Any] = {"machine": machine(), "epochs": options.epochs}
    for name, study in STUDIES.items():
        found = {
            variant: {
                int(folder.name.rpartition("-")[2]): scores_of(folder)
                for folder in sorted((options.runs / name).glob(f"{variant.replace(' ', '_')}-*"))
                if any((folder / "test" / last).exists() for last in LAST)
            }
            for variant in study.variants
        }
        rows = [row_of(variant, runs, found[study.first]) for variant, runs in found.items() if runs]
        if rows:
            lines += ["", f"{study.title}; {options.epochs} epoch(s):", "", *table(rows)]
            content[name] = {"base": dict(study.base), "rows": rows}
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "recipes.md").write_text("\n".join([*lines[1:], ""]))
    (options.results / "recipes.json").write_text(json.dumps(content, indent=2) + "\n")
    print("\n".join(lines))


def row_of(variant: str, runs: Mapping[int, Scores], first: Mapping[int, Scores]) -> dict[str, Any]:
    seeds = sorted(set(runs) & set(first))
    row: dict[str, Any] = {"variant": variant, "seeds": seeds}
    for part, members in {CLEAN: [CLEAN], H264: list(H264_LEVELS), VIDEOS: [VIDEOS]}.items():
        if all(member in runs[seed] for member in members for seed in seeds):
            row[part] = [statistics.mean(auc(runs[seed][member]) for member in members) for seed in seeds]
    if runs is not first:
        for part, member in {CLEAN: CLEAN, H264: REPORTED_LEVEL}.items():
            if part in row:
                row[f"gain {part}"] = gain([runs[s][member] for s in seeds], [first[s][member] for s in seeds])
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = {
        CLEAN: "AUC, held-back blends",
        f"gain {CLEAN}": "gain",
        H264: "AUC after H.264, mean of 5 levels",
        f"gain {H264}": "gain, level 3",
        VIDEOS: "AUC, videos",
    }
    shown = {key: title for key, title in columns.items() if any(key in row for row in rows)}
    lines = ["| variant | " + " | ".join(shown.values()) + " |", "|---" * (len(shown) + 1) + "|"]
    for row in rows:
        cells = [row["variant"]]
        for key in shown:
            values = row.get(key, [])
            if key.startswith("gain") and values:
                cells.append("{:+.3f} ({:+.3f} to {:+.3f})".format(*values))
            else:
                cells.append(", ".join(f"{value:.3f}" for value in values))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
