"""Scores of any detector, read from a table and put beside the labels of a store or a manifest."""

import csv
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.evaluation.labelled.measured import Window

NAME_COLUMNS = ("path", "video_id", "filename", "video", "name", "file", "video_name", "video_path")
"""Columns that may name the video, the first that is there."""
SCORE_COLUMNS = ("score", "prob_fake", "probability", "prob", "logit", "avg_prob_fake", "y_pred", "label")
"""Columns that may hold the score, the first that is there; ``label`` as in submissions to Kaggle's DFDC."""
FRAME_COLUMNS = ("frame", "frame_index", "window")
MAX_NAMED = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Score:
    """One row: the video as the table names it, the frame if there is one, and the probability of fake."""

    line: int
    name: str
    frame: float | None
    prob_fake: float | None


@dataclass(frozen=True, slots=True)
class Matched:
    """Result of :func:`match`.

    Attributes:
        table: the labelled videos with ``prob_fake`` (nan: no score), ``num_windows`` and ``windows``.
        num_scored: number of videos with a score.
        unknown: names in the table of scores that are no labelled video's.
        ambiguous: names that fit several labelled videos; none of them gets the score.
    """

    table: pd.DataFrame
    num_scored: int
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]

    def sentences(self, path: Path) -> list[str]:
        """What a reader has to know of the names; nothing if each fits one video and each video has a score."""
        without = len(self.table) - self.num_scored
        said = [f"{path.name}: {without} of {len(self.table)} labelled videos have no score there"] if without else []
        kinds = ((self.unknown, "of no labelled video"), (self.ambiguous, "that fit several labelled videos"))
        for names, what in kinds:
            if names:
                more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
                noun = "name" if len(names) == 1 else "names"
                said.append(f"{path.name}: left out {len(names)} {noun} {what}: {_listed(names)}{more}")
        return said


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED])


def read_scores(path: Path) -> list[Score]:
    """Rows of a table of scores: a column with the video, one with its score, and perhaps one with the frame.

    Separated by comma, semicolon or tab. A score is a probability in 0..1 of fake; the column ``logit`` holds log-odds.
    An empty score, ``nan`` or ``none`` means that the video could not be scored. What ``dfd predict`` writes as
    predictions.csv, what ``dfd evaluate`` writes under that name, and a submission to Kaggle's DFDC can be given as
    they are.

    Raises:
        ConfigError: the file cannot be read, a column is missing, or rows are wrong; the message names their lines.
    """
    path = path.expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(
            f"scores={path}: cannot be read ({why}); give a CSV file with the columns path, score"
        ) from error
    first = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=first.count))
    names = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
    name, score = (_first(columns, names) for columns in (NAME_COLUMNS, SCORE_COLUMNS))
    if name is None or score is None:
        lacking = "the video (path)" if name is None else "the score (score: probability of fake, or logit)"
        raise ConfigError(f"scores={path}: no column names {lacking}; it has {', '.join(names) or 'no header'}")
    frame = _first(FRAME_COLUMNS, names)
    rows, problems = [], []
    for row in reader:
        line = reader.line_num
        try:
            video = (row[names[name]] or "").strip().replace("\\", "/")
            if not video:
                raise ValueError("the video is not named")
            at = _number(row[names[frame]], "frame") if frame else None
            rows.append(Score(line, video, at, _prob(row[names[score]], is_logit=score == "logit")))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems or not rows:
        shown = problems[:MAX_NAMED] + ([f"and {len(problems) - MAX_NAMED} more"] if len(problems) > MAX_NAMED else [])
        raise ConfigError("\n  ".join([f"scores={path}: {'wrong rows' if rows or problems else 'no row'}", *shown]))
    return rows


def _first(columns: Iterable[str], names: Mapping[str, str]) -> str | None:
    return next((column for column in columns if column in names), None)


def _number(cell: str | None, what: str) -> float | None:
    text = (cell or "").strip()
    if text.lower() in ("", "nan", "none", "null"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{what} {text!r} is no number") from None
    if math.isnan(value):
        return None
    return value


def _prob(cell: str | None, *, is_logit: bool) -> float | None:
    value = _number(cell, "score")
    if value is None:
        return None
    if is_logit:
        return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
    if not 0 <= value <= 1:
        raise ValueError(f"score {value:g} is not in 0..1; give the probability of fake, or name the column logit")
    return value


def match(rows: Sequence[Score], labelled: pd.DataFrame, path: Path) -> Matched:
    """Put scores beside labelled videos; a video's score is the mean over its frames.

    Names fit videos as in :func:`places_of`; one that fits several gives none of them a score.

    Args:
        rows: from :func:`read_scores`.
        labelled: from :mod:`dfd.evaluation.labelled.videos`, with ``video_id``, ``name`` and ``fps``.
        path: file of the scores, for messages.

    Raises:
        ConfigError: no name fits, or a video has two scores for the same frame, or two without frames.
    """
    fitting = places_of([row.name for row in rows], labelled)
    places = {name: found[0] if len(found) == 1 else None for name, found in fitting.items()}
    unknown = [name for name, found in fitting.items() if not found]
    ambiguous = [name for name, found in fitting.items() if len(found) > 1]
    frames: dict[int, dict[float | None, Score]] = defaultdict(dict)
    for row in rows:
        number = places[row.name]
        if number is None:
            continue
        other = frames[number].setdefault(row.frame, row)
        if other is not row:
            at = "" if row.frame is None else f", frame {row.frame:g},"
            raise ConfigError(
                f"scores={path}: lines {other.line} and {row.line} both score {labelled['name'].iloc[number]}{at}; "
                "keep one, or give the scores of frames a column frame"
            )
    if not frames:
        raise ConfigError(
            f"scores={path}: none of its {len(places)} names, such as {_listed([*places])}, is that of a labelled "
            f"video, such as {_listed([*labelled['name']])}; give the paths as in the manifest"
        )
    probs, windows = [], []
    for place, fps in enumerate(labelled["fps"]):
        found = [row for row in frames.get(place, {}).values() if row.prob_fake is not None]
        probs.append(sum(float(row.prob_fake or 0) for row in found) / len(found) if found else float("nan"))
        windows.append(_windows(found, float(fps)) if found and found[0].frame is not None else None)
    table = labelled.assign(prob_fake=probs, num_windows=[len(frames.get(i, {})) for i in range(len(labelled))])
    if any(one is not None for one in windows):
        table["windows"] = pd.Series(windows, dtype=object, index=table.index)
    return Matched(table, int(table["prob_fake"].notna().sum()), tuple(unknown), tuple(ambiguous))


def places_of(names: Iterable[str], labelled: pd.DataFrame) -> dict[str, list[int]]:
    """Rows of the labelled videos that each name fits; several if it does not say which.

    A name fits a video if it is its id, its name in the manifest, or if the shorter of the two paths is the end of the
    longer one: ``/data/real/007.mp4`` fits ``real/007.mp4``, and ``fake/007.mp4`` does not. Of several that fit, those
    with the longest common end are meant. The suffix may be left out.

    Args:
        names: paths or ids of videos.
        labelled: from :mod:`dfd.evaluation.labelled.videos`, with ``video_id`` and ``name``.
    """
    exact = {str(video): place for place, video in enumerate(labelled["video_id"])}
    exact |= {str(name): place for place, name in enumerate(labelled["name"])}
    by_stem: dict[str, list[int]] = defaultdict(list)
    parts_of = [_parts(str(name)) for name in labelled["name"]]
    for place, parts in enumerate(parts_of):
        by_stem[PurePosixPath(parts[-1]).stem].append(place)
    return {
        name: [exact[name]] if name in exact else _fitting(name, by_stem, parts_of) for name in dict.fromkeys(names)
    }


def _windows(rows: Sequence[Score], fps: float) -> list[Window]:
    """Frames as windows; each lasts until the next one that was scored, the last as long as the one before."""
    ordered = sorted(rows, key=lambda row: row.frame or 0.0)
    if not fps > 0:
        return [(None, None, float(row.prob_fake or 0)) for row in ordered]
    starts = [float(row.frame or 0) / fps for row in ordered]
    last = starts[-1] - starts[-2] if len(starts) > 1 else 1 / fps
    ends = [*starts[1:], starts[-1] + last]
    return [(a, b, float(row.prob_fake or 0)) for a, b, row in zip(starts, ends, ordered, strict=True)]


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "."))


def _fitting(name: str, by_stem: Mapping[str, Sequence[int]], parts_of: Sequence[tuple[str, ...]]) -> list[int]:
    parts = _parts(name)
    if not parts:
        return []
    candidates = dict.fromkeys([*by_stem.get(PurePosixPath(parts[-1]).stem, ()), *by_stem.get(parts[-1], ())])
    lengths = {place: _common_end(parts, parts_of[place]) for place in candidates}
    longest = max(lengths.values(), default=0)
    return [place for place, length in lengths.items() if length == longest and length]


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Number of parts of the shorter path if it is the end of the longer, else 0."""
    length = min(len(one), len(other))
    same_file = one[-1] == other[-1] or (
        not (PurePosixPath(one[-1]).suffix and PurePosixPath(other[-1]).suffix)
        and PurePosixPath(one[-1]).stem == PurePosixPath(other[-1]).stem
    )
    return length if same_file and tuple(one[-length:-1]) == tuple(other[-length:-1]) else 0


def named_scores(scores: Any) -> dict[str, Path]:
    """Parse ``scores=`` into files by the detectors' names; a list takes the names of its files.

    >>> {name: str(path) for name, path in named_scores(["a/theirs.csv"]).items()}
    {'theirs': 'a/theirs.csv'}

    Raises:
        ConfigError: ``scores`` is no file, list or mapping, or two files have one name.
    """
    if isinstance(scores, Mapping) and scores:
        return {str(name): Path(str(path)) for name, path in scores.items()}
    paths = [Path(str(path)) for path in (scores if isinstance(scores, list | tuple) else [scores])]
    named = {path.stem: path for path in paths}
    if not named or len(named) < len(paths):
        raise ConfigError(f"scores={scores}: two files have one name; name them: scores={{name: FILE}}")
    return named
