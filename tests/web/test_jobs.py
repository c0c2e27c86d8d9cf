"""The life of a job, whatever happens to the processes that look after it."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from dfd.web.jobs import life as jobs
from dfd.web.models import Job, UploadCount, Worker, jobs_folder, options
from tests.web.conftest import files_below, send, work


def sent(client: Client, video: bytes, name: str = "a.mp4") -> Job:
    before = set(Job.objects.values_list("pk", flat=True))
    assert send(client, (name, video)).status_code == 201
    return Job.objects.exclude(pk__in=before).get()


def state_of(client: Client, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/jobs/{job.pk}/state").json()
    return found


def make_dead(job: Job) -> None:
    """As if the worker of a running job had been killed a while ago."""
    Job.objects.filter(pk=job.pk).update(heartbeat=timezone.now() - timedelta(seconds=2 * options().lease_seconds))


def test_jobs_have_places_and_a_worker_takes_the_first(client: Client, video: bytes) -> None:
    first, second = sent(client, video), sent(client, video)
    assert [state_of(client, job)["place"] for job in (first, second)] == [1, 2]
    assert state_of(client, second)["wait_seconds"] > state_of(client, first)["wait_seconds"] > 0
    queued = [task.args_kwargs["args"][0] for task in DBTaskResult.objects.ready()]
    assert queued == [str(first.pk), str(second.pk)]
    assert jobs.claim(str(first.pk), "w") is not None
    assert state_of(client, first)["place"] is None
    assert state_of(client, second)["place"] == 1


def test_of_two_workers_one_gets_the_job(client: Client, video: bytes) -> None:
    job = sent(client, video)
    assert jobs.claim(str(job.pk), "one") is not None
    assert jobs.claim(str(job.pk), "two") is None


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_at_once_one_gets_the_job(client: Client, video: bytes) -> None:
    job = sent(client, video)
    got = []

    def take(name: str) -> None:
        try:
            if jobs.claim(str(job.pk), name) is not None:
                got.append(name)
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(f"worker-{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert Job.objects.get().worker == got[0]


def test_a_dead_workers_job_is_taken_again_once_and_then_failed(client: Client, video: bytes) -> None:
    job = sent(client, video)
    assert jobs.claim(str(job.pk), "one")
    assert jobs.take_again() == 0  # it is alive
    make_dead(job)
    assert jobs.take_again() == 1
    assert state_of(client, job)["state"] == "queued"
    assert job.upload_path.read_bytes() == video
    assert jobs.claim(str(job.pk), "two")
    make_dead(job)
    assert jobs.take_again() == 1
    found = state_of(client, job)
    assert found["state"] == "failed"
    assert "died" in found["error"]
    assert jobs.take_again() == 0
    assert job.upload_path.exists()


def test_a_worker_that_was_thought_dead_changes_nothing_when_it_comes_back(client: Client, video: bytes) -> None:
    job = sent(client, video)
    slow = jobs.claim(str(job.pk), "slow")
    assert slow is not None
    make_dead(job)
    jobs.take_again()
    with pytest.raises(jobs.JobLost):
        jobs.change(slow, state=Job.State.DONE, verdict="fake")
    other = jobs.claim(str(job.pk), "other")
    assert other is not None
    with pytest.raises(jobs.JobLost):
        jobs.change(slow, state=Job.State.DONE, verdict="fake")
    jobs.change(other, progress=0.5)
    assert state_of(client, job)["progress"] == 0.5


def test_a_job_whose_task_was_lost_is_queued_again(client: Client, video: bytes) -> None:
    job = sent(client, video)
    DBTaskResult.objects.all().delete()  # a worker took it, and died before it took the job
    assert jobs.enqueue_lost() == 0  # not at once: a worker may be about to
    Job.objects.update(queued=timezone.now() - timedelta(seconds=2 * options().lease_seconds))
    assert jobs.enqueue_lost() == 1
    assert jobs.enqueue_lost() == 0
    assert DBTaskResult.objects.ready().get().args_kwargs["args"] == [str(job.pk)]


def test_a_job_that_is_given_back_has_not_used_up_an_attempt(client: Client, video: bytes) -> None:
    job = sent(client, video)
    for _ in range(3):
        claimed = jobs.claim(str(job.pk), "w")
        assert claimed is not None
        assert claimed.attempts == 1
        jobs.give_back(claimed)
    assert state_of(client, job)["state"] == "queued"


def test_a_failed_job_can_be_tried_again(client: Client, video: bytes) -> None:
    job = sent(client, video)
    claimed = jobs.claim(str(job.pk), "w")
    assert claimed is not None
    jobs.change(claimed, state=Job.State.FAILED, error="KeyError: 'fps'", finished=timezone.now())
    assert client.post(f"/jobs/{job.pk}/retry").status_code == 303
    found = state_of(client, job)
    assert (found["state"], found["error"], found["attempts"]) == ("queued", "", 0)
    assert client.post(f"/jobs/{job.pk}/retry").status_code == 303  # a second press of the button
    assert DBTaskResult.objects.ready().count() == 2


def test_a_job_that_is_tried_again_waits_behind_those_that_came_meanwhile(client: Client, video: bytes) -> None:
    first, second = sent(client, video), sent(client, video)
    claimed = jobs.claim(str(first.pk), "w")
    assert claimed is not None
    jobs.change(claimed, state=Job.State.FAILED, error="boom", finished=timezone.now())
    assert jobs.retry(first)
    assert [state_of(client, job)["place"] for job in (second, first)] == [1, 2]


def test_a_job_that_is_taken_again_is_next(client: Client, video: bytes) -> None:
    first, second = sent(client, video), sent(client, video)
    assert jobs.claim(str(first.pk), "w")
    DBTaskResult.objects.filter(args_kwargs__args__0=str(first.pk)).update(status="FAILED")
    make_dead(first)
    jobs.take_again()
    assert [state_of(client, job)["place"] for job in (first, second)] == [1, 2]
    queued = [task.args_kwargs["args"][0] for task in DBTaskResult.objects.ready()]
    assert queued == [str(first.pk), str(second.pk)]


def test_a_text_that_no_database_stores_fails_nothing(client: Client, video: bytes) -> None:
    job = sent(client, video)
    claimed = jobs.claim(str(job.pk), "w")
    assert claimed is not None
    jobs.change(claimed, message="an odd tag \0 in it")
    assert state_of(client, job)["message"] == "an odd tag  in it"


def test_looking_at_many_jobs_asks_the_database_no_more_often(
    client: Client, video: bytes, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        sent(client, video, f"{number}.mp4")
    with django_assert_max_num_queries(10):
        assert client.get("/jobs/").content.count(b".mp4") >= 12


def test_deleting_leaves_nothing(client: Client, video: bytes) -> None:
    job = sent(client, video)
    assert client.post(f"/jobs/{job.pk}/delete").status_code == 303
    assert client.get(f"/jobs/{job.pk}/").status_code == 404
    assert not Job.objects.exists()
    assert not files_below(options().data)
    assert not job.folder.exists()


def test_delete_all_deletes_this_browsers_jobs_only(client: Client, video: bytes) -> None:
    sent(client, video)
    sent(client, video)
    kept = sent(Client(), video)
    client.post("/jobs/delete-all")
    assert list(Job.objects.all()) == [kept]
    assert files_below(options().data) == [kept.upload_path]


def test_what_has_expired_is_gone_with_its_files(client: Client, video: bytes, configure: Any) -> None:
    old = sent(client, video)
    young = sent(client, video)
    Job.objects.filter(pk=old.pk).update(expires=timezone.now() - timedelta(seconds=1))
    assert client.get(f"/jobs/{old.pk}/").status_code == 404  # even before it is tidied up
    jobs.tidy()
    assert list(Job.objects.all()) == [young]
    assert files_below(options().data) == [young.upload_path]


def test_tidying_up_removes_every_old_trace(client: Client, video: bytes) -> None:
    job = sent(client, video)
    long_ago = timezone.now() - timedelta(days=3)
    Job.objects.update(expires=long_ago)
    UploadCount.objects.update(hour=long_ago)
    Session.objects.update(expire_date=long_ago)
    Worker.objects.create(name="gone", heartbeat=long_ago)
    DBTaskResult.objects.update(status="SUCCESSFUL", finished_at=long_ago)
    orphan = jobs_folder() / "0123456789abcdef0123456789abcdef"
    orphan.mkdir()
    (orphan / "upload").write_bytes(b"x")
    os.utime(orphan, (1, 1))
    jobs.tidy()
    for model in (Job, UploadCount, Session, Worker, DBTaskResult):
        assert not model.objects.exists(), model
    assert not job.folder.exists()
    assert not files_below(options().data)


def test_a_running_job_that_expires_is_stopped(client: Client, video: bytes) -> None:
    job = sent(client, video)
    claimed = jobs.claim(str(job.pk), "w")
    assert claimed is not None
    Job.objects.update(expires=timezone.now() - timedelta(seconds=1))
    jobs.tidy()
    with pytest.raises(jobs.JobLost):
        jobs.change(claimed, progress=0.5)


class TestScoring:
    def test_a_worker_keeps_only_the_job_in_its_hands_alive(self, client: Client, video: bytes, scorer: Any) -> None:
        from dfd.web.jobs.worker import Pulse

        left, held = (jobs.claim(str(sent(client, video).pk), scorer.name) for _ in range(2))
        for job in (left, held):
            make_dead(job)
        scorer.current = held
        Pulse(scorer)._say_alive()
        assert jobs.take_again() == 1
        assert state_of(client, left)["state"] == "queued"
        assert state_of(client, held)["state"] == "running"

    def test_a_job_that_the_database_was_lost_over_is_done_when_it_is_back(
        self, client: Client, video: bytes, scorer: Any, monkeypatch: Any
    ) -> None:
        job = sent(client, video)
        with monkeypatch.context() as patch:

            def lost(*given: Any, **more: Any) -> Any:
                raise OperationalError("server closed the connection")

            patch.setattr(scorer.detector, "score", lost)
            work(scorer)
        assert state_of(client, job)["state"] == "running"
        scorer.give_back_interrupted()
        work(scorer)
        found = state_of(client, job)
        assert (found["state"], found["attempts"]) == ("done", 1)

    def test_what_a_killed_attempt_left_is_deleted(self, client: Client, video: bytes, scorer: Any) -> None:
        job = sent(client, video)
        left = job.folder / "work-1"
        left.mkdir()
        (left / "predictions.jsonl").write_text("{}")
        work(scorer)
        assert state_of(client, job)["state"] == "done"
        assert [path.name for path in job.folder.iterdir()] == ["result"]
        job.upload_path.write_bytes(b"killed before it was deleted")
        jobs.tidy()
        assert not job.upload_path.exists()

    def test_a_strangers_card_does_not_stop_a_worker(self, scorer: Any, monkeypatch: Any, client: Client) -> None:
        from dfd.web.jobs.worker import Pulse

        name = "odd\0<script>"
        card = {**scorer.detector.describe(), "name": name, "title": name, "metrics": {"<b>": "x", "val/auc": 0.5}}
        monkeypatch.setattr(scorer.detector, "describe", lambda: card)
        with Pulse(scorer):
            page = client.get("/about/")
        assert page.status_code == 200
        assert b"odd&lt;script&gt;" in page.content

    def test_a_video_gets_its_verdict_and_is_then_deleted(self, client: Client, video: bytes, scorer: Any) -> None:
        job = sent(client, video, "my clip.mp4")
        work(scorer)
        found = state_of(client, job)
        assert found["state"] == "done"
        assert found["outcome"] == "ok"
        assert found["verdict"] in ("fake", "real", "uncertain")
        assert found["progress"] == 1.0
        assert not job.upload_path.exists()
        names = {path.name for path in files_below(job.folder)}
        assert {"report.html", "result.json", "fragment.html", "predictions.jsonl"} <= names
        page = client.get(f"/jobs/{job.pk}/").content.decode()
        assert "my clip.mp4" in page
        assert f"{found['prob_fake']:.2f}" in page
        result = client.get(f"/jobs/{job.pk}/result.json").json()
        assert result["prob_fake"] == found["prob_fake"]
        assert result["path"] == "my clip.mp4"
        assert result["run"]["model"]["name"]
        assert str(options().data) not in str(result)
        report = client.get(f"/jobs/{job.pk}/report.html")
        text = b"".join(report.streaming_content).decode()
        assert "my clip.mp4" in text
        assert str(options().data) not in text + page
        assert "sandbox" in report.headers["Content-Security-Policy"]
        assert "script-src 'sha256-" in report.headers["Content-Security-Policy"]

    def test_it_is_the_score_that_predict_would_give(
        self, client: Client, video: bytes, scorer: Any, tmp_path: Path
    ) -> None:
        job = sent(client, video)
        work(scorer)
        path = tmp_path / "same.mp4"
        path.write_bytes(video)
        assert state_of(client, job)["prob_fake"] == pytest.approx(scorer.detector.score(path).prob_fake, abs=1e-5)

    def test_one_detector_scores_all_jobs(self, client: Client, video: bytes, scorer: Any) -> None:
        made = [sent(client, video, f"{n}.mp4") for n in range(3)]
        detector = scorer.detector
        work(scorer)
        assert scorer.detector is detector
        assert {state_of(client, job)["state"] for job in made} == {"done"}

    def test_a_file_that_only_begins_like_a_video_is_reported_in_words(self, client: Client, scorer: Any) -> None:
        job = sent(client, b"\0\0\0\x18ftypisom" + b"nonsense" * 100, "odd.mp4")
        work(scorer)
        found = state_of(client, job)
        assert (found["state"], found["outcome"], found["verdict"]) == ("done", "unreadable", None)
        assert found["message"]
        assert str(options().data) not in found["message"]
        assert "upload" not in found["message"]
        assert client.get(f"/jobs/{job.pk}/").status_code == 200

    def test_a_bug_while_scoring_fails_that_job_and_no_other(
        self, client: Client, video: bytes, scorer: Any, monkeypatch: Any
    ) -> None:
        first, second = sent(client, video, "first.mp4"), sent(client, video, "second.mp4")
        score = scorer.detector.score

        def broken(path: Path, **given: Any) -> Any:
            if first.id.hex in str(path):
                raise KeyError(f"{path}: fps")
            return score(path, **given)

        monkeypatch.setattr(scorer.detector, "score", broken)
        work(scorer)
        found = state_of(client, first)
        assert found["state"] == "failed"
        assert "KeyError" in found["error"]
        assert str(options().data) not in found["error"]
        assert state_of(client, second)["state"] == "done"
        assert first.upload_path.exists()  # it can be tried again

    def test_a_job_that_is_deleted_while_it_runs_is_stopped_and_leaves_nothing(
        self, client: Client, video: bytes, scorer: Any, monkeypatch: Any
    ) -> None:
        job = sent(client, video)
        monkeypatch.setattr("dfd.web.jobs.scorer.SHOW_SECONDS", 0.0)
        score = scorer.detector.score

        def deleted_meanwhile(path: Path, **given: Any) -> Any:
            client.post(f"/jobs/{job.pk}/delete")
            given["on_progress"](path, 0.5)
            return score(path, **given)

        monkeypatch.setattr(scorer.detector, "score", deleted_meanwhile)
        work(scorer)
        assert not Job.objects.exists()
        assert not files_below(options().data)

    def test_a_job_that_is_deleted_at_its_very_end_leaves_nothing(
        self, client: Client, video: bytes, scorer: Any, monkeypatch: Any
    ) -> None:
        job = sent(client, video)
        write = scorer.write

        def deleted_meanwhile(*given: Any) -> Any:
            policy = write(*given)
            client.post(f"/jobs/{job.pk}/delete")
            given[1].mkdir(parents=True, exist_ok=True)
            (given[1] / "late.txt").write_text("x")
            return policy

        monkeypatch.setattr(scorer, "write", deleted_meanwhile)
        work(scorer)
        assert not files_below(options().data)

    def test_a_worker_that_is_told_to_stop_gives_its_job_back(
        self, client: Client, video: bytes, scorer: Any, monkeypatch: Any
    ) -> None:
        from dfd.web.jobs.worker import ScoreWorker

        job = sent(client, video)
        worker = ScoreWorker(scorer, batch=True)
        score = scorer.detector.score

        def told_meanwhile(path: Path, **given: Any) -> Any:
            worker.shutdown(signal.SIGTERM, None)
            return score(path, **given)

        with monkeypatch.context() as patch:
            patch.setattr(scorer.detector, "score", told_meanwhile)
            worker.run()
        found = state_of(client, job)
        assert (found["state"], found["attempts"]) == ("queued", 0)
        assert job.upload_path.read_bytes() == video
        scorer.is_stopping = False
        work(scorer)
        assert state_of(client, job)["state"] == "done"

    def test_progress_is_written_down(self, client: Client, video: bytes, scorer: Any, monkeypatch: Any) -> None:
        from dfd.web.jobs.scorer import SCORING, SHARE_OF_SCORING, WRITING

        monkeypatch.setattr("dfd.web.jobs.scorer.SHOW_SECONDS", 0.0)
        job = sent(client, video)
        seen = []
        change = jobs.change

        def watch(one: Job, **values: Any) -> None:
            change(one, **values)
            seen.append((one.stage, one.progress))

        monkeypatch.setattr(jobs, "change", watch)
        work(scorer)
        assert state_of(client, job)["state"] == "done"
        stages = [stage for stage, _ in seen]
        assert stages[0] == SCORING
        assert WRITING in stages
        shares = [share for _, share in seen]
        assert shares == sorted(shares)
        assert any(0 < share < SHARE_OF_SCORING for share in shares)


def environment_for(folder: Path, checkpoint: Path) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("DFD_WEB_")},
        "DFD_WEB_SECRET_KEY": "x" * 50,
        "DFD_WEB_HTTPS": "false",
        "DFD_WEB_DATA": str(folder),
        "DFD_WEB_CHECKPOINT": str(checkpoint),
        "DFD_WEB_DETECTOR": "num_workers=1",
        "DFD_WEB_LEASE_SECONDS": "2",
        "DFD_WEB_MIN_FREE_MB": "0",
        "DJANGO_SETTINGS_MODULE": "dfd.web.settings",
        "OMP_NUM_THREADS": "1",
    }


HANG = """
import sys, time, django
django.setup()
from dfd.web.__main__ import main
import dfd.web.jobs.worker as worker
score = worker.Scorer._score
def slow(self, job, work):
    worker.jobs.change(job, stage="hanging")
    time.sleep(600)
worker.Scorer._score = slow
sys.exit(main(["manage", "worker"]))
"""
ASK = """
import os, sys, django
django.setup()
from dfd.web.models import Job
{}
"""


def ask(environment: dict[str, str], code: str) -> str:
    command = [sys.executable, "-c", ASK.format(code)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def stages(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        return [stage for (stage,) in connection.execute("SELECT stage FROM web_job")]


def test_a_worker_that_is_killed_loses_no_job(tmp_path: Path, tiny_checkpoint: Path, video: bytes) -> None:
    """With real processes: kill -9 in the middle of a job, and another worker takes it and ends it."""
    environment = environment_for(tmp_path / "web", tiny_checkpoint)
    (tmp_path / "web").mkdir()
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(video)
    made = (
        "from django.core.management import call_command; call_command('migrate', verbosity=0)\n"
        "import pathlib; from dfd.web.intake import uploads; from dfd.web.jobs import life as jobs\n"
        "from dfd.web.models import incoming_folder\n"
        "video = uploads.ReceivedVideo('clip.mp4', incoming_folder() / 'a.part')\n"
        f"data = pathlib.Path({str(clip)!r}).read_bytes(); video.append(data); video.finish(len(data))\n"
        "print(jobs.create('me', video).pk)"
    )
    pk = ask(environment, made)
    hanging = subprocess.Popen([sys.executable, "-c", HANG], env=environment, stderr=subprocess.PIPE)
    ends = time.monotonic() + 120
    while stages(tmp_path / "web" / "dfd.sqlite3") != ["hanging"]:
        time.sleep(0.2)
        assert time.monotonic() < ends
        assert hanging.poll() is None, hanging.stderr.read().decode() if hanging.stderr else ""
    os.kill(hanging.pid, signal.SIGKILL)
    hanging.wait()
    time.sleep(2.5)  # the lease
    command = [sys.executable, "-m", "dfd.web", "manage", "worker", "--batch"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "job taken again" in done.stderr
    with sqlite3.connect(tmp_path / "web" / "dfd.sqlite3") as database:
        found = database.execute("SELECT id, state, attempts FROM web_job").fetchall()
    assert found == [(pk.replace("-", ""), "done", 2)]
