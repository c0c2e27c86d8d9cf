"""Command ``python -m dfd.web worker``."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from dfd.base.errors import DfdError
from dfd.base.machine import end_with
from dfd.web.jobs.worker import run_worker
from dfd.web.options import PARENT, USELESS


class Command(BaseCommand):
    """Score the jobs in the queue."""

    help = "Score the jobs in the queue, until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the option ``--batch``."""
        parser.add_argument("--batch", action="store_true", help="end when no job is waiting")

    def handle(self, *args: Any, **given: Any) -> None:
        """Run until a signal arrives."""
        if parent := os.environ.pop(PARENT, ""):
            end_with(int(parent))
        try:
            run_worker(batch=given["batch"])
        except DfdError as error:
            raise CommandError(str(error), returncode=USELESS) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"the database is not ready ({error}); python -m dfd.web manage migrate") from error
