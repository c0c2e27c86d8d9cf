"""Command ``python -m dfd.web manage tidy``."""

from typing import Any

from django.core.management.base import BaseCommand

from dfd.web.jobs import life as jobs


class Command(BaseCommand):
    """Delete expired data and requeue the jobs of dead workers."""

    help = "Delete expired data and requeue the jobs of dead workers, as every worker does periodically."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the maintenance once."""
        jobs.tidy()
