"""Taking videos in: straight to a file of a random name, within limits that hold while the bytes come.

Nothing is decoded here. The first bytes must be those of a video container, whatever the file's name or the sender's
content type say; what is really in it is found out by a worker.
"""

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

from dfd.web.models import incoming_folder, options
from dfd.web.options import MIB

FIELD = "video"
"""The form's field; it may be there many times."""
PART_SUFFIX = ".part"
STALL_SECONDS = 30.0
FULL_SECONDS = 3600
"""A full disk is not empty again in less."""
ABANDONED_SECONDS = 6 * 3600
"""A part that nothing was written to for so long is what a killed process left."""
MAX_NAME = 200

# Offset and bytes by which containers are told: https://en.wikipedia.org/wiki/List_of_file_signatures and, for the
# boxes that an ISO file may begin with, ISO/IEC 14496-12 and the QuickTime file format.
_SIGNATURES: tuple[tuple[int, tuple[bytes, ...]], ...] = (
    (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof")),
    (0, (b"\x1a\x45\xdf\xa3",)),  # Matroska, WebM
    (0, (b"FLV\x01", b"OggS", b"GIF87a", b"GIF89a", b"YUV4MPEG2", b"DKIF")),
    (0, (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),  # ASF: WMV
    (0, (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")),  # MPEG programme and video streams
    (0, (b"\x06\x0e\x2b\x34\x02\x05\x01\x01",)),  # MXF
)
_PACKETS = ((0, 188), (4, 192))  # an MPEG transport stream, and that of a Blu-ray camera: first byte and distance

logger = logging.getLogger(__name__)


def looks_like_video(head: bytes) -> bool:
    r"""True if a file that begins with ``head`` is of a kind of container that may hold a video.

    >>> looks_like_video(b"\0\0\0\x20ftypisom"), looks_like_video(b"Dear editor, "), looks_like_video(b"")
    (True, False, False)
    """
    if any(head[at:].startswith(signs) for at, signs in _SIGNATURES):
        return True
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return True
    return any(len(head) > at + 2 * step and head[at : at + 2 * step + 1 : step] == b"GGG" for at, step in _PACKETS)


def shown_name(name: str) -> str:
    r"""A file's name as it may be shown: its last part, without signs that do not print or that turn the text around.

    >>> shown_name("..\\..\\secret/\u202e4pm.clip\n"), shown_name("/")
    ('4pm.clip', 'video')
    """
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(sign for sign in unicodedata.normalize("NFC", last) if sign.isprintable()).strip()
    return printable[:MAX_NAME] or "video"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upload, or a file of it, is not taken, and when to come back; None: never."""

    status: HTTPStatus
    message: str
    retry_seconds: int | None = None


class ReceivedVideo:
    """A file of an upload: the bytes in a part, or why it was not taken."""

    def __init__(self, name: str, part: Path) -> None:
        self.shown_name = shown_name(name)
        self.part = part
        self.size_bytes = 0
        self.refusal: Refusal | None = None
        self._output = _private(part)

    def append(self, data: bytes) -> None:
        """More of it."""
        self._output.write(data)

    def refuse(self, status: HTTPStatus, why: str, retry_seconds: int | None = None) -> None:
        """Give up on this file: nothing of it stays."""
        self.refusal = Refusal(status, f"{self.shown_name}: {why}", retry_seconds)
        self.discard()

    def finish(self, size_bytes: int) -> None:
        """All bytes are there."""
        self._output.close()
        self.size_bytes = size_bytes

    def take(self, to: Path) -> None:
        """Move the video to where it is kept."""
        self._output.close()
        self.part.rename(to)

    def discard(self) -> None:
        """Delete the part, if it is still there."""
        self._output.close()
        self.part.unlink(missing_ok=True)

    def close(self) -> None:
        """At the end of the request, whatever became of it."""
        self.discard()


def _private(part: Path) -> Any:
    """A new file that only this user may read."""
    part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class VideoUploadHandler(FileUploadHandler):
    """Writes each file of a form to a part, and stops one that is too large, no video, or more than the disk holds.

    ``videos`` has every file that came, in order, the refused ones too. What follows of a refused file is thrown away
    as it comes, so that the sender gets to read why; of one that goes on for longer than any file may, the connection
    is cut.
    """

    chunk_size = MIB

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.videos: list[ReceivedVideo] = []
        self.is_cut = False
        self._num_thrown_away = 0

    @property
    def _current(self) -> ReceivedVideo:
        return self.videos[-1]

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """A file begins."""
        super().new_file(*args, **kwargs)
        video = ReceivedVideo(self.file_name or "", incoming_folder() / f"{uuid.uuid4().hex}{PART_SUFFIX}")
        self.videos.append(video)
        if self.field_name != FIELD:
            video.refuse(HTTPStatus.BAD_REQUEST, f"files go into the field {FIELD!r}, not {self.field_name!r}")
        elif len(self.videos) > options().max_files:
            video.refuse(HTTPStatus.BAD_REQUEST, f"only {options().max_files} files are taken at once; send it again")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Some bytes of it."""
        video, limit = self._current, options().max_upload_bytes
        if not video.refusal and start == 0 and not looks_like_video(raw_data):
            why = "this is not a video: its first bytes are of no video format that is known here"
            video.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        if not video.refusal and start + len(raw_data) > limit:
            why = f"this file is larger than {options().max_upload_mb} MiB, the most that is taken here"
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
        """The last byte has come."""
        video = self._current
        if not video.refusal and not file_size:
            video.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the file is empty")
        if video.refusal:
            return None
        video.finish(file_size)
        return video

    def upload_interrupted(self) -> None:
        """The rest will not come: nothing stays, for what there is is no whole video."""
        self.discard_all()

    def discard_all(self) -> None:
        """Delete what has come and not been taken."""
        for video in self.videos:
            video.discard()


class RefusingUploadHandler(FileUploadHandler):
    """For every form that takes no file."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Read no further."""
        raise StopUpload(connection_reset=True)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never reached."""

    def file_complete(self, file_size: int) -> None:
        """Never reached."""


def limit_patience(request: HttpRequest, seconds: float) -> None:
    """A sender who sends nothing for so long has broken off. Under gunicorn, which hands its socket along."""
    connection = request.META.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(seconds)


def prepare(request: HttpRequest) -> VideoUploadHandler:
    """Have the request's files handled here. Nothing may have read its body before."""
    limit_patience(request, STALL_SECONDS)
    handler = VideoUploadHandler(request)
    request.upload_handlers = [handler]
    return handler


def receive(request: HttpRequest, handler: VideoUploadHandler) -> list[ReceivedVideo]:
    """The files of a multipart request, taken and refused ones, with the handler that :func:`prepare` gave.

    Raises:
        UnreadablePostError: the sender broke off.
        MultiPartParserError: the body is no form.
    """
    try:
        request.FILES  # noqa: B018 - reading it is what takes the files in
        if not handler.is_cut and not _is_whole(request):
            raise UnreadablePostError("the sender broke off")
    except BaseException:
        handler.discard_all()
        raise
    return handler.videos


def _is_whole(request: HttpRequest) -> bool:
    """False if the connection ended before all that was announced had come: the parser takes that for the end."""
    stream = getattr(request, "_stream", None)
    position, limit = getattr(stream, "_pos", None), getattr(stream, "limit", None)
    return position is None or limit is None or position >= limit


def has_room(num_bytes: int = 0) -> bool:
    """True if the disk keeps its reserve when so much more is written to it."""
    folder = options().data
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return shutil.disk_usage(folder).free - num_bytes > options().min_free_mb * MIB


def remove_abandoned_parts(*, older_than_seconds: float = ABANDONED_SECONDS) -> int:
    """Delete parts that a killed process left; how many."""
    number = 0
    for part in incoming_folder().glob(f"*{PART_SUFFIX}"):
        try:
            if time.time() - part.stat().st_mtime > older_than_seconds:
                part.unlink()
                number += 1
        except FileNotFoundError:
            pass  # its upload has just ended
    return number
