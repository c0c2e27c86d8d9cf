"""The annotated video or picture of a job, also in parts, which players ask for."""

import re
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_safe

from dfd.web.models import Job
from dfd.web.pages.requests import own_job
from dfd.web.pages.views import _stem

CONTENT_TYPES = {".mp4": "video/mp4", ".jpg": "image/jpeg"}
MAX_PART_BYTES = 4 * 2**20
"""Longest part of a file in one answer: a player that waits must not hold a thread of the pages. It asks again."""


@require_safe
def annotated(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Show the annotated video or picture of a job of this browser or, with ``?download``, download it."""
    return annotated_response(request, own_job(request, pk), download="download" in request.GET)


def annotated_response(request: HttpRequest, job: Job, *, download: bool) -> HttpResponseBase:
    """Response with the annotated video or picture of a job, or with the part that the header ``Range`` names.

    Raises:
        Http404: the job has none.
    """
    path = job.annotated_path
    if path is None or not path.is_file():
        raise Http404
    size = path.stat().st_size
    part = _part(request, size)
    if part is not None and part.start >= size:
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return HttpResponse(status=status, headers={"Content-Range": f"bytes */{size}"})
    response = FileResponse(
        path.open("rb") if part is None else Part(path, part),
        status=HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT,
        content_type=CONTENT_TYPES[path.suffix],
        as_attachment=download,
        filename=f"{_stem(job.file_name)}-annotated{path.suffix}",
        headers={"Accept-Ranges": "bytes"},
    )
    if part is not None:
        response.headers["Content-Length"] = str(len(part))
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return response


class Part:
    """Bytes of a file, to be read as a file of their own."""

    def __init__(self, path: Path, part: range) -> None:
        self._file: BinaryIO = path.open("rb")
        self._file.seek(part.start)
        self._left = len(part)

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes, at most ``size``; all that are left if it is negative."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _part(request: HttpRequest, size: int) -> range | None:
    """Bytes that a request asks for; None: all. Several parts at once are not given, nor parts of another version."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("Range", "").strip())
    if found is None or found[0] == "bytes=-" or "If-Range" in request.headers:
        return None
    first, last = found[1], found[2]
    if not first:  # the last bytes
        start, stop = max(0, size - int(last)), size
        return range(start, stop) if stop - start <= MAX_PART_BYTES else range(start, start + MAX_PART_BYTES)
    start = int(first)
    if last and int(last) < start:
        return None
    return range(start, min(size, int(last) + 1 if last else size, start + MAX_PART_BYTES))
