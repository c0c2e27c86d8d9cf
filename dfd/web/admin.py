"""Admin pages for the operator: jobs and workers, without videos, pictures or file names."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django_tasks_db.models import DBTaskResult

from dfd.web.intake import admission
from dfd.web.jobs import life as jobs
from dfd.web.jobs.stored import stored
from dfd.web.models import Job, Worker
from dfd.web.pages.answers import refused
from dfd.web.pages.wording import size

# Tasks only point to jobs, and their tracebacks may contain private data.
admin.site.unregister(DBTaskResult)
admin.site.site_header = admin.site.site_title = "dfd"
admin.site.index_title = "Jobs and workers"


def throttled_login(request: HttpRequest) -> HttpResponse:
    """The operator's log-in page, which lets an address try only so often in an hour."""
    if request.method == "POST" and (refusal := admission.count_login(request)):
        return refused(request, refusal)
    return admin.site.login(request)


class ReadOnly(admin.ModelAdmin[Any]):
    """Rows that only the service itself writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Always False."""
        return False

    has_change_permission = has_add_permission


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Jobs by state, with durations and errors."""

    list_display = ("key", "state", "outcome", "verdict", "created", "took", "attempts", "percent", "size", "problem")
    list_filter = ("state", "outcome", "verdict", "created")
    date_hierarchy = "created"
    exclude = ("file_name", "owner", "sha256", "batch", "report_policy", "error", "message", "annotated_message")
    readonly_fields = ("problem",)
    actions = ("retry_failed",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """List the jobs, with the room that they take on the disk."""
        room = stored()
        words = f"Uploads take {size(room.uploads)}, results {size(room.results)}; {size(room.free)} are free"
        return super().changelist_view(request, {"subtitle": words, **(extra_context or {})})

    @admin.display(description="job")
    def key(self, job: Job) -> str:
        """First digits of the job's key, enough to find it in the log."""
        return job.id.hex[:8]

    @admin.display(description="took, s")
    def took(self, job: Job) -> str:
        """Seconds from start to end."""
        return "" if job.seconds is None else f"{job.seconds:.1f}"

    @admin.display(description="done")
    def percent(self, job: Job) -> str:
        """Percent of the work done."""
        return f"{job.progress:.0%}"

    @admin.display(description="size, MB", ordering="size_bytes")
    def size(self, job: Job) -> str:
        """Size of the video in MB."""
        return f"{job.size_bytes / 1e6:.1f}"

    @admin.display(description="error or message")
    def problem(self, job: Job) -> str:
        """Error or message of the job, without the file's name."""
        stem = job.file_name.rpartition(".")[0] or job.file_name
        return (job.error or job.message).replace(job.file_name, "the video").replace(stem, "the video")[:120]

    @admin.action(description="Queue failed jobs again")
    def retry_failed(self, request: HttpRequest, chosen: QuerySet[Job]) -> None:
        """Queue failed jobs again if their video still exists."""
        number = sum(jobs.retry(job) for job in chosen)
        messages.info(request, f"{number} of {len(chosen)} queued again")

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        """Delete a job with its files."""
        jobs.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Delete jobs with their files."""
        for job in queryset:
            jobs.delete(job)


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    """Workers and their last heartbeat."""

    list_display = ("name", "loaded", "started", "heartbeat")

    @admin.display(description="detector")
    def loaded(self, worker: Worker) -> str:
        """Name and hash of the detector, or of several."""
        return str(worker.detector.get("name", ""))
