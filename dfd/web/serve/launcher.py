"""Starting the page's processes, and ending all if one ends."""

import errno
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from dfd.base.errors import ConfigError
from dfd.config.build import target_name
from dfd.config.compose import predict_config
from dfd.faces.detect import fetch_weights
from dfd.models.files.card import num_networks, read_card
from dfd.models.published.names import members
from dfd.models.starter import checkpoint_path
from dfd.web.options import PARENT, PREFIX, USELESS, WebOptions

READY_SECONDS, STOP_SECONDS = 60.0, 30.0
MIN_UPTIME_SECONDS, MAX_PAUSE_SECONDS = 10.0, 60.0


def server_command(options: WebOptions) -> list[str]:
    """gunicorn, with threads: a slow upload takes one of them and no more."""
    return [
        *(sys.executable, "-m", "gunicorn", "dfd.web.wsgi"),
        *("--bind", f"[{options.host}]:{options.port}" if ":" in options.host else f"{options.host}:{options.port}"),
        *("--workers", str(options.processes), "--threads", str(options.threads)),
        *("--worker-class", "dfd.web.serve.server.Worker"),
        # The process gives a sign of life from its main thread, however long an upload takes. A connection ends with
        # its answer: to keep it, the rest of a body that was refused would have to be waited for.
        *("--timeout", "120", "--graceful-timeout", "15", "--keep-alive", "0"),
        *("--logger-class", "dfd.web.serve.server.ServerLogger"),
    ]


def check_detector(options: WebOptions) -> None:
    """Refuse at once what a worker would fail on after some seconds, or every video after that.

    Raises:
        ConfigError: there is no checkpoint, or an option of predict.py does not fit.
        CheckpointError: the name is that of a published detector that was not adopted.
        WeightsMissing: the face detector's weights cannot be found or downloaded.
    """
    if not options.checkpoints:
        raise ConfigError(
            "give the detector: python -m dfd.web checkpoint=FILE. train.py writes one (detector.safetensors); "
            "`make web` makes and takes the demonstration's; checkpoint=starter is the small one that comes with dfd"
        )
    files = [checkpoint_path(name) for name in options.checkpoints]
    for name, first in zip(options.checkpoints, files, strict=True):
        for path in members(first, num_networks(read_card(first))):
            if not path.is_file():
                named = name if path == first else f"{name} needs {path.name} beside it"
                raise ConfigError(f"checkpoint={named}: no such file")
    config = predict_config(options.checkpoints, shlex.split(options.detector))
    if config.annotate:
        raise ConfigError("annotate=true is an option of the page and not of the detector: set DFD_WEB_ANNOTATE=true")
    number = config.max_windows
    if not (number in ("auto", None) or (isinstance(number, int) and number is not True and number > 0)):
        raise ConfigError(f"max_windows={number}: give a whole number above 0, null for all, or auto")
    chosen, card = config.face_detector, read_card(files[0])
    found = {"name": target_name(chosen), **chosen} if chosen else (card.crop.get("face_detector") if card else None)
    if isinstance(found, Mapping) and isinstance(detector := found.get("name"), str):
        weights = found.get("weights")
        fetch_weights(detector, weights=None if weights is None else str(weights))


def refuse_taken_port(options: WebOptions) -> None:
    """Refuse a port that is in use before anything is started.

    Raises:
        ConfigError: something else listens there, or this user may not.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((options.host, options.port))
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            remedy = "give host=127.0.0.1 for this machine alone, or host=0.0.0.0 for all of its addresses"
            why = f"host={options.host} is no address of this machine ({error.strerror})"
            raise ConfigError(f"{why}; {remedy}") from error
        raise ConfigError(f"port={options.port} cannot be used ({error.strerror}); give another port=N") from error


def with_own_key(environment: dict[str, str]) -> dict[str, str]:
    """On one machine alone a secret key is made, and kept in the data folder; elsewhere none is invented."""
    options = WebOptions.from_environment(environment)
    try:
        options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"data={options.data}: cannot be made a folder of ours ({error.strerror})") from error
    if options.secret_key or options.database_url or not options.is_loopback:
        return environment
    path = options.data / "secret_key"
    with suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(50))
    return {
        **environment,
        f"{PREFIX}SECRET_KEY": path.read_text("utf-8"),
        f"{PREFIX}HTTPS": environment.get(f"{PREFIX}HTTPS") or "false",
        f"{PREFIX}OPEN_API": environment.get(f"{PREFIX}OPEN_API") or str(not options.api_tokens).lower(),
    }


@dataclass(slots=True)
class Child:
    """A process that is started again when it ends, after a pause that grows if it never runs for long."""

    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    starts_at: float = 0.0
    pause: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def keep_running(self) -> None:
        """Start it if it does not run and its pause is over."""
        if self.process is not None and (status := self.process.poll()) is not None:
            if status == USELESS:
                raise ConfigError("a process cannot be started; what it said is above")
            uptime = time.monotonic() - self.began
            self.pause = 0.0 if uptime > MIN_UPTIME_SECONDS else min(max(1.0, 2 * self.pause), MAX_PAUSE_SECONDS)
            self.starts_at = time.monotonic() + self.pause
            print(f"a process ended with status {status}; it is started again", file=sys.stderr, flush=True)
            self.process = None
        if self.process is None and time.monotonic() >= self.starts_at:
            self.began = time.monotonic()
            # A session of its own: Ctrl+C comes to this process, which then stops the others in order.
            environment = {**self.environment, PARENT: str(os.getpid())}
            self.process = subprocess.Popen(self.command, env=environment, start_new_session=True)

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.terminate()  # nothing if it has ended

    def wait(self, until: float) -> None:
        """Wait until it has ended; kill it at the deadline."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_all(environment: dict[str, str]) -> int:
    """Run the pages, the queue and the workers until a signal arrives."""
    options = WebOptions.from_environment(environment)
    check_detector(options)
    refuse_taken_port(options)
    environment = with_own_key(environment)
    if not environment.get(f"{PREFIX}SECRET_KEY"):
        why = "a database of its own" if options.is_loopback else f"host={options.host}, which lets other machines in,"
        raise ConfigError(
            f"{why} needs {PREFIX}SECRET_KEY, 50 random characters that all processes share, {PREFIX}HOSTS with the "
            "page's name, and a proxy with HTTPS; see docs/web.md"
        )
    manage = [sys.executable, "-m", "dfd.web", "manage"]
    if status := subprocess.run([*manage, "migrate", "--verbosity", "0"], env=environment, check=False).returncode:
        return status
    children = [Child(server_command(options), environment)]
    children += [Child([*manage, "worker"], environment) for _ in range(options.workers)]

    is_stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        is_stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        children[0].keep_running()
        if not _answers(options, lambda: is_stopping or not children[0].is_running):
            print(f"error: the page does not answer on port {options.port}; what it said is above", file=sys.stderr)
            return 0 if is_stopping else 1
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(options.host, options.host)
        print(f"The page is at http://{host}:{options.port}/   (Ctrl+C stops it)", flush=True)
        print(f"Uploads and results are in {options.data}, for {options.keep_hours:g} hours", flush=True)
        while not is_stopping:
            for child in children:
                child.keep_running()
            time.sleep(0.2)
    finally:
        for child in children:
            child.stop()
        until = time.monotonic() + STOP_SECONDS
        for child in children:
            child.wait(until)
    return 0


def _answers(options: WebOptions, given_up: Callable[[], bool]) -> bool:
    """Wait until the server listens."""
    ends = time.monotonic() + READY_SECONDS
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    while time.monotonic() < ends and not given_up():
        try:
            socket.create_connection((host, options.port), timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False
