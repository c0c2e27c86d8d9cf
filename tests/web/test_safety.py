"""Nobody sees what is not theirs, no page runs what is not ours, and nothing is said of people."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import get_resolver

from dfd.web.jobs import life as jobs
from dfd.web.models import Job, options
from dfd.web.serve.logs import JsonFormatter, WithoutValues
from tests.web.conftest import TOKENS, files_below, posted, send, work

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mine(client: Client, video: bytes) -> Job:
    send(client, ("mine.mp4", video))
    return Job.objects.get()


def pages_of(job: Job) -> list[tuple[str, str]]:
    below = f"/jobs/{job.pk}"
    return [
        *(("get", f"{below}/{name}") for name in ("", "state", "report.html", "result.json")),
        *(("post", f"{below}/{name}") for name in ("delete", "retry")),
    ]


def test_another_browsers_job_is_not_found(mine: Job, scorer: Any, client: Client) -> None:
    work(scorer)
    other = Client()
    send(other, ("other.mp4", b"text"))  # has a session of its own
    for visitor in (other, Client()):
        for method, address in pages_of(mine):
            assert getattr(visitor, method)(address).status_code == 404, address
    assert "mine.mp4" not in other.get("/jobs/").content.decode()
    assert Job.objects.filter(pk=mine.pk).exists()
    for method, address in pages_of(mine)[:4]:
        assert getattr(client, method)(address).status_code == 200, address


def test_a_job_of_another_is_answered_like_one_that_never_was(mine: Job) -> None:
    other = Client()
    theirs = other.get(f"/jobs/{mine.pk}/")
    nobodys = other.get("/jobs/00000000-0000-4000-8000-000000000000/")
    assert theirs.status_code == nobodys.status_code == 404
    token = re.compile(rb'value="[A-Za-z0-9]{64}"')
    assert token.sub(b"", theirs.content) == token.sub(b"", nobodys.content)


def test_a_browsers_job_cannot_be_had_through_the_api(mine: Job, configure: Any) -> None:
    configure(open_api=True)
    for headers in ({}, {"Authorization": f"Bearer {TOKENS[0].partition(':')[2]}"}):
        assert Client().get(f"/api/jobs/{mine.pk}", headers=headers).status_code == 404
        assert Client().delete(f"/api/jobs/{mine.pk}", headers=headers).status_code == 404


def test_a_session_tells_nothing_of_who_it_is(mine: Job, client: Client) -> None:
    assert client.session["owner"] not in mine.owner
    assert len(client.session["owner"]) == 32


@pytest.mark.parametrize("address", ["/", "/jobs/delete-all", "/jobs/{pk}/delete", "/jobs/{pk}/retry"])
def test_a_form_of_another_site_does_nothing(mine: Job, client: Client, address: str, video: bytes) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    file = io.BytesIO(video)
    file.name = "forged.mp4"
    answer = strict.post(address.format(pk=mine.pk), {"video": file} if address == "/" else {})
    assert answer.status_code == 403
    assert Job.objects.count() == 1
    assert files_below(options().data) == [mine.upload_path]


def test_a_form_of_our_own_page_is_taken(video: bytes) -> None:
    strict = Client(enforce_csrf_checks=True)
    page = strict.get("/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    file = io.BytesIO(video)
    file.name = "own.mp4"
    assert strict.post("/", {"video": file, "csrfmiddlewaretoken": token[1]}).status_code == 303
    assert Job.objects.count() == 1


def all_pages(client: Client, job: Job) -> Iterator[Any]:
    for address in ("/", "/jobs/", f"/jobs/{job.pk}/", "/about/", "/about/api/", "/nowhere", "/admin/login/"):
        yield client.get(address)


def test_every_answer_has_the_headers(mine: Job, client: Client) -> None:
    for page in all_pages(client, mine):
        headers = page.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
        assert "no-store" in headers["Cache-Control"]


class References(HTMLParser):
    """What a page loads, runs or is styled by."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or "style" in given or any(name.startswith("on") for name in given):
            self.inline.append(f"{tag} {given}")
        if tag == "script" and not given.get("src") and given.get("type") != "application/json":
            self.inline.append("script")
        if tag in ("script", "img", "source", "iframe", "video", "audio", "object", "embed") or tag == "link":
            self.loaded += [value for name, value in attrs if name in ("src", "href", "data", "srcset") and value]


def test_no_page_loads_anything_from_elsewhere_or_runs_anything_inline(mine: Job, client: Client, scorer: Any) -> None:
    work(scorer)
    for page in all_pages(client, mine):
        if page.request["PATH_INFO"].startswith("/admin/"):
            continue
        found = References()
        found.feed(page.content.decode())
        assert not found.inline, page.request["PATH_INFO"]
        elsewhere = [one for one in found.loaded if not one.startswith(("/static/", "data:image/"))]
        assert not elsewhere, page.request["PATH_INFO"]


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(mine: Job, client: Client) -> None:
    client.get("/")
    assert set(client.cookies) == {"sessionid", "csrftoken"}
    for cookie in client.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"


def test_a_visitor_who_sends_nothing_gets_no_session() -> None:
    visitor = Client()
    for address in ("/", "/jobs/", "/about/"):
        visitor.get(address)
    assert "sessionid" not in visitor.cookies


def test_markup_in_a_file_name_is_text_on_every_page(client: Client, video: bytes, scorer: Any) -> None:
    name = "<b onmouseover=alert(1)>&amp;\"'.mp4"
    send(client, (name, video))
    job = Job.objects.get()
    pages = [client.get(f"/jobs/{job.pk}/"), client.get("/jobs/")]
    work(scorer)
    pages += [client.get(f"/jobs/{job.pk}/"), client.get("/jobs/")]
    report = b"".join(client.get(f"/jobs/{job.pk}/report.html").streaming_content)
    for text in [*(page.content for page in pages), report]:
        assert b"<b onmouseover" not in text
        assert b"&lt;b onmouseover=alert(1)&gt;" in text
    kept = client.get(f"/jobs/{job.pk}/report.html?download").headers["Content-Disposition"]
    assert "\r" not in kept
    assert kept.startswith("attachment")


def test_logs_name_no_person_and_no_file(client: Client, video: bytes, scorer: Any) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("dfd.web")
    logger.addHandler(handler)
    try:
        visitor = Client(REMOTE_ADDR="203.0.113.77", HTTP_USER_AGENT="Leaky/1.0")
        send(visitor, ("Jane Doe.mp4", video))
        send(visitor, ("Jane Doe.mp4", b"\0\0\0\x18ftypisom" + b"x" * 500))
        job = Job.objects.first()
        assert job is not None
        visitor.get(f"/jobs/{job.pk}/?secret=word")
        work(scorer)
        visitor.get("/jobs/nothing/secret-path")
        jobs.delete(job)
    finally:
        logger.removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"job created", "job started", "job done", "job deleted", "request"} <= {line["event"] for line in lines}
    for word in ("Jane", "203.0.113.77", "Leaky", "secret", "sessionid"):
        assert word not in stream.getvalue()


def test_an_error_is_logged_by_its_place_and_not_by_its_words() -> None:
    try:
        raise ValueError("Jane Doe.mp4 is odd")
    except ValueError:
        record = logging.LogRecord("dfd.web", logging.ERROR, "", 0, "job failed", (), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert line["exception"] == "ValueError"
    assert "test_safety.py" in line["places"][-1]
    assert "Jane" not in json.dumps(line)


def test_a_server_error_is_logged_and_its_page_tells_nothing(client: Client, monkeypatch: Any, caplog: Any) -> None:
    from dfd.web.pages import presentation

    def broken() -> Any:
        raise ValueError("the innermost secret")

    monkeypatch.setattr(presentation, "business", broken)
    client.raise_request_exception = False
    with caplog.at_level(logging.ERROR), monkeypatch.context() as patch:
        patch.setattr(logging.getLogger("dfd.web"), "propagate", True)
        answer = client.get("/")
    assert answer.status_code == 500
    assert b"secret" not in answer.content
    assert b"logged" in answer.content
    record = next(record for record in caplog.records if record.getMessage() == "server error")
    line = JsonFormatter().format(record)
    assert "ValueError" in line
    assert " broken" in line  # the function it came from
    assert "secret" not in line


def test_a_lost_database_is_told_as_that(client: Client, monkeypatch: Any) -> None:
    from dfd.web.pages import presentation

    def lost() -> Any:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(presentation, "business", lost)
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert b"database does not answer" in answer.content


@pytest.mark.parametrize("charset", ["rot13", "base64", "hex", "undefined", "idna", "utf-16", "no such"])
def test_a_strange_charset_is_no_server_error(charset: str) -> None:
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    for path in ("/", "/api/jobs", "/jobs/delete-all"):
        status, _, _ = posted(path, io.BytesIO(b"--x--"), 5, CONTENT_TYPE=kind, QUERY_STRING="bytes=10")
        assert 400 <= status < 500
    status, _, _ = posted(
        "/may-upload", io.BytesIO(), 0, CONTENT_TYPE=kind, QUERY_STRING="bytes=9", REQUEST_METHOD="GET"
    )
    assert status == 200


@pytest.mark.parametrize("path", ["/", "/jobs/", "/about/", "/about/api/", "/health", "/robots.txt"])
def test_what_can_be_got_can_be_asked_for_by_its_head(client: Client, path: str) -> None:
    assert client.head(path).status_code == client.get(path).status_code


def test_the_servers_own_log_has_no_values_in_it() -> None:
    for text, values in (
        ("Invalid request from ip=%s: %s", ("203.0.113.7", "Jane")),
        ("Invalid request from ip=203.0.113.7: Invalid HTTP header name: 'Jane'", ()),  # as gunicorn fills it in itself
        ("Invalid request from ip=2001:db8::7: Jane", ()),
        ("Error handling request from 203.0.113.7", ()),
        ("the peer [2001:db8::7] has gone", ()),
    ):
        record = logging.LogRecord("g", logging.WARNING, "", 0, text, values, None)
        WithoutValues().filter(record)
        line = JsonFormatter().format(record)
        assert text[:12] in line
        for word in ("203.0.113.7", "2001:db8", "Jane"):
            assert word not in line


def test_no_address_serves_a_folder() -> None:
    routes = [str(pattern.pattern) for pattern in get_resolver().url_patterns]
    assert not [route for route in routes if "<path:" in route or "media" in route]


@pytest.mark.parametrize(
    "address", ["/static/../dfd.sqlite3", "/static/..%2f..%2fsecret_key", "/static/report/../../web/settings.py"]
)
def test_static_files_lead_nowhere_else(client: Client, address: str) -> None:
    assert client.get(address).status_code == 404


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DFD_WEB_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "-m", "dfd.web", "manage", *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


PRODUCTION = {
    "DFD_WEB_SECRET_KEY": "k7Qz0vXw3mN8pR5tY2uI9oA4sD6fG1hJ-lZcVbBnMqWeRtTyUiOp",
    "DFD_WEB_HOSTS": "dfd.example.org",
    "DFD_WEB_HOST": "0.0.0.0",
    "DFD_WEB_DATABASE_URL": "postgres://dfd:word@db/dfd",
    "DFD_WEB_TRUSTED_PROXIES": "1",
}


def test_check_deploy_finds_nothing_in_production_settings() -> None:
    done = manage("check", "--deploy", "--fail-level", "DEBUG", **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize("missing", ["DFD_WEB_SECRET_KEY"])
def test_settings_do_not_load_without_a_secret_key(missing: str) -> None:
    done = manage("check", **{key: value for key, value in PRODUCTION.items() if key != missing})
    assert done.returncode == 1
    assert "DFD_WEB_SECRET_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_migrations_are_those_of_the_models() -> None:
    done = manage("makemigrations", "--check", "--dry-run", **{**PRODUCTION, "DFD_WEB_DATABASE_URL": ""})
    assert done.returncode == 0, done.stdout


def test_the_web_process_loads_no_decoder_and_no_network() -> None:
    heavy = [
        "torch",
        "decord",
        "av",
        "cv2",
        "pandas",
        "hydra",
        "matplotlib",
        "dfd.scoring.detector",
        "dfd.video.decode",
    ]
    code = (
        "import sys, dfd.web.wsgi, dfd.web.urls, dfd.web.serve.middleware, dfd.web.intake.uploads\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("DFD_WEB_")}, **PRODUCTION}
    environment |= {"DJANGO_SETTINGS_MODULE": "dfd.web.settings", "DFD_WEB_DATABASE_URL": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
