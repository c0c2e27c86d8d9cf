"""What fewer bits do to a detector's scores: float32 against int8 and bf16, on a folder of videos.

    python benchmarks/precision.py FOLDER --checkpoint gend-clip-l14 [--against int8,bf16] [--labels manifest.csv]

The same crops go through each form of the network. The table has the largest and the mean difference of a video's and
of a clip's probability, how many videos change the side of the threshold, and the time per clip. With labels (a CSV
with the columns path and label: real or fake) also the AUC of each form. The forms are
those of `dfd predict precision=...`; int8 is for transformers. FOLDER may also be one video.

`--against int8-1x1` is for convolutional networks, and no option of predict: each 1 x 1 convolution is computed as int8
computes a transformer's linear layers, a place of the picture taken for a token. So the rounding can be tried on
weights that were trained, where those of a large transformer are not at hand.
"""

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _threads_sleep  # noqa: F401 - before torch
import numpy as np
import torch
from _measure import parser, report
from torch import nn

from dfd.base.types import DetectorScore, Label, VideoScore
from dfd.metrics.videos import video_metrics
from dfd.models.starter import checkpoint_path
from dfd.predictions.inputs import find_inputs
from dfd.scoring.detector import Detector
from dfd.scoring.panel import Panel
from dfd.scoring.runtimes.reduced import Int8Linear

POINTWISE = "int8-1x1"
FORMS = ("int8", "bf16", POINTWISE)
REFERENCE = "float32"


def detector_of(checkpoint: Path, form: str, options: Mapping[str, Any]) -> Detector:
    """The detector in one of the forms, which is also its name, as `dfd predict` runs it."""
    precision = REFERENCE if form == POINTWISE else form
    given: dict[str, Any] = {"runtime": "torch", "device": "cpu", "precision": precision, "tuned": True}
    detector = Detector.load(checkpoint, heatmaps=False, **given, **options)
    if form == POINTWISE:
        assert detector.model is not None
        rounded(detector.model.backbone.network)
    detector.name = form
    return detector


class Pointwise(nn.Module):
    """1 x 1 convolution with 8-bit products."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        linear = nn.Linear(layer.in_channels, layer.out_channels, bias=layer.bias is not None)
        linear.weight.data = layer.weight.detach().flatten(1).contiguous()
        if layer.bias is not None:
            linear.bias.data = layer.bias.detach()
        self.linear = Int8Linear(linear)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
        return y


def rounded(network: nn.Module) -> None:
    """Put 8-bit products in the place of all 1 x 1 convolutions."""
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride == (1, 1) and module.groups == 1
    ]
    if not names:
        raise SystemExit(f"--against {POINTWISE}: the network has no 1 x 1 convolution")
    for name in names:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        network.set_submodule(name, Pointwise(layer))


def clips_of(score: DetectorScore) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([window.prob_fake for track in score.tracks for window in track.windows])


def compared(
    scores: Sequence[VideoScore], number: int, threshold: float, labels: Mapping[str, Label]
) -> dict[str, float]:
    """The figures of one form, the ``number``-th of each score, against the first."""
    pairs = [(score.detectors[0], score.detectors[number]) for score in scores]
    videos = np.array([[float(a.prob_fake or 0), float(b.prob_fake or 0)] for a, b in pairs])
    clips = np.concatenate([np.abs(clips_of(a) - clips_of(b)) for a, b in pairs])
    difference = np.abs(videos[:, 0] - videos[:, 1])
    figures = {
        "largest, videos": float(difference.max()),
        "mean, videos": float(difference.mean()),
        "largest, clips": float(clips.max()),
        "mean, clips": float(clips.mean()),
        "change side": float(((videos[:, 0] >= threshold) != (videos[:, 1] >= threshold)).sum()),
    }
    names = [Path(score.path).name for score in scores]
    known = [number for number, name in enumerate(names) if name in labels]
    if len({labels[names[number]] for number in known}) == 2:
        figures["AUC"] = float(video_metrics(videos[known, 1], [labels[names[n]] for n in known])["auc"])
    return figures


def labels_of(path: Path | None) -> dict[str, Label]:
    """Label of each video by its file name."""
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: Label[row["label"].upper()] for row in csv.DictReader(file)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("input", type=Path, help="a folder of videos, or one video")
    options.add_argument("--checkpoint", default="starter")
    options.add_argument("--against", default=",".join(FORMS[:2]), help=f"of {', '.join(FORMS)}")
    options.add_argument("--labels", type=Path, help="a CSV with the columns path and label")
    options.add_argument("--max-windows", type=int, help="clips of each video; else the detector's number")
    options.add_argument("--limit", type=int, help="videos, at most")
    arguments = options.parse_args()
    forms = [form for form in arguments.against.split(",") if form]
    if unknown := set(forms) - set(FORMS):
        raise SystemExit(f"--against: {', '.join(sorted(unknown))} is not one of {', '.join(FORMS)}")
    torch.set_num_threads(arguments.threads)
    measure(arguments, forms)


def measure(arguments: argparse.Namespace, forms: Sequence[str]) -> None:
    paths = find_inputs([str(arguments.input)])[: 1 if arguments.quick else arguments.limit]
    labels = labels_of(arguments.labels)
    checkpoint = checkpoint_path(arguments.checkpoint)
    windows = 2 if arguments.quick else arguments.max_windows
    given = {"max_windows": windows} if windows else {}
    detectors = [detector_of(checkpoint, form, given) for form in (REFERENCE, *forms)]
    clocks = [Clock(detector) for detector in detectors]
    with Panel(detectors) as panel:
        scores = [score for score in panel.score_many(paths) if score.status.has_faces]
    if not scores:
        raise SystemExit(f"{arguments.input}: no video in which a face was found")
    rows, values = [], {}
    for number, form in enumerate((REFERENCE, *forms)):
        figures = compared(scores, number, detectors[0].threshold, labels)
        values[form] = {**figures, "seconds per clip": clocks[number].seconds / clocks[number].clips}
        rows.append([form, *(f"{value:.2g}" for value in values[form].values())])
    columns = ["form", *values[REFERENCE]]
    file = Path(arguments.checkpoint)
    title = f"Scores in fewer bits: {file.stem}, {len(scores)} videos"
    facts = {"videos": len(scores), "checkpoint": file.name}
    report(arguments, f"precision_{file.stem}", title, columns, rows, values, **facts)


class Clock:
    """CPU seconds of a detector's network, and the clips that it took them for."""

    def __init__(self, detector: Detector) -> None:
        self.seconds, self.clips = 0.0, 0
        self._of = detector.runtime.prob_fake
        detector.runtime.prob_fake = self._timed  # type: ignore[method-assign]

    def _timed(self, frames_BTCHW: torch.Tensor, *seconds: torch.Tensor | None) -> list[float]:
        began = time.process_time()
        probs = self._of(frames_BTCHW, *seconds)
        self.seconds += time.process_time() - began
        self.clips += len(frames_BTCHW)
        return probs


if __name__ == "__main__":
    main()
