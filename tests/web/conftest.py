"""A service for each test: a data folder of its own, small limits, and the real views, queue and worker code."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client

from dfd.web.options import WebOptions
from tests.conftest import drawn_frames

MP4_HEAD = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
TOKENS = ("desk:a token of sixteen or more", "wire:another token of sixteen")


@pytest.fixture
def configure(settings: Any) -> Callable[..., WebOptions]:
    """Change options for this test."""

    def change(**values: Any) -> WebOptions:
        settings.OPTIONS = replace(settings.OPTIONS, **values)
        return settings.OPTIONS

    return change


@pytest.fixture(autouse=True)
def _service(configure: Callable[..., WebOptions], tmp_path: Path, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfd.web.queue._BEGAN", time.monotonic() - 3600)  # the pages were started an hour ago
    configure(data=tmp_path / "web", max_upload_mb=1, min_free_mb=0, max_files=3, api_tokens=TOKENS)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real video, drawn."""
    from dfd.video.encode import write_video

    path = tmp_path_factory.mktemp("video") / "drawn.mp4"
    write_video(path, drawn_frames(1), fps=25, fast_decode=False)
    return path.read_bytes()


@pytest.fixture
def scorer(tiny_checkpoint: Path, configure: Callable[..., WebOptions], monkeypatch: Any) -> Iterator[Any]:
    """This process as a worker, with a tiny detector."""
    from dfd.web import tasks
    from dfd.web.jobs.scorer import Scorer

    configure(checkpoint=str(tiny_checkpoint), detector="num_workers=1")
    made = Scorer("this-worker")
    monkeypatch.setattr(tasks, "do", made.score)
    # The worker's loop would close the connection whose transaction a test is rolled back with.
    monkeypatch.setattr("django_tasks_db.management.commands.db_worker.close_old_connections", lambda: None)
    with made.detector:
        yield made


def work(scorer: Any) -> None:
    """Score every job that waits."""
    from dfd.web.jobs.worker import ScoreWorker

    ScoreWorker(scorer, batch=True).run()


def send(client: Client, *files: tuple[str, bytes], **headers: str) -> Any:
    """Upload files as the page's script does."""
    given = [SimpleUploadedFile(name, data) for name, data in files]
    return client.post("/", {"video": given}, headers={"Accept": "application/json", **headers})


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def posted(path: str, body: Any, length: int, **extra: str) -> tuple[int, dict[str, str], bytes]:
    """A request as an HTTP server hands it to the application, with the stream that it has there."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "198.51.100.1",
        "CONTENT_TYPE": "multipart/form-data; boundary=edge",
        "CONTENT_LENGTH": str(length),
        "wsgi.input": body,
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        **extra,
    }
    found: dict[str, Any] = {}

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        found.update(status=int(status.split()[0]), headers=dict(headers))

    from dfd.web.wsgi import application

    for signal in (request_started, request_finished):  # as the test client does: the connection is the test's
        signal.disconnect(close_old_connections)
    try:
        response = application(environ, start)
        content = b"".join(response)
        response.close()  # type: ignore[attr-defined]
    finally:
        from dfd.web.wsgi import application

    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    return found["status"], found["headers"], content
