"""What is lost with fewer windows: early stopping, and windows chosen by the quality of the face.

    python benchmarks/fewer_windows.py MANIFEST … --checkpoint starter,FILE --work DIR [--limit N]

The manifests have the columns path and label, and kind where known. Each video is looked at once: 32 evenly spaced
windows, scored by every detector, with three measures of quality. They are kept in ``--work``, so that a run that was
stopped goes on. The rest is counted on them.

*Early stopping* (`stop_early`): windows in random order, two at a time, ten orders of each video; also with 16 and 8
windows in place of 32. How many windows are left out, how many videos get another verdict than with all windows, and
how much the score moves. All detectors are given an aggregation of means and a threshold of their own.
*Chosen windows*: eight of the 32, one out of each eighth of a face's windows: the middle one (evenly spaced), a random
one, the sharpest (variance of the Laplacian), the largest, the most frontal one (nose between the eyes), or the best by
the sum of the three ranks. How far the score is from that of all 32, how many videos change the side of the threshold,
and the AUC.
"""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import _threads_sleep  # noqa: F401 - before torch
import cv2
import numpy as np
import torch
from _measure import parser, report
from rich.progress import track

from dfd.base.errors import DfdError
from dfd.base.types import FrameArray, Label
from dfd.faces.crop import Crop
from dfd.faces.detect import build_detector
from dfd.faces.found import FaceWindow, View, WindowsEnd
from dfd.metrics.videos import video_metrics
from dfd.models.starter import checkpoint_path
from dfd.scoring.aggregation import max_of_means, verdict, without_weak
from dfd.scoring.detector import Detector
from dfd.scoring.look.stream import stream_windows
from dfd.scoring.video.state import _Video, weaknesses
from dfd.scoring.video.stopping import MEANS, EarlyStop

CHANCES = (0.0, 0.001, 0.01)
WINDOWS = (32, 16, 8)
ORDERS, BATCH, CHOSEN = 10, 2, 8
Video = dict[str, Any]
Measure = Callable[[dict[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Seen(Crop):
    """Crop that notes the five points of each face by the picture that it cuts."""

    kind = "seen"
    of: Crop
    points: dict[bytes, Any] = field(hash=False, compare=False)

    def matrix(self, *arguments: Any, **options: Any) -> Any:
        return self.of.matrix(*arguments, **options)

    def cut(self, frame: FrameArray, box_xyxy: Any, landmarks: Any) -> FrameArray:
        crop = self.of.cut(frame, box_xyxy, landmarks)
        self.points[crop.tobytes()] = np.asarray(landmarks, dtype=float)
        return crop


def quality(window: FaceWindow, points: Any) -> dict[str, float]:
    """Sharpness, size in pixels, and how far the nose is from between the eyes, in distances of the eyes."""
    middle = window.crops[len(window.crops) // 2]
    x1, y1, x2, y2 = window.box
    left, right, nose = points[0], points[1], points[2]
    eyes = right - left
    aside = float(np.dot(nose - (left + right) / 2, eyes) / max(float(eyes @ eyes), 1e-6))
    gray = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY)
    return {
        "sharp": float(cv2.Laplacian(gray, cv2.CV_32F).var()),
        "size": max(x2 - x1, y2 - y1),
        "frontal": -abs(aside),
    }


def looked_at(path: Path, detectors: dict[str, Detector]) -> list[dict[str, Any]]:
    """Appearances of a video, each with its windows, their qualities and their scores."""
    first, *others = detectors.values()
    points: dict[bytes, Any] = {}
    crop = Seen(first.extraction.crop.size, first.extraction.crop, points)
    views = [View(one.extraction.crop, one.windows) for one in others]
    windows: dict[tuple[int, int], dict[int, FaceWindow]] = {}
    video = _Video(path)
    looks = build_detector(**first.face_detector), replace(first.extraction, crop=crop), first.windows
    for item in stream_windows(path, *looks, views):
        if isinstance(item, FaceWindow):
            windows.setdefault((item.track, item.start_frame), {})[item.view] = item
        elif isinstance(item, WindowsEnd) and item.view == 0:
            video.end = item
    known = {key: found for key, found in windows.items() if len(found) == len(detectors)}
    probs = {
        name: one.prob_fake([found[view].crops for found in known.values()])
        for view, (name, one) in enumerate(detectors.items())
    }
    rows = {}
    for place, (key, found) in enumerate(known.items()):
        of_points = points[found[0].crops[len(found[0].crops) // 2].tobytes()]
        scores = {name: values[place] for name, values in probs.items()}
        rows[key] = {"start": key[1], **quality(found[0], of_points), "probs": scores}
    groups = list(video.grouped({number for number, _ in rows}))
    numbers = [sum(key[0] in one.tracks for key in rows) for one in groups]
    weak = weaknesses(groups, numbers) if groups else []
    return [
        {"weak": bool(why), "windows": [row for key, row in sorted(rows.items()) if key[0] in one.tracks]}
        for one, why in zip(groups, weak, strict=True)
    ]


def collected(arguments: argparse.Namespace, detectors: dict[str, Detector]) -> list[Video]:
    """Every video of the manifests that shows a face."""
    rows: list[tuple[Path, str, str]] = []
    for manifest in arguments.manifests:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows += [
                (manifest.parent / row["path"], row["label"], row.get("kind") or "") for row in csv.DictReader(file)
            ]
    arguments.work.mkdir(parents=True, exist_ok=True)
    videos = []
    for path, label, kind in track(rows[: arguments.limit], "looking"):
        kept = arguments.work / f"{path.parent.parent.name}-{path.stem}.json"
        if not kept.exists():
            try:
                faces = looked_at(path, detectors)
            except DfdError:
                faces = []
            kept.write_text(json.dumps({"label": label, "kind": kind or label, "faces": faces}))
        video = json.loads(kept.read_text())
        if any(face["windows"] for face in video["faces"]):
            videos.append(video)
    return videos


def early(videos: Sequence[Video], name: str, detector: Detector) -> list[tuple[list[str], dict[str, Any]]]:
    """Rows of early stopping of one detector, by chance and kind of videos; of fewer windows, all kinds together."""
    rows = []
    for most in WINDOWS:
        fewer = [
            {**video, "faces": [{**face, "windows": spaced(face["windows"], most)} for face in video["faces"]]}
            for video in videos
        ]
        found = stopped_early(fewer, name, detector)
        rows += [
            ([row[0], str(most), *row[1:]], {"windows": most, **values})
            for row, values in found
            if most == WINDOWS[0] or values["kind"] == "all"
        ]
    return rows


def spaced(windows: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """So many of the windows, evenly spaced, or all."""
    places = np.linspace(0, len(windows) - 1, min(number, len(windows))).round().astype(int)
    return [windows[place] for place in places]


def stopped_early(videos: Sequence[Video], name: str, detector: Detector) -> list[tuple[list[str], dict[str, Any]]]:
    """Rows of early stopping of one detector, for each chance and kind of videos."""
    rule = detector.aggregation if detector.aggregation in MEANS else max_of_means

    def call(prob: float) -> Any:
        return verdict(prob, threshold=detector.threshold, margin=detector.uncertain_margin)

    rng = np.random.default_rng(0)
    rows = []
    for chance in CHANCES:
        stop = EarlyStop(chance, rule, call)
        by_kind: dict[str, list[tuple[float, bool, float]]] = {}
        for video in videos:
            faces = [[window["probs"][name] for window in face["windows"]] for face in video["faces"]]
            weak, numbers = [face["weak"] for face in video["faces"]], list(map(len, faces))
            whole = without_weak(rule, faces, weak)[1]
            for _ in range(ORDERS):
                drawn = [rng.permutation(face).tolist() for face in faces]
                queue = sorted((place, face) for face, number in enumerate(numbers) for place in range(number))
                done, seen = 0, [0] * len(faces)
                while done < len(queue) and not stop.is_settled(
                    [face[:number] for face, number in zip(drawn, seen, strict=True)], numbers, weak
                ):
                    for _, face in queue[done : done + BATCH]:
                        seen[face] += 1
                    done = min(done + BATCH, len(queue))
                filled = [
                    face[:number] + [float(np.mean(face[:number]))] * (len(face) - number)
                    for face, number in zip(drawn, seen, strict=True)
                ]
                score = without_weak(rule, filled, weak)[1]
                found = (1 - done / len(queue), call(score) != call(whole), abs(score - whole))
                for kind in ("all", video["kind"]):
                    by_kind.setdefault(kind, []).append(found)
        for kind, found in by_kind.items():
            left_out, changed, moved = (np.array(column, dtype=float) for column in zip(*found, strict=True))
            values = {
                "videos": len(found) / ORDERS,
                "left out": float(left_out.mean()),
                "other verdict": float(changed.mean()),
                "score moves, mean": float(moved.mean()),
                "score moves, most": float(moved.max()),
            }
            row = [name, f"{chance:g}", kind, f"{values['videos']:.0f}", f"{values['left out']:.0%}"]
            row += [f"{values['other verdict']:.2%}", f"{moved.mean():.3f}", f"{moved.max():.3f}"]
            rows.append((row, {"chance": chance, "kind": kind, **values}))
    return rows


def ranks(windows: Sequence[dict[str, Any]]) -> list[float]:
    """Sum of the ranks of each window by the three measures."""
    total = np.zeros(len(windows))
    for measure in ("sharp", "size", "frontal"):
        total += np.argsort(np.argsort([window[measure] for window in windows], kind="stable"))
    return total.tolist()


def chosen(windows: Sequence[dict[str, Any]], way: str, rng: np.random.Generator) -> list[int]:
    """Places of the chosen windows, one out of each eighth."""
    parts = np.array_split(np.arange(len(windows)), min(CHOSEN, len(windows)))
    if way == "evenly spaced":
        return [int(part[len(part) // 2]) for part in parts]
    if way == "random":
        return [int(rng.choice(part)) for part in parts]
    values = ranks(windows) if way == "best of the three" else [window[way] for window in windows]
    return [int(max(part, key=values.__getitem__)) for part in parts]


def by_quality(videos: Sequence[Video], name: str, detector: Detector) -> list[tuple[list[str], dict[str, Any]]]:
    """Rows of one detector, for each way to choose windows."""
    rule = detector.aggregation if detector.aggregation in MEANS else max_of_means
    rng = np.random.default_rng(0)
    long = [video for video in videos if max(len(face["windows"]) for face in video["faces"]) >= 2 * CHOSEN]
    labels = [Label[video["label"].upper()] for video in long]
    rows = []
    whole: np.ndarray[Any, np.dtype[np.float64]] = np.zeros(0)
    for way in ("all", "evenly spaced", "random", "sharp", "size", "frontal", "best of the three"):
        scores = []
        for video in long:
            faces = [
                [
                    windows[place]["probs"][name]
                    for place in (range(len(windows)) if way == "all" else chosen(windows, way, rng))
                ]
                for windows in (face["windows"] for face in video["faces"])
            ]
            scores.append(without_weak(rule, faces, [face["weak"] for face in video["faces"]])[1])
        found = np.array(scores)
        whole = found if way == "all" else whole
        moved, side = np.abs(found - whole), (found >= detector.threshold) != (whole >= detector.threshold)
        auc = float(video_metrics(found, labels)["auc"])
        values = {"mean": float(moved.mean()), "most": float(moved.max()), "other side": float(side.mean()), "AUC": auc}
        row = [name, way, f"{moved.mean():.4f}", f"{moved.max():.3f}", f"{side.mean():.1%}", f"{auc:.3f}"]
        rows.append((row, {"way": way, "videos": len(long), **values}))
    return rows


def main() -> None:
    options = parser(__doc__)
    options.add_argument("manifests", type=Path, nargs="+")
    options.add_argument("--checkpoint", default="starter", help="names or files, comma-separated; for single frames")
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--limit", type=int, help="videos, at most")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.limit = arguments.limit or 4
    torch.set_num_threads(arguments.threads)
    given: dict[str, Any] = {"runtime": "torch", "device": "cpu", "tuned": True, "heatmaps": False}
    given |= {"moments_per_face": 0, "max_windows": 32}
    names = arguments.checkpoint.split(",")
    detectors = {Path(name).stem: Detector.load(checkpoint_path(name), **given) for name in names}
    videos = collected(arguments, detectors)
    if len({video["label"] for video in videos}) < 2:
        raise SystemExit("the videos in which a face was found have one label only; name manifests with real and fake")
    stopped = [row for name, one in detectors.items() for row in early(videos, name, one)]
    columns = [
        "detector",
        "windows",
        "stop_early",
        "kind",
        "videos",
        "left out",
        "other verdict",
        "score moves, mean",
        "most",
    ]
    values = [{"detector": row[0], **found} for row, found in stopped]
    report(arguments, "stop_early", "Early stopping", columns, [row for row, _ in stopped], values)
    picked = [row for name, one in detectors.items() for row in by_quality(videos, name, one)]
    columns = ["detector", "windows", "score moves, mean", "most", "other side of the threshold", "AUC"]
    values = [{"detector": row[0], **found} for row, found in picked]
    report(arguments, "chosen_windows", "Eight windows of 32", columns, [row for row, _ in picked], values)


if __name__ == "__main__":
    main()
