"""The JSON API, and that it is what its OpenAPI file says."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from dfd.web.models import Job, Worker, options
from tests.web.conftest import TOKENS, files_below, work

ROOT = Path(__file__).resolve().parents[2]
DESK, WIRE = ({"Authorization": f"Bearer {pair.partition(':')[2]}"} for pair in TOKENS)


def post(client: Client, data: bytes, name: str = "a.mp4", headers: Any = DESK, **extra: Any) -> Any:
    file = io.BytesIO(data)
    file.name = name
    return client.post("/api/jobs", {"video": file, **extra}, headers=headers)


def test_a_program_sends_a_video_waits_reads_the_result_and_deletes_it(
    client: Client, video: bytes, scorer: Any
) -> None:
    made = post(client, video, "clip.mp4")
    assert made.status_code == 201
    job = made.json()
    assert job["url"] == made.headers["Location"]
    assert (job["state"], job["place"], job["file_name"], job["report_url"]) == ("queued", 1, "clip.mp4", None)
    work(scorer)
    done = client.get(job["url"], headers=DESK).json()
    assert done["state"] == "done"
    assert done["verdict"] in ("fake", "real", "uncertain")
    assert done["result"]["tracks"][0]["windows"][0]["prob_fake"] >= 0
    report = client.get(done["report_url"], headers=DESK)
    assert b"clip.mp4" in b"".join(report.streaming_content)
    assert client.delete(job["url"], headers=DESK).status_code == 204
    assert client.get(job["url"], headers=DESK).status_code == 404
    assert not files_below(options().data)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer é"}]
)
def test_without_a_token_nothing_is_told_or_taken(client: Client, video: bytes, headers: dict[str, str]) -> None:
    mine = post(client, video).json()
    for answer in (
        post(client, video, headers=headers),
        client.get("/api/jobs", headers=headers),
        client.get(mine["url"], headers=headers),
        client.delete(mine["url"], headers=headers),
        client.get(f"{mine['url']}/report.html", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "token" in answer.json()["error"]
    assert Job.objects.count() == 1


def test_each_token_sees_its_own_jobs(client: Client, video: bytes) -> None:
    mine = post(client, video, "mine.mp4").json()
    post(client, video, "theirs.mp4", headers=WIRE)
    assert [job["file_name"] for job in client.get("/api/jobs", headers=DESK).json()] == ["mine.mp4"]
    assert client.get(mine["url"], headers=WIRE).status_code == 404
    assert client.delete(mine["url"], headers=WIRE).status_code == 404


def test_an_open_api_takes_jobs_without_a_token_but_not_for_another_sites_page(
    client: Client, video: bytes, configure: Any
) -> None:
    configure(open_api=True, api_tokens=())
    assert post(client, video, headers={}).status_code == 201
    assert post(client, video, headers={"Origin": "https://evil.example"}).status_code == 401
    assert post(client, video, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 401
    assert post(client, video, headers={"Origin": "http://testserver"}).status_code == 201


def test_a_cookie_is_no_token(client: Client, video: bytes) -> None:
    client.post("/", {"video": io.BytesIO(video)})
    assert post(client, video, headers={}).status_code == 401


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [(b"text", 415, "not a video"), (b"\0\0\0\x18ftypisom" + b"\0" * 2**20, 413, "larger than 1 MiB")],
)
def test_a_file_that_is_not_taken_is_told_why(client: Client, data: bytes, status: int, words: str) -> None:
    answer = post(client, data)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert not files_below(options().data)


def test_one_video_at_a_time(client: Client, video: bytes) -> None:
    second = io.BytesIO(video)
    second.name = "b.mp4"
    first = io.BytesIO(video)
    first.name = "a.mp4"
    answer = client.post("/api/jobs", {"video": [first, second]}, headers=DESK)
    assert answer.status_code == 400
    assert "2 files" in answer.json()["error"]
    assert not files_below(options().data)
    assert client.post("/api/jobs", {}, headers=DESK).status_code in (400, 411)
    assert client.post("/api/jobs", b"{}", content_type="application/json", headers=DESK).status_code == 400


def test_an_error_is_json_whatever_it_is(client: Client, video: bytes) -> None:
    big = client.post("/api/jobs", {"video": io.BytesIO(video), "note": "x" * 100_000}, headers=DESK)
    assert (big.status_code, bool(big.json()["error"])) == (400, True)
    assert client.get("/api/nothing", headers=DESK).json()["error"]
    odd = client.get("/api/jobs", headers={"Origin": "http://[", **DESK})
    assert odd.status_code == 200


def test_an_origin_that_is_no_address_is_elsewhere(client: Client, configure: Any) -> None:
    configure(open_api=True, api_tokens=())
    assert client.get("/api/jobs", headers={"Origin": "http://["}).status_code == 401


def test_a_full_queue_says_when_to_come_back(client: Client, video: bytes, configure: Any) -> None:
    configure(max_queue=1)
    post(client, video)
    answer = post(client, video)
    assert answer.status_code == 503
    assert answer.json()["retry_seconds"] == int(answer.headers["Retry-After"])


def test_the_openapi_file_in_docs_is_the_one_that_is_served(client: Client) -> None:
    served = client.get("/api/openapi.json").json()
    written = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    for one in (served, written):
        one["info"].pop("version")
    assert served == written, "python -m dfd.web manage export_openapi_schema --api dfd.web.pages.api.api writes it"


def test_health_tells_what_is_wrong(client: Client, scorer: Any) -> None:
    from dfd.web.jobs.worker import Pulse

    failing = client.get("/health")
    assert failing.status_code == 503
    assert failing.json()["problems"] == ["no worker is alive"]
    with Pulse(scorer):
        healthy = client.get("/health")
        assert healthy.status_code == 200
        assert healthy.json()["status"] == "ok"
        assert healthy.json()["workers"] == 1
        assert scorer.detector.name in client.get("/about/").content.decode()
    assert client.get("/health").status_code == 503


def test_health_counts_failures_and_fails_when_nothing_else_happens(client: Client, video: bytes) -> None:
    Worker.objects.create(name="a worker")
    for number in range(3):
        assert client.get("/health").json()["status"] == "ok", number
        post(client, video)
        waiting = Job.objects.filter(state=Job.State.QUEUED)
        waiting.update(state=Job.State.FAILED, error="?", finished=timezone.now())
    found = client.get("/health")
    assert found.status_code == 503
    assert found.json()["problems"] == ["all 3 jobs of the last hour failed; the log says why"]
    assert (found.json()["failed_last_hour"], found.json()["scored_last_hour"]) == (3, 0)
    post(client, video)
    Job.objects.filter(state=Job.State.QUEUED).update(state=Job.State.DONE, outcome="ok", finished=timezone.now())
    assert client.get("/health").json()["status"] == "ok"


def test_nobody_waits_while_a_worker_is_free(client: Client, video: bytes) -> None:
    Worker.objects.create(name="a worker")
    assert client.get("/health").json()["wait_seconds"] == 0
    post(client, video)
    assert client.get("/health").json()["wait_seconds"] > 0


@pytest.mark.django_db(transaction=True)
def test_no_request_of_any_shape_makes_a_server_error(video: bytes, tmp_path: Path) -> None:
    """Schemathesis sends what the OpenAPI file allows and what it does not."""
    import hypothesis
    import schemathesis
    from django.core.wsgi import get_wsgi_application
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    application = get_wsgi_application()
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", application)
    made = post(Client(), video).json()
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    num_called = 0

    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy(), own=hypothesis.strategies.booleans())
        @hypothesis.settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def run(case: Any, own: bool) -> None:
            nonlocal num_called
            if own and "pk" in (case.path_parameters or {}):
                case.path_parameters["pk"] = made["id"]
            response = case.call(headers=DESK)
            case.validate_response(response, checks=checks)
            num_called += 1

        run()
    assert num_called > 50
