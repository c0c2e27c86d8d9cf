"""``python -m dfd.data.sheet STORE``: a contact sheet of a clip store, to see at a glance what was cropped."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfd.data.clips import read_frames
from dfd.data.store import read_index
from dfd.errors import DfdError
from dfd.plots import save


def contact_sheet(store: Path, index: pd.DataFrame, *, num_frames: int = 8) -> Figure:
    """A row per face track of ``index``: evenly spaced frames of its clip, with its label, name and length.

    Raises:
        StoreError: a clip is missing or damaged.
    """
    size = int(index["size"].max())
    columns = 2 if len(index) > 12 else 1
    rows = -(-len(index) // columns)
    width = num_frames * size / 100
    total_width = columns * (width + 1.9)  # inches, 1.9 of them for the text beside each strip
    figure = Figure(figsize=(total_width, rows * (size / 100 + 0.06) + 0.1), dpi=100)
    grid = figure.add_gridspec(rows, columns, left=1.7 / total_width, right=0.995, top=0.995, bottom=0.005)
    grid.update(wspace=1.9 / width, hspace=0.04)
    for place, (_, track) in enumerate(index.iterrows()):
        wanted = np.linspace(0, track["num_frames"] - 1, num_frames).round().astype(int)
        strip = np.concatenate(list(read_frames(store / track["path"], wanted.tolist())), axis=1)
        ax = figure.add_subplot(grid[place % rows, place // rows])
        ax.imshow(strip)
        ax.set_xticks([])
        ax.set_yticks([])
        name = track["video_id"].rpartition("-")[0][:22] + ("" if track["is_main"] else f" (track {track['track']})")
        text = f"{name}\n{track['label']} {track['method'][:20]}\n{track['split']}, {track['num_frames']} frames"
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the sheet was written, 1 if there is no such store or a clip of it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m dfd.data.sheet", description=__doc__)
    parser.add_argument("store", type=Path, help="folder that python -m dfd.preprocess made")
    parser.add_argument("--output", type=Path, help="PNG to write (default: STORE/contact_sheet.png)")
    parser.add_argument("--tracks", choices=("main", "all"), default="all")
    parser.add_argument("--max-tracks", type=positive, default=80, help="evenly chosen if there are more")
    parser.add_argument("--frames", type=positive, default=8, help="per track")
    return drawn(draw, parser.parse_args(arguments))


def positive(text: str) -> int:
    """A number of an argument.

    Raises:
        ArgumentTypeError: it is no whole number above 0.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text}")
    return int(text)


def drawn(draw: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """The exit status of a command that draws: 1, and a sentence, if it cannot."""
    try:
        draw(options)
    except (DfdError, OSError) as error:  # OSError: the output cannot be written, and its message says where
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def draw(options: argparse.Namespace) -> None:
    """Write what was asked for."""
    index = read_index(options.store)
    if options.tracks == "main":
        index = index[index["is_main"]]
    if len(index) > options.max_tracks:
        index = index.iloc[np.linspace(0, len(index) - 1, options.max_tracks).round().astype(int)]
    path = options.output or options.store / "contact_sheet.png"
    save(contact_sheet(options.store, index, num_frames=options.frames), path)
    print(f"{len(index)} face tracks: {path}")


if __name__ == "__main__":
    sys.exit(main())
