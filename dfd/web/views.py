"""The pages. Views are thin: they ask for what they show and never touch a video."""

import hashlib
import secrets
import time
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.core.exceptions import TooManyFilesSent
from django.db import DatabaseError, connection
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.http import content_disposition_header
from django.utils.safestring import mark_safe
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dfd import __version__
from dfd.web import admission, jobs, presentation, wording
from dfd.web.models import Job, options
from dfd.web.queue import Queue
from dfd.web.uploads import ReceivedVideo, Refusal, VideoUploadHandler, has_room, limit_patience, prepare, receive

DRAIN_BYTES, DRAIN_SECONDS, DRAIN_STALL_SECONDS = 64 * 2**20, 10.0, 1.0
"""Of a refused upload, so much is read and thrown away: a browser that is still sending does not read an answer."""
MAX_SHOWN_JOBS = 200


def shared_context(request: HttpRequest) -> dict[str, Any]:
    """What every page may show; looked up only if it does."""
    return {
        "version": __version__,
        "limits": presentation.limits(),
        "detector": SimpleLazyObject(lambda: presentation.detector() or {}),
    }


@csrf_exempt  # the token is checked below, when it is known that the body may be read
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """The page that videos are sent from, and where they are sent to."""
    if request.method != "POST":
        return _upload_page(request)
    with admission.a_thread_to_read() as too_many:
        if refusal := too_many or admission.refusal(request) or admission.count_file(request):
            if not too_many:
                drain(request)
            return refused(request, refusal)
        handler = prepare(request)
        try:
            return _take(request, handler)
        finally:
            handler.discard_all()  # the check of the token reads the form, too, and says nothing when that breaks off


@csrf_protect
def _take(request: HttpRequest, handler: VideoUploadHandler) -> HttpResponse:
    try:
        videos = receive(request, handler)
    except UnreadablePostError:
        return failed(request, HTTPStatus.BAD_REQUEST, "The upload broke off. Send it again.")
    except (MultiPartParserError, TooManyFilesSent):
        return failed(request, HTTPStatus.BAD_REQUEST, "The upload is not a form with files.")
    if not videos:
        return failed(request, HTTPStatus.BAD_REQUEST, "No file was chosen.")
    made, refusals = make_jobs(request, browser_owner(request, make=True), videos)
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
        response = _see(reverse("history"))
    return response if made else _with_retry(response, refusals[0])


def make_jobs(request: HttpRequest, owner: str, videos: list[ReceivedVideo]) -> tuple[list[Job], list[Refusal]]:
    """Jobs of the videos that were taken, and why the others were not. The first has been counted already."""
    made: list[Job] = []
    refusals: list[Refusal] = []
    for number, video in enumerate(videos):
        refusal = video.refusal or (admission.count_file(request) if number else None)
        if refusal is None:
            try:
                made.append(jobs.create(owner, video))
            except jobs.QueueFull:
                refusal = admission.full()
        if refusal is not None:
            of_file = refusal.message if video.refusal else f"{video.shown_name}: {refusal.message}"
            refusals.append(replace(refusal, message=of_file))
    return made, refusals


def _upload_page(request: HttpRequest, refusals: list[str] | None = None, status: int = HTTPStatus.OK) -> HttpResponse:
    context = {"refusals": refusals or [], "queue": presentation.business()}
    return render(request, "web/upload.html", context, status=status)


@require_safe
def may_upload(request: HttpRequest) -> HttpResponse:
    """Asked by the page's script before it sends: a browser in the middle of sending reads no refusal.

    The browser's session begins here and not with its first video: of two that are sent at once, each would begin one,
    and the browser would keep one of them and lose the other's job.
    """
    request.META["CONTENT_LENGTH"] = request.GET.get("bytes", "")
    if refusal := admission.refusal(request):
        return refused(request, refusal)
    browser_owner(request, make=True)
    return JsonResponse({"error": ""})


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """The jobs of this browser."""
    owner = browser_owner(request)
    found = list(Job.objects.filter(owner=owner, expires__gt=timezone.now())[:MAX_SHOWN_JOBS]) if owner else []
    refusals = request.session.pop("refusals", [])
    queue = Queue()
    shown = [{"job": job, **presentation.shown(job, queue)} for job in found]
    context = {"jobs": shown, "refusals": refusals, "notice": request.session.pop("notice", "")}
    return render(request, "web/history.html", context)


@require_POST
def delete_all(request: HttpRequest) -> HttpResponse:
    """Delete every job of this browser."""
    if owner := browser_owner(request):
        for job in Job.objects.filter(owner=owner):
            jobs.delete(job)
        request.session["notice"] = "All videos of this browser and everything that was found in them are deleted."
    return _see(reverse("history"))


@require_safe
def job_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A job: its place, how far it is, or what was found."""
    job = own_job(request, pk)
    context = {
        "job": job,
        **presentation.shown(job, Queue()),
        # Made by dfd.report with autoescape; nothing of a sender is in it as it came.
        "fragment": mark_safe(presentation.fragment_of(job)),
        "can_retry": job.state == Job.State.FAILED and job.upload_path.is_file(),
    }
    return render(request, "web/job.html", context)


@require_safe
def job_state(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A job as JSON, for the page's script."""
    shown = presentation.shown(own_job(request, pk), Queue())
    return JsonResponse({**shown["state"], "line": shown["line"]})


@require_safe
def report(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The report of a job: to look at, or with ``?download`` to keep."""
    return report_response(own_job(request, pk), download="download" in request.GET)


def report_response(job: Job, *, download: bool) -> FileResponse:
    """The report, which may run its own script and nothing else, as if from another site."""
    path = job.result_folder / "report.html"
    if job.state != Job.State.DONE or not path.is_file():
        raise Http404
    response = FileResponse(
        path.open("rb"),
        content_type="text/html; charset=utf-8",
        as_attachment=download,
        filename=f"{_stem(job.file_name)}-report.html",
    )
    policy = job.report_policy or "default-src 'none'"
    sandbox = "frame-ancestors 'none'; sandbox allow-scripts allow-modals"
    response.headers["Content-Security-Policy"] = f"{policy}; {sandbox}"
    return response


@require_safe
def result(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The whole score of a job as JSON."""
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
    """Delete a job of this browser, at whatever point it is."""
    job = own_job(request, pk)
    jobs.delete(job)
    request.session["notice"] = "The video and everything that was found in it are deleted."
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
    """What the detector can tell and what not, and what becomes of the videos."""
    described = presentation.detector() or {}
    context = {
        "queue": presentation.business(),
        "facts": presentation.detector_facts(described) if described else [],
        "metrics": presentation.detector_metrics(described),
    }
    return render(request, "web/about.html", context)


@require_safe
def api_page(request: HttpRequest) -> HttpResponse:
    """How to use the API."""
    base = request.build_absolute_uri(reverse("upload")).rstrip("/")
    return render(request, "web/api.html", {"base": base, "open_api": options().open_api})


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Nothing here is for search engines."""
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain")


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """For whatever watches over the service: 200 if it can take videos and score them, else 503 with what is wrong."""
    problems = []
    facts: dict[str, Any] = {"version": __version__}
    try:
        connection.ensure_connection()
        facts |= presentation.business()
        waiting_since = jobs.oldest_waiting()
        waited = (timezone.now() - waiting_since).total_seconds() if waiting_since else 0.0
        facts["oldest_waiting_seconds"] = round(waited)
        if not facts["workers"]:
            problems.append("no worker is alive")
    except DatabaseError:
        problems.append("the database does not answer")
    if not has_room():
        problems.append("the disk is full")
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return JsonResponse({"status": "failing" if problems else "ok", "problems": problems, **facts}, status=status)


def own_job(request: HttpRequest, pk: UUID) -> Job:
    """A job of this browser.

    Raises:
        Http404: there is none, it has expired, or it is someone else's: which of these is not told.
    """
    owner = browser_owner(request)
    job = Job.objects.filter(pk=pk, owner=owner, expires__gt=timezone.now()).first() if owner else None
    if job is None:
        raise Http404
    return job


def browser_owner(request: HttpRequest, *, make: bool = False) -> str:
    """Who this browser is to us: a hash of a random word in its session; "" if it has never sent anything."""
    word = request.session.get("owner")
    if word is None:
        if not make:
            return ""
        word = request.session["owner"] = secrets.token_hex(16)
    elif make:
        request.session.modified = True  # the session has to outlive its newest job
    return hashlib.sha256(f"browser {word}".encode()).hexdigest()


def drain(request: HttpRequest) -> None:
    """Read some of a body that nobody wants, from a sender who does not make us wait."""
    limit_patience(request, DRAIN_STALL_SECONDS)
    ends = time.monotonic() + DRAIN_SECONDS
    left = DRAIN_BYTES
    try:
        while left > 0 and time.monotonic() < ends and (data := request.read(min(left, 2**16))):
            left -= len(data)
    except OSError:
        pass  # the sender has gone


def wants_json(request: HttpRequest) -> bool:
    """True for a program or a script, which sends the header; a browser that loads a page prefers HTML."""
    return request.path.startswith("/api/") or request.headers.get("Accept", "").startswith("application/json")


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """The answer to an upload that is not taken now."""
    return _with_retry(failed(request, refusal.status, refusal.message, refusal.retry_seconds), refusal)


def _with_retry(response: HttpResponse, refusal: Refusal) -> HttpResponse:
    if refusal.retry_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_seconds)
    return response


def failed(request: HttpRequest, status: HTTPStatus, message: str, retry_seconds: int | None = None) -> HttpResponse:
    """An error, as JSON for a script, as a page for people."""
    if wants_json(request):
        return JsonResponse({"error": message, "retry_seconds": retry_seconds}, status=status)
    title = wording.ERROR_TITLES.get(status, "That did not work")
    context = {"status": int(status), "title": title, "message": message, "retry_seconds": retry_seconds}
    return render(request, "web/error.html", context, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was not sent from a page of ours, or whose page is too old."""
    return failed(request, HTTPStatus.FORBIDDEN, "This form has expired. Load the page again and send it once more.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Of what Django refuses."""
    return failed(request, HTTPStatus.BAD_REQUEST, "The request could not be understood.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Of what one must not do."""
    return failed(request, HTTPStatus.FORBIDDEN, "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Of an address, or a job that is not this browser's."""
    message = "There is nothing here. A result is deleted after a while, and only the browser that sent it can see it."
    return failed(request, HTTPStatus.NOT_FOUND, message)


def no_database(request: HttpRequest) -> HttpResponse:
    """The database does not answer."""
    return refused(request, Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.", 10))


def server_error(request: HttpRequest) -> HttpResponse:
    """A bug of ours; the log has it."""
    return failed(request, HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side. It has been logged.")


def _see(url: str) -> HttpResponse:
    """After a form: another page, to be got."""
    response = redirect(url)
    response.status_code = HTTPStatus.SEE_OTHER
    return response


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
