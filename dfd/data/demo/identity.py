"""A made data set in which the person alone tells the label: what a detector can learn here, it must not.

Each person is filmed once, and the recording is cut into several videos, as the sources of real data sets are. Half of
the people, drawn by lot, are called fake in all of their videos, the others real. Nothing was forged: every video is
drawn by one process. A split per video has the same people on both sides, and a detector that knows them
by sight scores high; a split by people leaves nothing to go by, and it guesses. ``experiment=leakage`` measures both:

    python -m dfd.data.identity_demo outputs/identity
    python -m dfd.preprocess manifest=outputs/identity/manifest.csv store=outputs/identity_store
    python train.py experiment=leakage data.store=outputs/identity_store
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfd.base.errors import DfdError
from dfd.base.progress import progress_bar
from dfd.base.types import Label
from dfd.data.demo.scenes import Format, Scene
from dfd.data.demo.videos import OnProgress, film_takes, make_once, portrait_of, recipe_of, tell_nobody, write_readme
from dfd.data.sources.manifest import write_manifest
from dfd.data.sources.row import VideoRow

DATASET = "identity"
METHOD = "drawn_by_lot"
NOTICE = "Nothing in these drawn videos is forged: they show how a split that shares people flatters a detector."
_CAST = 2  # people of no other demonstration


def make_identity_videos(
    root: str | Path,
    *,
    num_people: int = 40,
    videos_per_person: int = 4,
    seconds: float = 1.0,
    fps: int = 25,
    width: int = 240,
    height: int = 180,
    seed: int = 0,
    on_progress: OnProgress = tell_nobody,
) -> Path:
    """Draw the set into ``root`` and return the path of its ``manifest.csv``.

    The same arguments give the same bytes. A set that is complete is left alone, one that was made from other
    arguments is replaced, and an interrupted run leaves no ``root``.

    Args:
        root: folder to make.
        num_people: even; half of them are called fake.
        videos_per_person: cut from one recording.
        seconds: of each video.
        fps: frames per second.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        seed: other people for another seed.
        on_progress: called as videos are finished.

    Raises:
        ValueError: ``num_people`` is odd or below 6, or another argument is out of range.
        DfdError: ``root`` holds something else.
    """
    if num_people < 6 or num_people % 2:
        raise ValueError(f"num_people must be even and 6 or more: three splits, both labels; got {num_people}")
    if videos_per_person < 2:
        raise ValueError(f"videos_per_person must be 2 or more, to be on two sides; got {videos_per_person}")
    recording = Format(seconds=seconds * videos_per_person, fps=fps, width=width, height=height)

    def build(folder: Path) -> None:
        lots = np.random.default_rng([seed, _CAST]).permutation([Label.REAL, Label.FAKE] * (num_people // 2))
        rows: list[VideoRow] = []
        for person, label in enumerate(map(Label, lots)):
            generator = np.random.default_rng([seed, _CAST, person])
            scene = Scene.compose([portrait_of(seed, _CAST, person)], recording, generator)
            names = [f"person{person:02d}_{take}.mp4" for take in range(videos_per_person)]
            film_takes(scene, [folder / name for name in names])
            for name in names:
                method = METHOD if label is Label.FAKE else ""
                rows.append(VideoRow(folder / name, name, label, DATASET, method, (f"{DATASET}_person{person:02d}",)))
                on_progress(len(rows), num_people * videos_per_person)
        write_manifest(folder / "manifest.csv", rows)
        write_readme(folder, [NOTICE, "", "manifest.csv lists the videos; dfd.preprocess reads it."])

    recipe = {"set": DATASET, "num_people": num_people, "videos_per_person": videos_per_person}
    return make_once(Path(root), {**recipe, **recipe_of(recording, seed)}, build) / "manifest.csv"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the set, with a progress bar, and say what to do with it."""
    parser = argparse.ArgumentParser(
        prog="python -m dfd.data.identity_demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="made, with the videos and manifest.csv in it")
    parser.add_argument("--seed", type=int, default=0, help="other people for another seed (default: %(default)s)")
    options = parser.parse_args(arguments)
    with progress_bar() as progress:
        task = progress.add_task("drawing people", total=None, note="")
        try:
            manifest = make_identity_videos(
                options.folder,
                seed=options.seed,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except (DfdError, ValueError) as error:
            parser.exit(1, f"{parser.prog}: {error}\n")
    print(NOTICE)
    print(f"next: python -m dfd.preprocess manifest={manifest} store=DIR, then python train.py experiment=leakage")


if __name__ == "__main__":
    main()
