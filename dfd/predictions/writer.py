"""The writer of ``predictions.csv``, a row per video, and ``predictions.jsonl``, with every face and window."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import closing
from errno import ELOOP
from pathlib import Path
from stat import S_ISREG
from typing import Any, Self

from dfd.base.files import take_lock, write_json, write_table, write_text
from dfd.base.types import Status, VideoScore
from dfd.predictions import layout
from dfd.predictions.pictures import annotated_files, evidence_place, write_evidence
from dfd.predictions.rows import SCHEMA_VERSION, PredictionsError, columns_of, json_of, read_scores, row_of
from dfd.predictions.verdicts import TOLD_ANEW

# Of an earlier run, none of these may stay beside other scores.
_LEFT = (*layout.OWN_FOLDERS, layout.REPORT_NAME, layout.NOT_VIDEOS_NAME, layout.PARQUET_NAME)


# A worker that was killed, a machine too busy for the deadline: another run may fare better.
TRANSIENT = (Status.ERROR, Status.TIMEOUT)


def write_run(folder: Path, facts: Mapping[str, Any]) -> None:
    """``run.json``: what the scores in ``folder`` were made with, for the report and for whoever repeats it."""
    write_json(folder / layout.RUN_NAME, {"schema_version": SCHEMA_VERSION, **facts})


class PredictionWriter:
    """Appends scores to ``predictions.csv`` and ``predictions.jsonl`` in ``folder``.

    A folder that already holds scores of the same model is continued: ``done`` has the paths of its rows. A line that
    an interruption cut short is dropped and its video scored again; so is one that failed for a reason of the moment,
    and one whose file has been changed since: ``changed`` has their paths. Only rows of ``asked`` paths (None: all) are
    so given up; what this run will not score stays as it is. ``detectors`` names several that score at once, each of
    which gets a column. Where only settings of :data:`dfd.predictions.verdicts.TOLD_ANEW` differ, ``tell_anew`` makes
    the lines of these settings, and ``num_told_anew`` counts them; ``num_outdated`` annotated files, which show the old
    verdicts, are then removed.

    Raises:
        PredictionsError: the folder holds scores of another model or with other settings, is damaged, is being written
            to, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        asked: Container[str] | None = None,
        detectors: Sequence[str] = (),
        tell_anew: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.csv_path, self.jsonl_path = folder / layout.CSV_NAME, folder / layout.JSONL_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = take_lock(folder / ".lock")
            for name in layout.OWN_FOLDERS:
                if (folder / name).is_symlink():
                    raise OSError(ELOOP, f"{name} in it is a link; remove it")
        except OSError as error:
            reason = f"cannot be written to ({error.strerror}); give another output=DIR"
            raise PredictionsError(f"{folder}: {reason}") from error
        if lock is None:
            raise PredictionsError(f"{folder}: another run is writing to it; give each shard an output=DIR of its own")
        self._lock = lock
        kept = {} if overwrite else read_scores(folder)
        if overwrite and self.jsonl_path.exists():
            for name in _LEFT:
                remove(folder / name)
        self.settings = dict(settings or {})
        self.num_told_anew = self.num_outdated = 0
        for path, value in kept.items():
            differing = _differing({"model": model, **self.settings}, {"model": value["model"], **value["settings"]})
            if not differing:
                continue
            if tell_anew is None or differing.keys() - set(TOLD_ANEW):
                names = "; ".join(
                    f"{name} is {there!r} there, {here!r} here" for name, (here, there) in differing.items()
                )
                raise PredictionsError(
                    f"{self.jsonl_path}: holds scores of another model or settings ({names}); choose another "
                    "output=DIR or overwrite=true"
                )
            kept[path] = tell_anew(value)
            self.num_told_anew += 1
        drawn = folder / layout.ANNOTATED_NAME
        if self.num_told_anew and drawn.is_dir():  # with the old verdicts
            self.num_outdated = sum(1 for path in drawn.iterdir() if path.suffix in (".mp4", ".jpg"))
            remove(drawn)
        known = {path: value for path, value in kept.items() if asked is None or path in asked}
        self.changed = {path for path, value in known.items() if _is_changed(value)}
        for path in self.changed | {path for path, value in known.items() if value["status"] in TRANSIENT}:
            del kept[path]
        self.done = set(kept)
        self.counts = Counter(str(value["status"]) for value in kept.values())
        write_text(self.jsonl_path, "".join(json.dumps(value) + "\n" for value in kept.values()))
        columns = columns_of(detectors)
        write_table(self.csv_path, map(row_of, kept.values()), columns)
        self._jsonl_file = self.jsonl_path.open("a", encoding="utf-8")
        self._csv_file = self.csv_path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.DictWriter(self._csv_file, columns)

    def write(self, score: VideoScore) -> None:
        """Save its pictures, append it to both files and hand them to the operating system."""
        place = evidence_place(score.path)
        remove(self.folder / place)
        for drawn in annotated_files(self.folder, score.path):
            remove(drawn)
        value = json_of(score) | write_evidence(score, self.folder) | {"settings": self.settings}
        self._jsonl_file.write(json.dumps(value) + "\n")
        self._jsonl_file.flush()
        self._writer.writerow(row_of(value))
        self._csv_file.flush()
        self.done.add(score.path)
        self.counts[str(score.status)] += 1

    def close(self) -> None:
        """Close both files and let others write to the folder."""
        with closing(self._lock), closing(self._jsonl_file), closing(self._csv_file):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # of a full disk, once is enough
                raise


def _differing(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Names whose values differ, with both values; a missing one counts as None."""
    pairs = {name: (here.get(name), there.get(name)) for name in {**here, **there}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _is_changed(value: Mapping[str, Any]) -> bool:
    """True if the file is not the one that was scored. One that is gone has the score that it got."""
    try:
        now = Path(value["path"]).stat()
    except (OSError, ValueError):
        return False
    then = value["file"]
    if then is None:
        return S_ISREG(now.st_mode)
    return (now.st_size, now.st_mtime) != (then.get("size_bytes"), then.get("modified_seconds"))


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
