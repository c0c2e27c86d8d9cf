"""Rows of ``predictions.csv`` and lines of ``predictions.jsonl``, to and from video scores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dfd.base.errors import DfdError
from dfd.base.types import TrackScore, VideoScore
from dfd.base.untrusted import decode, parse_json, shown
from dfd.models.files.caveat import first_sentence
from dfd.predictions.layout import JSONL_NAME

COLUMNS = (
    *("path", "status", "verdict", "label", "prob_fake", "confidence", "num_faces", "num_frames", "num_windows"),
    *("num_windows_possible", "duration_seconds", "seconds", "model", "message", "schema_version", "scored_at"),
)


SCHEMA_VERSION = 2


_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


_PICTURES = {"thumbnail", "moments", "boxes"}
"""Fields of a score that its line has not, or only as names of files."""


_NEWER = {"boxes", "detectors", "alike", "caveat", "scored_at", "blinks"}
"""Fields that lines of earlier versions have not."""


_FIELDS = (*(item.name for item in fields(VideoScore) if item.name not in _NEWER), "settings")


_ANEW = "choose another output=DIR or overwrite=true"


class PredictionsError(DfdError):
    """The output folder does not fit this run."""


def json_of(score: VideoScore) -> dict[str, Any]:
    """The whole score as plain values, with a schema version; without the pictures."""
    names = [item.name for item in fields(VideoScore) if item.name not in _PICTURES]
    value = {name: getattr(score, name) for name in names}
    value |= {
        "schema_version": SCHEMA_VERSION,
        **{name: value[name] and str(value[name]) for name in ("status", "verdict")},
        "label": None if score.label is None else str(score.label),
        "file": score.file and asdict(score.file),
        "alike": score.alike and asdict(score.alike),
        "blinks": score.blinks and asdict(score.blinks),
        "seconds_by_stage": dict(score.seconds_by_stage),
        "tracks": _tracks(score.tracks),
        "detectors": [asdict(one) | {"tracks": _tracks(one.tracks)} for one in score.detectors],
    }
    for one in value["detectors"]:
        one |= {name: one[name] and str(one[name]) for name in ("status", "verdict")}
    if not score.detectors:
        del value["detectors"]
    return value


def columns_of(models: Iterable[str]) -> tuple[str, ...]:
    """Columns of a table of scores: :data:`COLUMNS`, and one for each of several detectors.

    >>> columns_of(["a@1", "b@2"])[-2:]
    ('prob_fake[a@1]', 'prob_fake[b@2]')
    """
    return (*COLUMNS, *(f"prob_fake[{model}]" for model in models))


def models_in(values: Iterable[Mapping[str, Any]]) -> list[str]:
    """Detectors, where there were several, that scores as plain values name."""
    return list(dict.fromkeys(one["model"] for value in values for one in value.get("detectors") or ()))


def _tracks(tracks: Sequence[TrackScore]) -> list[dict[str, Any]]:
    return [asdict(track) | {"verdict": str(track.verdict)} for track in tracks]


def score_of(value: Mapping[str, Any]) -> VideoScore:
    """The score that :func:`json_of` made ``value`` of, without its pictures.

    >>> from dfd.base.types import Label, Status, Verdict
    >>> score = VideoScore("a.mp4", Status.OK, Verdict.FAKE, Label.FAKE, 0.9, 0.9)
    >>> score_of(json_of(score)) == score
    True

    Raises:
        ValueError: a part of it is missing or is not what it should be.
    """
    return decode(VideoScore, {name: value[name] for name in value.keys() - _PICTURES})


def row_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """The CSV row of a JSON score; an unknown value is an empty cell, never a number.

    >>> from dfd.base.types import Status
    >>> row = row_of(json_of(VideoScore(path="a.mp4", status=Status.NO_FACE)))
    >>> row["status"], row["prob_fake"], row["label"]
    ('no_face', '', '')

    The first sentence of the detector's caveat ends the message. A path that a spreadsheet would run as a formula is
    written as the same path with ``./`` before it:

    >>> row_of(json_of(VideoScore(path="=1+1.mp4", status=Status.NO_FACE)))["path"]
    './=1+1.mp4'
    """
    row = {column: "" if value.get(column) is None else value[column] for column in COLUMNS}
    if caveat := value.get("caveat"):
        row["message"] = "; ".join(part for part in (row["message"], first_sentence(caveat)) if part)
    for column in ("path", "message"):
        if row[column].startswith(_FORMULA_SIGNS):
            row[column] = f"./{row[column]}"
    for column, digits in (("prob_fake", 6), ("confidence", 6), ("duration_seconds", 3), ("seconds", 3)):
        if row[column] != "":
            row[column] = f"{row[column]:.{digits}f}"
    for one in value.get("detectors") or ():
        row[f"prob_fake[{one['model']}]"] = "" if one["prob_fake"] is None else f"{one['prob_fake']:.6f}"
    return row


def read_scores(folder: Path) -> dict[str, dict[str, Any]]:
    """Path -> score, as ``predictions.jsonl`` in ``folder`` has it; without the last line of an interrupted run.

    The JSON lines are the truth: the CSV is made from them.

    Raises:
        PredictionsError: they are of another schema version, or a line before the last is damaged.
    """
    path = folder / JSONL_NAME
    whole: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return whole
    *lines, last = path.read_bytes().split(b"\n")  # of whole lines, the last is empty
    for number, line in enumerate([*lines, last] if last else lines, start=1):
        try:
            value = parse_json(line)
        except ValueError as error:
            if number > len(lines):
                break
            raise PredictionsError(f"{path}: line {number} is damaged ({error}); {_ANEW}") from error
        version = value.get("schema_version") if isinstance(value, dict) else None
        if version != SCHEMA_VERSION:
            raise PredictionsError(f"{path}: line {number} has schema version {version}, not {SCHEMA_VERSION}; {_ANEW}")
        if missing := [name for name in _FIELDS if name not in value]:
            raise PredictionsError(f"{path}: line {number} lacks {', '.join(missing)}; {_ANEW}")
        try:
            score_of({**value, "tracks": ()})
            decode(dict, value["settings"], "settings")
        except ValueError as error:
            of = shown(value["path"])
            raise PredictionsError(f"{path}: line {number}, of {of}: {error}; delete the line, or {_ANEW}") from error
        whole[value["path"]] = value
    return whole
