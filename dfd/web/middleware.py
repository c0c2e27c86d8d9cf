"""Headers on every answer, and a line in the log for every request."""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

Respond = Callable[[HttpRequest], HttpResponse]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline. Pictures of a result are in its page, hence ``data:``."""
PERMISSIONS = ", ".join(f"{name}=()" for name in ("camera", "microphone", "geolocation", "payment", "usb"))

logger = logging.getLogger(__name__)


def add_headers(respond: Respond) -> Respond:
    """What a browser may do with the answer: load nothing from elsewhere, and keep nothing that is someone's own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = respond(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
        return response

    return middleware


def log_requests(respond: Respond) -> Respond:
    """One line for each request, with the pattern of its address: no job, no query, no sender, no file's name."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = respond(request)
        match = request.resolver_match
        facts = {
            "method": request.method,
            "route": match.route if match else "",
            "status": response.status_code,
            "milliseconds": round(1000 * (time.perf_counter() - began), 1),
        }
        level = logging.ERROR if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        if not (match is None and response.status_code in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)):  # static files
            logger.log(level, "request", extra=facts)
        return response

    return middleware
