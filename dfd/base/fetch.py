"""Weights that are not in a package: by path, from the cache, or by URL, always checked against their hash."""

import http
import http.client
import logging
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dfd.base.errors import WeightsMissing
from dfd.base.files import commit, file_sha256, take_lock

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A published file of weights. ``sha256`` is the full hash, or as many leading hex digits as are public.

    ``name`` is its file name in the cache, ``licence`` that of the weights.

    Raises:
        ValueError: ``sha256`` is not 8 to 64 hex digits, or ``name`` is not a plain file name.
    """

    name: str
    url: str
    sha256: str
    size_bytes: int | None
    licence: str

    def __post_init__(self) -> None:
        if not 8 <= len(self.sha256) <= 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"sha256 of {self.name} must be 8 to 64 lower-case hex digits, got {self.sha256!r}")
        if not self.name or Path(self.name).name != self.name:
            raise ValueError(f"name must be a plain file name, got {self.name!r}")


def cache_folder() -> Path:
    """Where downloaded weights are kept: ``dfd`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfd"


def fetch(weights: WeightsFile, *, path: str | Path | None, option: str) -> Path:
    """A local file of these weights: ``path`` if given, else the cache's copy, else downloaded into the cache.

    A given file that is another edition is used, with a warning: users bring their own. A file from the cache or from
    the URL must be the one that was published.

    Args:
        weights: which file.
        path: the user's own copy.
        option: how a user passes ``path``, for the error: ``"face_detector.weights=FILE"``.

    Raises:
        WeightsMissing: there is no file at ``path``, or the download failed or is not the file it should be. The
            message has the file, its URL, its hash and ``option``.
    """
    if path is not None:
        given = Path(path)
        if not given.is_file():
            raise WeightsMissing(f"{given}: no such file, given as {option}. {_where(weights)}")
        if not file_sha256(given).startswith(weights.sha256):
            log.warning("%s is not the published %s (SHA-256 %s); using it", given, weights.name, weights.sha256)
        return given

    cached = cache_folder() / weights.name
    if cached.is_file():
        if file_sha256(cached).startswith(weights.sha256):
            return cached
        log.warning("%s is damaged (its hash is wrong); downloading it again", cached)
    try:
        log.info("downloading %s from %s", weights.name, weights.url)
        download(weights.url, cached, sha256=weights.sha256, size_bytes=weights.size_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsMissing(
            f"{weights.name}: cannot be downloaded ({error}). {_where(weights)}\n"
            f"  On a machine that can, download it; then pass {option} or put it at {cached}"
        ) from error
    return cached


def download(url: str, target: Path, *, sha256: str | None = None, size_bytes: int | None = None) -> None:
    """Download a file under a progress bar; what an interrupted download has left in ``target.part`` is continued.

    Args:
        url: where the file is.
        target: where it is put once it is whole.
        sha256: its SHA-256, or leading digits of it; None: it is not known.
        size_bytes: its size; None: as the server says.

    Raises:
        OSError, http.client.HTTPException: when the download fails, another process is at it, or the file is not the
            one that is expected; then nothing of it is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    lock = take_lock(part)
    if lock is None:
        raise OSError(f"another process is downloading it to {part}")
    with lock:
        done = lock.seek(0, os.SEEK_END)
        headers = {"Range": f"bytes={done}-"} if done else {}
        request = urllib.request.Request(url, headers=headers)
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
        else:
            with response:
                _receive(response, lock, done, size_bytes, name=target.name)
        lock.flush()
        found, size = file_sha256(part), part.stat().st_size
        if not found.startswith(sha256 or "") or size_bytes not in (None, size):
            part.unlink()
            raise OSError(f"the download is not the published file: {size} bytes, SHA-256 {found}")
        commit(part, target)


def _receive(response: Any, file: IO[bytes], done: int, size_bytes: int | None, *, name: str) -> None:
    """Append a response to a file; one that does not begin where the file ends replaces it."""
    from dfd.base.progress import download_bar  # rich, which the workers that find faces do without

    if done and response.status != http.HTTPStatus.PARTIAL_CONTENT:
        file.truncate(0)
        done = 0
    file.seek(done)
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else size_bytes
    with download_bar() as bar:
        task = bar.add_task(name, total=total, completed=done)
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            bar.advance(task, len(chunk))
    if total is not None and file.tell() < total:
        file.flush()
        raise OSError(f"the connection ended after {file.tell():,} of {total:,} bytes; run this again to continue")


def _where(weights: WeightsFile) -> str:
    size = f", {weights.size_bytes} bytes" if weights.size_bytes is not None else ""
    digits = "SHA-256" if len(weights.sha256) == 64 else "SHA-256 beginning with"
    return f"It is published at\n  {weights.url}\n  ({digits} {weights.sha256}{size}, licence {weights.licence})."
