"""Evidence for the known errors of the original study, measured here, as Markdown for docs/original-study.md.

    python benchmarks/original_errors.py [MANIFEST] [--checkpoint detector.safetensors --store STORE]

With a manifest of videos, the share of frames that per-frame cropping gets wrong is measured on them; with a detector
and the store it was trained on, what it loses if red and blue are exchanged. The fourth error, the leak, takes two
trainings: python train.py experiment=leakage (docs/original-study.md has the commands).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from dfd.metrics.videos import video_metrics
from dfd.models.temporal import TEMPORALS

# Printed by the study for its two models: the cells of scikit-learn's matrix with class 0 = fake.
PRINTED = {"ResNeXt50": (116, 8, 17, 93), "Inception v3": (105, 1, 29, 99)}
BATCHES, BATCH_SIZE, CLAIMED = {"train": 234, "test": 59}, 4, {"train": 4200, "test": 1800}
MAX_FRAMES, EVERY = 150, 10


def lstm() -> None:
    """What moves the last frame's output of video 1: its own earlier frames, or another video of the batch."""
    print("| recurrent layer over (4 videos, 10 frames, 64) | earlier frames changed | another video changed |")
    print("|---|---|---|")
    torch.manual_seed(0)
    features = torch.randn(4, 10, 64)
    earlier, another = features.clone(), features.clone()
    earlier[:, :-1] += 1
    another[0] += 1
    for name, label in {"lstm_over_batch": "as published", "lstm": "over the frames (dfd)"}.items():
        recurrent = TEMPORALS[name](64, hidden_features=64).eval().recurrent
        with torch.inference_mode():
            last = [recurrent(x)[0][1, -1] for x in (features, earlier, another)]
        changes = [float((other - last[0]).abs().max()) for other in last[1:]]
        print(f"| {label} | {changes[0]:.3g} | {changes[1]:.3g} |")


def matrices() -> None:
    """The printed counts, read as scikit-learn lays them out: rows are what a video is, fake comes first."""
    print("| | TP | FP | FN | TN | precision | recall | F1 | accuracy | videos |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, (fake_fake, fake_real, real_fake, real_real) in PRINTED.items():
        label = [1] * (fake_fake + fake_real) + [0] * (real_fake + real_real)
        prob = [1.0] * fake_fake + [0.0] * fake_real + [1.0] * real_fake + [0.0] * real_real
        m = video_metrics(prob, label)
        scores = " | ".join(f"{m[key]:.3f}" for key in ("precision", "recall", "f1", "accuracy"))
        print(f"| {name} | {m['tp']} | {m['fp']} | {m['fn']} | {m['tn']} | {scores} | {len(label)} |")


def counts() -> None:
    """Batches in the printed log times the batch size, against the videos claimed."""
    print("| | batches in the log | videos at most | videos claimed |")
    print("|---|---|---|---|")
    for split, number in BATCHES.items():
        print(f"| {split} | {number} | {number * BATCH_SIZE} | {CLAIMED[split]} |")


def crops(manifest: Path) -> None:
    """Per-frame detection on real videos: faces missed, squashed to a square, or not the one that stands for it."""
    from rich.progress import track

    from dfd.data.sources.manifest import read_manifest
    from dfd.faces.detect import build_detector
    from dfd.video.decode import VideoReader

    detector = build_detector("mtcnn")
    num_frames = num_missed = num_several = num_videos_missed = 0
    aspects: list[float] = []
    rows = read_manifest(manifest)
    for row in track(rows, description="detecting"):
        with VideoReader(row.path, max_side=640) as reader:
            frames = reader.frames(range(0, min(MAX_FRAMES, reader.num_frames), EVERY))
        found = [detector(frame[None])[0] for frame in frames]
        num_frames += len(found)
        missed = sum(not boxes for boxes in found)
        num_missed += missed
        num_videos_missed += missed > 0
        num_several += sum(len(boxes) > 1 for boxes in found)
        aspects += [(b[0].y2 - b[0].y1) / (b[0].x2 - b[0].x1) for b in found if b]
    low, middle, high = np.quantile(aspects, [0.05, 0.5, 0.95])
    print(
        f"{len(rows)} videos, every {EVERY}th of the first {MAX_FRAMES} frames: {num_frames} frames, MTCNN at 640 px\n"
    )
    print("| what per-frame cropping meets | here |")
    print("|---|---|")
    print(f"| frames without a face (the previous crop or the whole frame is used) | {num_missed} |")
    print(f"| videos with such a frame | {num_videos_missed} of {len(rows)} |")
    print(f"| frames with several faces (the first listed is taken) | {num_several} |")
    print(f"| height to width of the box, median (5 to 95 %), squashed to 1 | {middle:.2f} ({low:.2f} to {high:.2f}) |")


def channels(checkpoint: Path, store: Path) -> None:
    """The AUC on the test clips, as they are and with red and blue exchanged."""
    from dfd.config.build import build
    from dfd.scoring.detector import Detector

    detector = Detector.load(checkpoint)
    card = detector.card
    data = build(
        {
            **{"_target_": "dfd.data.clips.module.ClipDataModule", "store": str(store), "num_eval_clips": 4},
            **{"clip_len": card.clip_len, "clip_stride": card.clip_stride},
        }
    )
    data.setup("test")
    label: list[int] = []
    scores: dict[str, list[float]] = {"RGB": [], "BGR": []}
    for batch in data.eval_dataloader("test"):
        label += batch["label"].tolist()
        scores["RGB"] += detector.prob_fake_batch(batch["frames"])
        scores["BGR"] += detector.prob_fake_batch(batch["frames"].flip(2))
    change = np.abs(np.subtract(scores["RGB"], scores["BGR"]))
    print("| channels | AUC over clips | accuracy |")
    print("|---|---|---|")
    for name, prob in scores.items():
        metrics = video_metrics(prob, label)
        print(f"| {name} | {metrics['auc']:.3f} | {metrics['accuracy']:.3f} |")
    moves = f"{change.mean():.2f} on average, by {change.max():.2f} at most"
    print(f"\nThe probability of {len(label)} clips moves by {moves}.")


def main() -> None:
    """Print what can be measured with what is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    if (arguments.checkpoint is None) != (arguments.store is None):
        parser.error("--checkpoint and --store belong together")
    parts = {"1. The LSTM runs over the batch": lstm, "2. Precision and recall": matrices, "3. Videos": counts}
    for title, part in parts.items():
        print(f"\n## {title}\n")
        part()
    if arguments.manifest:
        print("\n## 5. Crops\n")
        crops(arguments.manifest)
    if arguments.checkpoint:
        print("\n## 5. Channels\n")
        channels(arguments.checkpoint, arguments.store)


if __name__ == "__main__":
    main()
