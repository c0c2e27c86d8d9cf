"""The options of the web page, all from environment variables, so that every process on every machine reads the same.

``python -m dfd.web key=value`` sets the variable ``DFD_WEB_KEY`` for the processes that it starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from dfd.base.errors import ConfigError
from dfd.base.words import nearest

PREFIX = "DFD_WEB_"
PARENT = "DFD_PARENT"
"""Variable with the number of the process that all others of a page end with."""
MIB = 2**20
USELESS = 3
"""Exit status of a worker that will fail in the same way when it is started again."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Options of the web page and its workers.

    Raises:
        ConfigError: a value is out of range.
    """

    checkpoint: Annotated[str, "the detector: a file, a name, or several: [a,b] (workers only)"] = ""
    detector: Annotated[str, "options of predict.py for it, such as 'face_detector=yunet max_windows=16'"] = ""
    data: Annotated[Path, "folder of uploads, results and the SQLite file; all machines share it"] = Path("outputs/web")
    database_url: Annotated[str, "postgres://user:password@host/name; empty: SQLite in the data folder"] = ""
    secret_key: Annotated[str, "signs cookies; 50 random characters, the same for all web processes"] = ""
    hosts: Annotated[tuple[str, ...], "names that the page is reached by, separated by commas"] = LOOPBACK
    https: Annotated[bool, "cookies and links only over HTTPS; false: for one machine alone"] = True
    trusted_proxies: Annotated[int, "proxies before the page, each of which adds to X-Forwarded-For"] = 0
    api_tokens: Annotated[tuple[str, ...], "name:token pairs, separated by commas, that may use the API"] = ()
    open_api: Annotated[bool, "the API takes jobs without a token"] = False

    admin: Annotated[bool, "pages for the operator at /admin/; accounts: dfd web manage createsuperuser"] = False
    full_look: Annotated[bool, "visitors may ask that all of a video is looked at, which takes long"] = False
    keep_uploads: Annotated[bool, "videos are kept as long as results, so that a part can be looked at again"] = False
    annotate: Annotated[bool, "a video with the scores drawn in is kept with each result; takes longer"] = False

    max_upload_mb: Annotated[int, "largest file, in MiB"] = 500
    max_files: Annotated[int, "files of one upload"] = 20
    max_queue: Annotated[int, "jobs that wait or run; with more, uploads are told to come back later"] = 100
    uploads_per_hour: Annotated[int, "files that one address may send in an hour; 0: as many as it likes"] = 200
    uploads_at_once: Annotated[int, "uploads that one address may send at the same time; 0: as many as it likes"] = 8
    min_rate_kb: Annotated[int, "an upload that is slower for a minute is given up, in KiB a second; 0: never"] = 16
    keep_hours: Annotated[float, "results are deleted after so long; the video itself once it is scored"] = 24.0
    min_free_mb: Annotated[int, "no upload is taken when the disk has less left, in MiB"] = 1024
    lease_seconds: Annotated[float, "a worker silent for so long has died; its job is taken again"] = 30.0

    host: Annotated[str, "address to listen on"] = "127.0.0.1"
    port: Annotated[int, "port to listen on"] = 8000
    processes: Annotated[int, "web processes"] = 1
    threads: Annotated[int, "requests, uploads among them, that one web process answers at once"] = 64
    workers: Annotated[int, "processes that score, each with a copy of the detector in memory"] = 1

    def __post_init__(self) -> None:
        for name in ("max_upload_mb", "max_files", "max_queue", "keep_hours", "lease_seconds", "processes", "threads"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{PREFIX}{name.upper()} must be above 0, got {getattr(self, name)}")
        for name in ("keep_hours", "lease_seconds"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{PREFIX}{name.upper()} must be a number, got {getattr(self, name)}")
        if not 1 <= self.port <= 65535:
            raise ConfigError(f"{PREFIX}PORT must be in 1..65535, got {self.port}")
        for name in ("trusted_proxies", "uploads_per_hour", "uploads_at_once", "min_rate_kb", "min_free_mb", "workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{PREFIX}{name.upper()} must not be negative, got {getattr(self, name)}")
        for pair in self.api_tokens:
            name, colon, token = pair.partition(":")
            if not (name and colon and len(token) >= 16):
                problem = "is not name:token with a token of 16 characters or more"
                raise ConfigError(f"{PREFIX}API_TOKENS: {name!r} {problem}")

    @property
    def max_upload_bytes(self) -> int:
        """Largest size of one file."""
        return self.max_upload_mb * MIB

    @property
    def checkpoints(self) -> list[str]:
        """Files or names of the detectors.

        >>> WebOptions(checkpoint="[starter, my detector.safetensors]").checkpoints, WebOptions().checkpoints
        (['starter', 'my detector.safetensors'], [])
        """
        text = self.checkpoint.strip()
        parts = text[1:-1].split(",") if text.startswith("[") and text.endswith("]") else [text]
        return [part.strip() for part in parts if part.strip()]

    @property
    def is_loopback(self) -> bool:
        """True if nobody but this machine reaches the page."""
        return self.host in ("localhost", "127.0.0.1", "::1")

    def tokens(self) -> dict[str, str]:
        """Token -> the name of who has it."""
        return {token: name for name, _, token in (pair.partition(":") for pair in self.api_tokens)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WebOptions:
        """The options that ``DFD_WEB_*`` variables give; an empty variable is as good as none.

        >>> WebOptions.from_environment({"DFD_WEB_PORT": "80", "DFD_WEB_HTTPS": "false"}).port
        80

        Raises:
            ConfigError: a variable that there is no option for, or a value that does not fit.
        """
        known = {item.name for item in fields(cls)}
        given = {
            key.removeprefix(PREFIX).lower(): text
            for key, text in environment.items()
            if key.startswith(PREFIX) and text != ""
        }
        if unknown := sorted(given.keys() - known):
            close = nearest(unknown[0], known, close=0.6)
            remedy = f"; did you mean {PREFIX}{close.upper()}?" if close else ""
            raise ConfigError(f"{PREFIX}{unknown[0].upper()}: no such option{remedy}")
        kinds = get_type_hints(cls)
        return cls(**{name: _parsed(name, text, kinds[name]) for name, text in given.items()})


def _parsed(name: str, text: str, kind: Any) -> Any:
    variable = f"{PREFIX}{name.upper()}"
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(f"{variable}={text} is not true or false")
        return text.lower() in ("true", "1")
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is Path:
        return Path(text).expanduser()
    try:
        return kind(text)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{variable}={text} is not {word}") from None


def described() -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of each option, for ``--help`` and the docs."""
    hints = get_type_hints(WebOptions, include_extras=True)
    for item in fields(WebOptions):
        default = item.default
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        yield item.name, shown.lower() if isinstance(default, bool) else shown, hints[item.name].__metadata__[0]
