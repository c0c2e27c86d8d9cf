"""Weights that are not in a package: by path, from the cache, or by URL, always checked against their hash."""

import http.client
import logging
import os
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from dfd.base.errors import WeightsMissing
from dfd.base.files import file_sha256, written_whole

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30


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
        _download(weights, cached)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsMissing(
            f"{weights.name}: cannot be downloaded ({error}). {_where(weights)}\n"
            f"  On a machine that can, download it; then pass {option} or put it at {cached}"
        ) from error
    return cached


def _download(weights: WeightsFile, target: Path) -> None:
    """Download to a temporary name beside ``target``, check the hash, then rename."""
    log.info("downloading %s from %s", weights.name, weights.url)
    with written_whole(target) as part:
        with urllib.request.urlopen(weights.url, timeout=TIMEOUT_SECONDS) as response, part.open("wb") as file:
            shutil.copyfileobj(response, file)
        found = file_sha256(part)
        if not found.startswith(weights.sha256):
            raise OSError(f"the download is not the published file: {part.stat().st_size} bytes, SHA-256 {found}")


def _where(weights: WeightsFile) -> str:
    size = f", {weights.size_bytes} bytes" if weights.size_bytes is not None else ""
    digits = "SHA-256" if len(weights.sha256) == 64 else "SHA-256 beginning with"
    return f"It is published at\n  {weights.url}\n  ({digits} {weights.sha256}{size}, licence {weights.licence})."
