"""The HTTP server's log, in our way."""

import logging
import sys
from typing import Any

from gunicorn.glogging import Logger

from dfd.web.logs import JsonFormatter, WithoutValues


class ServerLogger(Logger):
    """gunicorn's warnings and errors as JSON, without the addresses that it writes into them; no access log."""

    def setup(self, cfg: Any) -> None:
        """One handler for all."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        handler.addFilter(WithoutValues())
        self.error_log.handlers = [handler]
        self.error_log.propagate = False
        self.error_log.setLevel(logging.WARNING)
