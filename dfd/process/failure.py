"""Failed task of a worker process, as a value that is passed on like a result."""

import os
import signal
import traceback
from dataclasses import dataclass

from dfd.base import machine as memory
from dfd.base.errors import DfdError
from dfd.base.types import Status


@dataclass(frozen=True, slots=True)
class Failure:
    """Outcome of a failed task: a status for its row and a message for the user."""

    status: Status
    message: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Convert an error to a failure: a DfdError has its own status and message, any other counts as a bug.

        The message of a task that exceeded the memory of its process says so.
        """
        if isinstance(error, DfdError):
            return cls(error.status, str(error))
        if isinstance(error, MemoryError) and memory.task_bytes() is not None:
            return cls(Status.TOO_LARGE, f"reading it takes more memory than a worker may use: {memory.in_words()}")
        return cls(Status.ERROR, _describe(error))


def _describe(error: Exception) -> str:
    """Type, message and place of an unexpected error, in one line.

    >>> _describe(KeyError("fps"))
    "KeyError: 'fps'"
    """
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return text + "".join(f" (in {at.name}, {os.path.basename(at.filename)}:{at.lineno})" for at in frames)


def _describe_exit(code: int | None) -> str:
    """Exit code in words.

    >>> _describe_exit(-9)
    'exit code -9, SIGKILL: was memory short?'
    >>> _describe_exit(1)
    'exit code 1'
    """
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"exit code {code}, {name}" + (": was memory short?" if name == "SIGKILL" else "")
