"""``python -m dfd.web manage tidy``."""

from typing import Any

from django.core.management.base import BaseCommand

from dfd.web import jobs


class Command(BaseCommand):
    """Delete what has expired."""

    help = "Delete what has expired and queue the jobs of dead workers again, as every worker does now and then."

    def handle(self, *args: Any, **options: Any) -> None:
        """Once."""
        jobs.tidy()
