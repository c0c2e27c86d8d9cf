"""For whoever keeps the service: what became of jobs, without their videos, pictures or names of files."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django_tasks_db.models import DBTaskResult

from dfd.web import jobs
from dfd.web.models import Job, Worker

# Tasks only point to jobs, and their tracebacks may hold what is nobody's business.
admin.site.unregister(DBTaskResult)
admin.site.site_header = admin.site.site_title = "dfd"
admin.site.index_title = "Jobs and workers"


class ReadOnly(admin.ModelAdmin[Any]):
    """Rows that only the service itself writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Jobs by state, with durations and errors."""

    list_display = ("key", "state", "outcome", "verdict", "created", "took", "attempts", "percent", "size", "problem")
    list_filter = ("state", "outcome", "verdict", "created")
    date_hierarchy = "created"
    exclude = ("file_name", "owner", "report_policy", "error", "message")
    readonly_fields = ("problem",)
    actions = ("retry_failed",)

    @admin.display(description="job")
    def key(self, job: Job) -> str:
        """Enough of the key to find it in the log."""
        return job.id.hex[:8]

    @admin.display(description="took, s")
    def took(self, job: Job) -> str:
        """From start to end."""
        return "" if job.seconds is None else f"{job.seconds:.1f}"

    @admin.display(description="done")
    def percent(self, job: Job) -> str:
        """Of the work."""
        return f"{job.progress:.0%}"

    @admin.display(description="size, MB", ordering="size_bytes")
    def size(self, job: Job) -> str:
        """Of the video."""
        return f"{job.size_bytes / 1e6:.1f}"

    @admin.display(description="error or message")
    def problem(self, job: Job) -> str:
        """What was said of it, without the file's name."""
        stem = job.file_name.rpartition(".")[0] or job.file_name
        return (job.error or job.message).replace(job.file_name, "the video").replace(stem, "the video")[:300]

    @admin.action(description="Queue failed jobs again")
    def retry_failed(self, request: HttpRequest, chosen: QuerySet[Job]) -> None:
        """Those whose video is still there."""
        number = sum(jobs.retry(job) for job in chosen)
        messages.info(request, f"{number} of {len(chosen)} queued again")

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        """With its files."""
        jobs.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """With their files."""
        for job in queryset:
            jobs.delete(job)


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    """Workers and their last sign of life."""

    list_display = ("name", "started", "heartbeat")
