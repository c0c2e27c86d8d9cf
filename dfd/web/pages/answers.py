"""Responses to requests that fail or are refused."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from dfd.web.intake.uploads import Refusal
from dfd.web.pages import wording


def wants_json(request: HttpRequest) -> bool:
    """Whether the client is a program or script, which asks for JSON, rather than a browser that loads a page."""
    return request.path.startswith("/api/") or request.headers.get("Accept", "").startswith("application/json")


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Response to a refused upload."""
    return _with_retry(failed(request, refusal.status, refusal.message, refusal.retry_seconds), refusal)


def _with_retry(response: HttpResponse, refusal: Refusal) -> HttpResponse:
    if refusal.retry_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_seconds)
    return response


def failed(request: HttpRequest, status: HTTPStatus, message: str, retry_seconds: int | None = None) -> HttpResponse:
    """Error response, as JSON for scripts and as a page for people."""
    if wants_json(request):
        return JsonResponse({"error": message, "retry_seconds": retry_seconds}, status=status)
    title = wording.ERROR_TITLES.get(status, "That did not work")
    context = {"status": int(status), "title": title, "message": message, "retry_seconds": retry_seconds}
    return render(request, "web/error.html", context, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Response to a form that was not sent from this site, or whose page is too old."""
    return failed(request, HTTPStatus.FORBIDDEN, "This form has expired. Load the page again and send it once more.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Response to requests that Django refuses."""
    return failed(request, HTTPStatus.BAD_REQUEST, "The request could not be understood.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Response to forbidden requests."""
    return failed(request, HTTPStatus.FORBIDDEN, "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Response to unknown addresses and to jobs of another browser."""
    message = "There is nothing here. A result is deleted after a while, and only the browser that sent it can see it."
    return failed(request, HTTPStatus.NOT_FOUND, message)


def no_such_operation(request: HttpRequest) -> HttpResponse:
    """Response to addresses below ``/api/`` that are none of the API."""
    return failed(request, HTTPStatus.NOT_FOUND, "The API has no such address; /api/openapi.json lists all of them.")


def no_database(request: HttpRequest) -> HttpResponse:
    """Response if the database does not answer."""
    return refused(request, Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.", 10))


def server_error(request: HttpRequest) -> HttpResponse:
    """Response to an internal error, which the log has."""
    return failed(request, HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side. It has been logged.")


def _see(url: str) -> HttpResponse:
    """Redirect to another page after a form."""
    response = redirect(url)
    response.status_code = HTTPStatus.SEE_OTHER
    return response
