"""``python -m dfd.data.blend_sheet STORE``: a contact sheet of real faces and the fakes made of them.

Each row shows the real clip, the mask, the fake, and where the fake differs from its target, for a few frames. With the
video of ``--video`` one sees what only shows in motion.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dfd.base.errors import ConfigError, StoreError
from dfd.base.types import FrameArray
from dfd.commands.sheet import drawn, positive
from dfd.data.blend.families import FAMILIES, KIND
from dfd.data.blend.geometry import BlendedPair
from dfd.data.blend.module import BlendDataModule
from dfd.data.splits.people import SPLITS
from dfd.figures.style import save
from dfd.video.encode import VideoWriter

GAIN = 4
"""Differences are shown so many times as large."""


def pictures_of(pair: BlendedPair) -> list[FrameArray]:
    """The real clip, the mask, the fake and the fake's difference from its target, each uint8 (T, H, W, 3)."""
    mask = np.repeat((pair.mask * 255).astype(np.uint8)[..., None], 3, axis=-1)
    change = np.clip(128 + GAIN * (pair.fake.astype(np.int16) - pair.target), 0, 255).astype(np.uint8)
    return [pair.real, mask, pair.fake, change]


def sheet_of(pairs: Sequence[tuple[str, BlendedPair]], *, num_frames: int = 3, columns: int = 2) -> Figure:
    """A strip for each captioned pair: ``num_frames`` evenly spaced frames of each of :func:`pictures_of`."""
    strips = []
    for _, pair in pairs:
        places = np.unique(np.linspace(0, len(pair.real) - 1, num_frames).round().astype(int))
        strips.append(np.concatenate([frame for kind in pictures_of(pair) for frame in kind[places]], axis=1))
    width, height = strips[0].shape[1] / 100, strips[0].shape[0] / 100
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(columns * (width + 0.1), rows * (height + 0.28) + 0.45), dpi=100)
    top = 1 - 0.4 / figure.get_figheight()
    ends = {"left": 0.005, "right": 0.995, "top": top, "bottom": 0.005}
    grid = figure.add_gridspec(rows, columns, wspace=0.1 / width, hspace=0.28 / height, **ends)
    figure.suptitle(
        f"in each strip: real, mask, fake, and {GAIN} x what was changed (grey: nothing)",
        fontsize=10,
        y=1 - 0.08 / figure.get_figheight(),
    )
    for place, ((caption, _), strip) in enumerate(zip(pairs, strips, strict=True)):
        ax = figure.add_subplot(grid[place // columns, place % columns])
        ax.imshow(strip)
        ax.set_axis_off()
        ax.set_title(caption, fontsize=7, pad=2, loc="left")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the sheet was written, 1 if there is no such store or a clip of it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m dfd.data.blend_sheet", description=__doc__)
    parser.add_argument("store", type=Path, help="folder that python -m dfd.preprocess made")
    parser.add_argument("--output", type=Path, help="PNG to write (default: STORE/blends.png)")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--pairs", type=positive, default=16)
    parser.add_argument("--clip-len", type=positive, default=10, help="frames of a clip")
    parser.add_argument("--frames", type=positive, default=2, help="shown of each clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kind", default=KIND, help=f"family of the fakes: {', '.join(FAMILIES)}, or several, such as self,warp"
    )
    parser.add_argument("--video", type=Path, help="also write an .mp4 in which the pairs play below each other")
    return drawn(draw, parser.parse_args(arguments))


def draw(options: argparse.Namespace) -> None:
    """Write what was asked for."""
    try:
        blends = {"kind": dict.fromkeys(options.kind.split(","), 1)}
        data = BlendDataModule(options.store, clip_len=options.clip_len, num_workers=0, blend=blends)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error
    dataset = data.dataset(options.split, training=True)
    if not dataset.num_pairs:
        raise StoreError(
            f"{options.store}: no real video with a face in split {options.split!r}; --split takes another of "
            f"{', '.join(SPLITS)}"
        )
    rng = np.random.default_rng(options.seed)
    chosen = rng.permutation(dataset.num_pairs)[: options.pairs]
    pairs = []
    for number in chosen:
        pair, choice = dataset.blended((int(number), int(rng.integers(2**62))))
        pairs.append((f"{choice.facts['dataset']} {choice.facts['video_id']}: {pair.method}, {pair.region}", pair))
    path = options.output or options.store / "blends.png"
    save(sheet_of(pairs, num_frames=options.frames), path)
    print(f"{len(pairs)} of {dataset.num_pairs} faces of {options.split}: {path}")
    if options.video:
        rows = [np.concatenate(pictures_of(pair), axis=2) for _, pair in pairs[:6]]
        film = np.concatenate(rows, axis=1)
        height, width = film.shape[1:3]
        with VideoWriter(options.video, width=width, height=height, fps=10.0, fast_decode=False) as writer:
            writer.write(np.tile(film, (4, 1, 1, 1)))
        print(f"{len(rows)} of them in motion: {options.video}")


if __name__ == "__main__":
    sys.exit(main())
