"""Folders of scored videos, as predict.py leaves them: read, checked, and merged where the work was divided."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfd.base.errors import ReportError
from dfd.base.files import inside, write_table, write_text
from dfd.base.types import Amount, Count, Label, Prob, VideoScore
from dfd.base.untrusted import decode, read_json
from dfd.predictions.layout import CSV_NAME, EVIDENCE_NAME, JSONL_NAME, RUN_NAME
from dfd.predictions.rows import (
    SCHEMA_VERSION,
    PredictionsError,
    columns_of,
    models_in,
    read_scores,
    row_of,
    score_of,
)
from dfd.predictions.writer import remove, write_run
from dfd.runs.settings import flat, nested, shown

MERGED_KEY = "merged_from"
"""In run.json: the names of the folders that were merged into this one."""

# What decides a score or what is said of it; where two folders know it, it must be the same.
DECIDING = (
    *("name", "weights_sha256", "threshold", "temperature", "uncertain_margin", "uncertain_band", "aggregation"),
    *("clip_len", "clip_stride", "image_size"),
)

_OF_MODEL = {"threshold": "threshold", "temperature": "temperature", "band": "uncertain_band"}
"""Fields of :class:`RunFacts` that run.json has under ``model``, and their names there."""


@dataclass(frozen=True, slots=True)
class MomentFacts:
    """A moment of :func:`dfd.predictions.pictures.write_evidence`: pictures by their names in the folder."""

    track: Count
    window: Count
    seconds: Amount
    prob_fake: Prob
    crop: str
    heatmap: str | None = None
    frame: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredVideo:
    """A line of ``predictions.jsonl``. ``value`` is the line as it was written."""

    folder: Path
    score: VideoScore
    thumbnail: str | None
    moments: tuple[MomentFacts, ...]
    value: Mapping[str, Any]

    @property
    def has_verdict(self) -> bool:
        """False where the video could not be scored."""
        return self.score.verdict is not None and self.score.prob_fake is not None


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What a manifest says of a video: its label, the method of a fake, and the segments (seconds) that are fake."""

    label: Label
    method: str = ""
    segments: tuple[tuple[Amount, Amount], ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """``run.json``: what scores were made with. What it does not say is None or empty."""

    value: Mapping[str, Any]
    started: str | None = None
    dfd: str | None = None
    input: str | None = None
    threshold: Prob | None = None
    band: tuple[Prob, Prob] | None = None
    temperature: Amount | None = None
    labels: Mapping[str, LabelFacts] = field(default_factory=dict)
    """Labels by the paths of the videos, where a manifest was given."""

    @property
    def gives_verdicts(self) -> bool:
        """False if the detector gives scores without verdicts, so that its threshold decides nothing."""
        return not self.no_verdict

    @property
    def no_verdict(self) -> str:
        """Reason why the detector's scores come without verdicts; empty if they come with them."""
        found = self.model.get("no_verdict")
        return found if isinstance(found, str) else ""

    @property
    def model(self) -> Mapping[str, Any]:
        """Description of the detector."""
        found = self.value.get("model")
        return found if isinstance(found, Mapping) else {}

    def of_model(self, *keys: str) -> Any:
        """Part of the description of the detector, such as ``of_model("data", "splits", "train")``; None if missing."""
        return nested(self.model, *keys)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The videos of one or several folders, most suspicious first, those without a verdict last.

    ``runs`` has an entry for each folder that holds a ``run.json``.
    """

    folders: tuple[Path, ...]
    videos: tuple[ScoredVideo, ...]
    runs: tuple[RunFacts, ...]

    @property
    def run(self) -> RunFacts | None:
        """Facts of the folder that says most about its detector; the others agree in all that decides a score."""
        return max(self.runs, key=lambda run: len(run.model), default=None)

    @property
    def labels(self) -> Mapping[str, LabelFacts]:
        """Labels of the videos of all folders, by path."""
        return {path: label for run in self.runs for path, label in run.labels.items()}

    @property
    def model(self) -> str | None:
        """Name and hash of the detector."""
        names = [*(video.score.model for video in self.videos), self.run.of_model("name") if self.run else None]
        return next((name for name in names if name and isinstance(name, str)), None)

    @property
    def settings(self) -> Mapping[str, Any]:
        """How faces were found and windows chosen."""
        written = [*(video.value for video in self.videos), *(run.value for run in self.runs)]
        return next((found for one in written if isinstance(found := one.get("settings"), Mapping) and found), {})


def find_scored(folders: Iterable[Path]) -> list[Path]:
    """Folders with scored videos among ``folders``; for a multirun's folder, all that lie in it.

    Empty if none has any: then they may be training runs.

    Raises:
        ReportError: some have and some have not.
    """
    found: dict[Path, Path] = {}
    scored, others = list[Path](), list[Path]()
    for folder in folders:
        within = sorted(folder.iterdir()) if folder.is_dir() and not is_scored(folder) else [folder]
        here = [path for path in within if path.is_dir() and is_scored(path)]
        (scored if here else others).append(folder)
        found.update({path.resolve(): path for path in here if path.resolve() not in found})
    if scored and others:
        raise ReportError(
            f"{scored[0]} holds scored videos and {others[0]} does not (it has no {JSONL_NAME}); "
            "make one report of scored videos and another of training runs"
        )
    return list(found.values())


def is_scored(folder: Path) -> bool:
    """True if predict.py wrote to it."""
    return (folder / JSONL_NAME).is_file()


def read_scored(folders: Sequence[Path]) -> Scored:
    """Read folders and put their videos together; a folder that is given twice is read once.

    Raises:
        ReportError: a folder holds no scores or damaged ones, two were scored with other detectors or settings, or
            a video is in two of them.
    """
    folders = list({folder.resolve(): folder for folder in folders}.values())
    if not folders:
        raise ReportError("there are no scored videos to report on; give the folder that predict.py names at its end")
    videos = [video for folder in folders for video in _read_videos(folder)]
    runs = {folder: run for folder in folders if (run := _read_run(folder))}
    _refuse_differences(videos, runs)
    seen: dict[str, Path] = {}
    for video in videos:
        if video.score.path in seen:
            raise ReportError(
                f"{video.score.path!r} was scored in {seen[video.score.path]} and in {video.folder}; leave one of the "
                "two folders out"
            )
        seen[video.score.path] = video.folder
    return Scored(tuple(folders), tuple(sorted(videos, key=_suspicion)), tuple(runs.values()))


def _suspicion(video: ScoredVideo) -> tuple[bool, float, str]:
    return not video.has_verdict, -(video.score.prob_fake or 0.0), video.score.path


def _read_videos(folder: Path) -> list[ScoredVideo]:
    if not is_scored(folder):
        raise ReportError(f"{folder}: holds no scored videos (no {JSONL_NAME}); give an output folder of predict.py")
    path = folder / JSONL_NAME
    try:
        inside(folder, path)
        values = read_scores(folder)
    except PredictionsError as error:
        raise ReportError(str(error)) from error
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ReportError(f"{path}: cannot be read ({error}); restore it, or score the videos again") from error
    videos = []
    for name, value in values.items():
        try:
            moments = decode(tuple[MomentFacts, ...], value.get("moments") or (), "moments")
            thumbnail = decode(str | None, value.get("thumbnail"), "thumbnail")
            videos.append(ScoredVideo(folder, score_of(value), thumbnail, moments, value))
        except ValueError as error:
            raise ReportError(
                f"{path}: the score of {name!r} is damaged ({error}); delete its line and run predict.py again"
            ) from error
    return videos


def _read_run(folder: Path) -> RunFacts | None:
    path = folder / RUN_NAME
    if not path.is_file():
        return None
    try:
        value = decode(dict, read_json(inside(folder, path)))
        if value.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"it has schema version {value.get('schema_version')}, this dfd reads {SCHEMA_VERSION}")
        model = RunFacts(value).model
        known = {name: model.get(key) for name, key in _OF_MODEL.items()}
        return decode(RunFacts, {**value, **known, "value": value})
    except (OSError, ValueError, TypeError) as error:
        raise ReportError(f"{path}: cannot be read ({error}); restore it, or take it out of the folder") from error


def _refuse_differences(videos: Sequence[ScoredVideo], runs: Mapping[Path, RunFacts]) -> None:
    """Refuse scores of two detectors, or found with different settings, since they do not compare."""
    facts: list[tuple[Path, Mapping[str, Any]]] = []
    facts += [(one.folder, {"detector": one.score.model, **flat(one.value.get("settings"))}) for one in videos]
    facts += [(folder, {key: run.model[key] for key in DECIDING if key in run.model}) for folder, run in runs.items()]
    first: dict[str, tuple[Path, Any]] = {}
    for folder, known in facts:
        for key, value in known.items():
            other, before = first.setdefault(key, (folder, value))
            if value != before:
                raise ReportError(
                    f"{other} and {folder} were not scored alike: {key} is {shown(before)} and {shown(value)}; "
                    "make a report of each"
                )


def write_merged(scored: Scored, output: Path) -> None:
    """The videos of several folders as one output folder of predict.py, with their pictures.

    Raises:
        ReportError: ``output`` is one of the folders, or holds scores that were not merged by this function.
    """
    refuse_to_replace(scored.folders, output)
    output.mkdir(parents=True, exist_ok=True)
    pictures = output / EVIDENCE_NAME
    remove(pictures)  # of an earlier merge
    for folder in scored.folders:
        if (folder / EVIDENCE_NAME).is_symlink():
            raise ReportError(f"{folder / EVIDENCE_NAME}: is a link, which is not followed; put the folder there")
        if (folder / EVIDENCE_NAME).is_dir():
            shutil.copytree(folder / EVIDENCE_NAME, pictures, dirs_exist_ok=True, ignore=_not_pictures)
    values = [video.value for video in scored.videos]
    labels = {path: one for run in scored.runs for path, one in (run.value.get("labels") or {}).items()}
    facts = {**(scored.run.value if scored.run else {}), MERGED_KEY: [f.name for f in scored.folders]}
    write_run(output, {**facts, "labels": labels} if labels else facts)
    write_table(output / CSV_NAME, map(row_of, values), columns_of(models_in(values)))
    write_text(output / JSONL_NAME, "".join(json.dumps(value) + "\n" for value in values))


def _not_pictures(folder: str, names: list[str]) -> list[str]:
    """Links, which may lead anywhere, and what is neither a file nor a folder; predict.py writes none of them."""
    paths = {name: Path(folder, name) for name in names}
    return [name for name, path in paths.items() if path.is_symlink() or not (path.is_file() or path.is_dir())]


def refuse_to_replace(folders: Sequence[Path], output: Path) -> None:
    """Hold what was scored from being overwritten by what was merged.

    Raises:
        ReportError: ``output`` is one of the folders, or holds scores of its own.
    """
    if output.resolve() in [folder.resolve() for folder in folders]:
        raise ReportError(f"{output}: is one of the folders to merge; choose another --output")
    if not is_scored(output):
        return
    run = _read_run(output)
    if run is None or MERGED_KEY not in run.value:
        raise ReportError(f"{output}: already holds scores, which merging would replace; choose another --output")
