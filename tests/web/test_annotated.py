"""The annotated video of a result: drawn if the administrator asks for it, for its owner only, gone with the result."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from django.test import Client
from django.utils import timezone
from PIL import Image

from dfd.base.errors import ConfigError
from dfd.video.decode import VideoReader
from dfd.web.jobs import life as jobs
from dfd.web.models import Job, options
from dfd.web.serve.launcher import check_detector
from tests.conftest import drawn_frames
from tests.web.conftest import TOKENS, files_below, send, work

DESK, WIRE = ({"Authorization": f"Bearer {pair.partition(':')[2]}"} for pair in TOKENS)


@pytest.fixture
def drawing(configure: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    """This process as a worker that draws."""
    configure(annotate=True)
    return request.getfixturevalue("scorer")


def scored(client: Client, scorer: Any, data: bytes, name: str = "my clip.mov") -> Job:
    assert send(client, (name, data)).status_code == 201
    work(scorer)
    job = Job.objects.get(file_name=name)
    assert job.state == Job.State.DONE, job.error
    return job


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def num_frames(data: bytes, path: Path) -> int:
    path.write_bytes(data)
    with VideoReader(path) as reader:
        return sum(len(frames) for _, frames in reader.chunks(chunk_len=8))


def test_without_being_asked_for_nothing_is_drawn(client: Client, video: bytes, scorer: Any) -> None:
    job = scored(client, scorer, video)
    assert not [path for path in files_below(job.folder) if path.suffix == ".mp4" or path.name == "boxes.npz"]
    assert client.get(f"/jobs/{job.pk}/annotated").status_code == 404
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert "<video" not in page
    assert "drawn" not in page


def test_the_annotated_video_has_every_frame_of_the_upload(
    client: Client, video: bytes, drawing: Any, tmp_path: Path
) -> None:
    job = scored(client, drawing, video)
    assert not job.upload_path.exists()
    assert not [path for path in files_below(job.folder) if path.name == "boxes.npz"]
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    player = re.search(r"<video [^>]*>", page)
    assert player is not None
    assert f'src="/jobs/{job.pk}/annotated"' in player[0]
    assert "controls" in player[0]
    assert "autoplay" not in player[0]
    assert "deleted already, and only the video with the scores drawn in is left of it" in page
    shown = client.get(f"/jobs/{job.pk}/annotated")
    assert shown.headers["Content-Type"] == "video/mp4"
    assert shown.headers["Content-Disposition"].startswith("inline")
    saved = client.get(f"/jobs/{job.pk}/annotated?download")
    assert saved.headers["Content-Disposition"] == 'attachment; filename="my clip-annotated.mp4"'
    whole = body(saved)
    assert whole == body(shown)
    sent = num_frames(video, tmp_path / "sent")
    assert num_frames(whole, tmp_path / "drawn") == sent == 24
    with VideoReader(tmp_path / "sent") as before, VideoReader(tmp_path / "drawn") as after:
        assert after.height > before.height  # the strip below it


def test_a_picture_is_drawn_as_a_picture(client: Client, drawing: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(drawn_frames(1)[0]).save(file, "PNG")
    job = scored(client, drawing, file.getvalue(), "a.png")
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert f'<img src="/jobs/{job.pk}/annotated"' in page
    assert "<video" not in page
    found = client.get(f"/jobs/{job.pk}/annotated?download")
    assert found.headers["Content-Type"] == "image/jpeg"
    assert 'filename="a-annotated.jpg"' in found.headers["Content-Disposition"]
    picture = np.asarray(Image.open(io.BytesIO(body(found))))
    assert picture.std() > 10


def test_only_its_owner_gets_it(client: Client, video: bytes, drawing: Any) -> None:
    job = scored(client, drawing, video)
    send(other := Client(), ("b.mp4", video))
    for stranger in (other, Client()):
        answer = stranger.get(f"/jobs/{job.pk}/annotated")
        assert answer.status_code == 404
        assert not answer.streaming
    assert client.get(f"/api/jobs/{job.pk}/annotated", headers=DESK).status_code == 404
    assert client.get(f"/api/jobs/{job.pk}/annotated").status_code == 401


def test_a_program_gets_its_address_once_it_is_there(client: Client, video: bytes, drawing: Any) -> None:
    file = io.BytesIO(video)
    file.name = "a.mp4"
    made = client.post("/api/jobs", {"video": file}, headers=DESK).json()
    assert (made["annotated_url"], made["annotated_message"]) == (None, "")
    assert client.get(f"{made['url']}/annotated", headers=DESK).status_code == 404
    work(drawing)
    done = client.get(made["url"], headers=DESK).json()
    found = client.get(done["annotated_url"], headers=DESK)
    assert found.headers["Content-Type"] == "video/mp4"
    assert b"ftyp" in body(found)[:16]
    assert client.get(done["annotated_url"], headers=WIRE).status_code == 404


@pytest.mark.parametrize("how", ["delete", "delete-all", "expiry"])
def test_it_is_deleted_with_its_result(client: Client, video: bytes, drawing: Any, how: str) -> None:
    job = scored(client, drawing, video)
    assert [path for path in files_below(options().data) if path.suffix == ".mp4"]
    if how == "expiry":
        Job.objects.update(expires=timezone.now() - timedelta(seconds=1))
        assert client.get(f"/jobs/{job.pk}/annotated").status_code == 404
        jobs.tidy()
    else:
        client.post(f"/jobs/{job.pk}/delete" if how == "delete" else "/jobs/delete-all")
    assert client.get(f"/jobs/{job.pk}/annotated").status_code == 404
    assert not files_below(options().data)


def broken(*given: Any, **more: Any) -> Any:
    raise RuntimeError("in /srv/secret/place")


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        ("dfd.web.jobs.scorer.draw", broken, "something went wrong here; whoever runs this service finds the reason"),
        ("dfd.web.jobs.drawing.has_room", lambda: False, "the disk is full"),
        ("deadline", 1e-6, "it took too long"),
        ("size", 1, "it would be larger than 1 MiB"),
    ],
)
def test_a_job_is_done_when_its_video_cannot_be_drawn(
    client: Client,
    video: bytes,
    drawing: Any,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    value: Any,
    words: str,
) -> None:
    send(client, ("a.mp4", video))
    if what == "deadline":
        drawing.config.deadline_seconds = value
    elif what == "size":
        monkeypatch.setattr(type(options()), "max_upload_bytes", value)
    else:
        monkeypatch.setattr(what, value)
    work(drawing)
    job = Job.objects.get()
    assert job.state == Job.State.DONE, job.error
    assert job.verdict
    assert not [path for path in files_below(job.folder) if path.suffix == ".mp4"]
    sentence = f"The annotated video could not be drawn: {words}"
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert sentence in page
    assert "/srv" not in page
    assert "<video" not in page
    assert sentence in client.get(f"/jobs/{job.pk}/state").json()["annotated_message"]
    assert client.get(f"/jobs/{job.pk}/annotated").status_code == 404


def test_drawing_ends_when_its_job_is_deleted(
    client: Client, video: bytes, drawing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfd.web.jobs import scorer as module

    begun = []

    def deleted(*given: Any, **more: Any) -> Any:
        Job.objects.all().delete()
        begun.append(True)
        return draw(*given, **more)

    draw = module.draw
    monkeypatch.setattr(module, "draw", deleted)
    monkeypatch.setattr(module, "SHOW_SECONDS", 0.0)
    send(client, ("a.mp4", video))
    before = set(psutil.Process().children(recursive=True))
    drawing.detector.close()
    work(drawing)
    assert begun
    assert not files_below(options().data / "jobs")
    drawing.detector.close()
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [one for one in left if "resource_tracker" not in " ".join(one.cmdline())]


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-", slice(0, None)),
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-199", slice(100, 200)),
        ("bytes=100-99999999", slice(100, None)),
        ("bytes=-50", slice(-50, None)),
        ("bytes=-99999999", slice(0, None)),
    ],
)
def test_a_player_gets_the_part_that_it_asks_for(
    client: Client, video: bytes, drawing: Any, asked: str, part: slice
) -> None:
    job = scored(client, drawing, video)
    whole = body(client.get(f"/jobs/{job.pk}/annotated"))
    found = client.get(f"/jobs/{job.pk}/annotated", headers={"Range": asked})
    start, stop, _ = part.indices(len(whole))
    assert found.status_code == 206
    assert body(found) == whole[part]
    assert found.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert found.headers["Content-Length"] == str(stop - start)


def test_what_is_no_part_is_answered_with_all_or_with_its_size(
    client: Client, video: bytes, drawing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scored(client, drawing, video)
    address = f"/jobs/{job.pk}/annotated"
    whole = body(client.get(address))
    for asked in ("bytes=-", "bytes=9-3", "bytes=0-1,5-6", "frames=0-1", "bytes=a-b", f"bytes={'9' * 99}-"):
        found = client.get(address, headers={"Range": asked})
        assert (found.status_code, body(found)) == (200, whole), asked
    found = client.get(address, headers={"Range": "bytes=0-9", "If-Range": '"another version"'})
    assert (found.status_code, body(found)) == (200, whole)
    for asked in (f"bytes={len(whole)}-", "bytes=-0"):
        behind = client.get(address, headers={"Range": asked})
        assert (behind.status_code, behind.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    monkeypatch.setattr("dfd.web.pages.drawn.MAX_PART_BYTES", 1000)
    parts: list[bytes] = []
    while sum(map(len, parts)) < len(whole):
        parts.append(body(client.get(address, headers={"Range": f"bytes={sum(map(len, parts))}-"})))
        assert len(parts[-1]) <= 1000
    assert b"".join(parts) == whole


def test_media_of_this_server_and_of_no_other_may_be_played(client: Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert re.findall(r"media-src ([^;]*)", policy) == ["'self'"]


def test_it_is_no_option_of_the_detector(tiny_checkpoint: Path, configure: Callable[..., Any]) -> None:
    given = configure(checkpoint=str(tiny_checkpoint), detector="annotate=true")
    with pytest.raises(ConfigError, match="set DFD_WEB_ANNOTATE=true"):
        check_detector(given)
