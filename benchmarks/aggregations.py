"""False alarms and steadiness of the aggregations, from windows to the score of a video.

    python benchmarks/aggregations.py --real MANIFEST [--fakes MANIFEST] [--checkpoint FILE] [--videos N] [--work DIR]

Each real video of a manifest (path, label; paths relative to it) is encoded in six ways: H.264 at a CRF of 23 and of
35, at three quarters of its size, VP9, MPEG-4 Part 2, and mirrored. Each encoding is scored once and its windows are
kept in ``--work``, so that a run that was stopped goes on, and another aggregation needs no new scoring. Beside these,
each video is the first of four shots of a video with cuts, whose others are real. Fakes, encoded once and as the first
of four shots, show what a rule costs: one that calls nothing fake has no false alarms either.

For each aggregation, with all appearances and without those that are too weak to decide:

- `spread`: largest less smallest score of one real video over its encodings, the median over the videos and the value
  that nine in ten are below;
- `false alarms at the threshold` of the detector, of the real encodings and of the real videos with cuts;
- `depends on the encoding`: real videos that are on both sides of the threshold that 5 % of the real encodings reach;
- `at 5 %`: how many reach that threshold, of the real videos with cuts, of the fakes, and of those with cuts;
- `shifted`: the real videos with 2 added to the log-odds of all windows, or of those of the first shot of four. They
  have the noise of real windows and stand for fakes, even where the detector tells none. What share reaches the
  threshold that 5 % of all real ones reach, those with cuts counting as much as those without.

Without a manifest, and with ``--quick``, drawn videos and random weights take the place: does it run?
"""

import argparse
import csv
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _threads_sleep  # noqa: F401 - before torch
import av
import cv2
import numpy as np
from _measure import SMALL_NETWORK, drawn_video, parser, random_checkpoint, report
from sklearn.metrics import roc_auc_score

from dfd.base.errors import DfdError
from dfd.base.types import FrameArray
from dfd.models.starter import checkpoint_path
from dfd.scoring.aggregation import AGGREGATIONS, Aggregation, without_weak
from dfd.scoring.detector import Detector
from dfd.video.decode import VideoReader

TITLE = "Aggregations: false alarms on real videos and spread over encodings"
COLUMNS = [
    *("aggregation", "appearances", "spread, median", "spread, 9 in 10 below"),
    *("false alarms at the threshold", "with cuts", "depends on the encoding"),
    *("false alarms with cuts at 5 %", "fakes at 5 %", "fakes with cuts at 5 %", "AUC", "AUC with cuts"),
    *("shifted, whole", "shifted, one shot of four"),
]
SHIFT = 2.0
"""Log-odds that are added to windows of real videos, as if they were fakes that a detector tells so well."""
CUTS = "cuts"
SHOT_FRAMES = 60
"""Frames of each of the four shots of a video with cuts."""
MAX_FRAMES = 150
"""Frames of each video that are encoded."""
ENCODINGS: dict[str, tuple[str, dict[str, str], Callable[[FrameArray], FrameArray]]] = {
    "h264_crf23": ("libx264", {"crf": "23", "preset": "veryfast"}, lambda frame: frame),
    "h264_crf35": ("libx264", {"crf": "35", "preset": "veryfast"}, lambda frame: frame),
    "smaller": ("libx264", {"crf": "23", "preset": "veryfast"}, lambda frame: scaled(frame, 0.75)),
    "vp9": ("libvpx-vp9", {"crf": "35", "b:v": "0", "deadline": "realtime", "cpu-used": "8"}, lambda frame: frame),
    "mpeg4": ("mpeg4", {"qmin": "5", "qmax": "5"}, lambda frame: frame),
    "mirrored": ("libx264", {"crf": "23", "preset": "veryfast"}, lambda frame: frame[:, ::-1]),
}
"""FFmpeg's encoder, its options, and what is done to each frame before."""


def scaled(frame: FrameArray, factor: float) -> FrameArray:
    """A frame ``(H, W, 3)`` at another size."""
    return np.asarray(cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def encode(shots: Sequence[tuple[Path, int]], target: Path, name: str) -> None:
    """Write the beginnings of videos one after another to ``target``, a Matroska file, in one of the encodings.

    ``shots`` gives each video and how many of its frames; all have the size and the rate of the first.
    """
    codec, options, change = ENCODINGS[name]
    with av.open(str(target), "w") as container:
        stream: Any = None
        for source, num_frames in shots:
            with VideoReader(source, max_side=1280) as reader:
                wanted = range(reader.first_frame, min(reader.first_frame + num_frames, reader.num_frames))
                for frame in (frame for _, frames in reader.chunks([wanted]) for frame in frames):
                    picture = change(frame)
                    if stream is None:
                        stream = container.add_stream(codec, rate=Fraction(reader.fps).limit_denominator(1001))
                        stream.height, stream.width = (side // 2 * 2 for side in picture.shape[:2])
                        stream.pix_fmt, stream.options = "yuv420p", options
                        stream.codec_context.thread_count = 1
                        size = stream.height, stream.width
                    made = av.VideoFrame.from_ndarray(fitted(picture, *size), format="rgb24")
                    container.mux(stream.encode(made))
        container.mux(stream.encode(None))


def fitted(picture: FrameArray, height: int, width: int) -> FrameArray:
    """A picture in a frame of this size: as it is but for odd rows and columns, else scaled, with black beside it."""
    if picture.shape[0] - height in (0, 1) and picture.shape[1] - width in (0, 1):
        return np.ascontiguousarray(picture[:height, :width])
    small = scaled(picture, min(height / picture.shape[0], width / picture.shape[1]))[:height, :width]
    framed = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    framed[top : top + small.shape[0], left : left + small.shape[1]] = small
    return framed


def labelled(path: Path, label: str, number: int | None) -> list[Path]:
    """Videos of a manifest that have this label: all of them, or ``number`` evenly from its beginning to its end."""
    with path.open(newline="", encoding="utf-8") as file:
        found = [path.parent / row["path"] for row in csv.DictReader(file) if row["label"] == label]
    return found if number is None else [found[i * len(found) // number] for i in range(min(number, len(found)))]


def tasks_of(real: Sequence[Path], fakes: Sequence[Path]) -> Iterator[tuple[Path, str, str, list[tuple[Path, int]]]]:
    """Video, label, name of the encoding, and the shots that are encoded; a video's encodings come together."""
    for label, videos in (("real", real), ("fake", fakes)):
        for place, path in enumerate(videos):
            others = [real[(place + step) % len(real)] for step in (1, 2, 3)]
            for name in ENCODINGS if label == "real" else ["h264_crf23"]:
                yield path, label, name, [(path, MAX_FRAMES)]
            yield path, label, CUTS, [(one, SHOT_FRAMES) for one in (path, *others)]


def score_all(detector: Detector, real: Sequence[Path], fakes: Sequence[Path], kept: Path) -> list[dict[str, Any]]:
    """The windows of each appearance in each encoding, from ``kept`` where they are there already."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    done = {(line["path"], line["encoding"]): line for line in map(json.loads, lines)}
    found = []
    with TemporaryDirectory() as folder, kept.open("a") as file:
        for path, label, name, shots in tasks_of(real, fakes):
            if (str(path), name) not in done:
                source = Path(folder) / "encoded.mkv"
                try:
                    encode(shots, source, "h264_crf23" if name == CUTS else name)
                except DfdError as error:
                    print(f"{path}: {error}")
                    continue
                score = detector.score(source)
                line: dict[str, Any] = {"path": str(path), "encoding": name, "label": label}
                line["tracks"] = [
                    {
                        "probs": [window.prob_fake for window in track.windows],
                        "weak": track.weak,
                        "shot": track.shot,
                    }
                    for track in score.tracks
                ]
                done[str(path), name] = line
                file.write(json.dumps(line) + "\n")
                file.flush()
            found.append(done[str(path), name])
    return [line for line in found if line["tracks"]]


def rows_of(lines: Sequence[dict[str, Any]], threshold: float) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """A row of the table for each aggregation, and its values."""
    for name, aggregation in AGGREGATIONS.items():
        for kind in ("all", "without weak"):
            real: dict[str, list[float]] = {}
            others: dict[tuple[str, bool], list[float]] = {("real", True): [], ("fake", True): [], ("fake", False): []}
            for line in lines:
                windows = [track["probs"] for track in line["tracks"]]
                weak = [bool(track["weak"]) and kind != "all" for track in line["tracks"]]
                prob = without_weak(aggregation, windows, weak)[1]
                is_cut = line["encoding"] == CUTS
                if line["label"] == "real" and not is_cut:
                    real.setdefault(line["path"], []).append(prob)
                else:
                    others[line["label"], is_cut].append(prob)
            spreads = [max(probs) - min(probs) for probs in real.values()]
            encodings = [prob for probs in real.values() for prob in probs]
            at_5 = float(np.quantile(encodings, 0.95))
            value: dict[str, Any] = {
                "aggregation": name,
                "appearances": kind,
                "spread_median": statistics.median(spreads),
                "spread_90": float(np.quantile(spreads, 0.9)),
                "threshold_at_5": at_5,
                "depends": sum(min(probs) < at_5 <= max(probs) for probs in real.values()),
                "num_videos": len(real),
            }
            groups = {"real": encodings, "real_cuts": others["real", True]}
            groups |= {"fake": others["fake", False], "fake_cuts": others["fake", True]}
            for group, probs in groups.items():
                value[f"{group}_number"] = len(probs)
                value[f"{group}_at_threshold"] = sum(prob >= threshold for prob in probs)
                value[f"{group}_at_5"] = sum(prob >= at_5 for prob in probs)
            cut = [line for line in lines if line["label"] == "real" and line["encoding"] == CUTS]
            uncut = [line for line in lines if line["label"] == "real" and line["encoding"] != CUTS]
            reached = _threshold_of_both(encodings, others["real", True])
            for group, shown, shot in (("whole", uncut, None), ("one_of_four", cut, 0)):
                probs = [shifted(line, aggregation, shot=shot, uses_weak=kind != "all") for line in shown]
                value[f"shifted_{group}"] = sum(prob >= reached for prob in probs) / max(1, len(probs))
            for group in ("", "_cuts"):
                negative, positive = groups[f"real{group}"], groups[f"fake{group}"]
                if negative and positive:
                    labels = [0] * len(negative) + [1] * len(positive)
                    value[f"auc{group}"] = float(roc_auc_score(labels, [*negative, *positive]))
            yield _row(value), value


def shifted(line: dict[str, Any], aggregation: Aggregation, *, shot: int | None, uses_weak: bool) -> float:
    """Score of a video if the windows of a shot, or of all (None), had ``SHIFT`` more log-odds."""
    windows = []
    for track in line["tracks"]:
        probs = np.clip(track["probs"], 1e-6, 1 - 1e-6)
        moved = 1 / (1 + (1 - probs) / probs * np.exp(-SHIFT))
        windows.append([float(prob) for prob in (moved if shot in (None, track["shot"]) else probs)])
    return without_weak(aggregation, windows, [bool(track["weak"]) and uses_weak for track in line["tracks"]])[1]


def _threshold_of_both(uncut: Sequence[float], cut: Sequence[float]) -> float:
    """Threshold that 5 % of real videos reach, those with and those without cuts counting alike."""
    if not cut:
        return float(np.quantile(uncut, 0.95))
    return float(np.quantile([*uncut, *list(cut) * max(1, len(uncut) // len(cut))], 0.95))


def _row(value: dict[str, Any]) -> list[str]:
    counts = [
        f"{value[f'{group}_{at}']} of {value[f'{group}_number']}"
        for at, groups in (("at_threshold", ("real", "real_cuts")), ("at_5", ("real_cuts", "fake", "fake_cuts")))
        for group in groups
    ]
    depends = f"{value['depends']} of {value['num_videos']}"
    aucs = [f"{value[name]:.3f}" if name in value else "–" for name in ("auc", "auc_cuts")]
    found = [f"{100 * value[f'shifted_{group}']:.0f} %" for group in ("whole", "one_of_four")]
    spread = [f"{value['spread_median']:.3f}", f"{value['spread_90']:.3f}"]
    return [value["aggregation"], value["appearances"], *spread, *counts[:2], depends, *counts[2:], *aucs, *found]


def options() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__)
    made.add_argument("--real", type=Path, help="manifest with real videos")
    made.add_argument("--fakes", type=Path, help="manifest with fakes")
    made.add_argument("--videos", type=int, help="so many real ones and fakes; else all")
    made.add_argument("--checkpoint", default="starter")
    made.add_argument("--work", type=Path, default=Path("aggregations"), help="folder of the windows' scores")
    return made.parse_args()


def main() -> None:
    """Score what has not been scored yet, and make the table."""
    arguments = options()
    with TemporaryDirectory() as folder:
        work = Path(folder) if arguments.quick else arguments.work
        work.mkdir(parents=True, exist_ok=True)
        if arguments.quick:
            checkpoint = random_checkpoint(work / "random.safetensors", SMALL_NETWORK)
            real = [drawn_video(work / "a.mp4", seconds=1, width=320, height=240)]
            fakes = [drawn_video(work / "b.mp4", seconds=1, width=240, height=240)]
        elif arguments.real is None:
            raise SystemExit("give --real MANIFEST, a table of real videos (path, label)")
        else:
            checkpoint = checkpoint_path(arguments.checkpoint)
            real = labelled(arguments.real, "real", arguments.videos)
            fakes = labelled(arguments.fakes, "fake", arguments.videos) if arguments.fakes else []
        with Detector.load(checkpoint, num_workers=1, moments_per_face=0, heatmaps=False) as detector:
            lines = score_all(detector, real, fakes, work / "windows.jsonl")
            made = list(rows_of(lines, detector.threshold))
        title = f"{TITLE}: {len(real)} real videos, {len(fakes)} fakes, detector {detector.name}"
        report(arguments, "aggregations", title, COLUMNS, [row for row, _ in made], [value for _, value in made])


if __name__ == "__main__":
    main()
