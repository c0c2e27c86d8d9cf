"""Admission of uploads, decided before their first byte is read."""

import hashlib
import hmac
import ipaddress
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from dfd.web.intake.uploads import FULL_SECONDS, Refusal, drain, has_room
from dfd.web.models import Job, UploadCount, options
from dfd.web.queue import MIN_RETRY_SECONDS, Queue

FORM_BYTES = 64 * 1024
"""Allowance for a form's other fields and headers."""
LOGINS_PER_HOUR = 10
"""Attempts to log in to the operator's pages that one address has."""
SPARE_THREADS = 8
"""Threads of a web process that are reserved for pages, whatever uploads do."""


def refusal(request: HttpRequest) -> Refusal | None:
    """Reason to refuse an upload before it is read, or None."""
    limit = options().max_upload_bytes * options().max_files + FORM_BYTES
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return Refusal(HTTPStatus.BAD_REQUEST, "The length of the upload is not a number.")
    if announced <= 0:
        return Refusal(HTTPStatus.LENGTH_REQUIRED, "The upload does not say how long it is.")
    if announced > limit:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The upload is larger than is accepted here at once: {options().max_files} files of "
            f"{options().max_upload_mb} MiB. Send fewer or smaller files.",
        )
    if is_full():
        return full()
    if not has_room(min(announced, limit)):
        return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "The disk of this server is full.", FULL_SECONDS)
    hour, most = _hour(), options().uploads_per_hour
    key = _key(request, hour)
    if most and UploadCount.objects.filter(key=key, number__gte=most).exists():
        return _used_up(hour)
    return None


def is_full() -> bool:
    """Whether the maximum number of jobs is waiting or running."""
    return Job.objects.filter(state__in=(Job.State.QUEUED, Job.State.RUNNING)).count() >= options().max_queue


def full() -> Refusal:
    """Refusal for a full queue."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "All places in the queue are taken.", Queue().retry_seconds)


def count_file(request: HttpRequest) -> Refusal | None:
    """Count a file for its sender's address; returns a refusal if the hourly limit is reached."""
    most = options().uploads_per_hour
    hour = _hour()
    return None if not most or _counted(_key(request, hour), hour, most) else _used_up(hour)


def count_login(request: HttpRequest) -> Refusal | None:
    """Count an attempt to log in for its address; returns a refusal beyond :data:`LOGINS_PER_HOUR`."""
    hour = _hour()
    if _counted(_key(request, hour, "login"), hour, LOGINS_PER_HOUR):
        return None
    words = "Too many attempts to log in came from this address this hour."
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, words, _seconds_to_next(hour))


def _counted(key: str, hour: datetime, most: int) -> bool:
    """Count one more for a key; False if there have been ``most``."""
    UploadCount.objects.get_or_create(key=key, defaults={"hour": hour})
    return bool(UploadCount.objects.filter(key=key, number__lt=most).update(number=F("number") + 1))


_reading = threading.Lock()
_num_reading: Counter[str] = Counter()
"""Number of uploads that this process reads now, by address."""


@contextmanager
def admitted(request: HttpRequest) -> Iterator[Refusal | None]:
    """Reserve a thread while an upload is read; yields the reason to refuse it, whose body is then drained, or None."""
    with a_thread_to_read(request) as too_many:
        why = too_many or refusal(request) or count_file(request)
        if why and not too_many:
            drain(request)
        yield why


@contextmanager
def a_thread_to_read(request: HttpRequest) -> Iterator[Refusal | None]:
    """Reserve a thread while an upload is read, which may be slow; yields a refusal if too many are being read.

    An address has a share of the threads, so that no single one can hold all others off.
    """
    address, share = client_address(request), options().uploads_at_once
    with _reading:
        has_share = not share or _num_reading[address] < share
        is_free = has_share and _num_reading.total() < max(1, options().threads - SPARE_THREADS)
        _num_reading[address] += is_free
    try:
        words = "Too many uploads are in progress."
        if not has_share:
            words = f"{share} uploads from this address are in progress, and no more are read at the same time."
        yield None if is_free else Refusal(HTTPStatus.SERVICE_UNAVAILABLE, words, MIN_RETRY_SECONDS)
    finally:
        with _reading:
            _num_reading[address] -= is_free
            if not _num_reading[address]:
                del _num_reading[address]


def _used_up(hour: datetime) -> Refusal:
    words = "Too many uploads came from this address this hour."
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, words, _seconds_to_next(hour))


def _seconds_to_next(hour: datetime) -> int:
    return max(1, int((hour + timedelta(hours=1) - timezone.now()).total_seconds()))


def _hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)


def _key(request: HttpRequest, hour: datetime, what: str = "upload") -> str:
    """Keyed hash of the sender's address, different each hour, which does not reveal the address without the key."""
    text = f"{what} {hour.isoformat()} {client_address(request)}"
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def client_address(request: HttpRequest) -> str:
    """Address of the sender, or its /64 network for IPv6 (a household has 2**64 addresses).

    Behind proxies it comes from X-Forwarded-For, of which only as many entries count as there are trusted proxies,
    since anyone can write the others.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    if hops := options().trusted_proxies:
        forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        if forwarded:
            address = forwarded[-min(hops, len(forwarded))]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
