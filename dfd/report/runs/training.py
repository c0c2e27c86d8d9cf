"""The section of a report on training and validation."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dfd.figures import style as plots
from dfd.figures.curves import learning_curves
from dfd.report.comparison.repetitions import SEEDS_NOTE, Configuration, spread_cell
from dfd.report.comparison.results import FIT_METRICS, known
from dfd.report.page.document import Cell, Gallery, Picture, Section, Table, Text
from dfd.report.page.formatting import listed, number, whole

LOSSES = ("train/loss", "val/loss")


def _seeds_column(configurations: Sequence[Configuration]) -> bool:
    """Whether a table needs a column with the number of seeds."""
    return any(found.is_repeated for found in configurations)


def training_section(configurations: Sequence[Configuration], folder: Path) -> Section:
    """Section with the original study's Table 4.1 and the learning curves."""
    with_seeds = _seeds_column(configurations)
    rows: list[list[Cell | str]] = [
        [
            found.name,
            *([found.counted(sum(r.fit("val/loss") is not None for r in found.counting))] if with_seeds else []),
            *(spread_cell(found.fit_spread(metric)) for metric in FIT_METRICS),
            _epochs_cell(found),
        ]
        for found in configurations
    ]
    monitors = {str(m) for r in configurations if (m := r.run.settings.get("callbacks.checkpoint.monitor"))}
    chosen_by = f" by {monitors.pop()}" if len(monitors) == 1 else ""
    table = Table(
        "table_training",
        "Training and validation, over clips, at the chosen epoch",
        ["model", *(["seeds"] if with_seeds else []), *FIT_METRICS.values(), "epoch chosen"],
        rows,
        [
            *([SEEDS_NOTE] if with_seeds else []),
            "Training numbers are running means over the epoch of the minimised loss, taken while the weights change, "
            "with dropout and any augmentation: they are not those of the finished epoch. Validation numbers are those "
            "of the finished epoch, without dropout, with the plain cross-entropy.",
            f"The epoch is chosen on the validation split{chosen_by}, never on the test split.",
        ],
    )
    drawn = {
        index: pd.concat(histories)
        for index, found in enumerate(configurations)
        if (histories := [r.run.history for r in found.counting if r.run.history is not None and len(r.run.history)])
    }
    losses = [known(loss) for table in drawn.values() for name in LOSSES if name in table for loss in table[name]]
    max_loss = 1.05 * max((loss for loss in losses if loss is not None), default=1.0)
    pictures = []
    for index, history in drawn.items():
        found = configurations[index]
        epochs = [epoch for result in found.counting if (epoch := result.chosen_epoch) is not None]
        figure = learning_curves(history, title=found.name, chosen_epochs=epochs, max_loss=max_loss)
        path = plots.save(figure, folder / f"learning_curves_{index + 1}.png")
        alt, words = f"Loss and accuracy per epoch of {found.name}, of training and validation.", _words(found, epochs)
        pictures.append(Picture(path, words, f"{alt} {words}"))
    blocks: list[Table | Picture | Gallery | Text] = [table]
    if pictures:
        blocks.append(Gallery(pictures) if len(pictures) > 1 else pictures[0])
    return Section("Training and validation", blocks)


def _epochs_cell(found: Configuration) -> str:
    runs = found.counting or found.results
    counts = [whole(result.num_epochs) for result in runs]
    alike = counts[0] if len(set(counts)) == 1 else ", ".join(counts)
    return f"{', '.join(whole(result.chosen_epoch) for result in runs)} of {alike}"


def _words(found: Configuration, chosen: Sequence[int]) -> str:
    if not chosen:
        return f"{found.name}: no epoch is chosen yet."
    loss, accuracy = number(found.fit("val/loss")), number(found.fit("val/accuracy"))
    if not found.is_repeated:
        return f"{found.name}: epoch {chosen[0]} was chosen; validation loss {loss}, accuracy {accuracy}."
    return (
        f"{found.name}: the mean over {len(found.counting)} seeds, in a band of one standard deviation; the epochs "
        f"{listed(list(map(str, chosen)))} were chosen; mean validation loss {loss}, accuracy {accuracy}."
    )
