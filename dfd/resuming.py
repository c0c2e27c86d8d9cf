"""Going on with a run that was stopped: from what, whether anything is left to do, and with which command."""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd.errors import CheckpointError, ConfigError, RunDiverged, RunInterrupted
from dfd.files import written_whole
from dfd.untrusted import read_json

if TYPE_CHECKING:
    from lightning import Trainer

    from dfd.data.module import ClipDataModule

BEST, LAST = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
SUMMARY = "summary.json"
OPTIONS_KEY = "options_sha256"
"""In ``summary.json`` of a run that came to its end: of all options that can change a result."""
CHANGES_NOTHING = ("ckpt_path", "logger", "tags", "data.num_workers", "trainer.enable_progress_bar")
"""Options that a run may be given anew: none of them changes a result."""


def resume_path(ckpt_path: str | None, folder: Path, *, may_begin: bool) -> str | None:
    """The checkpoint to go on from; ``last`` is the one in this run's own folder, ``auto`` too, if it is there.

    Args:
        ckpt_path: as given.
        folder: of the run.
        may_begin: whether ``last`` begins a run that had not come to its first checkpoint, as a job of a study does.

    Raises:
        CheckpointError: it is not there.
    """
    if ckpt_path is None:
        return None
    path = folder / LAST if ckpt_path in ("last", "auto") else Path(ckpt_path)
    if not path.is_file():
        if ckpt_path == "auto" or (ckpt_path == "last" and may_begin):
            return None
        raise CheckpointError(
            f"{path}: no such checkpoint; ckpt_path=last needs hydra.run.dir=RUN_DIR of a stopped run"
        )
    return str(path)


def refuse_used(folder: Path) -> None:
    """Refuse to begin a run where another is: its results would pass for this one's.

    Raises:
        ConfigError: the folder has a run in it, whole or stopped.
    """
    for name in (SUMMARY, str(LAST)):
        if (folder / name).exists():
            raise ConfigError(
                f"{folder}: has a run in it ({name}); go on with it by the same options and ckpt_path=last, or give "
                "another hydra.run.dir (hydra.sweep.dir), or remove the folder"
            )


def check_same_data(path: str, data: "ClipDataModule") -> None:
    """Refuse to go on with a run on other clips, or on another choice or split of them, than it began with.

    Raises:
        CheckpointError: the store's index, or what is used of it, is not what the checkpoint was trained on.
    """
    from dfd.checkpoint import load_checkpoint

    card, _ = load_checkpoint(path)
    now = data.summary()
    if card.data.get("index_sha256") != now["index_sha256"]:
        raise CheckpointError(
            f"{path}: was trained on the store {card.data.get('store')!r} as it was then, not on {data.store} as it is "
            "now; repeat all options of the stopped run (its config.yaml has them), or start anew"
        )
    if any(card.data.get(key, now[key]) != now[key] for key in ("videos_sha256", "tracks")):
        then, wanted = ({**summary.get("selection", {}), "tracks": summary["tracks"]} for summary in (card.data, now))
        raise CheckpointError(
            f"{path}: was trained on other videos of the store ({then}) than this run would use ({wanted}), which may "
            "be those that it would be tested on; repeat all options of the stopped run, or start anew"
        )


def options_sha256(config: Mapping[str, Any]) -> str:
    """A hash of those of a run's resolved options that can change a result."""

    def without(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        kept = {key: value for key, value in node.items() if f"{prefix}{key}" not in CHANGES_NOTHING}
        return {
            key: without(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
            for key, value in kept.items()
        }

    return hashlib.sha256(json.dumps(without(config, ""), sort_keys=True, default=str).encode()).hexdigest()


def mark_finished(folder: Path, config: Mapping[str, Any]) -> None:
    """Write into the run's summary, as its last step, with which options it came to its end."""
    summary = {**read_json(folder / SUMMARY), OPTIONS_KEY: options_sha256(config)}
    with written_whole(folder / SUMMARY) as unfinished:
        unfinished.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")


def finished_summary(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of a run that came to its end with just these options; None if there is something left to do."""
    try:
        summary: dict[str, Any] = read_json(folder / SUMMARY)
    except (OSError, ValueError):
        return None
    return summary if summary.get(OPTIONS_KEY) == options_sha256(config) else None


@contextmanager
def explaining_interruption(trainer: "Trainer", folder: Path, *, sweep_dir: Path | None = None) -> Iterator[None]:
    """Turn Ctrl-C into an error that says what was kept and how to go on; a diverged run's says what was kept.

    Args:
        trainer: of the run. Lightning takes Ctrl-C for itself, and ends the process with exit status 1.
        folder: of the run.
        sweep_dir: of the study that the run is a job of.

    Raises:
        RunInterrupted: Ctrl-C was pressed.
        RunDiverged: the run has, after epochs that were kept.
    """
    try:
        yield
    except RunDiverged as error:
        if (folder / LAST).is_file():
            raise RunDiverged(f"{error}; {_kept(folder)}") from None
        raise
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not trainer.interrupted:
            raise
        if not trainer.is_global_zero:
            raise SystemExit(130) from None
        raise RunInterrupted(how_to_go_on(folder, sweep_dir=sweep_dir)) from None


def how_to_go_on(folder: Path, *, sweep_dir: Path | None = None, command: Sequence[str] | None = None) -> str:
    """What is kept of a run that was interrupted, and the command that goes on with it.

    Args:
        folder: of the run.
        sweep_dir: of the study that the run is a job of.
        command: its own; None: this process's.
    """
    program, *given = sys.argv if command is None else command
    has_last = (folder / LAST).is_file()
    kept = _kept(folder) if has_last else "nothing is kept yet"
    key, where = ("hydra.run.dir", folder) if sweep_dir is None else ("hydra.sweep.dir", sweep_dir)
    mine = [argument for argument in given if not argument.startswith((f"{key}=", "ckpt_path="))]
    if has_last or sweep_dir is not None:
        mine += [] if sweep_dir is not None else ["ckpt_path=last"]
        mine.append(f"{key}={_value(_short(where))}")
    return f"interrupted; {kept}. To go on:\n  {shlex.join(['python', _short(Path(program)), *mine])}"


def _kept(folder: Path) -> str:
    from dfd.checkpoint import load_checkpoint

    def epoch_of(path: Path) -> int:
        import torch

        return int(torch.load(path, map_location="meta", weights_only=True)["epoch"]) + 1

    last = epoch_of(folder / LAST)
    text = f"kept: {f'epochs 1 to {last}' if last > 1 else 'epoch 1'} ({_short(folder / LAST)})"
    if (folder / BEST).is_file():
        loss = load_checkpoint(folder / BEST)[0].metrics.get("val/loss")
        shown = "" if loss is None else f", val/loss {loss:.3f}"
        text += f", and the best of them, epoch {epoch_of(folder / BEST)}{shown}, which predict.py takes"
        text += f" ({_short(folder / BEST)})"
    return text


def _short(path: Path) -> str:
    """Relative to the working folder, if it is in there."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _value(text: str) -> str:
    """A value that Hydra's parser takes as it is."""
    if re.fullmatch(r"[\w./:@%+-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
