"""``python -m dfd.data.sheet STORE``: a contact sheet of a clip store, to see at a glance what was cropped."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfd.base.errors import DfdError
from dfd.config.cli.catalogue import Arguments
from dfd.data.clips.dataset import read_frames
from dfd.data.store.tables import read_index
from dfd.figures.style import save

DESCRIPTION = "Draw a contact sheet of a clip store: a row of frames for each face track, to see what was cropped."
EXAMPLES = ("dfd sheet stores/mine", "dfd sheet stores/mine --tracks main --max-tracks 20 --output sheet.png")
LABEL_INCHES = 1.6
"""For the text beside each strip."""
FONT_SIZES = (7.0, 6.0, 5.0, 4.0)
"""In points, the first that fits."""


def label_of(track: "pd.Series[Any]", *, room: float) -> tuple[str, float]:
    """The text beside a strip, all of it, and its font size in points: smaller if it would be higher than the strip.

    Args:
        track: a row of the index.
        room: the height of the strip, in inches.
    """
    name = track["video_id"].rpartition("-")[0] + ("" if track["is_main"] else f" (track {track['track']})")
    parts = [name, f"{track['label']} {track['method']}", f"{track['split']}, {track['num_frames']} frames"]
    for font_size in FONT_SIZES:
        # A letter is about 0.6 of the size wide, a line 1.25 of it high; 72 points are an inch.
        width = int(72 * LABEL_INCHES / (0.6 * font_size))
        lines = [line for part in parts for line in wrap(part, width) or [""]]
        if len(lines) * 1.25 * font_size <= 72 * room:
            break
    return "\n".join(lines).replace("$", r"\$"), font_size


def contact_sheet(store: Path, index: pd.DataFrame, *, num_frames: int = 8) -> Figure:
    """A row per face track of ``index``: evenly spaced frames of its clip, with its label, name and length.

    Raises:
        StoreError: a clip is missing or damaged.
    """
    size = int(index["size"].max())
    columns = 2 if len(index) > 12 else 1
    rows = -(-len(index) // columns)
    width = num_frames * size / 100
    total_width = columns * (width + LABEL_INCHES + 0.3)
    figure = Figure(figsize=(total_width, rows * (size / 100 + 0.06) + 0.1), dpi=100)
    left = (LABEL_INCHES + 0.1) / total_width
    grid = figure.add_gridspec(rows, columns, left=left, right=0.995, top=0.995, bottom=0.005)
    grid.update(wspace=(LABEL_INCHES + 0.3) / width, hspace=0.04)
    for place, (_, track) in enumerate(index.iterrows()):
        wanted = np.linspace(0, track["num_frames"] - 1, num_frames).round().astype(int)
        strip = np.concatenate(list(read_frames(store / track["path"], wanted.tolist())), axis=1)
        ax = figure.add_subplot(grid[place % rows, place // rows])
        ax.imshow(strip)
        ax.set(xticks=[], yticks=[])
        text, font_size = label_of(track, room=size / 100)
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=font_size)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the sheet was written, 1 if there is no such store or a clip of it cannot be read."""
    parser = Arguments("sheet", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("store", type=Path, help="folder that dfd preprocess made")
    parser.add_argument("--output", type=Path, help="PNG to write (default: STORE/contact_sheet.png)")
    parser.add_argument("--tracks", choices=("main", "all"), default="all", help="of each video: its main face, or all")
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
