"""Videos that were sent together: one table, one CSV file and one report; and videos that are looked at again."""

import csv
import io
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST, require_safe

from dfd.base.errors import ConfigError, ReportError
from dfd.base.types import Status, VideoScore
from dfd.predictions.layout import CSV_NAME
from dfd.predictions.rows import COLUMNS, json_of, row_of
from dfd.report.page.policy import report_policy
from dfd.report.videos.page import render as render_report
from dfd.report.videos.page import videos_page
from dfd.report.videos.scored import read_scored
from dfd.web.intake import admission
from dfd.web.jobs import life as jobs
from dfd.web.models import Job
from dfd.web.pages.answers import _see, failed, refused
from dfd.web.pages.requests import asked_in, batch_of, browser_owner, own_job
from dfd.web.pages.views import SANDBOX, rows_of

GONE = (
    "The video is no longer stored here, since this service deletes videos once they are scored. Send it again, and "
    "name the part then."
)
DIFFERENT = "These videos were scored with different detectors or settings: there is a report of each, but none of all."


@require_safe
def batch_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the videos of a batch in one table."""
    found = batch_of(browser_owner(request), pk)
    num_over = sum(job.is_over for job in found)
    refusals = request.session.pop("refusals", [])
    context = {"jobs": rows_of(found), "batch": pk, "num_over": num_over, "num": len(found), "refusals": refusals}
    return render(request, "web/batch.html", context)


@require_safe
def batch_csv(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Download the rows of all videos of a batch that are scored or failed."""
    return csv_response(batch_of(browser_owner(request), pk))


@require_safe
def batch_report(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show one report of all scored videos of a batch or, with ``?download``, download it."""
    try:
        return report_of(batch_of(browser_owner(request), pk), download="download" in request.GET)
    except ReportError:
        return failed(request, HTTPStatus.CONFLICT, DIFFERENT)


def csv_response(found: Sequence[Job]) -> HttpResponse:
    """``predictions.csv`` of several jobs, with a row of status ``error`` for each that failed."""
    rows: list[dict[str, Any]] = []
    for job in found:
        path = job.result_folder / CSV_NAME
        if job.state == Job.State.DONE and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows += csv.DictReader(file)
        elif job.state == Job.State.FAILED:
            rows.append(row_of(json_of(VideoScore(job.file_name, Status.ERROR, message=job.error))))
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    disposition = content_disposition_header(True, CSV_NAME) or "attachment"
    headers = {"Content-Disposition": disposition}
    return HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def report_of(found: Sequence[Job], *, download: bool) -> HttpResponse:
    """Report of the scored videos among several jobs, sandboxed so that it can run only its own script.

    Raises:
        Http404: none of them is scored yet.
        ReportError: they were scored with different detectors or settings.
    """
    folders: list[Path] = [job.result_folder for job in found if job.state == Job.State.DONE]
    if not folders:
        raise Http404
    text = render_report(videos_page(read_scored(folders)))
    headers = {"Content-Security-Policy": f"{report_policy(text)}; {SANDBOX}"}
    if download:
        headers["Content-Disposition"] = content_disposition_header(True, "report.html") or "attachment"
    return HttpResponse(text.encode("utf-8", "replace"), content_type="text/html; charset=utf-8", headers=headers)


@require_POST
def look_again(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Queue a new job for a video that is still stored: another part of it, or all of it."""
    job = own_job(request, pk)
    try:
        asked = asked_in(request.POST)
        if refusal := admission.count_file(request):
            return refused(request, refusal)
        return _see(reverse("job", args=[jobs.look_again(job, asked).pk]))
    except ConfigError as error:
        return failed(request, HTTPStatus.BAD_REQUEST, f"{error}.")
    except FileNotFoundError:
        return failed(request, HTTPStatus.CONFLICT, GONE)
    except jobs.QueueFull:
        return refused(request, admission.full())
