"""``python -m dfd.commands.sheet.pulse STORE``: faces of a store beside the maps of their pulse."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfd.base.errors import StoreError
from dfd.commands.sheet import drawn, positive
from dfd.config.cli.catalogue import Arguments
from dfd.data.clips.dataset import read_frames
from dfd.data.store.tables import read_index
from dfd.figures.style import save
from dfd.signals.pulse import NoPulse, cell_colours, chrom, evenly_timed, peak_hertz
from dfd.signals.pulse_features import pulse_map

DESCRIPTION = (
    "Draw the pulse of faces in a store of crop=five_points: 32 rows over time, one for each cell of the skin, and "
    "their spectra from 0 to 5 Hz below. A pulse that is seen is one pattern in all rows."
)
EXAMPLES = ("python -m dfd.commands.sheet.pulse stores/five --max-tracks 4",)


def pulse_sheet(store: Path, index: pd.DataFrame, *, num_frames: int) -> Figure:
    """A row for each face track of ``index``: its first frame, its map, and what is strongest in the mean of the rows.

    Raises:
        StoreError: a clip cannot be read, or no pulse can be measured in it.
    """
    figure = Figure(figsize=(9, 2.2 * len(index)), dpi=100, layout="constrained")
    axes = figure.subplots(len(index), 2, width_ratios=(1, 3), squeeze=False)
    for (face, pulse), (_, track) in zip(axes, index.iterrows(), strict=True):
        count = min(num_frames, int(track["num_frames"]))
        frames, seconds = read_frames(store / track["path"], range(count)), np.arange(count) / float(track["fps"])
        try:
            signals, rate = evenly_timed(cell_colours(frames), seconds)
            picture = pulse_map(frames, seconds)
        except NoPulse as error:
            raise StoreError(f"{track['video_id']}: {error}") from error
        signals = chrom(signals, rate)
        correlation = np.asarray(np.corrcoef(signals.T), np.float64)
        together = correlation[np.triu_indices(len(correlation), 1)].mean()
        beats = 60 * peak_hertz(signals.mean(axis=1), rate)
        face.imshow(frames[0])
        pulse.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest")
        title = f"{track['video_id']} ({track['label']}): {beats:.0f} a minute, correlation of the rows {together:.2f}"
        pulse.set_title(title.replace("$", r"\$"), fontsize=7, loc="left")
        for ax in (face, pulse):
            ax.set(xticks=[], yticks=[])
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the sheet was written, 1 if there is no such store or no pulse can be measured."""
    parser = Arguments("sheet.pulse", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("store", type=Path, help="folder that dfd preprocess made with crop=five_points")
    parser.add_argument("--output", type=Path, help="PNG to write (default: STORE/pulse_sheet.png)")
    parser.add_argument("--max-tracks", type=positive, default=8, help="the longest, if there are more")
    parser.add_argument("--frames", type=positive, default=128, help="consecutive frames of each")
    return drawn(draw, parser.parse_args(arguments))


def draw(options: argparse.Namespace) -> None:
    """Write what was asked for."""
    index = read_index(options.store).sort_values("num_frames", ascending=False).head(options.max_tracks)
    path = options.output or options.store / "pulse_sheet.png"
    save(pulse_sheet(options.store, index, num_frames=options.frames), path)
    print(f"{len(index)} face tracks: {path}")


if __name__ == "__main__":
    sys.exit(main())
