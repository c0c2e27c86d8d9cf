"""Errors that dfd raises, written for the person who runs it.

A message names the file or key, says what is wrong and what to do. Code raises the narrowest class; only the edges
(preprocess, predict, the web worker) catch errors, and turn each into a reported row.
"""

import errno
from collections.abc import Sequence

from dfd.base.types import Status


class DfdError(Exception):
    """Base of all errors that dfd raises on purpose; ``status`` is that of the row about the video."""

    status = Status.ERROR

    def __init__(self, message: str = "") -> None:
        # torch's loader raises a worker's error again with the worker's traceback as its message, which ends in ours.
        if message.startswith(f"Caught {type(self).__name__} in DataLoader worker"):
            message = message.rpartition(f"\n{type(self).__module__}.{type(self).__name__}: ")[2].rstrip()
        super().__init__(message)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_OF_THE_SYSTEM = (errno.EIO, errno.ENAMETOOLONG, errno.EFBIG, errno.ENOTDIR, errno.EMFILE, errno.ENFILE, errno.ESTALE)


def disk_sentence(error: OSError) -> str | None:
    """Message for a disk that is full or cannot be written to; None for other errors.

    >>> print(disk_sentence(OSError(errno.EROFS, "Read-only file system", "out")))
    out: Read-only file system; give a folder that can be written to (output=DIR; train.py: hydra.run.dir=DIR)
    """
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _NO_ROOM:
        return (
            f"{where}{error.strerror}; finished work is kept: make room, and repeat the same command to continue "
            "(train.py with ckpt_path=last and its hydra.run.dir)"
        )
    if error.errno in _READ_ONLY:
        return (
            f"{where}{error.strerror}; give a folder that can be written to (output=DIR; train.py: hydra.run.dir=DIR)"
        )
    if error.errno in _OF_THE_SYSTEM:
        return f"{where}{error.strerror}; finished work is kept: fix the cause, and repeat the same command to continue"
    return None


class UnreadableVideo(DfdError):
    """No frame can be read: not a video, damaged beyond use, or in a codec that is not allowed."""

    status = Status.UNREADABLE


class MissingVideo(UnreadableVideo):
    """The video file does not exist."""

    status = Status.MISSING


class VideoTooLarge(DfdError):
    """The frames are larger than the limits allow; nothing was decoded."""

    status = Status.TOO_LARGE


class NoFaceFound(DfdError):
    """No face was found in a video that could be read, which does not make it real."""

    status = Status.NO_FACE


class ManifestError(DfdError):
    """Rows of a manifest are wrong; the message lists all problems with their lines.

    >>> print(ManifestError("videos.csv", ["line 3: label 'maybe' is not real or fake"]))
    videos.csv: 1 problem
      line 3: label 'maybe' is not real or fake
    """

    def __init__(self, path: object, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n  ".join([f"{path}: {count}", *problems]))


class SplitLeak(DfdError):
    """A person or source video would be in two splits."""


class SplitError(DfdError):
    """The videos cannot be split or sampled as asked for."""


class StoreError(DfdError):
    """A clip store is missing, empty or damaged."""


class DisturbanceError(DfdError):
    """A clip cannot be encoded again: an encoder is missing or failed."""


class WeightsMissing(DfdError):
    """Weights are missing, cannot be fetched, or are not the expected file."""


class CheckpointError(DfdError):
    """A checkpoint is missing, was not written by dfd, or does not fit."""


class ConfigError(DfdError):
    """A configuration does not fit the code."""


class ReportError(DfdError):
    """There is nothing to report on, or a file to report on is damaged."""


class RunPruned(DfdError):
    """A run of a study was ended early because others were better: not a failure, but without a result."""


class RunDiverged(DfdError):
    """A training ended because its loss was no longer a number; it leaves no detector."""


class RunInterrupted(KeyboardInterrupt):
    """The user pressed Ctrl-C; the message says what was kept, and how to continue."""


class JobFailed(DfdError):
    """A job of a study failed while the others continue; the message is the job's own."""


class StudyError(DfdError):
    """A study cannot be run as asked, or not be continued in the given folder."""
