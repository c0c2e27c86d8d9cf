"""What can go wrong, for the person who runs it.

A message names the file (or the key), says what is wrong with it and what to do. Code raises the narrowest class; only
the edges (preprocess, predict, the web worker) catch, and there every caught error becomes a reported row.
"""

import errno
from collections.abc import Sequence

from dfd.types import Status


class DfdError(Exception):
    """Base of every error that dfd raises on purpose.

    ``status`` is what a row about the video at hand says of it.
    """

    status = Status.ERROR

    def __init__(self, message: str = "") -> None:
        # torch's loader raises anew what a worker met, with the worker's traceback for a message, which ends in ours.
        if message.startswith(f"Caught {type(self).__name__} in DataLoader worker"):
            message = message.rpartition(f"\n{type(self).__module__}.{type(self).__name__}: ")[2].rstrip()
        super().__init__(message)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_OF_THE_SYSTEM = (errno.EIO, errno.ENAMETOOLONG, errno.EFBIG, errno.ENOTDIR, errno.EMFILE, errno.ENFILE, errno.ESTALE)


def disk_sentence(error: OSError) -> str | None:
    """What to tell a person whose disk is full or may not be written to; None for an error of another kind.

    >>> print(disk_sentence(OSError(errno.EROFS, "Read-only file system", "out")))
    out: Read-only file system; give a folder that can be written to (output=DIR; train.py: hydra.run.dir=DIR)
    """
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _NO_ROOM:
        return (
            f"{where}{error.strerror}; what was finished is kept: make room, and give the same command again to go on "
            "(train.py with ckpt_path=last and its hydra.run.dir)"
        )
    if error.errno in _READ_ONLY:
        return (
            f"{where}{error.strerror}; give a folder that can be written to (output=DIR; train.py: hydra.run.dir=DIR)"
        )
    if error.errno in _OF_THE_SYSTEM:
        return f"{where}{error.strerror}; what was finished is kept: mend it, and give the same command again to go on"
    return None


class UnreadableVideo(DfdError):
    """No frame can be read: not a video, damaged beyond use, or a codec that is not allowed."""

    status = Status.UNREADABLE


class MissingVideo(UnreadableVideo):
    """There is no such file, whoever listed it."""

    status = Status.MISSING


class VideoTooLarge(DfdError):
    """The frames are larger than the limits allow; nothing was decoded."""

    status = Status.TOO_LARGE


class NoFaceFound(DfdError):
    """The video was read, and no face was found in it. That does not make it real."""

    status = Status.NO_FACE


class ManifestError(DfdError):
    """Rows of a manifest are wrong. All of them are named, with their lines.

    >>> print(ManifestError("videos.csv", ["line 3: label 'maybe' is not real or fake"]))
    videos.csv: 1 problem
      line 3: label 'maybe' is not real or fake
    """

    def __init__(self, path: object, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n  ".join([f"{path}: {count}", *problems]))


class SplitLeak(DfdError):
    """A person or source video would be on two sides of the split."""


class SplitError(DfdError):
    """The videos cannot be divided, or drawn, in the way that is asked for."""


class StoreError(DfdError):
    """A clip store is missing, empty or damaged."""


class DisturbanceError(DfdError):
    """A clip cannot be encoded again: an encoder is missing, or failed."""


class WeightsMissing(DfdError):
    """Weights are not there, cannot be fetched, or are not the file they should be."""


class CheckpointError(DfdError):
    """A checkpoint is missing, not ours, or does not fit."""


class ConfigError(DfdError):
    """A configuration does not fit the code."""


class ReportError(DfdError):
    """There is nothing to report on, or a file of what is reported on is damaged."""


class RunPruned(DfdError):
    """A run of a study was ended early: others were better by then. No error, but no result either."""


class RunDiverged(DfdError):
    """A training ended because its loss was not a number any more. It leaves no detector."""


class RunInterrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C. The message says what was kept, and the command that goes on."""


class JobFailed(DfdError):
    """A job of a study failed; the others go on. The message is that of what happened in it."""


class StudyError(DfdError):
    """A study cannot be run as asked, or not go on in the folder that is given."""
