"""``python -m dfd.web``: one command that starts all, says what is wrong, and leaves nothing running."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from dfd.base.errors import ConfigError
from dfd.web.__main__ import environment_of, usage
from dfd.web.options import WebOptions, described

ROOT = Path(__file__).resolve().parents[2]
SLOW = pytest.mark.slow
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("DFD_WEB_", "DJANGO_"))}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dfd.web", *arguments]
    return subprocess.run(
        command, env={**CLEAN, **environment}, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )


def test_help_names_every_option_with_its_default() -> None:
    text = usage()
    for name, default, about in described():
        assert re.search(rf"^  --{name.replace('_', '-')} +{re.escape(about)}", text, re.M), name
        assert not default or f"({default})" in text


def test_the_docs_name_every_option_with_its_default() -> None:
    text = (ROOT / "docs" / "web.md").read_text("utf-8")
    for name, default, about in described():
        assert f"| `DFD_WEB_{name.upper()}` | {f'`{default}`' if default else ''} | {about} |" in text, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the detector"),
        (["checkpoint=nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["checkpoint=[README.md,nowhere.safetensors]"], "nowhere.safetensors: no such file"),
        (["README.md", "dfdc-b7"], "dfd adopt dfdc-b7"),
        (["checkpoint=README.md", "face_detector=yunet"], "yunet"),
        (["checkpoint=README.md", "host=192.0.2.1"], "host=192.0.2.1 is no address of this machine"),
        (["checkpoint=README.md", "max_windos=3"], "max_windos"),
        pytest.param(["checkpoint=README.md", "max_windows=many"], "max_windows", marks=SLOW),
        (["checkpoint=README.md", "port=http"], "DFD_WEB_PORT=http is not a whole number"),
        pytest.param(["checkpoint=README.md", "port=99999"], "must be in 1..65535", marks=SLOW),
        pytest.param(["checkpoint=README.md", "keep_hours=inf"], "must be a number", marks=SLOW),
        (["checkpoint=README.md", "data=README.md"], "cannot be made a folder of ours"),
        (["checkpoint=README.md", "database_url=postgres://nobody@127.0.0.1:9/x"], "DFD_WEB_SECRET_KEY"),
        pytest.param(
            ["checkpoint=README.md", "max_queue=0"], "DFD_WEB_MAX_QUEUE must be above 0", marks=pytest.mark.slow
        ),
        pytest.param(
            ["checkpoint=README.md", "api_tokens=desk:short"],
            "a token of 16 characters or more",
            marks=pytest.mark.slow,
        ),
        pytest.param(["checkpoint=README.md", "host=0.0.0.0"], "DFD_WEB_SECRET_KEY", marks=SLOW),
        (["start"], "did you mean starter"),
        (["checkpoint=README.md", "prot=80"], "did you mean port=80?"),
        pytest.param(["README.md", "--max-windos", "3"], "did you mean --max-windows?", marks=SLOW),
        (["serve"], "DFD_WEB_SECRET_KEY is not set"),
        pytest.param(["checkpoint"], "no such command", marks=SLOW),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    empty = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "https_proxy": "http://127.0.0.1:9",
    }  # nothing to be had
    done = run(*arguments, DFD_WEB_DATA=str(tmp_path / "web"), **empty)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_images_and_tools_of_the_containers_have_exact_versions_and_a_limit_of_memory() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text("utf-8"))
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    images += re.findall(r"^FROM (\S+)", dockerfile, re.M)
    assert len(images) == 3
    assert all(re.search(r":\d+\.\d+", image) for image in images), images
    assert all(re.search(r"==\d", name) for name in re.findall(r"pip install (?:--\S+ )*(\S+)", dockerfile))
    for name, service in compose["services"].items():
        assert service.get("mem_limit"), name


def test_a_misspelt_variable_is_told_its_right_name() -> None:
    with pytest.raises(ConfigError, match="did you mean DFD_WEB_MAX_QUEUE"):
        WebOptions.from_environment({"DFD_WEB_MAX_QUEU": "1"})


@pytest.mark.parametrize("text", ["true", "1", "True"])
def test_options_are_read_from_their_text(text: str) -> None:
    found = WebOptions.from_environment(
        {"DFD_WEB_OPEN_API": text, "DFD_WEB_HOSTS": "a.org, b.org", "DFD_WEB_KEEP_HOURS": "0.5", "DFD_WEB_PORT": ""}
    )
    assert (found.open_api, found.hosts, found.keep_hours, found.port) == (True, ("a.org", "b.org"), 0.5, 8000)


def test_unknown_keys_are_options_of_predict() -> None:
    environment = environment_of(["port=81", "face_detector=yunet", "face_detector.weights=a file.onnx"])
    assert environment["DFD_WEB_PORT"] == "81"
    assert environment["DFD_WEB_DETECTOR"] == "face_detector=yunet 'face_detector.weights=a file.onnx'"


def test_every_option_has_a_meaning() -> None:
    assert len(list(described())) == len(fields(WebOptions))


class Service:
    def __init__(self, folder: Path, checkpoint: Path, *arguments: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / "log"
        self.data = folder / "web"
        given = [f"checkpoint={checkpoint}", f"data={self.data}", f"port={self.port}", "num_workers=1", "min_free_mb=0"]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dfd.web", *given, *arguments], cwd=ROOT, env=CLEAN, stdout=output, stderr=output
            )

    def wait(self, words: str, number: int = 1) -> None:
        ends = time.monotonic() + 120
        while self.log.read_text().count(words) < number:
            assert time.monotonic() < ends, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def stop(self) -> list[psutil.Process]:
        """Those of its processes that are still there after it has ended."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        _, alive = psutil.wait_procs(children, timeout=10)
        return list(alive)


@pytest.fixture
def service(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Service]:
    made = Service(tmp_path, tiny_checkpoint)
    yield made
    if made.process.poll() is None:
        made.stop()


def test_one_command_starts_all_and_ends_all(service: Service, video: bytes) -> None:
    service.wait("The page is at http://127.0.0.1")
    service.wait("worker ready")
    assert service.ask("/health")["workers"] == 1
    key = service.data / "secret_key"
    assert len(key.read_text()) >= 50
    assert key.stat().st_mode & 0o077 == 0

    (worker,) = [
        child
        for child in psutil.Process(service.process.pid).children(recursive=True)
        if child.cmdline()[-2:] == ["manage", "worker"]
    ]
    worker.kill()
    service.wait("it is started again")
    service.wait("worker ready", 2)

    taken = run("checkpoint=README.md", f"port={service.port}", f"data={service.data}")
    assert taken.returncode == 1
    assert "cannot be used (Address already in use)" in taken.stderr

    assert service.stop() == []
    assert service.process.returncode == 0


@pytest.mark.slow
def test_with_a_key_of_its_own_it_starts_too_keeps_threads_for_pages_and_ends_with_its_launcher(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    service = Service(tmp_path, tiny_checkpoint, "threads=10", "https=false", f"secret_key={'k' * 50}")
    try:
        service.wait("The page is at http://127.0.0.1")
        stalled = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", service.port))
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            connection.sendall(head + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x")
            stalled.append(connection)
        for connection in stalled:
            connection.settimeout(60)
            assert connection.recv(12).startswith(b"HTTP/1.")  # refused, and the sender stays
        request = urllib.request.Request(f"http://127.0.0.1:{service.port}/health", method="HEAD")
        with pytest.raises(urllib.error.HTTPError, match="503"):  # it answers: no worker is there yet
            urllib.request.urlopen(request, timeout=10)
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        _, alive = psutil.wait_procs(children, timeout=40)
        assert alive == []
    finally:
        if service.process.poll() is None:
            service.stop()


def test_compose_names_only_options_that_exist_and_passes_djangos_own_check() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text("utf-8"))
    environment = compose["x-dfd"]["environment"]
    known = {f"DFD_WEB_{item.name.upper()}" for item in fields(WebOptions)}
    assert set(environment) <= known
    values = {"DFD_HOST": "dfd.example.org", "DFD_SECRET_KEY": "k7Qz0vXw3mN8pR5tY2uI9oA4sD6fG1hJ-lZcVbBnMqWeRtTyUiOp"}
    values |= {"DFD_DB_PASSWORD": "word", "DFD_API_TOKENS": "", "DFD_ADMIN": "true"}
    filled = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: values[found[1]], str(value))
        for name, value in environment.items()
    }
    done = run("manage", "check", "--deploy", "--fail-level", "DEBUG", **filled)
    assert done.returncode == 0, done.stderr
    for name in ("web", "worker", "migrate"):
        service = compose["services"][name]
        assert service["read_only"]
        assert "ports" not in service  # only the proxy is reached from outside
