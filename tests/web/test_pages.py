"""What the pages say, and that they can be read without a script, a mouse or eyes."""

import time
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone

from dfd.web.models import Job, Worker
from dfd.web.options import MIB
from dfd.web.pages import presentation
from dfd.web.pages.answers import server_error
from tests.web.conftest import send, work

DEMO = {"name": "demo@0123", "clip_len": 8, "image_size": 112, "threshold": 0.5, "uncertain_band": [0.4, 0.6]}


class Outline(HTMLParser):
    """Headings, landmarks, and fields without a label."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[str] = []
        self.ids: list[str] = []
        self.lang = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.lang = given.get("lang", self.lang)
        self.ids += [given["id"]] if "id" in given else []
        if tag == "label":
            self.labelled.add(given.get("for", ""))
        if tag in ("input", "select", "textarea") and given.get("type") != "hidden":
            self.fields.append(given.get("id", ""))


def show_worker(**detector: Any) -> None:
    Worker.objects.create(name="a worker", detector=detector)


def test_every_page_has_a_language_landmarks_one_heading_of_the_first_rank_and_labels(
    client: Client, video: bytes, scorer: Any
) -> None:
    send(client, ("a.mp4", video))
    job = Job.objects.get()
    waiting = client.get(f"/jobs/{job.pk}/")
    work(scorer)
    addresses = ("/", "/jobs/", f"/jobs/{job.pk}/", "/about/", "/about/api/", "/nothing")
    for page in (waiting, *map(client.get, addresses)):
        outline = Outline(page.content.decode())
        assert outline.lang == "en"
        for tag in ("h1", "main", "header", "footer"):
            assert outline.tags.count(tag) == 1, (page.request["PATH_INFO"], tag)
        assert "nav" in outline.tags
        assert set(outline.fields) <= outline.labelled
        assert len(outline.ids) == len(set(outline.ids)), page.request["PATH_INFO"]


def test_a_page_of_a_job_loads_itself_again_without_a_script_until_it_is_over(
    client: Client, video: bytes, scorer: Any
) -> None:
    send(client, ("a.mp4", video))
    address = f"/jobs/{Job.objects.get().pk}/"
    refresh = b'<noscript><meta http-equiv="refresh" content="5"></noscript>'
    assert refresh in client.get(address).content
    work(scorer)
    assert refresh not in client.get(address).content


def test_the_page_of_an_error_inside_asks_the_database_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = server_error(RequestFactory().get("/"))
    assert answer.status_code == 500
    assert b"Something went wrong" in answer.content


def test_two_videos_that_are_sent_at_once_by_a_new_browser_have_one_owner(client: Client, video: bytes) -> None:
    """Each brings the cookies that were there when it was sent off: those of the question before it."""
    client.get(f"/may-upload?bytes={len(video)}")
    first, second = Client(), Client()
    first.cookies, second.cookies = client.cookies.copy(), client.cookies.copy()
    send(first, ("a.mp4", video))
    send(second, ("b.mp4", video))
    assert len({job.owner for job in Job.objects.all()}) == 1
    assert b"a.mp4" in second.get("/jobs/").content


def test_a_session_outlives_its_newest_job(client: Client, video: bytes) -> None:
    """It is renewed with each video: the cookie of the first would end before the second one's result does."""
    send(client, ("a.mp4", video))
    assert "sessionid" in send(client, ("b.mp4", video)).cookies


def test_what_was_deleted_is_said_once(client: Client, video: bytes) -> None:
    send(client, ("a.mp4", video))
    page = client.post(f"/jobs/{Job.objects.get().pk}/delete", follow=True).content
    assert b"The video and its results are deleted." in page
    assert b"are deleted." not in client.get("/jobs/").content


def test_without_a_worker_the_pages_say_that_videos_wait(client: Client, video: bytes) -> None:
    assert b"Nothing is scored at the moment" in client.get("/").content
    assert b"no detector is loaded" in client.get("/about/").content
    send(client, ("a.mp4", video))
    address = f"/jobs/{Job.objects.get().pk}/"
    line = client.get(f"{address}state").json()["line"]
    assert line == "Next in the queue. Nothing is scored at the moment: it waits until a worker is started"
    assert line in client.get(address).content.decode()
    assert line in client.get("/jobs/").content.decode()


def test_with_a_worker_they_say_how_busy_it_is(client: Client, video: bytes) -> None:
    show_worker(**DEMO)
    assert b"nothing waits" in client.get("/").content
    send(client, ("a.mp4", video))
    send(client, ("b.mp4", video))
    assert b"2 videos wait, 0 are being scored" in client.get("/").content
    Job.objects.filter(file_name="a.mp4").update(state=Job.State.RUNNING, worker="a worker", heartbeat=timezone.now())
    assert b"1 video waits, 1 is being scored" in client.get("/").content


def test_while_the_service_starts_no_page_says_that_nothing_is_scored(
    client: Client, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfd.web.queue._BEGAN", time.monotonic())
    page = client.get("/").content
    assert b"The service is starting" in page
    assert b"Nothing is scored at the moment" not in page
    send(client, ("a.mp4", video))
    line = client.get(f"/jobs/{Job.objects.get().pk}/state").json()["line"]
    assert line == "Next in the queue. The service is starting"
    assert client.get("/health").json()["problems"] == ["no worker is alive yet: the service is starting"]


CAVEAT = "Trained on paintings; of 10 real fakes it found 3."


def test_the_caveat_of_every_detector_is_on_the_pages_for_visitors(client: Client) -> None:
    show_worker(**DEMO, caveat=CAVEAT)
    for address in ("/", "/about/"):
        page = client.get(address).content.decode()
        assert '<section class="box care caveat" aria-labelledby="caveat">' in page
        assert f"<p>{CAVEAT}</p>" in page
    Worker.objects.update(detector={"detectors": [{**DEMO, "caveat": CAVEAT}, {**DEMO, "name": "b@1", "caveat": "B."}]})
    page = client.get("/").content.decode()
    assert f"<p>demo: {CAVEAT}</p>" in page
    assert "<p>b: B.</p>" in page


def test_figures_of_the_training_are_not_shown_to_visitors(client: Client) -> None:
    show_worker(**DEMO, metrics={"val/auc": 0.929})
    assert b"0.929" not in client.get("/about/").content


def test_a_detector_without_verdicts_says_so_instead_of_its_threshold() -> None:
    facts = dict(presentation.detector_facts({**DEMO, "no_verdict": "it is not calibrated"}))
    assert facts["Verdicts"] == "none: it is not calibrated"
    assert "Signs of a fake" not in facts


@pytest.mark.parametrize("is_demo", [True, False])
def test_a_demonstration_is_called_one(client: Client, is_demo: bool) -> None:
    show_worker(**DEMO, data={"is_demo": is_demo})
    for address in ("/", "/about/"):
        assert (b"trained on drawn demonstration videos: its scores" in client.get(address).content) is is_demo


def test_what_is_not_known_of_a_detector_is_called_unknown() -> None:
    facts = dict(presentation.detector_facts({"name": "from elsewhere", "threshold": 0.5}))
    assert facts["Detector"] == "from elsewhere"
    assert facts["Signs of a fake"] == "from a score of 0.5 on"
    unknown = ("Network for each frame", "Over the frames", "Examines", "Trained on")
    assert {facts[name] for name in unknown} == {"unknown"}
    assert facts["Calibrated"].startswith("no")


def test_a_calibrated_detector_says_on_what() -> None:
    described = {**DEMO, "temperature": 1.31, "calibration": {"num_real": 8, "num_fake": 9}}
    assert dict(presentation.detector_facts(described))["Calibrated"] == (
        "yes, temperature 1.31, fitted to 8 real and 9 fake videos"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"verdict": "fake", "outcome": "ok"}, ("fake", "▲", "signs of a fake")),
        ({"verdict": "real", "outcome": "ok"}, ("real", "●", "no sign found")),
        ({"verdict": "uncertain", "outcome": "partial"}, ("uncertain", "◆", "cannot tell")),
        ({"outcome": "no_face"}, ("none", "○", "no face found")),
        ({"outcome": "too_large"}, ("none", "○", "too large")),
    ],
)
def test_verdicts_have_a_word_and_a_shape_beside_their_colour(
    client: Client, video: bytes, values: dict[str, str], words: tuple[str, str, str]
) -> None:
    send(client, ("a.mp4", video))
    Job.objects.update(state=Job.State.DONE, finished=timezone.now(), **values)
    colour, shape, word = words
    badge = f'<span class="badge {colour}"><span class="shape" aria-hidden="true">{shape}</span> {word}</span>'
    assert badge in client.get("/jobs/").content.decode()


def test_a_failed_job_says_why_and_what_to_do(client: Client, video: bytes) -> None:
    send(client, ("a.mp4", video))
    Job.objects.update(state=Job.State.FAILED, error="the <decoder> crashed", finished=timezone.now())
    job = Job.objects.get()
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert "the &lt;decoder&gt; crashed" in page
    assert f"/jobs/{job.pk}/retry" in page
    job.upload_path.unlink()
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert f"/jobs/{job.pk}/retry" not in page
    assert "Send it again" in page


def test_the_script_is_told_the_limits(client: Client, configure: Any) -> None:
    configure(max_upload_mb=7, max_files=1)
    page = client.get("/").content.decode()
    for given in (f'data-max-bytes="{7 * MIB}"', 'data-max-mb="7"', 'data-max-files="1"'):
        assert given in page
    assert " multiple " not in page


def test_an_error_says_when_to_come_back(client: Client, video: bytes, configure: Any) -> None:
    configure(max_queue=1)
    send(client, ("a.mp4", video))
    page = client.get("/may-upload?bytes=10")
    assert page.status_code == 503
    assert b"Busy" in page.content
    assert b"Try again in about 30 seconds." in page.content
