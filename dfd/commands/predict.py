"""Score videos with a detector and write what is found: ``predict.py``."""

from __future__ import annotations

import contextlib
import csv
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dfd.base.errors import ConfigError
from dfd.base.machine import keep_freed_memory, without_collection
from dfd.base.progress import progress_bar
from dfd.base.types import Verdict
from dfd.base.untrusted import read_json
from dfd.config.entry import output_dir, parse_shard, refusing
from dfd.config.schemas import PredictConfig, inputs_of
from dfd.metrics.formulas import one_sided_warning
from dfd.models.files.card import num_networks, read_card
from dfd.models.files.scope import words_of
from dfd.models.starter import checkpoint_path
from dfd.predictions.blinks import BlinkCounter
from dfd.predictions.inputs import NothingToScore, find_inputs, is_no_video
from dfd.predictions.layout import ANNOTATED_NAME, JSONL_NAME, NOT_VIDEOS_NAME, RUN_NAME
from dfd.predictions.parquet import write_parquet
from dfd.predictions.rows import read_scores
from dfd.predictions.verdicts import remarks, tellers_of, told_anew
from dfd.predictions.writer import PredictionWriter, write_run
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.scoring.options import check_numbers, detector_options, run_facts, settings_of, start_workers, windows_of_one
from dfd.scoring.ray import RayEngine
from dfd.scoring.runtimes.expected import expected_seconds

if TYPE_CHECKING:
    from dfd.scoring.detector import Detector
    from dfd.scoring.panel import Ensemble, Panel

MAX_SHOWN = 40
"""So many rows are printed; the CSV has all."""


def predict(config: PredictConfig) -> None:
    """Score the inputs, going on where an earlier run with the same output stopped; writes tables and the report."""
    keep_freed_memory()
    check_numbers(config)
    shard, num_shards = parse_shard(config.shard)
    inputs = inputs_of(config.input)
    paths = find_inputs(inputs)[shard::num_shards]
    labels = labels_of(config, paths)
    folder = Path(config.output).expanduser() if config.output else output_dir()
    if config.runtime == "auto" and not config.overwrite:
        config.runtime = runtime_of_folder(folder, Path(inputs_of(config.checkpoint)[0]))
    files = [checkpoint_path(name) for name in inputs_of(config.checkpoint)]
    is_new = config.overwrite or not (folder / JSONL_NAME).exists()
    with refusing("predict"), progress_bar(transient=True) as bar:
        config.max_windows, config.sparse_windows = windows_for(config, folder, inputs, paths)
        expected = expected_seconds(config, files, len(paths))
        ends = None if expected is None else time.monotonic() + expected
        bar.add_task("loading the detector", total=len(paths), note="", ends=ends)
        engine, detector = engine_of(config, files, paths, is_new=is_new)

    blinks = BlinkCounter(detector.face_detector, max_decode_side=config.max_decode_side) if config.blinks else None
    aggregation = (described := detector.describe())["aggregation"]
    fitted_for = detector.card.calibration.get("aggregation", aggregation)
    if fitted_for != aggregation:
        print(f"The detector was calibrated for aggregation={fitted_for}: its threshold may not fit this one")
    settings = settings_of(config, detector)
    continued: dict[str, Any] = {"overwrite": config.overwrite, "detectors": detector.parts}
    continued["asked"] = {str(path) for path in paths}
    if temperatures(run_model(folder)) == temperatures(described):  # else the scores differ, too
        continued["tell_anew"] = partial(
            told_anew, settings=settings, tellers=tellers_of(described, votes=config.votes)
        )
    with engine, PredictionWriter(folder, model=detector.name, settings=settings, **continued) as writer:
        write_run(folder, {**run_facts(config, detector, settings), **labels})
        waiting = [path for path in paths if str(path) not in writer.done]
        if writer.changed:
            print(f"{len(writer.changed)} have been changed since they were scored, and are scored again")
        if writer.num_told_anew:
            print(f"the verdicts of {writer.num_told_anew} scored videos were told anew, with today's threshold")
        if writer.num_outdated:
            print(f"{writer.num_outdated} annotated files show the old verdicts, and are drawn anew")
        if len(waiting) < len(paths):
            print(f"{len(paths) - len(waiting)} of {len(paths)} are already in {writer.csv_path}")
        try:
            others = list(write_scores(engine, waiting, writer, asked=inputs, ends=ends, blinks=blinks))
        except KeyboardInterrupt:
            done = f"{len(writer.done & {str(path) for path in paths})} of {len(paths)} are in {folder}"
            remedy = f"run it again with output={folder} to go on, or see them now: dfd report {folder}"
            raise KeyboardInterrupt(f"interrupted; {done}; {remedy}") from None
        if not writer.done and num_shards == 1:
            raise NothingToScore(f"{', '.join(inputs[:3])}: none of the {len(paths)} files is a video")
        if others:
            (folder / NOT_VIDEOS_NAME).write_text("".join(f"{path}\n" for path in others), errors="surrogateescape")
            print(f"{len(others)} other files are not videos: {folder / NOT_VIDEOS_NAME}")
        if config.annotate or writer.num_outdated:
            annotate(folder, detector, deadline_seconds=config.deadline_seconds)
    if config.engine == "ray":
        write_parquet(folder)
    summarize(writer, gives_verdicts=detector.gives_verdicts)
    say_caveat(detector)
    print(f"predictions.csv and predictions.jsonl (every face and window) are in {folder}")
    if config.report and writer.done:
        from dfd.report.videos.single import write_scored_report

        print(f"the report, one file to hand on, is {write_scored_report([folder], folder)}")


def labels_of(config: PredictConfig, paths: Sequence[Path]) -> Mapping[str, Any]:
    """Entry of run.json with the labels that ``manifest=`` knows; empty without one."""
    if config.manifest is None:
        return {}
    from dfd.predictions.labels import LABELS_KEY, labels_beside

    found = labels_beside(Path(config.manifest), paths)
    print(found.sentence)
    return {LABELS_KEY: found.labels}


def engine_of(
    config: PredictConfig, files: Sequence[Path], paths: list[Path], *, is_new: bool
) -> tuple[Detector | Ensemble | Panel | RayEngine, Detector | Ensemble | Panel]:
    """What scores these videos, and the detector that it scores with. Where none is scored yet, workers begin at once.

    Raises:
        ConfigError: there is no such engine.
        CheckpointError: the checkpoint is missing, damaged, or of another program.
    """
    options = detector_options(config)
    if config.votes and len(files) == 1:
        raise ConfigError("votes are for several detectors: checkpoint=[a,b]")
    if config.engine == "local":
        with ExitStack() as stack:
            # Before torch is imported here.
            pool = stack.enter_context(start_workers(config, files, paths, begin=is_new))
            with without_collection():
                from dfd.scoring.panel import load_any

            detector = load_any(files, weights=config.votes, num_videos=len(paths), pool=pool, **options)
            detector.keeps_workers = False
            stack.pop_all()  # the detector closes it
        return detector, detector
    if len(files) > 1 or num_networks(read_card(files[0])) > 1:
        raise ConfigError(f"engine={config.engine} scores with one network; use engine=local")
    if config.engine == "ray":
        engine = RayEngine(files[0], **asdict(config.ray), **options)
        return engine, engine.detector
    raise ConfigError(f"engine={config.engine} is not one of local, ray")


def write_scores(
    engine: Detector | Ensemble | Panel | RayEngine,
    paths: list[Path],
    writer: PredictionWriter,
    *,
    asked: Sequence[str],
    ends: float | None = None,
    blinks: BlinkCounter | None = None,
) -> Iterator[str]:
    """Write each score as it comes, with a progress bar; yields the files that are no videos and got no row."""
    with progress_bar() as bar:
        task = bar.add_task("scoring", total=len(paths), note="", ends=ends)
        shares: dict[Path, float] = {}
        num_done = 0

        def on_progress(path: Path, share: float) -> None:
            shares[path] = share
            bar.update(task, completed=num_done + sum(shares.values()))

        for score in engine.score_many(paths, on_progress=on_progress):
            if is_no_video(score, asked):
                yield score.path
            else:
                writer.write(replace(score, blinks=blinks(score.path)) if blinks and score.status.has_faces else score)
            num_done += 1
            shares.pop(Path(score.path), None)
            note = ", ".join(f"{n} {status}" for status, n in writer.counts.most_common())
            bar.update(task, completed=num_done + sum(shares.values()), note=note)


def annotate(folder: Path, detector: Detector | Ensemble | Panel, *, deadline_seconds: float) -> None:
    """Draw faces and scores into each scored video that has not been drawn yet; says which cannot be drawn."""
    from dfd.predictions.annotate.tasks import annotate_task, num_without_boxes, rules_of, to_annotate

    windows = detector.windows
    tasks = to_annotate(folder, rules=rules_of(detector), limits=windows.limits, video_stream=windows.video_stream)
    if without := num_without_boxes(folder):
        remedy = "add overwrite=true to score them so"
        print(f"{without} videos were scored without annotate=true and are not drawn; {remedy}")
    if not tasks:
        return
    num_workers = min(detector.num_workers, len(tasks))
    with progress_bar() as bar, WorkerPool(num_workers=num_workers, deadline_seconds=deadline_seconds) as pool:
        progress = bar.add_task("annotating", total=len(tasks), note="")
        for task, result in pool.map(annotate_task, tasks):
            message = f"not drawn: {result.message}" if isinstance(result, Failure) else result
            if message:
                bar.console.print(f"{_printable(task.value['path'])}: {_printable(message)}", highlight=False)
            bar.update(progress, advance=1)
    print(f"videos and pictures with boxes and scores are in {folder / ANNOTATED_NAME}")


def summarize(writer: PredictionWriter, *, gives_verdicts: bool = True) -> None:
    """A table in the terminal: what became of the videos, and the verdicts, most suspicious first."""
    with writer.csv_path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -float(row["prob_fake"] or -1))
    shown = Table(title=", ".join(f"{n} {status}" for status, n in writer.counts.most_common()), box=SIMPLE)
    for name in ("video", "status", "verdict"):
        shown.add_column(name, overflow="fold")
    for name in ("score", "faces"):
        shown.add_column(name, justify="right")
    console = Console()
    colors = {Verdict.FAKE: "bold red", Verdict.REAL: "blue", Verdict.UNCERTAIN: "yellow"}
    for row in rows[:MAX_SHOWN]:
        score = f"{float(row['prob_fake']):.3f}" if row["prob_fake"] else ""
        verdict = ""
        if found := row["verdict"]:
            verdict = f"[{colors[Verdict(found)]}]{words_of(Verdict(found), row['message'])}[/]"
        shown.add_row(_printable(Path(row["path"]).name), row["status"], verdict, score, row["num_faces"])
    console.print(shown)
    for line in remarks(read_scores(writer.folder).values()):
        console.print(f"[yellow]{_printable(line)}[/]", highlight=False, soft_wrap=True)
    if len(rows) > MAX_SHOWN:
        print(f"… and {len(rows) - MAX_SHOWN} more in {writer.csv_path}")
    verdicts = Counter(row["verdict"] for row in rows if row["verdict"])
    if gives_verdicts and (warning := one_sided_warning(verdicts)):
        console.print(f"[bold yellow]{warning}[/]", highlight=False)


def say_caveat(detector: Detector | Ensemble | Panel) -> None:
    """Say once what must be known beside the scores, and why they come without verdicts."""
    console = Console()
    if detector.caveat:
        console.print(f"[bold yellow]About this detector:[/] {_printable(detector.caveat)}", highlight=False)
    if reason := detector.describe()["no_verdict"]:
        console.print(f"[bold yellow]Only scores, no verdicts:[/] {_printable(reason)}", highlight=False)


def _printable(text: str) -> str:
    """``text`` without line ends, markup or what no terminal can show: a file name may hold all of them."""
    return escape(repr(text)[1:-1])


def windows_for(
    config: PredictConfig, folder: Path, inputs: Sequence[str], paths: Sequence[Path]
) -> tuple[Any, int | None]:
    """What ``max_windows`` and ``sparse_windows`` are: of a single video given by its name, as many as can be afforded.

    A folder that holds scores is gone on with as it was begun, and a card's own number is kept: it is part of how the
    detector's authors score.
    """
    as_given = config.max_windows, config.sparse_windows
    if config.max_windows != "auto" or config.sparse_windows is not None or config.engine != "local":
        return as_given
    if not config.overwrite and (folder / JSONL_NAME).is_file():
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            settings = read_json(folder / RUN_NAME)["settings"]
            return settings["max_windows"], settings.get("sparse_windows")
    files = [checkpoint_path(name) for name in inputs_of(config.checkpoint)]
    if len(paths) != 1 or [Path(name).expanduser() for name in inputs] != list(paths):
        return as_given
    return windows_of_one(config, files, look_seconds=config.look_seconds)


def run_model(folder: Path) -> Mapping[str, Any]:
    """Description of the detector in a folder's ``run.json``; empty if there is none to be had."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        found = read_json(folder / RUN_NAME)["model"]
        return found if isinstance(found, Mapping) else {}
    return {}


def temperatures(described: Mapping[str, Any]) -> list[Any]:
    """Temperature of the detector, or of each of several, that are described; not a number where it is not said."""
    return [one.get("temperature", math.nan) for one in described.get("detectors") or [described]]


def runtime_of_folder(folder: Path, checkpoint: Path) -> str:
    """What ``runtime=auto`` is for a folder that scores lie in: what they were computed with; else ``auto``.

    So a run that is gone on with has the scores of one that was never stopped, to the last digit.
    """
    if checkpoint.suffix == ".onnx" or not (folder / JSONL_NAME).is_file():
        return "auto"
    runtime = {"TorchRuntime": "torch", "OnnxRuntime": "onnx"}.get(str(run_model(folder).get("runtime")), "auto")
    return runtime if runtime != "onnx" or all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))) else "auto"
