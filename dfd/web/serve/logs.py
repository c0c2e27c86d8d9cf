"""Log lines as JSON, for whatever collects them. They name jobs by their random keys, and never people or files."""

import json
import logging
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
            line["places"] = _places(record.exc_info[1])
        return json.dumps(line, default=str)


class WithoutValues(logging.Filter):
    """Leaves a record's text as it stands in the code, and what would be filled in, out: it may be an address."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.args = ()
        record.msg = str(record.msg).replace("%s", "…").replace("%r", "…")
        return True


def _places(error: BaseException | None) -> list[str]:
    """Where an exception came through: file, line and function, the innermost last."""
    places = []
    trace = error.__traceback__ if error else None
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-12:]
