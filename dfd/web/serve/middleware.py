"""Headers on every answer, a line in the log for every request, and what is done when something goes wrong."""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from dfd.web.intake.patience import limited
from dfd.web.pages.answers import failed, no_database, wants_json

Respond = Callable[[HttpRequest], HttpResponse]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline. Pictures of a result are in its page, hence ``data:``."""
PERMISSIONS = ", ".join(f"{name}=()" for name in ("camera", "microphone", "geolocation", "payment", "usb"))

logger = logging.getLogger(__name__)


def add_headers(respond: Respond) -> Respond:
    """Add headers that let a browser load nothing from elsewhere and keep nothing private."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = respond(request)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED and wants_json(request):
            words = f"{request.method} is not possible here; possible: {response.headers.get('Allow', '')}"
            refused = failed(request, HTTPStatus.METHOD_NOT_ALLOWED, words)
            refused.headers["Allow"] = response.headers.get("Allow", "")
            response = refused
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
        return response

    return middleware


class LogRequests:
    """One line for each request, with the pattern of its address: no job, no query, no sender, no file's name."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and write down how that went."""
        began = time.perf_counter()
        with limited(request):
            response = self._respond(request)
        match = request.resolver_match
        is_static = match is None and response.status_code in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
        if not is_static:
            facts = {
                "method": request.method,
                "route": match.route if match else "",
                "status": response.status_code,
                "milliseconds": round(1000 * (time.perf_counter() - began), 1),
            }
            logger.info("request", extra=facts)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A database that does not answer is nobody's fault: come back later. Anything else is a bug of ours."""
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        log_exception()
        return no_database(request)


def log_exception(**_: Any) -> None:
    """Log the current exception by its kind and place."""
    logger.exception("server error")


got_request_exception.connect(log_exception, dispatch_uid="dfd.web")
