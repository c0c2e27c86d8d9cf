import hashlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dfd.base.errors import WeightsMissing
from dfd.base.fetch import WeightsFile, cache_folder, download, fetch
from dfd.base.files import take_lock

OPTION = "face_detector.weights=FILE"
CONTENT = b"these are weights"


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def published(tmp_path):
    """A file published where urllib can get it without a network."""
    source = tmp_path / "published.bin"
    source.write_bytes(CONTENT)
    return WeightsFile("net.bin", source.as_uri(), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "MIT")


def test_weights_are_downloaded_once_and_then_come_from_the_cache(published, tmp_path):
    path = fetch(published, path=None, option=OPTION)
    assert path == tmp_path / "cache" / "dfd" / "net.bin"
    assert path.read_bytes() == CONTENT
    (tmp_path / "published.bin").unlink()
    assert fetch(published, path=None, option=OPTION) == path
    assert [file.name for file in cache_folder().iterdir()] == ["net.bin"]  # no temporary file stays


def test_the_leading_digits_of_a_hash_are_enough_where_no_more_is_public(published):
    short = WeightsFile("net.bin", published.url, published.sha256[:9], None, "MIT")
    assert fetch(short, path=None, option=OPTION).read_bytes() == CONTENT


def test_a_download_with_another_hash_is_refused_and_not_kept(published):
    other = WeightsFile("net.bin", published.url, "0" * 64, None, "MIT")
    with pytest.raises(WeightsMissing, match="not the published file"):
        fetch(other, path=None, option=OPTION)
    assert list(cache_folder().iterdir()) == []


def test_a_failed_download_names_file_url_hash_size_and_option(tmp_path):
    missing = WeightsFile("net.bin", (tmp_path / "nowhere").as_uri(), "ab" * 32, 123, "MIT")
    with pytest.raises(WeightsMissing) as raised:
        fetch(missing, path=None, option=OPTION)
    for part in ("net.bin", missing.url, missing.sha256, "123 bytes", "MIT", OPTION, str(cache_folder())):
        assert part in str(raised.value)


def test_a_damaged_file_in_the_cache_is_replaced(published):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "net.bin").write_bytes(b"half of the wei")
    assert fetch(published, path=None, option=OPTION).read_bytes() == CONTENT


def test_a_given_path_is_used_and_another_edition_is_only_warned_of(published, tmp_path, caplog):
    mine = tmp_path / "mine.bin"
    mine.write_bytes(b"my own edition")
    with caplog.at_level(logging.WARNING):
        assert fetch(published, path=mine, option=OPTION) == mine
    assert "mine.bin is not the published net.bin" in caplog.text
    assert not cache_folder().exists()


def test_a_given_path_that_is_not_there_is_an_error_even_if_the_cache_has_the_file(published, tmp_path):
    fetch(published, path=None, option=OPTION)
    with pytest.raises(WeightsMissing, match=r"gone\.bin: no such file, given as face_detector\.weights=FILE"):
        fetch(published, path=tmp_path / "gone.bin", option=OPTION)


@pytest.mark.parametrize("sha256", ["", "abc", "X" * 64, "AB" * 32, "a" * 65])
def test_a_hash_that_is_none_is_refused(sha256):
    with pytest.raises(ValueError, match="hex digits"):
        WeightsFile("net.bin", "https://example.org/net.bin", sha256, None, "MIT")


LONG = bytes(range(256)) * 20_000


@pytest.fixture
def server():
    """A server of ``LONG`` that ends the first connection half-way; ``asked`` has the ranges that it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            start = int(wanted[6:-1]) if wanted and self.server.knows_ranges else 0
            self.server.asked.append(wanted)
            if start >= len(LONG):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(LONG) - start))
            self.end_headers()
            end = len(LONG) // 2 if len(self.server.asked) == 1 else len(LONG)
            self.wfile.write(LONG[start:end])

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.knows_ranges = [], True
    server.url = f"http://127.0.0.1:{server.server_port}/net.bin"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_download_is_continued_or_begun_again_where_the_server_cannot(server, tmp_path, knows_ranges):
    server.knows_ranges = knows_ranges
    target, sha256 = tmp_path / "new" / "net.bin", hashlib.sha256(LONG).hexdigest()
    with pytest.raises(OSError, match="the connection ended after 2,560,000 of 5,120,000 bytes; run this again"):
        download(server.url, target, sha256=sha256)
    assert not target.exists()
    download(server.url, target, sha256=sha256, size_bytes=len(LONG))
    assert target.read_bytes() == LONG
    assert server.asked == [None, "bytes=2560000-"]
    assert [path.name for path in target.parent.iterdir()] == ["net.bin"]


def test_a_download_that_was_whole_but_not_yet_put_in_place_is_not_fetched_again(server, tmp_path):
    (tmp_path / "net.bin.part").write_bytes(LONG)
    download(server.url, tmp_path / "net.bin", sha256=hashlib.sha256(LONG).hexdigest())
    assert (tmp_path / "net.bin").read_bytes() == LONG


def test_two_processes_do_not_write_one_download(server, tmp_path):
    with take_lock(tmp_path / "net.bin.part"), pytest.raises(OSError, match="another process"):
        download(server.url, tmp_path / "net.bin")
    assert server.asked == []
