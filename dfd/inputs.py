"""Which files a user means: a video, a list or a folder of videos."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from dfd.errors import DfdError
from dfd.types import Status, VideoScore

# A file with such a name always gets a row; any other file gets one if there is a video in it.
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".3gp"),
        *(".3g2", ".flv", ".wmv", ".ogv", ".vob", ".mxf", ".y4m"),
    )
)


# What predict.py writes into its folder.
CSV_NAME, JSONL_NAME, PARQUET_NAME = "predictions.csv", "predictions.jsonl", "predictions.parquet"
RUN_NAME, REPORT_NAME, NOT_VIDEOS_NAME = "run.json", "report.html", "not_videos.txt"
EVIDENCE_NAME, ANNOTATED_NAME = "evidence", "annotated"
OWN_FILES = (CSV_NAME, JSONL_NAME, PARQUET_NAME, RUN_NAME, REPORT_NAME, NOT_VIDEOS_NAME, "predict.log")
OWN_FOLDERS = (EVIDENCE_NAME, ANNOTATED_NAME)

logger = logging.getLogger(__name__)


class NothingToScore(DfdError):
    """The input holds no video."""


def find_inputs(given: str) -> list[Path]:
    """Files to look at: the file itself, the lines of a ``.txt`` list, or every file below a folder, hidden ones apart.

    Raises:
        NothingToScore: there is no such path, or nothing in it.
    """
    path = _without_tilde(given)
    if path.is_dir():
        found = sorted(_files(path))
        remedy = "give a folder with videos"
    elif path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text("utf-8-sig", errors="surrogateescape").splitlines()]
        found = list(dict.fromkeys(path.parent / _without_tilde(line) for line in lines if line))
        remedy = "write one path per line; relative paths start at the list's folder"
    elif path.is_file():
        return [path]
    else:
        raise NothingToScore(f"{path}: no such file or folder")
    if not found:
        raise NothingToScore(f"{path}: there is nothing in it to score; {remedy}")
    return found


def _without_tilde(text: str) -> Path:
    """``~`` and ``~name`` as the home folder; as they stand where nobody has that name: files may begin so, too."""
    return Path(os.path.expanduser(text))


def _files(root: Path) -> Iterator[Path]:
    """Every file below ``root`` that is not hidden, through linked folders too.

    What predict.py wrote is left out, and said to be: its pictures and drawn videos would else be scored as new ones.

    Raises:
        NothingToScore: a folder cannot be read.
    """
    entered = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_unreadable_folder):
        entered.add(os.path.realpath(folder))
        if JSONL_NAME in names:
            logger.warning("%s: holds scores of an earlier run; what that run wrote is left out", folder)
            folders[:] = [name for name in folders if name not in OWN_FOLDERS] if folder == os.fspath(root) else []
            names = [name for name in names if name not in OWN_FILES] if folder == os.fspath(root) else []
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in entered
        ]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _unreadable_folder(error: OSError) -> NoReturn:
    raise NothingToScore(f"{error.filename}: the folder cannot be read ({error.strerror}); make it readable") from error


def is_no_video(score: VideoScore, asked: str) -> bool:
    """True for a file that merely lay in the folder: unreadable, not named like a video, and not asked for by name."""
    named = Path(score.path).suffix.lower() in VIDEO_SUFFIXES or not _without_tilde(asked).is_dir()
    return score.status is Status.UNREADABLE and not named
