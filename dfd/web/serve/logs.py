"""Log lines as JSON, for whatever collects them. They name jobs by their random keys, and never people or files."""

import json
import logging
import re
import traceback
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request", "taskName"}


class JsonFormatter(logging.Formatter):
    """A line: time, level, logger, event and the record's extra values; of an exception its kind and place.

    An exception's own words are left out: they may hold the name of a file.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            # Where it came through, the innermost last.
            frames = traceback.extract_tb(record.exc_info[2])[-12:]
            line["places"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line, default=str)


# gunicorn fills some of its texts in before it logs them: ``Invalid request from ip=192.0.2.1: …``.
_FILLED_IN = re.compile(r"(?<=ip=).*|(?<= from ).*", re.DOTALL)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\[?(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}\]?")


class WithoutValues(logging.Filter):
    """Removes what is filled into a record's text, and whatever looks like an address: it may be a sender's."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.args = ()
        text = _FILLED_IN.sub("…", str(record.msg).replace("%s", "…").replace("%r", "…"))
        record.msg = _ADDRESS.sub("…", text)
        return True
