"""JSON API with the functions of the pages, described by ``/api/openapi.json``; docs/web.md has curl examples."""

import hashlib
import hmac
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.core.exceptions import TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.urls import reverse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, ValidationError
from ninja.operation import Operation
from ninja.responses import Status
from ninja.security import HttpBearer

from dfd import __version__
from dfd.base.errors import ConfigError, ReportError
from dfd.report.videos.warnings import caveats_of
from dfd.web.intake import admission
from dfd.web.intake.uploads import FIELD, Refusal, TooSlow, drain, prepare, receive
from dfd.web.jobs import life as jobs
from dfd.web.models import Job, options
from dfd.web.pages import presentation
from dfd.web.pages.answers import _with_retry
from dfd.web.pages.batches import DIFFERENT, GONE, csv_response, report_of
from dfd.web.pages.drawn import annotated_response
from dfd.web.pages.requests import asked_in, batch_of, job_of, jobs_of
from dfd.web.pages.schemas import (
    ANNOTATED_RESPONSES,
    CSV_RESPONSES,
    REPORT_RESPONSES,
    UPLOAD_BODY,
    JobOut,
    LookAgain,
    Problem,
)
from dfd.web.pages.views import make_jobs, report_response
from dfd.web.queue import Queue

OPEN = "open"


class Token(HttpBearer):
    """Authentication by ``Authorization: Bearer TOKEN``; an open API needs none, except from another site."""

    def __call__(self, request: HttpRequest) -> str | None:
        """Owner of the client's jobs; None if the client is unknown."""
        if "Authorization" in request.headers:
            found: str | None = super().__call__(request)
            return found
        return _owner(OPEN) if options().open_api and not _is_from_elsewhere(request) else None

    def authenticate(self, request: HttpRequest, token: str) -> str | None:
        """Owner with this token, found by comparing every token in constant time."""
        known = options().tokens()
        names = [name for one, name in known.items() if hmac.compare_digest(one.encode(), token.encode())]
        return _owner(names[0]) if names else None


def _owner(name: str) -> str:
    return hashlib.sha256(f"api {name}".encode()).hexdigest()


def _is_from_elsewhere(request: HttpRequest) -> bool:
    """Whether a page of another site made the visitor's browser send the request."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("Origin")
    try:
        return origin is not None and urlsplit(origin).netloc != request.get_host()
    except ValueError:  # not a URL
        return True


class Api(NinjaAPI):
    """The API. Its operations keep their ids wherever their code lies, for programs made from the OpenAPI file."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return ``dfd_web_api_`` and the name of the operation's function."""
        return f"dfd_web_api_{operation.view_func.__name__}"


api = Api(
    title="dfd",
    version=__version__,
    description=(
        "Send a video, learn how probable it is that it shows a faked face. A score is a reason to look closer, not a "
        "proof. Videos are deleted once they are scored, results after a while or on DELETE."
    ),
    docs_url=None,
    auth=Token(),
    urls_namespace="api",
)
PROBLEMS = {code: Problem for code in (400, 401, 404)}
UPLOAD_PROBLEMS = {code: Problem for code in (400, 401, 408, 411, 413, 415, 429, 503, 507)}
AGAIN_PROBLEMS = {code: Problem for code in (400, 401, 404, 409, 429, 503)}


@api.post("jobs", response={201: JobOut, **UPLOAD_PROBLEMS}, openapi_extra=UPLOAD_BODY, summary="Send a video")
def create_job(request: HttpRequest, response: HttpResponse) -> Any:
    """Send one video in the form field ``video``; the response comes at once, with the job to poll."""
    with admission.admitted(request) as refusal:
        if refusal is not None:
            return _refused(response, refusal)
        if request.content_type != "multipart/form-data":
            drain(request)
            return _bad(f"send a multipart form with the video in its field {FIELD!r}")
        handler = prepare(request)
        try:
            videos = receive(request, handler)
            if len(videos) != 1:
                return _bad(f"{len(videos)} files came; send one in the field {FIELD!r}")
            made, refusals = make_jobs(request, _asker(request), videos, asked_in(request.POST))
        except ConfigError as error:
            return _bad(str(error))
        except TooSlow as error:
            return Status(HTTPStatus.REQUEST_TIMEOUT, {"error": str(error)})
        except UnreadablePostError:
            return _bad("the upload was interrupted; send it again")
        except (MultiPartParserError, TooManyFilesSent):
            return _bad("the form cannot be read")
        finally:
            handler.discard_all()
    if not made:
        return _refused(response, refusals[0])
    shown = _shown(request, made[0], Queue())
    response.headers["Location"] = shown["url"]
    return Status(HTTPStatus.CREATED, shown)


def _bad(error: str) -> Any:
    return Status(HTTPStatus.BAD_REQUEST, {"error": error})


def _refused(response: HttpResponse, refusal: Refusal) -> Any:
    _with_retry(response, refusal)
    return Status(refusal.status, {"error": refusal.message, "retry_seconds": refusal.retry_seconds})


@api.get("jobs", response={200: list[JobOut], 401: Problem}, summary="Your jobs")
def list_jobs(request: HttpRequest) -> Any:
    """List the jobs sent with this token that have not expired, newest first, at most 200."""
    queue = Queue()
    return [_shown(request, job, queue) for job in jobs_of(_asker(request))]


@api.get("jobs/{uuid:pk}", response={200: JobOut, **PROBLEMS}, summary="A job, and its result when it is done")
def get_job(request: HttpRequest, pk: UUID) -> Any:
    """Poll every second or two until ``state`` is done or failed."""
    job = _own_job(request, pk)
    result = presentation.result_of(job)
    model = result["run"]["model"] if result else presentation.detector()
    return {**_shown(request, job, Queue()), "caveats": caveats_of(model or {}), "result": result}


@api.get(
    "jobs/{uuid:pk}/report.html", summary="The report, one HTML file", openapi_extra={"responses": REPORT_RESPONSES}
)
def get_report(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Get the self-contained report."""
    return report_response(_own_job(request, pk), download=True)


@api.get(
    "jobs/{uuid:pk}/annotated",
    summary="The video with boxes and scores drawn in",
    openapi_extra={"responses": ANNOTATED_RESPONSES},
)
def get_annotated(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Get the annotated video (MP4) or picture (JPEG), if the service draws them."""
    return annotated_response(request, _own_job(request, pk), download=True)


@api.post("jobs/{uuid:pk}/look-again", response={201: JobOut, **AGAIN_PROBLEMS}, summary="Look at a video again")
def look_again(request: HttpRequest, response: HttpResponse, pk: UUID, asked: LookAgain) -> Any:
    """Queue a new job for the same video: another part of it, or all. Only if the service keeps videos."""
    job = _own_job(request, pk)
    if refusal := admission.count_file(request):
        return _refused(response, refusal)
    try:
        made = jobs.look_again(job, asked_in(asked.dict()))
    except ConfigError as error:
        return _bad(str(error))
    except FileNotFoundError:
        return Status(HTTPStatus.CONFLICT, {"error": GONE})
    except jobs.QueueFull:
        return _refused(response, admission.full())
    shown = _shown(request, made, Queue())
    response.headers["Location"] = shown["url"]
    return Status(HTTPStatus.CREATED, shown)


@api.get("batches/{uuid:pk}", response={200: list[JobOut], **PROBLEMS}, summary="Videos that were sent together")
def get_batch(request: HttpRequest, pk: UUID) -> Any:
    """List the jobs of a batch, most suspicious first, those without a score last."""
    queue = Queue()
    return [_shown(request, job, queue) for job in batch_of(_asker(request), pk)]


@api.get("batches/{uuid:pk}/predictions.csv", summary="All rows of a batch", openapi_extra={"responses": CSV_RESPONSES})
def get_batch_csv(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Get the rows of all videos of a batch that are scored or failed, as ``dfd predict`` writes them."""
    return csv_response(batch_of(_asker(request), pk))


@api.get(
    "batches/{uuid:pk}/report.html", summary="One report of a batch", openapi_extra={"responses": REPORT_RESPONSES}
)
def get_batch_report(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Get one self-contained report of all scored videos of a batch."""
    try:
        return report_of(batch_of(_asker(request), pk), download=True)
    except ReportError:
        return api.create_response(request, {"error": DIFFERENT}, status=HTTPStatus.CONFLICT)


@api.delete("jobs/{uuid:pk}", response={204: None, **PROBLEMS}, summary="Delete a job")
def delete_job(request: HttpRequest, pk: UUID) -> Any:
    """Delete a job in any state, with its video and results."""
    jobs.delete(_own_job(request, pk))
    return Status(HTTPStatus.NO_CONTENT, None)


def _own_job(request: HttpRequest, pk: UUID) -> Job:
    return job_of(_asker(request), pk)


def _asker(request: HttpRequest) -> str:
    owner: str = request.auth  # type: ignore[attr-defined]
    return owner


def _shown(request: HttpRequest, job: Job, queue: Queue) -> dict[str, Any]:
    job_url, report_url, annotated_url = (
        request.build_absolute_uri(reverse(f"api:{name}", args=[job.pk]))
        for name in ("get_job", "get_report", "get_annotated")
    )
    return {
        **presentation.state_of(job, queue),
        "url": job_url,
        "report_url": report_url if job.state == Job.State.DONE else None,
        "annotated_url": annotated_url if job.annotated_path else None,
    }


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return api.create_response(request, {"error": "no such job or batch of yours"}, status=HTTPStatus.NOT_FOUND)


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    drain(request)
    text = "send the header 'Authorization: Bearer TOKEN' with a token of DFD_WEB_API_TOKENS"
    response = api.create_response(request, {"error": text}, status=HTTPStatus.UNAUTHORIZED)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return api.create_response(request, {"error": "the request does not match the API"}, status=HTTPStatus.BAD_REQUEST)
