"""Fewer tokens in a vision transformer: what merging them saves, and what it does to the scores.

    python benchmarks/fewer_tokens.py MANIFEST … --checkpoint FILE [--videos 60] [--precision int8]

After the attention of each block the most alike pairs of tokens become one (Bolya and others, Token Merging, ICLR 2023;
written anew here): every other token looks for the most alike of the rest by the mean of its keys, and the class token
stays. Merged tokens weigh in the attention by their number. The table names the share of the tokens that is gone after
the last block. FILE is a detector whose backbone is a transformer of timm with fixed positions, such as CLIP's ViT-L;
those with rotary positions (PE, DINOv3) need a place for each token and cannot be merged so.

Seconds are of the whole backbone of `gend-clip-l14` with random weights (`--blocks` of them); differences are of the
detector's scores on four windows of each video. A drawn network learns nothing here: FILE has to be a trained one.
"""

import argparse
import copy
import csv
from pathlib import Path
from typing import Any

import _threads_sleep  # noqa: F401 - before torch
import numpy as np
import torch
from _measure import parser, ratios, report, shown, take_turns
from large_networks import card, shortened
from rich.progress import track
from torch import Tensor, nn

from dfd.base.errors import DfdError
from dfd.base.types import Label
from dfd.faces.detect import build_detector
from dfd.faces.found import FaceWindow
from dfd.metrics.videos import video_metrics
from dfd.models.classifier import ClipClassifier
from dfd.models.files.checkpoint import load_model
from dfd.models.published.table import published
from dfd.scoring.detector import Detector
from dfd.scoring.look.stream import stream_windows
from dfd.scoring.runtimes.runtime import TorchRuntime

MERGED = (0.0, 0.25, 0.5, 0.75)


class Merging(nn.Module):
    """Block of a transformer that merges ``number`` pairs of tokens between its attention and its perceptron."""

    def __init__(self, block: Any, number: int, sizes: dict[str, Tensor]) -> None:
        super().__init__()
        self.block, self.number, self.sizes = block, number, sizes
        self.keys: Tensor | None = None
        block.attn.qkv.register_forward_hook(self._note)

    def _note(self, module: nn.Module, given: Any, qkv: Tensor) -> None:
        heads = self.block.attn.num_heads
        self.keys = qkv.unflatten(-1, (3, heads, -1))[:, :, 1].mean(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        size = self.sizes["size"] if x.shape[1] == self.sizes["size"].shape[1] else x.new_ones(*x.shape[:2], 1)
        block = self.block
        weigh = None if bool((size == 1).all()) else size.log()[:, None, None, :, 0].to(x.dtype)
        x = x + block.ls1(block.attn(block.norm1(x), attn_mask=weigh))
        if self.number:
            x, size = merged(x, self.keys, size, self.number)
        self.sizes["size"] = size
        return x + block.ls2(block.mlp(block.norm2(x)))  # type: ignore[no-any-return]


def merged(x_BND: Tensor, keys_BND: Tensor | None, size_BN1: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Tokens of which ``number`` became part of another, and how many each of the rest stands for."""
    assert keys_BND is not None
    keys = keys_BND / keys_BND.norm(dim=-1, keepdim=True)
    alike = keys[:, ::2] @ keys[:, 1::2].transpose(1, 2)
    alike[:, 0] = -torch.inf  # the class token
    best, target = alike.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)[..., None]
    gone, stay = order[:, :number], order[:, number:].sort(dim=1).values
    into = target[..., None].gather(1, gone)

    def joined(values: Tensor) -> Tensor:
        even, odd = values[:, ::2], values[:, 1::2]
        width = values.shape[-1]
        moved = even.gather(1, gone.expand(-1, -1, width))
        odd = odd.scatter_add(1, into.expand(-1, -1, width), moved)
        return torch.cat([even.gather(1, stay.expand(-1, -1, width)), odd], dim=1)

    size = joined(size_BN1)
    return joined(x_BND * size_BN1) / size, size


def with_merging(model: ClipClassifier, share: float) -> ClipClassifier:
    """The network, in which this share of the tokens is gone after the last block."""
    network: Any = model.backbone.network
    if share:
        blocks = network.blocks
        tokens = int(network.pos_embed.shape[1])
        number = round(share * tokens / len(blocks))
        sizes = {"size": torch.ones(1, 1, 1)}
        network.blocks = nn.Sequential(*(Merging(block, number, sizes) for block in blocks))
    return model


def seconds(arguments: argparse.Namespace) -> dict[float, list[float]]:
    """Time of a crop through ViT-L for each share of merged tokens."""
    entry = published("gend-clip-l14")
    plain = shortened(entry, arguments.blocks)
    crops = torch.randint(0, 256, (2, 1, 3, *[entry.input["size"]] * 2), dtype=torch.uint8)
    ways = {}
    for share in MERGED:
        runtime = TorchRuntime(copy.deepcopy(plain), card(entry), "cpu", precision=arguments.precision)
        if arguments.precision == "float32":
            runtime.tune()
        with_merging(runtime.model, share)  # once its layers are those that will be called
        ways[str(share)] = lambda runtime=runtime: runtime.prob_fake(crops)
    taken = take_turns(ways, arguments.repeats, wall=arguments.threads > 1)
    return {float(share): [value / len(crops) for value in found] for share, found in taken.items()}


def windows(arguments: argparse.Namespace, detector: Detector) -> list[tuple[Label, Tensor]]:
    """Four windows of each video, (4, T, 3, S, S)."""
    rows: list[tuple[Path, Label]] = []
    for manifest in arguments.manifests:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows += [(manifest.parent / row["path"], Label[row["label"].upper()]) for row in csv.DictReader(file)]
    picked = [rows[place] for place in np.linspace(0, len(rows) - 1, min(arguments.videos, len(rows))).astype(int)]
    face_detector, found = build_detector(**detector.face_detector), []
    for path, label in track(picked, "looking"):
        try:
            pieces = list(stream_windows(path, face_detector, detector.extraction, detector.windows))
        except DfdError:
            continue
        clips = [piece.crops for piece in pieces if isinstance(piece, FaceWindow)][:4]
        if clips:
            found.append((label, torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3)))
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("manifests", type=Path, nargs="+")
    options.add_argument("--checkpoint", type=Path, required=True)
    options.add_argument("--videos", type=int, default=60)
    options.add_argument("--blocks", type=int, help="of the ViT-L that is timed; else all 24")
    options.add_argument("--precision", default="float32", choices=("float32", "int8"))
    arguments = options.parse_args()
    if arguments.quick:
        arguments.videos, arguments.blocks, arguments.repeats = 2, 2, 1
    torch.set_num_threads(arguments.threads)
    detector = Detector.load(arguments.checkpoint, device="cpu", heatmaps=False, moments_per_face=0, max_windows=4)
    videos = windows(arguments, detector)
    if not videos:
        raise SystemExit("no face in any of these videos")
    taken = seconds(arguments)
    labels = [label for label, _ in videos]
    rows, values, whole = [], [], np.zeros(0)
    for share in MERGED:
        model, facts = load_model(arguments.checkpoint)
        runtime = TorchRuntime(with_merging(model, share), facts, "cpu")
        clips = np.array([prob for _, frames in videos for prob in runtime.prob_fake(frames)])
        whole = clips if not share else whole
        ends = np.cumsum([len(frames) for _, frames in videos])[:-1]
        means, expected = ([float(part.mean()) for part in np.split(found, ends)] for found in (clips, whole))
        moved, moved_videos = np.abs(clips - whole), np.abs(np.array(means) - np.array(expected))
        side = (np.array(means) >= detector.threshold) != (np.array(expected) >= detector.threshold)
        auc = float(video_metrics(np.array(means), labels)["auc"]) if len(set(labels)) == 2 else float("nan")
        figures = {
            "clips, mean": float(moved.mean()),
            "clips, most": float(moved.max()),
            "videos, most": float(moved_videos.max()),
            "other side": int(side.sum()),
            "AUC": auc,
        }
        gain = shown(ratios(taken[0.0], taken[share]))
        rows.append([f"{share:.0%}", shown(taken[share], 3), gain, *(f"{value:.3g}" for value in figures.values())])
        values.append({"merged": share, "seconds per crop": taken[share], **figures})
    columns = ["tokens merged", "s per crop of ViT-L", "times none", *(f"scores move: {name}" for name in figures)]
    facts_told = {"videos": len(videos), "spread of the clips' scores": f"{whole.std():.3f}"}
    facts_told |= {"precision": arguments.precision, "blocks": arguments.blocks or "all"}
    report(arguments, "fewer_tokens", "Fewer tokens", columns, rows, values, **facts_told)


if __name__ == "__main__":
    main()
