"""The web page under load: many uploads at once, pages asked for while the worker is busy, nothing left in the end.

    python benchmarks/web_load.py --checkpoint detector.safetensors [--videos FOLDER] [--uploads 20]

Starts ``python -m dfd.web`` on a free port with a data folder of its own. Each upload comes from a browser of its own,
over the form that people use, and then looks at its job's page and state, as the page's script does, while one more
visitor walks through the other pages. Then everything expires, and what is left on disk is listed.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil
import requests

ROOT = Path(__file__).resolve().parents[1]
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Times:
    """Seconds of answers, by kind of page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []

    def get(self, session: requests.Session, url: str, kind: str) -> requests.Response:
        began = time.perf_counter()
        answer = session.get(url, timeout=60)
        with self._lock:
            self.seconds[kind].append(time.perf_counter() - began)
            if answer.status_code >= 500:
                self.errors.append(f"{kind}: {answer.status_code}")
        return answer


def one_upload(base: str, video: Path, times: Times, outcomes: list[str], barrier: threading.Barrier) -> None:
    session = requests.Session()
    token = TOKEN.search(session.get(base, timeout=60).text)
    assert token
    barrier.wait()
    with video.open("rb") as file:
        began = time.perf_counter()
        form = {"csrfmiddlewaretoken": token[1]}
        sent = session.post(base, data=form, files={"video": (video.name, file)}, timeout=300)
    times.seconds["upload"].append(time.perf_counter() - began)
    if "/jobs/" not in sent.url:
        outcomes.append(f"refused with {sent.status_code}")
        return
    while True:
        state = times.get(session, f"{sent.url}state", "state of a job").json()
        times.get(session, sent.url, "page of a job")
        if state["state"] in ("done", "failed"):
            outcomes.append(f"{state['state']}: {state['outcome'] or state['error']}")
            times.get(session, f"{base}/jobs/", "own results")
            return
        time.sleep(1)


def visitor(base: str, times: Times, stop: threading.Event) -> None:
    session = requests.Session()
    while not stop.is_set():
        for path, kind in (
            ("/", "upload page"),
            ("/about/", "about"),
            ("/jobs/", "own results"),
            ("/health", "health"),
        ):
            times.get(session, f"{base}{path}", kind)
        stop.wait(0.3)


def watch(process: psutil.Process, peaks: dict[str, float], stop: threading.Event) -> None:
    while not stop.wait(0.2):
        for child in process.children(recursive=True):
            try:
                words = " ".join(child.cmdline())
                kind = "web" if "gunicorn" in words else "worker" if "manage worker" in words else "decoding"
                peaks[kind] = max(peaks.get(kind, 0.0), child.memory_info().rss / 1e6)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--videos", type=Path, help="folder; without it a video is drawn")
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--keep-minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.videos:
            videos = sorted(path for path in given.videos.iterdir() if path.suffix in (".mp4", ".webm", ".avi", ".mov"))
        else:
            from dfd.data.demo.videos import make_demo_inbox

            inbox = make_demo_inbox(Path(folder) / "inbox")
            videos = [inbox / name for name in ("real_1.mp4", "fake_1.mp4", "two_people.mp4", "no_face.mp4")]
        report(given, Path(folder) / "web", [videos[n % len(videos)] for n in range(given.uploads)])


def report(given: argparse.Namespace, data: Path, videos: list[Path]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    options = {"checkpoint": given.checkpoint, "data": data, "port": port, "keep_hours": given.keep_minutes / 60}
    options |= {"uploads_at_once": 0}  # all browsers have one address here
    command = [sys.executable, "-m", "dfd.web", *(f"{key}={value}" for key, value in options.items())]
    log = data.parent / "log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=output, stdout=output)
    try:
        while "worker ready" not in log.read_text():
            if server.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.2)
        times, outcomes, peaks, stop = Times(), [], {}, threading.Event()
        barrier = threading.Barrier(len(videos))
        began = time.perf_counter()
        helpers = [
            threading.Thread(target=visitor, args=(base, times, stop)),
            threading.Thread(target=watch, args=(psutil.Process(server.pid), peaks, stop)),
        ]
        senders = [threading.Thread(target=one_upload, args=(base, v, times, outcomes, barrier)) for v in videos]
        for thread in [*helpers, *senders]:
            thread.start()
        for thread in senders:
            thread.join()
        wall = time.perf_counter() - began
        stop.set()
        for thread in helpers:
            thread.join()
        while True:  # until the last of them has expired, and been deleted
            left = [path for name in ("jobs", "incoming") for path in (data / name).rglob("*") if path.is_file()]
            if not left or time.perf_counter() - began > 60 * given.keep_minutes + 90:
                break
            time.sleep(2)
    finally:
        server.terminate()
        server.wait()
    print(f"{len(videos)} uploads at once ({sum(v.stat().st_size for v in videos) / 1e6:.0f} MB), {wall:.0f} s to the")
    print(f"last result; {dict((one, outcomes.count(one)) for one in sorted(set(outcomes)))}")
    print(f"server errors: {times.errors or 'none'}; files left after expiry: {len(left)}\n")
    print("| | answers | median, ms | 95 %, ms | most, ms |\n|---|---|---|---|---|")
    rows = {}
    for kind, seconds in sorted(times.seconds.items()):
        p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        rows[kind] = [len(seconds), *(round(1000 * value) for value in (statistics.median(seconds), p95, max(seconds)))]
        print(f"| {kind} | {' | '.join(map(str, rows[kind]))} |")
    print(f"\npeak memory of a process, MB: {', '.join(f'{kind} {size:.0f}' for kind, size in sorted(peaks.items()))}")
    if given.json:
        found = {"uploads": len(videos), "seconds": wall, "outcomes": outcomes, "pages": rows, "peaks": peaks}
        given.json.write_text(json.dumps(found | {"errors": times.errors, "files_left": len(left)}, indent=2))


if __name__ == "__main__":
    main()
