"""``dfd fingerprint STORE``: train autoencoders on real faces, which take a generator's fingerprint out of pictures."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfd import __version__
from dfd.base.errors import ConfigError, StoreError
from dfd.base.files import file_sha256
from dfd.base.progress import progress_bar
from dfd.commands.adopt import status_of
from dfd.config.cli.catalogue import Arguments
from dfd.data.clips.dataset import read_frames
from dfd.data.clips.module import ClipDataModule
from dfd.data.store.records import INDEX_NAME
from dfd.figures.robustness import disturbance_sheet
from dfd.figures.style import save
from dfd.models.networks.systems.autoencoder import (
    CODE_SIZES,
    MAX_AUTOENCODERS,
    MAX_CODE_SIZE,
    Autoencoder,
    AutoencoderCard,
    AutoencoderFacts,
    Autoencoders,
    read_autoencoders,
    resynthesised,
    write_autoencoders,
)
from dfd.scoring.runtimes.runtime import pick_device
from dfd.training.learning.resynthesis import Resynthesis, fit_autoencoder, psnr_of

DESCRIPTION = """Train autoencoders on the real faces of a clip store. What passes through them loses the regular traces
of a generator: the disturbance `fingerprint` of suite=robustness and the augmentation `fingerprint_prob` use them. A
run that was stopped goes on with the code sizes that are missing."""
EXAMPLES = (
    "dfd fingerprint stores/mine --output fingerprint.safetensors",
    "dfd fingerprint store=stores/mine output=fingerprint.safetensors code_sizes=32 num_steps=5000",
)
NUM_SHOWN = 4
"""Faces on the contact sheet."""
NUM_HELD_BACK = 64
"""Pictures of val that the PSNR is measured on, at most."""


def main(words: Sequence[str] | None = None) -> int:
    """0 if the file was written, 1 if not; says why."""
    parser = Arguments("fingerprint", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("store", type=Path, help="folder that dfd preprocess made; its real faces are used")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help=".safetensors to write or go on with"
    )
    parser.add_argument(
        "--code-sizes", metavar="N,N", default=",".join(map(str, CODE_SIZES)), help="channels of the codes"
    )
    parser.add_argument("--num-steps", metavar="N", type=int, default=1500, help="of each autoencoder (default: 1500)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="patches (default: 32)")
    parser.add_argument("--patch", metavar="PX", type=int, default=64, help="side of a patch (default: 64)")
    parser.add_argument("--max-pictures", metavar="N", type=int, default=2000, help="of train (default: 2000)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="(default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    chosen = parser.parse_args(words)
    return status_of(lambda: fit(chosen))


def fit(chosen: argparse.Namespace) -> None:
    """Train the autoencoders that the output lacks, write each when it is done, and draw the contact sheet.

    Raises:
        ConfigError: an option is out of range, or the output was made in another way.
        StoreError: the store has no real faces in train or val.
    """
    options = Resynthesis(chosen.num_steps, chosen.batch_size, chosen.patch, seed=chosen.seed)
    sizes = code_sizes(chosen.code_sizes)
    if chosen.output.suffix != ".safetensors":
        raise ConfigError(f"--output {chosen.output}: the file is written as .safetensors; give it that ending")
    train, held_back, data = real_faces(chosen.store, chosen.max_pictures)
    networks: dict[int, Autoencoder] = {}
    facts: dict[str, AutoencoderFacts] = {}
    if chosen.output.exists():
        before = read_autoencoders(chosen.output)
        made, asked = (before.card.data, before.card.training), (data, asdict(options))
        if made != asked:
            raise ConfigError(
                f"{chosen.output}: was made in another way ({_changes(*made, *asked)}); give another --output"
            )
        networks, facts = dict(before.networks), dict(before.card.autoencoders)
    missing = [size for size in sizes if size not in networks]
    device = pick_device(chosen.device)
    with progress_bar() as bar:
        task = bar.add_task("autoencoders", total=len(missing) * options.num_steps, note="")
        for size in missing:

            def on_step(loss: float, size: int = size) -> None:
                bar.update(task, advance=1, note=f"code {size}, loss {loss:.5f}")

            networks[size] = fit_autoencoder(train, size, options, on_step=on_step, device=device)
            values = psnr_of(networks[size], held_back)
            facts[str(size)] = AutoencoderFacts(options.num_steps, round(sum(values) / len(values), 2))
            networks = {one: networks[one] for one in sorted(networks, reverse=True)}
            card = AutoencoderCard(facts, __version__, data, asdict(options))
            write_autoencoders(chosen.output, Autoencoders(networks, card))
    for size in networks:
        people = f"{len(held_back)} held-back pictures of real faces"
        print(f"code of {size:>3} channels: PSNR {facts[str(size)].psnr:.1f} dB on {people}")
    sheet = draw(chosen.output, networks, held_back)
    print(f"the autoencoders are in {chosen.output}, some faces before and after them in {sheet}")
    print(f"next: dfd evaluate CHECKPOINT STORE --suite robustness --fingerprint-weights {chosen.output}")


def code_sizes(text: str) -> list[int]:
    """Code sizes of the command line.

    >>> code_sizes("32,4")
    [32, 4]

    Raises:
        ConfigError: one is no whole number from 1 to ``MAX_CODE_SIZE``, or there are too many.
    """
    parts = text.strip("[] ").split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= MAX_CODE_SIZE for part in parts):
        raise ConfigError(f"--code-sizes {text}: give whole numbers from 1 to {MAX_CODE_SIZE}, such as 32,8")
    if len(parts) > MAX_AUTOENCODERS:
        raise ConfigError(f"--code-sizes {text}: {MAX_AUTOENCODERS} at most")
    return list(dict.fromkeys(map(int, parts)))


def real_faces(store: Path, max_pictures: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Pictures of real faces of train and of val, uint8 (N, 3, H, W), and the facts about them for the card.

    Raises:
        ConfigError: ``max_pictures`` is below 1.
        StoreError: the store is missing or damaged, or has no real face in train or val.
    """
    if max_pictures < 1:
        raise ConfigError(f"--max-pictures must be 1 or more, got {max_pictures}")
    data = ClipDataModule(store, num_workers=0)
    real = data.index[(data.index["label"] == "real") & data.index["is_main"]]
    pictures = []
    for split, most in (("train", max_pictures), ("val", min(NUM_HELD_BACK, max_pictures))):
        rows = real[real["split"] == split]
        if rows.empty:
            raise StoreError(
                f"{data.store}: no real video with a face in split {split!r}; autoencoders learn from train and "
                "are measured on those of val: make the store with more videos or other split_fractions"
            )
        pictures.append(_pictures(data.store, rows, most))
    facts = {
        "store": data.store.absolute().name,
        "index_sha256": file_sha256(data.store / INDEX_NAME),
        "num_pictures": len(pictures[0]),
        "num_held_back": len(pictures[1]),
        "side": int(real["size"].max()),
    }
    return pictures[0], pictures[1], facts


def _pictures(store: Path, rows: pd.DataFrame, most: int) -> Tensor:
    """At most ``most`` frames of face tracks, evenly spaced over the tracks and in each."""
    tracks = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
    num_each = max(1, most // len(tracks))
    frames = []
    for path, num_frames in zip(tracks["path"], tracks["num_frames"], strict=True):
        places = np.unique(np.linspace(0, num_frames - 1, min(num_each, num_frames)).round().astype(int))
        frames.append(read_frames(store / path, places.tolist()))
    return torch.from_numpy(np.concatenate(frames)).permute(0, 3, 1, 2).contiguous()


def draw(output: Path, networks: Mapping[int, Autoencoder], pictures_NCHW: Tensor) -> Path:
    """Draw some held-back faces as they are and after each autoencoder, beside the output; returns the file."""
    chosen = torch.linspace(0, len(pictures_NCHW) - 1, min(NUM_SHOWN, len(pictures_NCHW))).round().long()
    rows = []
    for number, picture_CHW in enumerate(pictures_NCHW[chosen], start=1):
        shown = [("as it is", picture_CHW.permute(1, 2, 0).numpy())]
        for size, network in networks.items():
            after = resynthesised(network, picture_CHW[None])
            caption = f"code {size}: {psnr_of(network, picture_CHW[None])[0]:.1f} dB"
            shown.append((caption, after[0].permute(1, 2, 0).numpy()))
        rows.append((f"face {number}", shown))
    path = output.with_suffix(".png")
    save(disturbance_sheet(rows), path)
    return path


def _changes(made_of: Any, made_by: Any, data: Any, options: Any) -> str:
    before, now = {**made_of, **made_by}, {**data, **options}
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
