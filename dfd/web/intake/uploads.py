"""Receiving of videos: directly into a randomly named file, with limits enforced while bytes arrive.

Nothing is decoded here. The first bytes must be those of a video container or of a still, whatever the file's name or
content type; a worker finds out what it really contains.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import time
import unicodedata
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest
from django.http.request import UnreadablePostError

from dfd.web.intake.kinds import IS_EMPTY, why_refused
from dfd.web.intake.patience import LOOK_SECONDS, allow_rate, allow_seconds, was_too_slow
from dfd.web.models import incoming_folder, options
from dfd.web.options import MIB

FIELD = "video"
"""Name of the form's file field, which may be repeated."""
PART_SUFFIX = ".part"
STALL_SECONDS = 30.0
FULL_SECONDS = 3600
"""Time after which to retry if the disk is full."""
ABANDONED_SECONDS = 6 * 3600
"""Time without writes after which a part counts as left behind by a killed process."""
MAX_NAME = 200
DRAIN_BYTES, DRAIN_SECONDS, DRAIN_STALL_SECONDS = 64 * 2**20, 10.0, 1.0
"""Limits on reading the rest of a refused upload, since a browser that is still sending does not read a response."""

logger = logging.getLogger(__name__)


def shown_name(name: str) -> str:
    r"""Displayable form of a file's name: its last part, without unprintable or direction-changing characters.

    >>> shown_name("..\\..\\secret/\u202e4pm.clip\n"), shown_name("/")
    ('4pm.clip', 'video')
    """
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(sign for sign in unicodedata.normalize("NFC", last) if sign.isprintable()).strip()
    return printable[:MAX_NAME] or "video"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason why an upload or one of its files is refused, and when to retry; None means never."""

    status: HTTPStatus
    message: str
    retry_seconds: int | None = None


class TooSlow(UnreadablePostError):
    """An upload was slower than is allowed; the message is for its sender."""


class ReceivedVideo:
    """One file of an upload: its bytes in a part on disk, or the reason why it was refused."""

    def __init__(self, name: str, part: Path) -> None:
        self.shown_name = shown_name(name)
        self.part = part
        self.size_bytes = 0
        self.refusal: Refusal | None = None
        self._digest = hashlib.sha256()
        part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only this user can read it.
        self._output = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    @property
    def sha256(self) -> str:
        """SHA-256 of what was received, in hexadecimal digits."""
        return self._digest.hexdigest()

    def append(self, data: bytes) -> None:
        """Append bytes to the part."""
        self._output.write(data)
        self._digest.update(data)

    def refuse(self, status: HTTPStatus, why: str, retry_seconds: int | None = None) -> None:
        """Refuse this file and delete its part."""
        self.refusal = Refusal(status, f"{self.shown_name}: {why}", retry_seconds)
        self.discard()

    def finish(self, size_bytes: int) -> None:
        """Close the complete part."""
        self._output.close()
        self.size_bytes = size_bytes

    def take(self, to: Path) -> None:
        """Move the video to its final path."""
        self._output.close()
        self.part.rename(to)

    def discard(self) -> None:
        """Delete the part if it still exists."""
        self._output.close()
        self.part.unlink(missing_ok=True)

    close = discard  # Django calls it at the end of the request


class VideoUploadHandler(FileUploadHandler):
    """Upload handler that writes each file to a part and refuses files that are too large or not videos.

    ``videos`` has every received file in order, including refused ones. The rest of a refused file is read and
    discarded, so that the sender can read the reason; if that exceeds the size limit, the connection is closed.
    """

    chunk_size = MIB

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        # The rate of an upload is measured in such pieces, over a time in which at least two must arrive.
        self.chunk_size = int(min(MIB, 1024 * options().min_rate_kb * LOOK_SECONDS / 2)) or MIB
        self.videos: list[ReceivedVideo] = []
        self.is_cut = False
        self._num_thrown_away = 0

    @property
    def _current(self) -> ReceivedVideo:
        return self.videos[-1]

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Start a new file."""
        super().new_file(*args, **kwargs)
        video = ReceivedVideo(self.file_name or "", incoming_folder() / f"{uuid.uuid4().hex}{PART_SUFFIX}")
        self.videos.append(video)
        if self.field_name != FIELD:
            video.refuse(HTTPStatus.BAD_REQUEST, f"files go into the field {FIELD!r}, not {self.field_name!r}")
        elif len(self.videos) > options().max_files:
            why = f"only {options().max_files} files are accepted at once; send it again"
            video.refuse(HTTPStatus.BAD_REQUEST, why)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Check and write some bytes of the current file."""
        video, limit = self._current, options().max_upload_bytes
        if not video.refusal and start == 0 and (why := why_refused(raw_data)):
            video.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        if not video.refusal and start + len(raw_data) > limit:
            why = f"this file is larger than {options().max_upload_mb} MiB, the most that is accepted here"
            video.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{why}; cut or re-encode the video")
        if not video.refusal and not has_room(len(raw_data)):
            video.refuse(HTTPStatus.INSUFFICIENT_STORAGE, "the disk of this server is full", FULL_SECONDS)
        if video.refusal:
            self._num_thrown_away += len(raw_data)
            if self._num_thrown_away > limit:
                self.is_cut = True
                raise StopUpload(connection_reset=True)
        else:
            video.append(raw_data)

    def file_complete(self, file_size: int) -> Any:
        """Finish the current file; returns it unless it was refused."""
        video = self._current
        if not video.refusal and not file_size:
            video.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, IS_EMPTY)
        if video.refusal:
            return None
        video.finish(file_size)
        return video

    def discard_all(self) -> None:
        """Delete all parts that have not been taken."""
        for video in self.videos:
            video.discard()

    upload_interrupted = discard_all  # no video is complete then


class RefusingUploadHandler(FileUploadHandler):
    """Upload handler for forms without files."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Stop reading."""
        raise StopUpload(connection_reset=True)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Required by the base class, but never called."""

    def file_complete(self, file_size: int) -> None:
        """Required by the base class, but never called."""


def limit_patience(request: HttpRequest, seconds: float) -> None:
    """Limit the time without data from the sender; only under gunicorn, which passes its socket on."""
    connection = request.META.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(seconds)


def drain(request: HttpRequest) -> None:
    """Read and discard part of an unwanted body, within limits of size and time."""
    limit_patience(request, DRAIN_STALL_SECONDS)
    allow_seconds(request, DRAIN_SECONDS)
    ends = time.monotonic() + DRAIN_SECONDS
    left = DRAIN_BYTES
    try:
        while left > 0 and time.monotonic() < ends and (data := request.read(min(left, 2**16))):
            left -= len(data)
    except OSError:
        pass  # the sender has disconnected


def prepare(request: HttpRequest) -> VideoUploadHandler:
    """Install the upload handler; the request's body must not have been read before."""
    limit_patience(request, STALL_SECONDS)
    handler = VideoUploadHandler(request)
    allow_rate(request, 1024 * options().min_rate_kb, piece=handler.chunk_size)
    request.upload_handlers = [handler]
    return handler


def receive(request: HttpRequest, handler: VideoUploadHandler) -> list[ReceivedVideo]:
    """Receive the files of a multipart request, accepted and refused, with the handler from :func:`prepare`.

    Raises:
        TooSlow: the sender was slower than the administrator allows.
        UnreadablePostError: the connection was interrupted.
        MultiPartParserError: the body is not a form.
    """
    try:
        request.FILES  # noqa: B018 - the access receives the files
        if not handler.is_cut and not _is_whole(request):
            raise UnreadablePostError("the connection was interrupted")
    except BaseException as error:
        handler.discard_all()
        if was_too_slow(request):
            rate = options().min_rate_kb
            raise TooSlow(f"The upload was slower than {rate} KiB a second and was given up.") from error
        raise
    return handler.videos


def _is_whole(request: HttpRequest) -> bool:
    """Whether all announced bytes arrived; the parser takes an early end of the connection for the end."""
    stream = getattr(request, "_stream", None)
    position, limit = getattr(stream, "_pos", None), getattr(stream, "limit", None)
    return position is None or limit is None or position >= limit


def has_room(num_bytes: int = 0) -> bool:
    """Whether the disk keeps its reserve after ``num_bytes`` more are written."""
    folder = options().data
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return shutil.disk_usage(folder).free - num_bytes > options().min_free_mb * MIB


def remove_abandoned_parts(*, older_than_seconds: float = ABANDONED_SECONDS) -> int:
    """Delete parts that a killed process left; returns their number."""
    number = 0
    for part in incoming_folder().glob(f"*{PART_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # its upload has just ended
            if time.time() - part.stat().st_mtime > older_than_seconds:
                part.unlink()
                number += 1
    return number
