"""What a request brings along: its job, its browser, and a body that nobody reads."""

import hashlib
import secrets
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from dfd import __version__
from dfd.web.models import Job
from dfd.web.pages import presentation

MAX_SHOWN_JOBS = 200


def shared_context(request: HttpRequest) -> dict[str, Any]:
    """Context of every page; expensive values are looked up lazily."""
    return {
        "version": __version__,
        "limits": presentation.limits(),
        "detector": SimpleLazyObject(lambda: presentation.detector() or {}),
    }


def own_job(request: HttpRequest, pk: UUID) -> Job:
    """Job of this browser.

    Raises:
        Http404: the job does not exist, has expired, or belongs to someone else; the response does not say which.
    """
    return job_of(browser_owner(request), pk)


def job_of(owner: str, pk: UUID) -> Job:
    """Job of an owner; errors as for :func:`own_job`."""
    job = Job.objects.filter(pk=pk, owner=owner, expires__gt=timezone.now()).first() if owner else None
    if job is None:
        raise Http404
    return job


def jobs_of(owner: str) -> "list[Job]":
    """Jobs of an owner that have not expired, newest first, at most ``MAX_SHOWN_JOBS``."""
    return list(Job.objects.filter(owner=owner, expires__gt=timezone.now())[:MAX_SHOWN_JOBS]) if owner else []


def browser_owner(request: HttpRequest, *, make: bool = False) -> str:
    """Owner id of this browser: a hash of a random word in its session; "" if it has never sent anything."""
    word = request.session.get("owner")
    if word is None:
        if not make:
            return ""
        word = request.session["owner"] = secrets.token_hex(16)
    elif make:
        request.session.modified = True  # the session must outlive its newest job
    return hashlib.sha256(f"browser {word}".encode()).hexdigest()
