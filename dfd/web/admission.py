"""Who may send a video now: decided before the first byte of it is read."""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.db import IntegrityError
from django.db.models import Avg, F
from django.http import HttpRequest
from django.utils import timezone

from dfd.web.models import Job, UploadCount, Worker, options
from dfd.web.uploads import has_room

MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 10, 3600
GUESSED_SECONDS = 30.0
"""Of a job, as long as none has been done."""
NUM_RECENT = 20
FORM_BYTES = 64 * 1024
"""What a form's other fields and headers may add to its files."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upload is not taken now, and when to come back; None: never."""

    status: HTTPStatus
    message: str
    retry_seconds: int | None = None


def refusal(request: HttpRequest) -> Refusal | None:
    """Why this upload is refused before it is read, or None."""
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
        return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "The disk of this server is full.", MAX_RETRY_SECONDS)
    if until := _used_up(request):
        seconds = max(1, int((until - timezone.now()).total_seconds()))
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many uploads came from this address this hour.", seconds)
    return None


def full() -> Refusal:
    """Busy, try later."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "All places in the queue are taken.", retry_seconds())


def is_full() -> bool:
    """True if as many jobs wait or run as may."""
    return Job.objects.filter(state__in=(Job.State.QUEUED, Job.State.RUNNING)).count() >= options().max_queue


def seconds_per_job() -> float:
    """What the last jobs took, as far as is known."""
    recent = Job.objects.filter(state=Job.State.DONE).order_by("-finished")[:NUM_RECENT]
    known = Job.objects.filter(pk__in=[job.pk for job in recent]).aggregate(mean=Avg(F("finished") - F("started")))
    mean: timedelta | None = known["mean"]
    return GUESSED_SECONDS if mean is None else float(mean.total_seconds())


def retry_seconds() -> int:
    """When a place may be free."""
    each = seconds_per_job() / max(1, Worker.alive().count())
    return int(min(max(each, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS))


def place_in_queue(job: Job) -> int:
    """1 for the job that is next; 0 for one that does not wait."""
    if job.state != Job.State.QUEUED:
        return 0
    return Job.objects.filter(state=Job.State.QUEUED, created__lt=job.created).count() + 1


def wait_seconds(place: int) -> int:
    """How long a job at ``place`` will wait, roughly."""
    return int(place * seconds_per_job() / max(1, Worker.alive().count()))


def count_upload(request: HttpRequest, number: int = 1) -> None:
    """Count files against the sender's address."""
    if not options().uploads_per_hour:
        return
    hour = _hour()
    key = _key(client_address(request), hour)
    for _ in range(2):
        if UploadCount.objects.filter(key=key).update(number=F("number") + number):
            return
        try:
            UploadCount.objects.create(key=key, number=number, hour=hour)
        except IntegrityError:
            continue  # another request has just made it
        return


def _used_up(request: HttpRequest) -> datetime | None:
    """When the sender's next hour begins, if this one is used up."""
    most = options().uploads_per_hour
    hour = _hour()
    if not most or not UploadCount.objects.filter(key=_key(client_address(request), hour), number__gte=most).exists():
        return None
    return hour + timedelta(hours=1)


def _hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)


def _key(address: str, hour: datetime) -> str:
    """A name for an address that tells nobody the address, and another one each hour."""
    text = f"upload {hour.isoformat()} {address}"
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
