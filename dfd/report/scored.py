"""Folders of scored videos, as predict.py leaves them: read, checked, and merged where the work was divided."""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dfd.errors import ReportError
from dfd.files import inside, partial_of
from dfd.inputs import CSV_NAME, EVIDENCE_NAME, JSONL_NAME, RUN_NAME
from dfd.predictions import (
    COLUMNS,
    SCHEMA_VERSION,
    PredictionsError,
    read_scores,
    row_of,
    write_run,
    write_table,
)
from dfd.report.runs import flatten, show_setting
from dfd.types import FileFacts, Label, Status, TrackScore, Verdict, VideoScore, WindowScore
from dfd.untrusted import read_json

MERGED_KEY = "merged_from"
"""In run.json: the names of the folders that were merged into this one."""

# What decides a score or what is said of it; where two folders know it, it must be the same.
DECIDING = (
    *("name", "weights_sha256", "threshold", "temperature", "uncertain_margin", "uncertain_band", "aggregation"),
    *("clip_len", "clip_stride", "image_size"),
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MomentFacts:
    """A moment of :func:`dfd.predictions.write_evidence`: pictures by their names in the folder."""

    track: int
    window: int
    seconds: float
    prob_fake: float
    crop: str
    heatmap: str | None


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
class RunFacts:
    """``run.json``: what scores were made with. What it does not say is None or empty."""

    value: Mapping[str, Any]
    started: str | None = None
    dfd: str | None = None
    input: str | None = None
    threshold: float | None = None
    band: tuple[float, float] | None = None
    temperature: float | None = None

    @property
    def model(self) -> Mapping[str, Any]:
        """All that it says of the detector."""
        found = self.value.get("model")
        return found if isinstance(found, Mapping) else {}

    def of_model(self, *keys: str) -> Any:
        """What it says of the detector, such as ``of_model("data", "splits", "train")``; None where it does not."""
        value: Any = self.model
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


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
        """Of the folder that says most of its detector; in all that decides a score the others agree."""
        return max(self.runs, key=lambda run: len(run.model), default=None)

    @property
    def model(self) -> str | None:
        """Name and hash of the detector."""
        for video in self.videos:
            if video.score.model:
                return video.score.model
        name = self.run.of_model("name") if self.run else None
        return name if isinstance(name, str) else None

    @property
    def settings(self) -> Mapping[str, Any]:
        """How faces were found and windows chosen."""
        written = [*(video.value for video in self.videos), *(run.value for run in self.runs)]
        return next((found for one in written if isinstance(found := one.get("settings"), Mapping) and found), {})


def find_scored(folders: Iterable[Path]) -> list[Path]:
    """Those of ``folders`` with scored videos: themselves, or for a multirun's folder all that lie in it.

    Empty if none has any: then they may be training runs.

    Raises:
        ReportError: some have and some have not.
    """
    found: dict[Path, Path] = {}
    scored, others = list[Path](), list[Path]()
    for folder in folders:
        here = [folder] if is_scored(folder) else _scored_within(folder)
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


def _scored_within(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_scored(path))


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
            videos.append(_video(folder, value))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise ReportError(
                f"{path}: the score of {name!r} is damaged ({reason}); delete its line and run predict.py again"
            ) from error
    return videos


def _video(folder: Path, value: Mapping[str, Any]) -> ScoredVideo:
    missing = [column for column in COLUMNS if column not in value]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    score = VideoScore(
        path=_text(value, "path"),
        status=Status(_text(value, "status")),
        verdict=_maybe(value, "verdict", lambda v, k: Verdict(_text(v, k))),
        label=_maybe(value, "label", lambda v, k: Label.parse(_text(v, k))),
        prob_fake=_maybe(value, "prob_fake", _prob),
        confidence=_maybe(value, "confidence", _prob),
        num_faces=_count(value, "num_faces"),
        num_frames=_count(value, "num_frames"),
        num_windows=_count(value, "num_windows"),
        num_windows_possible=_count(value, "num_windows_possible"),
        duration_seconds=_maybe(value, "duration_seconds", _number),
        seconds=_number(value, "seconds"),
        seconds_by_stage={
            name: _number(value["seconds_by_stage"], name) for name in value.get("seconds_by_stage") or {}
        },
        model=_text(value, "model"),
        message=_text(value, "message"),
        file=_maybe(value, "file", lambda v, k: _file(v[k])),
        tracks=tuple(_track(track) for track in value.get("tracks") or ()),
    )
    moments = tuple(
        MomentFacts(
            track=_count(moment, "track"),
            window=_count(moment, "window"),
            seconds=_number(moment, "seconds"),
            prob_fake=_prob(moment, "prob_fake"),
            crop=_text(moment, "crop"),
            heatmap=_maybe(moment, "heatmap", _text),
        )
        for moment in value.get("moments") or ()
    )
    return ScoredVideo(folder, score, _maybe(value, "thumbnail", _text), moments, value)


def _file(value: Mapping[str, Any]) -> FileFacts:
    return FileFacts(
        size_bytes=_count(value, "size_bytes"),
        sha256=_text(value, "sha256"),
        width=_maybe(value, "width", _count),
        height=_maybe(value, "height", _count),
        fps=_maybe(value, "fps", _number),
        codec=_maybe(value, "codec", _text),
        num_frames=_maybe(value, "num_frames", _count),
        modified_seconds=_maybe(value, "modified_seconds", _number),
    )


def _track(value: Mapping[str, Any]) -> TrackScore:
    windows = tuple(
        WindowScore(
            _number(window, "start_seconds"), _number(window, "end_seconds"), _prob(window, "prob_fake"), _box(window)
        )
        for window in value["windows"]
    )
    return TrackScore(_count(value, "track"), _prob(value, "prob_fake"), Verdict(_text(value, "verdict")), windows)


def _box(value: Mapping[str, Any]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (_finite(corner, "box") for corner in value["box"])
    return x1, y1, x2, y2


def _maybe(value: Mapping[str, Any], key: str, read: Callable[[Mapping[str, Any], str], T]) -> T | None:
    """None where it is null or not there."""
    return None if value.get(key) is None else read(value, key)


def _text(value: Mapping[str, Any], key: str) -> str:
    if not isinstance(value[key], str):
        raise ValueError(f"{key} is {value[key]!r}, not text")
    return str(value[key])


def _finite(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, not a number")
    return float(value)


def _number(value: Mapping[str, Any], key: str) -> float:
    found = _finite(value[key], key)
    if found < 0:
        raise ValueError(f"{key} is {found}, below 0")
    return found


def _prob(value: Mapping[str, Any], key: str) -> float:
    found = _number(value, key)
    if found > 1:
        raise ValueError(f"{key} is {found}, not a probability")
    return found


def _count(value: Mapping[str, Any], key: str) -> int:
    found = _number(value, key)
    if found != int(found):
        raise ValueError(f"{key} is {found}, not a whole number")
    return int(found)


def _read_run(folder: Path) -> RunFacts | None:
    path = folder / RUN_NAME
    if not path.is_file():
        return None
    try:
        return _run(read_json(inside(folder, path)))
    except (OSError, ValueError, TypeError) as error:
        raise ReportError(f"{path}: cannot be read ({error}); restore it, or take it out of the folder") from error


def _run(value: Any) -> RunFacts:
    if not isinstance(value, dict):
        raise ValueError("it holds no names and values")
    if value.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"it has schema version {value.get('schema_version')}, this dfd reads {SCHEMA_VERSION}")
    model = RunFacts(value).model
    band = model.get("uncertain_band")
    if band is not None:
        low, high = (_prob({"uncertain_band": end}, "uncertain_band") for end in band)
        band = (low, high)
    return RunFacts(
        value,
        started=_maybe(value, "started", _text),
        dfd=_maybe(value, "dfd", _text),
        input=_maybe(value, "input", _text),
        threshold=_maybe(model, "threshold", _prob),
        band=band,
        temperature=_maybe(model, "temperature", _number),
    )


def _refuse_differences(videos: Sequence[ScoredVideo], runs: Mapping[Path, RunFacts]) -> None:
    """Scores of two detectors, or found in two ways, do not compare: their order would mean nothing."""
    said: dict[Path, dict[str, Any]] = {}
    for video in videos:
        known = {"detector": video.score.model, **_flat(video.value.get("settings"))}
        _refuse(said, video.folder, known)
    for folder, run in runs.items():
        _refuse(said, folder, {key: run.model[key] for key in DECIDING if key in run.model})


def _refuse(said: dict[Path, dict[str, Any]], folder: Path, known: Mapping[str, Any]) -> None:
    for other, facts in said.items():
        for key in known.keys() & facts.keys():
            if known[key] != facts[key]:
                raise ReportError(
                    f"{other} and {folder} were not scored alike: {key} is {_shown(facts[key])} and "
                    f"{_shown(known[key])}; make a report of each"
                )
    said.setdefault(folder, {}).update(known)


def _flat(settings: object) -> dict[str, Any]:
    return dict(flatten(settings)) if isinstance(settings, Mapping) else {}


def _shown(value: Any) -> str:
    return show_setting(value) if value is None or isinstance(value, str | int | float) else str(value)


def write_merged(scored: Scored, output: Path) -> None:
    """The videos of several folders as one output folder of predict.py, with their pictures.

    Raises:
        ReportError: ``output`` is one of the folders, or holds scores that were not merged by this function.
    """
    refuse_to_replace(scored.folders, output)
    output.mkdir(parents=True, exist_ok=True)
    pictures = output / EVIDENCE_NAME  # of an earlier merge
    if pictures.is_symlink():
        pictures.unlink()
    shutil.rmtree(pictures, ignore_errors=True)
    for folder in scored.folders:
        if (folder / EVIDENCE_NAME).is_symlink():
            raise ReportError(
                f"{folder / EVIDENCE_NAME}: is a link, and merging follows none; put the folder itself there"
            )
        if (folder / EVIDENCE_NAME).is_dir():
            shutil.copytree(folder / EVIDENCE_NAME, pictures, dirs_exist_ok=True, ignore=_not_pictures)
    values = [video.value for video in scored.videos]
    write_run(output, {**(scored.run.value if scored.run else {}), MERGED_KEY: [f.name for f in scored.folders]})
    write_table(output / CSV_NAME, map(row_of, values), COLUMNS)
    partial = partial_of(output / JSONL_NAME)
    partial.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    partial.replace(output / JSONL_NAME)


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
