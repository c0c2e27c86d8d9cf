"""Who may send a video now: decided before the first byte of it is read."""

import hashlib
import hmac
import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from dfd.web.models import Job, UploadCount, options
from dfd.web.queue import MIN_RETRY_SECONDS, Queue
from dfd.web.uploads import FULL_SECONDS, Refusal, has_room

FORM_BYTES = 64 * 1024
"""What a form's other fields and headers may add to its files."""
SPARE_THREADS = 8
"""Threads of a web process that no upload takes, so that pages are answered whatever senders do."""


def refusal(request: HttpRequest) -> Refusal | None:
    """Why this upload would be refused before it is read, or None."""
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
            f"The upload is larger than what is taken here at once: {options().max_files} files of "
            f"{options().max_upload_mb} MiB. Send fewer or smaller files.",
        )
    if is_full():
        return full()
    if not has_room(min(announced, limit)):
        return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "The disk of this server is full.", FULL_SECONDS)
    hour = _hour()
    key, most = _key(request, hour), options().uploads_per_hour
    if most and UploadCount.objects.filter(key=key, number__gte=most).exists():
        return _used_up(hour)
    return None


def is_full() -> bool:
    """True if as many jobs wait or run as may."""
    return Job.objects.filter(state__in=(Job.State.QUEUED, Job.State.RUNNING)).count() >= options().max_queue


def full() -> Refusal:
    """Busy, try later."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "All places in the queue are taken.", Queue().retry_seconds)


def count_file(request: HttpRequest) -> Refusal | None:
    """Count a file against its sender's address, whatever becomes of it; a refusal if the hour is used up."""
    most = options().uploads_per_hour
    if not most:
        return None
    hour = _hour()
    key = _key(request, hour)
    UploadCount.objects.get_or_create(key=key, defaults={"hour": hour})
    counted = UploadCount.objects.filter(key=key, number__lt=most).update(number=F("number") + 1)
    return None if counted else _used_up(hour)


_reading = threading.Lock()
_num_reading = 0


@contextmanager
def a_thread_to_read() -> Iterator[Refusal | None]:
    """While an upload is read, which takes as long as its sender likes; a refusal if too many are being read."""
    global _num_reading
    with _reading:
        is_free = _num_reading < max(1, options().threads - SPARE_THREADS)
        _num_reading += is_free
    try:
        words = "Too many uploads are coming in at this moment."
        yield None if is_free else Refusal(HTTPStatus.SERVICE_UNAVAILABLE, words, MIN_RETRY_SECONDS)
    finally:
        with _reading:
            _num_reading -= is_free


def _used_up(hour: datetime) -> Refusal:
    seconds = max(1, int((hour + timedelta(hours=1) - timezone.now()).total_seconds()))
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many uploads came from this address this hour.", seconds)


def _hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)


def _key(request: HttpRequest, hour: datetime) -> str:
    """A name for the sender's address that tells nobody without our key the address, and another one each hour."""
    text = f"upload {hour.isoformat()} {client_address(request)}"
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def client_address(request: HttpRequest) -> str:
    """The sender's address, of IPv6 the network of it (a household has 2**64); behind proxies, what these say.

    Only as many entries of X-Forwarded-For are believed as there are trusted proxies: the rest anyone can write.
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
