"""Views of the web pages; they are thin and never read a video."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import TooManyFilesSent
from django.db import DatabaseError, connection
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.safestring import mark_safe
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dfd import __version__
from dfd.base.errors import ConfigError
from dfd.web.intake import admission
from dfd.web.intake.uploads import ReceivedVideo, Refusal, TooSlow, VideoUploadHandler, has_room, prepare, receive
from dfd.web.jobs import life as jobs
from dfd.web.jobs.life import Asked
from dfd.web.jobs.stored import stored
from dfd.web.models import Job, options
from dfd.web.pages import presentation
from dfd.web.pages.answers import _see, _with_retry, failed, refused, wants_json
from dfd.web.pages.requests import asked_in, browser_owner, jobs_of, own_job
from dfd.web.queue import Queue

MANY_FAILED = 3
"""Number of failures within an hour, without any success, that the health check calls a problem."""
MAX_SAME = 5
SANDBOX = "frame-ancestors 'none'; sandbox allow-scripts allow-modals"


@csrf_exempt  # the token is checked in _take, once the body may be read
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """Show the upload page, or receive videos from it."""
    if request.method != "POST":
        return _upload_page(request)
    with admission.admitted(request) as refusal:
        if refusal is not None:
            return refused(request, refusal)
        handler = prepare(request)
        try:
            return _take(request, handler)
        finally:
            handler.discard_all()  # the token check reads the form as well, and ignores interruptions


@csrf_protect
def _take(request: HttpRequest, handler: VideoUploadHandler) -> HttpResponse:
    try:
        videos = receive(request, handler)
        asked = asked_in(request.POST)
    except TooSlow as error:
        return failed(request, HTTPStatus.REQUEST_TIMEOUT, str(error))
    except UnreadablePostError:
        return failed(request, HTTPStatus.BAD_REQUEST, "The upload was interrupted. Send it again.")
    except (MultiPartParserError, TooManyFilesSent):
        return failed(request, HTTPStatus.BAD_REQUEST, "The upload is not a form with files.")
    except ConfigError as error:
        return failed(request, HTTPStatus.BAD_REQUEST, f"{error}.")
    if not videos:
        return failed(request, HTTPStatus.BAD_REQUEST, "No file was chosen.")
    made, refusals = make_jobs(request, browser_owner(request, make=True), videos, asked)
    told = [refusal.message for refusal in refusals]
    if wants_json(request):
        taken = [{"file_name": job.file_name, "url": reverse("job", args=[job.pk])} for job in made]
        status = HTTPStatus.CREATED if made else refusals[0].status
        response: HttpResponse = JsonResponse({"jobs": taken, "refusals": told}, status=status)
    elif not made:
        response = _upload_page(request, told, refusals[0].status)
    elif len(made) == 1 and not refusals:
        response = _see(reverse("job", args=[made[0].pk]))
    else:
        request.session["refusals"] = told
        is_batch = len(made) > 1 and asked.batch is not None
        response = _see(reverse("batch", args=[asked.batch]) if is_batch else reverse("history"))
    return response if made else _with_retry(response, refusals[0])


def make_jobs(
    request: HttpRequest, owner: str, videos: list[ReceivedVideo], asked: Asked
) -> tuple[list[Job], list[Refusal]]:
    """Create jobs for accepted videos, and refusals for the others; the first video has already been counted."""
    made: list[Job] = []
    refusals: list[Refusal] = []
    for number, video in enumerate(videos):
        refusal = video.refusal or (admission.count_file(request) if number else None)
        if refusal is None:
            try:
                made.append(jobs.create(owner, video, asked))
            except jobs.QueueFull:
                refusal = admission.full()
        if refusal is not None:
            of_file = refusal.message if video.refusal else f"{video.shown_name}: {refusal.message}"
            refusals.append(replace(refusal, message=of_file))
    return made, refusals


def _upload_page(request: HttpRequest, refusals: list[str] | None = None, status: int = HTTPStatus.OK) -> HttpResponse:
    given = request.GET.get("span", "")[:40] if request.method != "POST" else ""
    context = {"refusals": refusals or [], "queue": presentation.business(), "batch": uuid4(), "span": given}
    return render(request, "web/upload.html", context, status=status)


@require_safe
def may_upload(request: HttpRequest) -> HttpResponse:
    """Tell the page's script whether an upload would be refused, which a browser cannot read while sending.

    The browser's session starts here, not with its first video: two videos sent at once would start a session each, and
    the browser would lose the job of one of them.
    """
    request.META["CONTENT_LENGTH"] = request.GET.get("bytes", "")
    if refusal := admission.refusal(request):
        return refused(request, refusal)
    browser_owner(request, make=True)
    return JsonResponse({"error": ""})


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """Show the jobs of this browser."""
    refusals = request.session.pop("refusals", [])
    shown = rows_of(jobs_of(browser_owner(request)))
    is_waiting = any(not one["job"].is_over for one in shown)
    notice = request.session.pop("notice", "")
    context = {"jobs": shown, "refusals": refusals, "notice": notice, "is_waiting": is_waiting}
    return render(request, "web/history.html", context)


def rows_of(found: Sequence[Job]) -> list[dict[str, Any]]:
    """Data of a table's rows: each job, its state and what was asked; ``others`` were sent together with it."""
    queue = Queue()
    together = Counter(job.batch for job in found if job.batch)
    asked = presentation.asked_words
    return [
        {"job": job, "asked": asked(job), "others": together[job.batch] - 1 if job.batch else 0, **shown}
        for job in found
        if (shown := presentation.shown(job, queue))
    ]


@require_POST
def delete_all(request: HttpRequest) -> HttpResponse:
    """Delete every job of this browser."""
    if owner := browser_owner(request):
        for job in Job.objects.filter(owner=owner):
            jobs.delete(job)
        request.session["notice"] = "All videos of this browser and their results are deleted."
    return _see(reverse("history"))


@require_safe
def job_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a job: its place in the queue, its progress, or its result."""
    job = own_job(request, pk)
    # The same file may be sent twice, by mistake or to have another part looked at.
    same = Job.objects.filter(owner=job.owner, sha256=job.sha256, expires__gt=timezone.now()).exclude(pk=job.pk)
    context = {
        "job": job,
        "asked": presentation.asked_words(job),
        "same": [(one, presentation.asked_words(one)) for one in same[:MAX_SAME]] if job.sha256 else [],
        "others": Job.objects.filter(owner=job.owner, batch=job.batch).count() - 1 if job.batch else 0,
        **presentation.shown(job, Queue()),
        # Rendered by dfd.report with autoescape, so that all text from the sender is escaped.
        "fragment": mark_safe(presentation.fragment_of(job)),
        "can_retry": job.state == Job.State.FAILED and job.is_kept,
        "is_still": "a still picture" in job.message,
        "can_look_again": job.state == Job.State.DONE and job.is_kept,
    }
    return render(request, "web/job.html", context)


@require_safe
def job_state(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return a job's state as JSON, for the page's script."""
    shown = presentation.shown(own_job(request, pk), Queue())
    return JsonResponse({**shown["state"], "line": shown["line"]})


@require_safe
def report(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Show a job's report or, with ``?download``, download it."""
    return report_response(own_job(request, pk), download="download" in request.GET)


def report_response(job: Job, *, download: bool) -> FileResponse:
    """Response with the report, sandboxed so that it can run only its own script."""
    path = job.result_folder / "report.html"
    if job.state != Job.State.DONE or not path.is_file():
        raise Http404
    policy = job.report_policy or "default-src 'none'"
    return FileResponse(
        path.open("rb"),
        content_type="text/html; charset=utf-8",
        as_attachment=download,
        filename=f"{_stem(job.file_name)}-report.html",
        headers={"Content-Security-Policy": f"{policy}; {SANDBOX}"},
    )


@require_safe
def result(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return the complete score of a job as JSON."""
    job = own_job(request, pk)
    found = presentation.result_of(job)
    if found is None:
        raise Http404
    response = JsonResponse(found, json_dumps_params={"indent": 2})
    if "download" in request.GET:
        name = f"{_stem(job.file_name)}.json"
        response.headers["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    return response


@require_POST
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Delete a job of this browser in any state."""
    jobs.delete(own_job(request, pk))
    request.session["notice"] = "The video and its results are deleted."
    return _see(reverse("history"))


@require_POST
def retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Queue a failed job again."""
    job = own_job(request, pk)
    if admission.is_full():
        return refused(request, admission.full())
    jobs.retry(job)
    return _see(reverse("job", args=[job.pk]))


@require_safe
def about(request: HttpRequest) -> HttpResponse:
    """Show what the detector can and cannot tell, and what happens to videos."""
    each = presentation.each_detector(presentation.detector())
    context = {"queue": presentation.business(), "each": [presentation.detector_facts(one) for one in each]}
    return render(request, "web/about.html", context)


@require_safe
def api_page(request: HttpRequest) -> HttpResponse:
    """Show how to use the API."""
    base = request.build_absolute_uri(reverse("upload")).rstrip("/")
    return render(request, "web/api.html", {"base": base, "open_api": options().open_api})


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Exclude search engines."""
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain")


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Health check for monitoring: 200 if videos can be received and scored, otherwise 503 with the problems."""
    problems = []
    facts: dict[str, Any] = {"version": __version__}
    try:
        connection.ensure_connection()
        oldest = Job.objects.filter(state=Job.State.QUEUED).order_by("queued").first()
        waited = (timezone.now() - oldest.queued).total_seconds() if oldest else 0.0
        facts |= {**presentation.business(), **presentation.troubles(), "oldest_waiting_seconds": round(waited)}
        if not facts["workers"]:
            problems.append("no worker is alive" + (" yet: the service is starting" if facts["is_starting"] else ""))
        if facts["failed_last_hour"] >= MANY_FAILED and not facts["scored_last_hour"]:
            problems.append(f"all {facts['failed_last_hour']} jobs of the last hour failed; the log says why")
    except DatabaseError:
        problems.append("the database does not answer")
    if not has_room():
        problems.append("the disk is full")
    facts |= stored().in_mib()
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return JsonResponse({"status": "failing" if problems else "ok", "problems": problems, **facts}, status=status)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
