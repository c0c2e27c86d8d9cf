"""Resuming of runs: the checkpoint to resume from, checks that it fits, and the command to give."""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dfd.base.errors import CheckpointError, ConfigError, RunDiverged, RunInterrupted
from dfd.base.files import write_json
from dfd.base.untrusted import read_json
from dfd.config.cli.kinds import plain_or_quoted
from dfd.models.classifier import ClipClassifier, architecture
from dfd.models.files.checkpoint import load_checkpoint
from dfd.training.callbacks import Interruption

if TYPE_CHECKING:
    from lightning import Trainer

    from dfd.data.clips.module import ClipDataModule

BEST, LAST = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
SUMMARY = "summary.json"
OPTIONS_KEY = "options_sha256"
"""Key in the ``summary.json`` of a finished run for the hash of all options that can change a result."""
CHANGES_NOTHING = ("ckpt_path", "logger", "tags", "data.num_workers", "trainer.enable_progress_bar")
"""Options that may differ when a run is resumed, since they change no result."""


def resume_path(ckpt_path: str | None, folder: Path, *, may_begin: bool) -> str | None:
    """Checkpoint to resume from; ``last`` is the one in the run's own folder, ``auto`` the same if it exists.

    Args:
        ckpt_path: the option as given.
        folder: folder of the run.
        may_begin: whether ``last`` starts a run that has no checkpoint yet, as for jobs of a study.

    Raises:
        CheckpointError: there is no such checkpoint.
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
    """Refuse to start a run in the folder of another, whose results would be taken for this one's.

    Raises:
        ConfigError: the folder contains a finished or stopped run.
    """
    for name in (SUMMARY, str(LAST)):
        if (folder / name).exists():
            raise ConfigError(
                f"{folder}: has a run in it ({name}); resume it with the same options and ckpt_path=last, or give "
                "another hydra.run.dir (hydra.sweep.dir), or remove the folder"
            )


def check_same_data(path: str, data: "ClipDataModule") -> None:
    """Refuse to resume a run on other clips, or on another selection or split of them, than it started with.

    Raises:
        CheckpointError: the store's index or the used videos are not those that the checkpoint was trained on.
    """
    card, _ = load_checkpoint(path)
    now = data.summary()
    if card.data.get("index_sha256") != now["index_sha256"]:
        raise CheckpointError(
            f"{path}: was trained on the store {card.data.get('store')!r} as it was then, not on {data.store} as it is "
            "now; repeat all options of the stopped run (its config.yaml has them), or start a new run"
        )
    if any(card.data.get(key, now[key]) != now[key] for key in ("videos_sha256", "tracks")):
        then, wanted = ({**summary.get("selection", {}), "tracks": summary["tracks"]} for summary in (card.data, now))
        raise CheckpointError(
            f"{path}: was trained on other videos of the store ({then}) than this run would use ({wanted}), perhaps "
            "on some of its test videos; repeat all options of the stopped run, or start a new run"
        )


def options_sha256(config: Mapping[str, Any]) -> str:
    """Hash of the resolved options of a run that can change a result."""

    def without(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        kept = {key: value for key, value in node.items() if f"{prefix}{key}" not in CHANGES_NOTHING}
        return {
            key: without(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
            for key, value in kept.items()
        }

    return hashlib.sha256(json.dumps(without(config, ""), sort_keys=True, default=str).encode()).hexdigest()


def mark_finished(folder: Path, config: Mapping[str, Any]) -> None:
    """Record in the run's summary, as its last step, the options with which it finished."""
    summary = {**read_json(folder / SUMMARY), OPTIONS_KEY: options_sha256(config)}
    write_json(folder / SUMMARY, summary)


def finished_summary(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Summary of a run that finished with exactly these options; None if there is work left."""
    try:
        summary: dict[str, Any] = read_json(folder / SUMMARY)
    except (OSError, ValueError):
        return None
    return summary if summary.get(OPTIONS_KEY) == options_sha256(config) else None


@contextmanager
def explaining_interruption(trainer: "Trainer", folder: Path, *, sweep_dir: Path | None = None) -> Iterator[None]:
    """Turn Ctrl-C into an error that says what was kept and how to resume; add what was kept to a divergence error.

    Args:
        trainer: trainer of the run; Lightning catches Ctrl-C and exits with status 1.
        folder: folder of the run.
        sweep_dir: folder of the study if the run is one of its jobs.

    Raises:
        RunInterrupted: Ctrl-C was pressed.
        RunDiverged: the run diverged.
    """
    interruption = Interruption()
    trainer.callbacks.append(interruption)  # type: ignore[attr-defined]
    try:
        with interruption.watching():
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
    """Message about an interrupted run: what was kept, and the command that resumes it.

    Args:
        folder: folder of the run.
        sweep_dir: folder of the study if the run is one of its jobs.
        command: command of the run; None takes that of this process.
    """
    program, *given = sys.argv if command is None else command
    has_last = (folder / LAST).is_file()
    kept = _kept(folder) if has_last else "nothing is kept yet"
    key, where = ("hydra.run.dir", folder) if sweep_dir is None else ("hydra.sweep.dir", sweep_dir)
    mine = [argument for argument in given if not argument.startswith((f"{key}=", "ckpt_path="))]
    if has_last or sweep_dir is not None:
        mine += [] if sweep_dir is not None else ["ckpt_path=last"]
        mine.append(f"{key}={plain_or_quoted(_short(where))}")
    return f"interrupted; {kept}. To resume:\n  {shlex.join([*_program(program), *mine])}"


def _program(program: str) -> list[str]:
    """How the command was called: ``dfd``, or a file that python ran."""
    path = Path(program)
    if path.name == "__main__.py":
        return ["python", "-m", path.parent.name]
    return ["dfd"] if path.name == "dfd" else ["python", _short(path)]


def _kept(folder: Path) -> str:
    def epoch_of(path: Path) -> int:
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
    """Path as text, relative to the working folder if it lies inside."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def take_backbone(model: ClipClassifier, path: str) -> None:
    """Load a frozen backbone's weights from the resumed checkpoint before features are computed.

    The backbone may have been built with other weights: random ones, or from another file.

    Raises:
        CheckpointError: the file is not a checkpoint of dfd, or its model differs; the message says in what.
    """
    card, tensors = load_checkpoint(path)
    _refuse_other_model(card.model, model.config)
    prefix = "backbone."
    model.backbone.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    )


def _refuse_other_model(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another model.

    Raises:
        CheckpointError: the architectures or ``backbone.freeze`` differ.
    """
    parts, expected = architecture(theirs), architecture(ours)
    differing = [f"{part}: {parts[part]}, not {expected[part]}" for part in expected if parts[part] != expected[part]]
    if differing:
        raise CheckpointError(f"ckpt_path is a checkpoint of another model ({'; '.join(differing)})")
    frozen = bool(theirs["backbone"].get("freeze"))
    if frozen != bool(ours["backbone"].get("freeze")):
        raise CheckpointError(
            f"ckpt_path is a checkpoint of a run with backbone.freeze={str(frozen).lower()}; resume it with the same"
        )
