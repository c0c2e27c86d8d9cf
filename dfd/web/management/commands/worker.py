"""``python -m dfd.web worker``."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from dfd.errors import DfdError
from dfd.web.options import USELESS


class Command(BaseCommand):
    """Score the jobs in the queue."""

    help = "Score the jobs in the queue, until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        """One option."""
        parser.add_argument("--batch", action="store_true", help="end when no job is waiting")

    def handle(self, *args: Any, **given: Any) -> None:
        """Run until a signal comes."""
        from dfd.web.worker import run_worker

        try:
            run_worker(batch=given["batch"])
        except DfdError as error:
            raise CommandError(str(error), returncode=USELESS) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"the database is not ready ({error}); python -m dfd.web manage migrate") from error
