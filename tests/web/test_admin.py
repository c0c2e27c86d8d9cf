"""What the keeper of the service sees: jobs and errors, and nothing of what people sent."""

import os
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from dfd.web.jobs import life as jobs
from dfd.web.models import Job, options
from tests.web.conftest import files_below, send, work


@pytest.fixture
def keeper() -> Client:
    User.objects.create_superuser("keeper", password="a long word for tests")
    client = Client()
    client.login(username="keeper", password="a long word for tests")
    return client


def test_jobs_are_listed_with_state_duration_and_error_but_without_names(
    client: Client, keeper: Client, video: bytes, scorer: Any
) -> None:
    send(client, ("Jane Doe.mp4", video))
    send(client, ("Jane Doe broken.mp4", b"\0\0\0\x18ftypisom" + b"x" * 500))
    work(scorer)
    page = keeper.get("/admin/web/job/").content.decode()
    for words in ("2 jobs", "Done", "unreadable", "100%"):
        assert words in page
    for job in Job.objects.all():
        assert f"{job.seconds:.1f}" in page
        page += keeper.get(f"/admin/web/job/{job.pk}/change/").content.decode()
    assert "Jane" not in page
    assert "this-worker" in page


def test_an_error_does_not_name_the_file_on_a_jobs_own_page(client: Client, keeper: Client, video: bytes) -> None:
    send(client, ("Jane Doe.mp4", video))
    job = jobs.claim(str(Job.objects.get().pk), "w")
    assert job is not None
    jobs.change(job, state=Job.State.FAILED, error="KeyError: Jane Doe.mp4: fps", finished=timezone.now())
    page = keeper.get(f"/admin/web/job/{job.pk}/change/").content.decode()
    assert "KeyError: the video: fps" in page
    assert "Jane" not in page


def test_the_room_that_uploads_and_results_take_is_told(
    client: Client, keeper: Client, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfd.web.jobs.stored.LOOK_AGAIN_SECONDS", -1.0)
    monkeypatch.setattr("dfd.web.jobs.stored.MIB", 1)
    assert [client.get("/health").json()[f"{name}_mb"] for name in ("uploads", "results")] == [0, 0]
    send(client, ("a.mp4", video))
    job = Job.objects.get()
    job.result_folder.mkdir()
    (job.result_folder / "report.html").write_bytes(bytes(3 * 2**20))
    jobs.look_again(job, jobs.NOTHING_ASKED)  # the same file once more, which takes no room
    found = client.get("/health").json()
    assert (found["uploads_mb"], found["results_mb"]) == (len(video) // 2 * 2, 3 * 2**20)
    assert found["free_mb"] > 0
    assert "results 3.0 MiB" in keeper.get("/admin/web/job/").content.decode()


def test_the_keeper_can_delete_and_retry_but_not_write(client: Client, keeper: Client, video: bytes) -> None:
    send(client, ("a.mp4", video))
    job = jobs.claim(str(Job.objects.get().pk), "w")
    assert job is not None
    jobs.change(job, state=Job.State.FAILED, error="boom", finished=timezone.now())
    assert "boom" in keeper.get("/admin/web/job/").content.decode()
    assert keeper.get("/admin/web/job/add/").status_code == 403
    chosen = {"action": "retry_failed", "_selected_action": [str(job.pk)]}
    assert "1 of 1 queued again" in keeper.post("/admin/web/job/", chosen, follow=True).content.decode()
    keeper.post("/admin/web/job/", {**chosen, "action": "delete_selected", "post": "yes"})
    assert not Job.objects.exists()
    assert not files_below(options().data)


def test_without_being_asked_for_there_is_no_admin() -> None:
    code = (
        "import django; django.setup(); from django.urls import resolve, Resolver404\n"
        "try: print(resolve('/admin/'))\n"
        "except Resolver404: print('none')"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DFD_WEB_ADMIN")}
    environment["DJANGO_SETTINGS_MODULE"] = "dfd.web.settings"
    for admin, found in (("", "none"), ("true", "ResolverMatch")):
        given = {**environment, "DFD_WEB_ADMIN": admin, "DFD_WEB_DATABASE_URL": ""}
        done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(found)


def test_an_address_may_try_ten_times_an_hour_to_log_in(client: Client) -> None:
    tried = {"username": "keeper", "password": "guessed"}
    statuses = [client.post("/admin/login/", tried).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    assert client.get("/admin/login/").status_code == 200
    assert Client(REMOTE_ADDR="203.0.113.9").post("/admin/login/", tried).status_code == 200


def test_a_visitor_has_no_admin(client: Client) -> None:
    assert client.get("/admin/web/job/").status_code == 302


def test_tasks_and_their_tracebacks_are_not_in_it(keeper: Client) -> None:
    assert "Task Results" not in keeper.get("/admin/").content.decode()
