"""Videos that are sent together, several detectors, stills, and looking again at a part."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from dfd.base.errors import WeightsMissing
from dfd.web.models import Job, Worker, options
from tests.conftest import TINY_MODEL, drawn_frames
from tests.web.conftest import files_below, work
from tests.web.test_api import DESK, WIRE, post

BATCH = str(uuid4())


def send(client: Client, *files: tuple[str, bytes], **fields: str) -> Any:
    given = [SimpleUploadedFile(name, data) for name, data in files]
    return client.post("/", {"video": given, **fields}, headers={"Accept": "application/json"})


def visible(page: str) -> str:
    """Text of a page as a reader sees it, on one line."""
    page = re.sub(r"(?s)<(style|script|svg|head).*?</\1>", " ", page)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def result(page: str) -> str:
    """The part of a page that is the result."""
    found = re.search(r'(?s)<div class="result">.*?</section>\s*</div>\s*(?=<section class="deeds"|\n*</main>)', page)
    assert found, page[:500]
    return visible(found[0])


class TestBatches:
    def test_its_page_has_a_row_for_each_video_with_the_most_suspicious_first(
        self, client: Client, video: bytes, scorer: Any
    ) -> None:
        send(client, ("a.mp4", video), ("b.mp4", video), batch=BATCH)
        send(client, ("alone.mp4", video))
        waiting = client.get(f"/batches/{BATCH}/").content.decode()
        assert "0 of 2 are done" in waiting
        assert "Download" not in waiting
        work(scorer)
        Job.objects.filter(file_name="b.mp4").update(prob_fake=0.99)
        Job.objects.filter(file_name="a.mp4").update(prob_fake=0.01)
        page = client.get(f"/batches/{BATCH}/").content.decode()
        assert "2 of 2 are done" in page
        assert "alone.mp4" not in page
        assert page.index("b.mp4") < page.index("a.mp4")
        assert "with 1 other" in client.get("/jobs/").content.decode()

    def test_without_a_script_several_videos_lead_to_its_page(self, client: Client, video: bytes) -> None:
        given = [SimpleUploadedFile(name, video) for name in ("a.mp4", "b.mp4")]
        answer = client.post("/", {"video": given, "batch": BATCH})
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/batches/{BATCH}/")

    def test_its_csv_has_a_row_for_each_video_and_an_error_for_one_that_failed(
        self, client: Client, video: bytes, scorer: Any
    ) -> None:
        send(client, ("a.mp4", video), ("=b.mp4", video), batch=BATCH)
        work(scorer)
        send(client, ("c.mp4", video), batch=BATCH)
        Job.objects.filter(file_name="c.mp4").update(state=Job.State.FAILED, error="it broke")
        answer = client.get(f"/batches/{BATCH}/predictions.csv")
        rows = {row["path"]: row for row in csv.DictReader(io.StringIO(answer.content.decode()))}
        assert set(rows) == {"a.mp4", "./=b.mp4", "c.mp4"}
        scored = Job.objects.get(file_name="a.mp4")
        assert float(rows["a.mp4"]["prob_fake"]) == pytest.approx(scored.prob_fake, abs=1e-5)
        assert (rows["c.mp4"]["status"], rows["c.mp4"]["message"]) == ("error", "it broke")

    def test_its_report_has_all_scored_videos_and_may_run_only_its_own_script(
        self, client: Client, video: bytes, scorer: Any
    ) -> None:
        send(client, ("a.mp4", video), ("a.mp4", video), batch=BATCH)
        assert client.get(f"/batches/{BATCH}/report.html").status_code == 404
        work(scorer)
        answer = client.get(f"/batches/{BATCH}/report.html?download")
        text = answer.content.decode()
        assert "a.mp4" in text
        assert "a (2).mp4" in text  # two videos of one name can be told apart
        assert str(options().data) not in text
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert "sandbox" in answer.headers["Content-Security-Policy"]

    def test_nobody_else_sees_it(self, client: Client, video: bytes, scorer: Any) -> None:
        send(client, ("a.mp4", video), batch=BATCH)
        work(scorer)
        stranger = Client()
        send(stranger, ("mine.mp4", video), batch=BATCH)  # the same word gives no way in
        for address in ("", "predictions.csv", "report.html"):
            answer = stranger.get(f"/batches/{BATCH}/{address}")
            assert b"a.mp4" not in (answer.content if answer.status_code == 200 else b"")
            assert Client().get(f"/batches/{BATCH}/{address}").status_code == 404

    def test_a_program_has_table_csv_and_report_of_its_own_batch(
        self, client: Client, video: bytes, scorer: Any
    ) -> None:
        made = [post(client, video, name, batch=BATCH).json() for name in ("a.mp4", "b.mp4")]
        assert {one["batch"] for one in made} == {BATCH}
        work(scorer)
        listed = client.get(f"/api/batches/{BATCH}", headers=DESK).json()
        assert sorted(one["file_name"] for one in listed) == ["a.mp4", "b.mp4"]
        assert client.get(f"/api/batches/{BATCH}/predictions.csv", headers=DESK).content.count(b".mp4") >= 2
        assert b"b.mp4" in client.get(f"/api/batches/{BATCH}/report.html", headers=DESK).content
        assert client.get(f"/api/batches/{BATCH}", headers=WIRE).status_code == 404

    def test_a_batch_that_is_no_uuid_is_refused(self, client: Client, video: bytes) -> None:
        answer = post(client, video, batch="friday")
        assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, "batch")
        assert not files_below(options().data)


class TestParts:
    def test_only_the_part_that_is_named_is_looked_at_and_the_page_says_so(
        self, client: Client, video: bytes, scorer: Any
    ) -> None:
        send(client, ("a.mp4", video), span="0:00.4-0:00.8")
        work(scorer)
        job = Job.objects.get()
        windows = client.get(f"/jobs/{job.pk}/result.json").json()["tracks"][0]["windows"]
        assert windows[0]["start_seconds"] == pytest.approx(0.4)
        assert windows[-1]["end_seconds"] <= 0.85
        page = visible(client.get(f"/jobs/{job.pk}/").content.decode())
        assert "Only the part 0:00.4-0:00.8 was looked at." in page

    @pytest.mark.parametrize("span", ["1:00-0:40", "soon", "0:40"])
    def test_a_part_that_cannot_be_read_is_refused(self, client: Client, video: bytes, span: str) -> None:
        answer = send(client, ("a.mp4", video), span=span)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"span={span}: ")
        assert not files_below(options().data)

    def test_all_of_a_video_is_looked_at_only_where_the_service_offers_it(
        self, client: Client, video: bytes, scorer: Any, configure: Any, monkeypatch: Any
    ) -> None:
        assert send(client, ("a.mp4", video), full="1").status_code == 400
        configure(full_look=True)
        seen = []
        score = scorer.detector.score
        monkeypatch.setattr(scorer.detector, "score", lambda path, **given: seen.append(given) or score(path, **given))
        assert send(client, ("a.mp4", video), full="1").status_code == 201
        send(client, ("b.mp4", video))
        work(scorer)
        assert [given.get("max_windows", "as usual") for given in seen] == [None, "as usual"]

    def test_a_kept_video_is_looked_at_again_as_a_job_of_its_own_and_deleted_with_its_result(
        self, client: Client, video: bytes, scorer: Any, configure: Any
    ) -> None:
        configure(keep_uploads=True)
        send(client, ("a.mp4", video))
        work(scorer)
        first = Job.objects.get()
        assert first.upload_path.read_bytes() == video
        assert 'name="csrfmiddlewaretoken"' in client.get(f"/jobs/{first.pk}/").content.decode()
        answer = client.post(f"/jobs/{first.pk}/look-again", {"span": "0:00.4-0:00.8"})
        assert answer.status_code == 303
        work(scorer)
        second = Job.objects.exclude(pk=first.pk).get()
        assert answer.headers["Location"] == f"/jobs/{second.pk}/"
        assert second.span == (0.4, 0.8)
        assert second.state == Job.State.DONE
        page = visible(client.get(f"/jobs/{second.pk}/").content.decode())
        assert "You have sent this very file before" in page
        for job in (first, second):
            client.post(f"/jobs/{job.pk}/delete")
        assert not files_below(options().data)

    def test_a_video_that_was_not_kept_has_to_be_sent_again(self, client: Client, video: bytes, scorer: Any) -> None:
        made = post(client, video).json()
        send(client, ("a.mp4", video))
        work(scorer)
        job = Job.objects.exclude(pk=made["id"]).get()
        assert client.post(f"/jobs/{job.pk}/look-again", {"span": "0:00-0:01"}).status_code == 409
        form = re.search(r'(?s)<form class="again".*?</form>', client.get(f"/jobs/{job.pk}/").content.decode())
        assert form
        assert 'method="get" action="/"' in form[0]
        assert 'value="0:00-0:01"' in client.get("/?span=0:00-0:01").content.decode()
        again = client.post(
            f"/api/jobs/{made['id']}/look-again", {"span": "0:00-0:01"}, content_type="application/json", headers=DESK
        )
        assert (again.status_code, "Send it again" in again.json()["error"]) == (409, True)

    def test_a_program_has_a_kept_video_looked_at_again(
        self, client: Client, video: bytes, scorer: Any, configure: Any
    ) -> None:
        configure(keep_uploads=True)
        made = post(client, video).json()
        work(scorer)
        assert client.get(made["url"], headers=DESK).json()["can_look_again"] is True
        address = f"/api/jobs/{made['id']}/look-again"
        again = client.post(address, {"span": "0:00.4-0:00.8"}, content_type="application/json", headers=DESK)
        assert (again.status_code, again.json()["span"]) == (201, "0:00.4-0:00.8")
        wrong = client.post(address, {"span": "later"}, content_type="application/json", headers=DESK)
        assert wrong.status_code == 400
        assert client.post(address, {}, content_type="application/json", headers=WIRE).status_code == 404


class TestResults:
    def test_the_downloaded_report_says_what_the_page_says(self, client: Client, video: bytes, scorer: Any) -> None:
        send(client, ("a.mp4", video))
        work(scorer)
        job = Job.objects.get()
        page = client.get(f"/jobs/{job.pk}/").content.decode()
        report = b"".join(client.get(f"/jobs/{job.pk}/report.html").streaming_content).decode()
        assert result(page) == result(report)
        for text in (result(page), result(report)):
            assert re.search(r"Scored \d+ \w+ \d{4}, \d\d:\d\d UTC", text)
            assert "onfidence" not in text
            assert not re.search(r"\b[Rr]eal\b", text)

    def test_a_still_is_scored_and_called_one(self, client: Client, scorer: Any) -> None:
        picture = io.BytesIO()
        Image.fromarray(drawn_frames(1)[0]).save(picture, "PNG")
        assert send(client, ("a.png", picture.getvalue())).status_code == 201
        work(scorer)
        job = Job.objects.get()
        assert job.outcome == "ok"
        shown = page(client, f"/jobs/{job.pk}/")
        assert "A still picture, scored as one frame" in result(shown)
        assert "Look again" not in shown

    def test_a_failure_of_the_set_up_tells_the_log_why_and_the_visitor_no_path(
        self, client: Client, video: bytes, scorer: Any, monkeypatch: Any, caplog: Any
    ) -> None:
        def missing(path: Path, **given: Any) -> Any:
            raise WeightsMissing("yunet.onnx: put it at /home/keeper/.cache/dfd/yunet.onnx")

        send(client, ("a.mp4", video))
        monkeypatch.setattr(scorer.detector, "score", missing)
        monkeypatch.setattr("dfd.web.jobs.scorer.logger.propagate", True)
        work(scorer)
        job = Job.objects.get()
        assert job.state == Job.State.FAILED
        page = client.get(f"/jobs/{job.pk}/").content.decode()
        assert job.id.hex[:8] in page
        assert "/home" not in page + json.dumps(client.get(f"/jobs/{job.pk}/state").json())
        assert any("/home/keeper" in getattr(record, "reason", "") for record in caplog.records)


@pytest.fixture
def several(tiny_checkpoint: Path, tmp_path: Path, configure: Callable[..., Any], monkeypatch: Any) -> Iterator[Any]:
    """This process as a worker with two detectors, each with a caveat of its own."""
    import torch

    from dfd.models.classifier import build_model
    from dfd.models.files.card import DetectorCard
    from dfd.models.files.checkpoint import save_safetensors
    from dfd.web import tasks
    from dfd.web.jobs.scorer import Scorer

    crop = {"extraction": {"crop_size": 64, "margin_fraction": 0.0}, "face_detector": {"name": "fixed_box"}}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = build_model(TINY_MODEL)
        card = DetectorCard(model=model.config, image_size=64, clip_len=4, crop=crop, caveat=f"Caveat of {name}.")
        save_safetensors(tmp_path / f"{name}.safetensors", model, card)
    configure(checkpoint=f"[{tmp_path / 'one.safetensors'}, {tmp_path / 'two.safetensors'}]", detector="num_workers=1")
    made = Scorer("this-worker")
    monkeypatch.setattr(tasks, "do", made.score)
    monkeypatch.setattr("django_tasks_db.management.commands.db_worker.close_old_connections", lambda: None)
    with made.detector:
        yield made


def test_several_detectors_have_a_row_a_timeline_and_a_caveat_each(client: Client, video: bytes, several: Any) -> None:
    from dfd.web.jobs.worker import Pulse

    with Pulse(several):
        assert {"one: Caveat of one.", "two: Caveat of two."} <= set(re.findall(r"<p>(.*?)</p>", page(client, "/")))
    Worker.objects.all().delete()
    send(client, ("a.mp4", video), ("b.mp4", video), batch=BATCH)
    work(several)
    job = Job.objects.get(file_name="a.mp4")
    assert job.state == Job.State.DONE, job.error
    text = result(page(client, f"/jobs/{job.pk}/"))
    found = client.get(f"/jobs/{job.pk}/result.json").json()
    for one, name in zip(found["detectors"], ("one", "two"), strict=True):
        assert f"{name}: Caveat of {name}." in text
        assert re.search(rf"{name} \S? ?(signs of a fake|no sign found|cannot tell) {one['prob_fake']:.3f}", text), text
        assert re.search(rf"Appearance 1 \([^)]*\), {name}", text), text
    assert "prob_fake[two@" in page(client, f"/batches/{BATCH}/predictions.csv").partition("\n")[0]


def page(client: Client, address: str) -> str:
    return client.get(address).content.decode()
