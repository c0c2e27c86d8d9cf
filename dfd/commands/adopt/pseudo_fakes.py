"""``dfd blend STORE --output STORE``: a store of real videos and the fakes that are made from them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dfd.base.errors import ConfigError
from dfd.base.progress import progress_bar
from dfd.commands.adopt import status_of
from dfd.config.cli.catalogue import Arguments

DESCRIPTION = """Write the fakes that data=blend makes as a clip store, beside the real videos that they are made from.
The column `method` names the family; a fake has the split and the people of its real video, so data=clips can train and
test on it. A detector that learned from it knows blends alone, and says so. Run it again to go on where it stopped."""
EXAMPLES = (
    "dfd blend stores/real --output stores/blends",
    "dfd blend store=stores/real output=stores/warps families=[warp] blend.warp.side=[64,64]",
    "dfd train stores/blends --experiment modern",
)
PREFIX = "blend."


def main(words: Sequence[str] | None = None) -> int:
    """0 if the store was written, 1 if not; says why."""
    given = [*(sys.argv[1:] if words is None else words)]
    parser = Arguments("blend", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("store", type=Path, help="folder that dfd preprocess made; its real videos are used")
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="folder of the new store")
    parser.add_argument(
        "--families",
        metavar="NAME,NAME",
        help="a fake of each for every video (default: all that data.blend.kind takes)",
    )
    parser.add_argument("--num-frames", metavar="N", type=int, help="first frames of each clip (default: all)")
    parser.add_argument(
        "--still-frames", metavar="N", type=int, default=10, help="of the clip that a photograph becomes (default: 10)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--num-workers", metavar="N", type=int, help="processes (default: one per core)")
    # Options of the families are Hydra's, as in data=blend: data.blend.warp.side=[64,64] without the `data.`
    own = [word for word in given if word.startswith(PREFIX) and "=" in word]
    chosen = parser.parse_args([word for word in given if word not in own])
    return status_of(lambda: write(chosen, own))


def write(chosen: argparse.Namespace, own: Sequence[str]) -> None:
    """Make or complete the store.

    Args:
        chosen: the parsed words.
        own: options of the families, such as ``blend.warp.side=[64,64]``.

    Raises:
        ConfigError: an option is unknown or out of range.
        StoreError: there is nothing to make fakes from, or a clip cannot be read.
    """
    from dfd.config.compose import training_options  # Hydra and torch, which --help does not wait for
    from dfd.data.blend.families import FAMILIES, Blends
    from dfd.data.blend.stores import BlendStoreSettings, write_blends

    if chosen.num_workers is not None and chosen.num_workers < 1:
        raise ConfigError(f"--num-workers must be at least 1, got {chosen.num_workers}")
    if own and any(word.startswith(f"{PREFIX}kind=") for word in own):
        raise ConfigError("blend.kind is for data=blend, which draws a family for each clip; say --families here")
    options = training_options("data.blend", ["data=blend", *(f"data.{word}" for word in own)])
    given = ",".join(FAMILIES) if chosen.families is None else chosen.families
    names = tuple(name for name in given.strip("[]").replace(" ", "").split(",") if name)
    try:
        settings = BlendStoreSettings(
            names,
            Blends.of(options),
            num_frames=chosen.num_frames,
            still_frames=chosen.still_frames,
            seed=chosen.seed,
        )
    except ValueError as error:
        raise ConfigError(f"dfd blend: {error}") from error
    with progress_bar() as bar:
        task = bar.add_task("making fakes", total=None, note="")
        counts = write_blends(
            chosen.store,
            chosen.output,
            settings,
            num_workers=chosen.num_workers,
            on_video=lambda done, total: bar.update(task, completed=done, total=total),
        )
    parts = ", ".join(f"{count} {method or 'real'}" for method, count in counts.items())
    print(f"{parts}: the clip store is {chosen.output}")
    print(f"next: dfd sheet {chosen.output}; dfd train {chosen.output}")


if __name__ == "__main__":
    sys.exit(main())
