"""What may come in, under which limits, and where it goes."""

import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.uploadhandler import StopUpload
from django.db import connection
from django.http import HttpRequest
from django.test import Client, RequestFactory
from gunicorn.workers.gthread import ThreadWorker

from dfd.web.intake import admission, patience, uploads
from dfd.web.intake.kinds import LINK, NO_VIDEO, OTHER_PICTURE, SOUND, looks_like_video
from dfd.web.intake.uploads import shown_name
from dfd.web.models import Job, UploadCount, incoming_folder, jobs_folder, options
from dfd.web.serve.server import Worker
from tests.web.conftest import MP4_HEAD, files_below, posted, send

MIB = 2**20

HOSTILE_NAMES = [
    "../../../etc/passwd",
    "..\\..\\windows\\system32\\x.mp4",
    "/etc/shadow",
    "a/../../b.mp4",
    "....//....//x.mp4",
    "%2e%2e%2fx.mp4",
    "x.mp4\0.html",
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "{{ 7*7 }}{% debug %}.mp4",
    "'; DROP TABLE web_job; --.mp4",
    "$(touch owned).mp4",
    "`id`|sh.mp4",
    "-rf.mp4",
    "con.mp4",
    ".htaccess",
    "\u202egpj.4pm",
    "a\r\nSet-Cookie: x=1.mp4",
    "é" * 300 + ".mp4",
    "😀 clip.mp4",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_file_name_stays_in_the_folder_and_is_only_ever_shown(
    client: Client, name: str, tmp_path: Path, video: bytes
) -> None:
    before = set(tmp_path.rglob("*"))
    answer = send(client, (name, video))
    assert answer.status_code in (201, 400), answer.content
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    if answer.status_code == 400:  # Django takes a part without a usable name for no file
        assert not Job.objects.exists()
        assert not made
        return
    (job,) = Job.objects.all()
    assert made == {jobs_folder() / job.id.hex / "upload"}
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "7*7" in page or "7*7" not in name
    assert "\u202e" not in page
    assert all(sign.isprintable() for sign in job.file_name)


def body_of(size: int, *, name: str = "clip.mp4", head: bytes = MP4_HEAD) -> dict[str, Any]:
    file = io.BytesIO(head + b"\0" * (size - len(head)))
    file.name = name
    return {"video": file}


def test_a_byte_below_the_limit_is_taken_and_a_byte_above_is_not(client: Client) -> None:
    below = client.post("/", body_of(MIB - 1), headers={"Accept": "application/json"})
    at = client.post("/", body_of(MIB), headers={"Accept": "application/json"})
    above = client.post("/", body_of(MIB + 1), headers={"Accept": "application/json"})
    assert [below.status_code, at.status_code, above.status_code] == [201, 201, 413]
    assert "clip.mp4: this file is larger than 1 MiB" in above.json()["refusals"][0]
    assert sorted(Job.objects.values_list("size_bytes", flat=True)) == [MIB - 1, MIB]
    assert not files_below(incoming_folder())


class Endless(io.RawIOBase):
    """A form whose file never ends; counts what is read of it."""

    def __init__(self) -> None:
        self.num_read = 0
        self.waiting = (
            b'--edge\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n'
            b"Content-Type: video/mp4\r\n\r\n" + MP4_HEAD
        )

    def read(self, size: int = -1) -> bytes:
        size = 2**16 if size < 0 else size
        self.num_read += size
        data, self.waiting = self.waiting[:size], self.waiting[size:]
        return data + b"\0" * (size - len(data))


def test_the_limit_holds_while_streaming_whatever_length_was_announced() -> None:
    stream = Endless()
    request = RequestFactory().generic("POST", "/", b"-", "multipart/form-data; boundary=edge")
    request.META["CONTENT_LENGTH"] = str(10**12)
    request.META["wsgi.input"] = stream
    request._stream = stream
    handler = uploads.prepare(request)
    (video,) = uploads.receive(request, handler)
    assert video.refusal.status == 413
    assert stream.num_read < 5 * MIB
    assert not files_below(options().data)


def test_an_upload_that_announces_too_much_is_refused_unread(client: Client) -> None:
    answer = client.post("/", body_of(4 * MIB), headers={"Accept": "application/json"})
    assert answer.status_code == 413
    assert "3 files of 1 MiB" in answer.json()["error"]
    assert not files_below(options().data)


def test_a_text_named_mp4_is_told_to_be_no_video(client: Client) -> None:
    answer = send(client, ("notes.mp4", b"Dear editor, enclosed please find no video at all."))
    assert answer.status_code == 415
    assert answer.json()["refusals"] == [
        "notes.mp4: this is not a video: its first bytes are not those of a known video format"
    ]
    assert not Job.objects.exists()
    assert not files_below(options().data)


def test_a_video_may_have_any_name_and_content_type(client: Client, video: bytes) -> None:
    file = io.BytesIO(video)
    file.name = "report.txt"
    assert client.post("/", {"video": file}).status_code == 303
    assert Job.objects.count() == 1


def test_an_empty_file_is_refused(client: Client) -> None:
    answer = send(client, ("empty.mp4", b""))
    assert answer.status_code in (400, 415)
    assert not Job.objects.exists()


def test_good_files_are_taken_and_bad_ones_named(client: Client, video: bytes) -> None:
    answer = send(client, ("good.mp4", video), ("bad.mp4", b"text"), ("also good.mp4", video), ("fourth.mp4", video))
    assert answer.status_code == 201
    assert [job["file_name"] for job in answer.json()["jobs"]] == ["good.mp4", "also good.mp4"]
    refusals = answer.json()["refusals"]
    assert refusals[0].startswith("bad.mp4: this is not a video")
    assert refusals[1].startswith("fourth.mp4: only 3 files are accepted at once")
    assert len(files_below(options().data)) == 2


def test_without_a_script_refusals_are_shown_on_the_next_page(client: Client, video: bytes) -> None:
    good, bad = io.BytesIO(video), io.BytesIO(b"text")
    good.name, bad.name = "good.mp4", "bad.mp4"
    answer = client.post("/", {"video": [good, bad]}, follow=True)
    assert answer.redirect_chain == [("/jobs/", 303)]
    assert "bad.mp4: this is not a video" in answer.content.decode()
    assert "good.mp4" in answer.content.decode()
    assert "bad.mp4" not in client.get("/jobs/").content.decode()


def test_the_disk_keeps_its_reserve(client: Client, video: bytes, configure: Any) -> None:
    configure(min_free_mb=10**12)
    answer = send(client, ("a.mp4", video))
    assert answer.status_code == 507
    assert answer.headers["Retry-After"]
    assert not files_below(options().data)


@pytest.mark.parametrize("cut", [200, 3000])
def test_an_upload_that_breaks_off_leaves_nothing(client: Client, video: bytes, cut: int) -> None:
    factory = RequestFactory()
    whole = factory.post("/", {"video": _named(video[:50_000])})  # a body in memory has a limit
    body = whole.body
    request = factory.generic("POST", "/", data=body[:cut], content_type=whole.META["CONTENT_TYPE"])
    request.META["CONTENT_LENGTH"] = str(len(body))
    from django.core.handlers.wsgi import LimitedStream

    request._stream = LimitedStream(io.BytesIO(body[:cut]), len(body))
    handler = uploads.prepare(request)
    with pytest.raises(OSError):
        uploads.receive(request, handler)
    assert not files_below(options().data)


def _named(data: bytes, name: str = "a.mp4") -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


def test_a_file_in_another_field_or_for_another_form_is_not_stored(client: Client, video: bytes) -> None:
    assert client.post("/", {"other": _named(video)}, headers={"Accept": "application/json"}).status_code == 400
    # Reading the form for its token must not take the file in, either.
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/jobs/delete-all", {"video": _named(video)}).status_code == 403
    with pytest.raises(StopUpload):
        uploads.RefusingUploadHandler().new_file("video", "a.mp4", "video/mp4", 1)
    assert not files_below(options().data)
    assert not Job.objects.exists()


def test_parts_of_killed_processes_are_deleted_and_young_ones_left() -> None:
    incoming_folder().mkdir(parents=True)
    old, young = (incoming_folder() / f"{name}.part" for name in ("old", "young"))
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (1, 1))
    assert uploads.remove_abandoned_parts() == 1
    assert young.exists()
    assert not old.exists()


def test_uploads_and_their_folders_are_for_this_user_only(client: Client, video: bytes) -> None:
    send(client, ("a.mp4", video))
    (path,) = files_below(options().data)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_every_container_that_can_be_decoded_here_is_let_in(shared_data: Path) -> None:
    for path in sorted((shared_data / "dev").rglob("*")):
        if path.suffix.lower() in (".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif"):
            with path.open("rb") as file:
                assert looks_like_video(file.read(4096)), path


def test_a_transport_stream_is_told_by_its_packets() -> None:
    packet = b"G" + b"\0" * 187
    assert looks_like_video(packet * 4)
    assert looks_like_video((b"\0\0\0\0" + packet) * 4)
    assert not looks_like_video(b"G" + b"\0" * 1000)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "\\", "\n", "\u200b\u202e"])
def test_a_name_that_shows_nothing_is_called_video_or_as_it_is(name: str) -> None:
    assert shown_name(name) in ("video", ".", "..")


class Broken(io.BytesIO):
    """The body of a sender whose connection is reset."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise ConnectionResetError
        return data


def form(size: int) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
    return head + MP4_HEAD + b"\0" * size


TOKEN = {"HTTP_AUTHORIZATION": "Bearer a token of sixteen or more"}


@pytest.mark.parametrize("path", ["/", "/api/jobs"])
def test_a_connection_that_is_reset_leaves_nothing_with_or_without_a_token(path: str) -> None:
    status, _, _ = posted(path, Broken(form(300_000)), 900_000, **TOKEN)
    assert status in (400, 403)
    assert not files_below(options().data)
    assert UploadCount.objects.get().number == 1


@pytest.mark.parametrize("times", [1.2, 2.5])
def test_a_file_that_goes_on_and_on_is_told_that_it_is_too_large(times: float) -> None:
    body = form(int(times * MIB)) + b"\r\n--edge--\r\n"
    status, _, content = posted("/api/jobs", io.BytesIO(body), len(body), **TOKEN)
    assert (status, b"larger than 1 MiB" in content) == (413, True)
    assert not files_below(options().data)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x18ftypheic", OTHER_PICTURE),
        (b"BM" + bytes(50), OTHER_PICTURE),
        (b"ID3\x04" + bytes(50), SOUND),
        (b"RIFF\0\0\0\0WAVEfmt ", SOUND),
        (b"\0\0\0\x18ftypM4A ", SOUND),
        (b"https://example.org/clip", LINK),
        (b"[InternetShortcut]\r\nURL=https://example.org", LINK),
        (b"Dear editor", NO_VIDEO),
    ],
)
def test_what_is_neither_a_video_nor_a_still_is_refused_in_words_of_its_own(
    client: Client, head: bytes, words: str
) -> None:
    answer = send(client, ("a.mp4", head))
    assert answer.status_code == 415
    assert answer.json()["refusals"] == [f"a.mp4: {words}"]


class TestPatience:
    """Real sockets: the rate is that of the bytes that a sender brings."""

    def reading(self, connection: socket.socket) -> HttpRequest:
        request = RequestFactory().post("/", b"", content_type="text/plain", CONTENT_LENGTH="1000000")
        request.META["gunicorn.socket"] = connection
        request._stream = SimpleNamespace(_pos=0)  # type: ignore[attr-defined]
        return request

    @pytest.fixture
    def ends(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
        monkeypatch.setattr(patience, "TICK_SECONDS", 0.02)
        monkeypatch.setattr(patience, "LOOK_SECONDS", 0.2)
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        yield ours, theirs
        ours.close()
        theirs.close()

    def test_a_slow_body_is_given_up(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, _ = ends
        request = self.reading(ours)
        with patience.limited(request):
            patience.allow_rate(request, 1000, piece=0)
            assert ours.recv(1) == b""  # reading ends, although the sender is still there
        assert patience.was_too_slow(request)

    def test_a_body_that_keeps_its_rate_is_read_to_the_end(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, theirs = ends
        request = self.reading(ours)
        with patience.limited(request):
            patience.allow_rate(request, 1000, piece=0)
            for _ in range(10):
                time.sleep(0.06)
                theirs.sendall(b"x" * 200)
                request._stream._pos += len(ours.recv(200))  # type: ignore[attr-defined]
        assert not patience.was_too_slow(request)

    def test_a_form_that_is_no_upload_has_a_fixed_time(
        self, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patience, "FORM_SECONDS", 0.1)
        ours, _ = ends
        request = self.reading(ours)
        with patience.limited(request):
            assert ours.recv(1) == b""
        assert patience.was_too_slow(request)

    def test_a_worker_gives_up_a_head_that_does_not_come_and_leaves_the_request_of_one_that_came_its_time(
        self, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patience, "HEAD_SECONDS", 0.1)
        ours, theirs = ends
        worker, conn = Worker.__new__(Worker), SimpleNamespace(sock=ours)
        monkeypatch.setattr(ThreadWorker, "handle", lambda self, conn: conn.sock.recv(1))
        assert worker.handle(conn) == b""  # type: ignore[arg-type]
        ours, theirs = socket.socketpair()
        ours.settimeout(10)

        def answered(self: Worker, conn: SimpleNamespace) -> bytes:
            return worker.handle_request(None, conn)  # type: ignore[arg-type]

        def slowly(self: Worker, req: None, conn: SimpleNamespace) -> bytes:
            time.sleep(0.3)
            theirs.sendall(b"x")
            return conn.sock.recv(1)  # type: ignore[no-any-return]

        monkeypatch.setattr(ThreadWorker, "handle", answered)
        monkeypatch.setattr(ThreadWorker, "handle_request", slowly)
        with ours, theirs:
            assert worker.handle(SimpleNamespace(sock=ours)) == b"x"  # type: ignore[arg-type]

    def test_without_a_limit_it_waits(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, theirs = ends
        request = self.reading(ours)
        with patience.limited(request):
            patience.allow_rate(request, 0, piece=0)
            time.sleep(0.5)
            theirs.sendall(b"x")
            assert ours.recv(1) == b"x"
        assert not patience.was_too_slow(request)


class TestBusy:
    def test_a_process_keeps_threads_for_pages_whatever_senders_do(
        self, client: Client, video: bytes, configure: Any
    ) -> None:
        configure(threads=admission.SPARE_THREADS + 1)
        with admission.a_thread_to_read(RequestFactory().get("/")) as refusal:
            assert refusal is None
            answer = send(client, ("a.mp4", video))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
            assert client.get("/").status_code == 200
        assert send(client, ("a.mp4", video)).status_code == 201

    def test_one_address_has_a_share_of_the_places_and_others_have_the_rest(
        self, client: Client, video: bytes, configure: Any
    ) -> None:
        configure(uploads_at_once=2)
        elsewhere = Client(REMOTE_ADDR="203.0.113.9")
        with ExitStack() as held:
            for _ in range(2):
                assert held.enter_context(admission.a_thread_to_read(RequestFactory().get("/"))) is None
            answer = send(client, ("a.mp4", video))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
            assert answer.json()["error"].startswith("2 uploads from this address are in progress")
            assert send(elsewhere, ("a.mp4", video)).status_code == 201
        assert send(client, ("a.mp4", video)).status_code == 201

    def test_a_full_queue_says_when_to_come_back(self, client: Client, video: bytes, configure: Any) -> None:
        configure(max_queue=1)
        assert send(client, ("a.mp4", video)).status_code == 201
        answer = send(client, ("b.mp4", video))
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 10
        assert answer.json()["retry_seconds"] == int(answer.headers["Retry-After"])
        assert len(files_below(options().data)) == 1

    def test_it_says_so_too_when_the_last_place_was_taken_meanwhile(
        self, client: Client, video: bytes, configure: Any, monkeypatch: Any
    ) -> None:
        configure(max_queue=1)
        send(client, ("a.mp4", video))
        monkeypatch.setattr(admission, "refusal", lambda request: None)
        answer = send(client, ("b.mp4", video))
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 10
        assert len(files_below(options().data)) == 1

    def test_a_full_queue_takes_no_more_of_one_upload_than_it_has_places(
        self, client: Client, video: bytes, configure: Any
    ) -> None:
        configure(max_queue=2)
        answer = send(client, ("a.mp4", video), ("b.mp4", video), ("c.mp4", video))
        assert [job["file_name"] for job in answer.json()["jobs"]] == ["a.mp4", "b.mp4"]
        assert answer.json()["refusals"] == ["c.mp4: All places in the queue are taken."]
        assert len(files_below(options().data)) == 2

    def test_an_address_has_so_many_uploads_in_an_hour(self, client: Client, video: bytes, configure: Any) -> None:
        configure(uploads_per_hour=2)
        assert [send(client, ("a.mp4", video)).status_code for _ in range(3)] == [201, 201, 429]
        answer = send(client, ("a.mp4", video))
        assert 0 < int(answer.headers["Retry-After"]) <= 3600
        elsewhere = Client(REMOTE_ADDR="203.0.113.9")
        assert send(elsewhere, ("a.mp4", video)).status_code == 201

    def test_files_of_one_form_count_one_by_one(self, client: Client, video: bytes, configure: Any) -> None:
        configure(uploads_per_hour=4)
        assert len(send(client, *[("a.mp4", video)] * 3).json()["jobs"]) == 3
        second = send(client, *[("b.mp4", video)] * 3).json()
        assert len(second["jobs"]) == 1
        assert second["refusals"] == ["b.mp4: Too many uploads came from this address this hour."] * 2

    def test_refused_files_count_too(self, client: Client, configure: Any) -> None:
        configure(uploads_per_hour=2)
        assert [send(client, ("a.mp4", b"text")).status_code for _ in range(3)] == [415, 415, 429]

    def test_no_address_is_kept(self, client: Client, video: bytes) -> None:
        send(client, ("a.mp4", video))
        kept = str(list(UploadCount.objects.values())) + str(list(Job.objects.values()))
        assert "127.0.0.1" not in kept

    def test_the_script_is_told_before_it_sends(self, client: Client, configure: Any) -> None:
        asked = client.get("/may-upload?bytes=1000", headers={"Accept": "application/json"})
        assert (asked.status_code, asked.json()["error"]) == (200, "")
        assert client.get(f"/may-upload?bytes={10**9}", headers={"Accept": "application/json"}).status_code == 413
        configure(max_queue=1)
        Job.objects.create(owner="x", file_name="x", size_bytes=1, expires=admission._hour())
        assert client.get("/may-upload?bytes=1000", headers={"Accept": "application/json"}).status_code == 503
        assert client.get("/may-upload?bytes=many", headers={"Accept": "application/json"}).status_code in (400, 411)


class TestAddress:
    def address(self, remote: str, forwarded: str = "") -> str:
        extra = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
        return admission.client_address(RequestFactory().get("/", REMOTE_ADDR=remote, **extra))

    def test_without_trusted_proxies_nobody_can_write_an_address(self) -> None:
        assert self.address("198.51.100.7", "203.0.113.1") == "198.51.100.7"

    def test_a_proxy_is_believed_for_what_it_added_and_no_more(self, configure: Any) -> None:
        configure(trusted_proxies=1)
        assert self.address("10.0.0.1", "1.2.3.4, 203.0.113.1") == "203.0.113.1"
        configure(trusted_proxies=2)
        assert self.address("10.0.0.1", "1.2.3.4, 203.0.113.1, 10.0.0.2") == "203.0.113.1"

    def test_a_household_is_one_address(self) -> None:
        assert self.address("2001:db8:1:2:3::4") == self.address("2001:db8:1:2:ffff::1")
        assert self.address("2001:db8:1:2::1") != self.address("2001:db8:1:3::1")
        assert self.address("::ffff:198.51.100.7") == "198.51.100.7"


@pytest.mark.django_db(transaction=True)
def test_fifty_simultaneous_uploads_give_fifty_jobs(video: bytes, configure: Any) -> None:
    configure(uploads_at_once=0)
    statuses = []

    def one(number: int) -> None:
        try:
            statuses.append(send(Client(), (f"{number}.mp4", video)).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 50
    assert sorted(Job.objects.values_list("file_name", flat=True)) == sorted(f"{n}.mp4" for n in range(50))
    assert len(files_below(jobs_folder())) == 50
    assert not files_below(incoming_folder())


@pytest.mark.django_db(transaction=True)
def test_of_many_uploads_at_once_no_more_are_taken_than_there_are_places(video: bytes, configure: Any) -> None:
    configure(max_queue=3)
    statuses = []

    def one(number: int) -> None:
        try:
            statuses.append(send(Client(), (f"{number}.mp4", video)).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 3 + [503] * 9
    assert Job.objects.count() == 3
    assert len(files_below(options().data)) == 3
