"""What a request brings along: its job, its browser, and a body that nobody reads."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from dfd import __version__
from dfd.base.errors import ConfigError
from dfd.report.videos.warnings import caveats_of
from dfd.video.sampling import read_span
from dfd.web.jobs.life import Asked
from dfd.web.models import Job, options
from dfd.web.pages import presentation

MAX_SHOWN_JOBS = 200


def shared_context(request: HttpRequest) -> dict[str, Any]:
    """Context of every page; expensive values are looked up lazily."""
    return {
        "version": __version__,
        "limits": presentation.limits(),
        "detector": SimpleLazyObject(lambda: presentation.detector() or {}),
        "caveats": SimpleLazyObject(lambda: caveats_of(presentation.detector() or {})),
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


def asked_in(values: Mapping[str, Any]) -> Asked:
    """What a form or a program asks to have looked at: ``span``, ``full``, and the ``batch`` that a video is sent with.

    Raises:
        ConfigError: a value cannot be read, or a full look is not offered here; the message is for the sender.
    """
    is_full = str(values.get("full") or "").lower() not in ("", "false", "0")
    if is_full and not options().full_look:
        raise ConfigError("full: this service does not offer to look at all of a video; send a part of it with span")
    try:
        batch = UUID(str(values["batch"])) if values.get("batch") else None
    except ValueError:
        raise ConfigError("batch: it is a UUID that you choose, the same for all videos of the batch") from None
    span = str(values.get("span") or "").strip()
    return Asked(span=read_span(span) if span else None, is_full=is_full, batch=batch)


def batch_of(owner: str, batch: UUID) -> list[Job]:
    """Jobs of an owner that were sent together, most suspicious first, those without a score last.

    Raises:
        Http404: there are none that have not expired.
    """
    found = Job.objects.filter(owner=owner, batch=batch, expires__gt=timezone.now()) if owner else Job.objects.none()
    jobs = sorted(found, key=lambda job: (job.prob_fake is None, -(job.prob_fake or 0.0), job.created))
    if not jobs:
        raise Http404
    return jobs
