"""The pages in a real browser, from the file that is chosen to the job that is deleted.

They need a chromium: the one on the PATH, or ``DFD_TEST_CHROMIUM``. ``DFD_TEST_SCREENSHOTS=FOLDER`` keeps a picture of
every page.
"""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from dfd.base.types import Verdict
from tests.conftest import SHARED, drawn_frames

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser

START_SECONDS = 120
SCORE_MS = 120_000
NARROW, WIDE = {"width": 400, "height": 800}, {"width": 1300, "height": 900}
TOO_LARGE = "his file is larger than 1 MiB, the most that is accepted here; cut or re-encode the video"
NO_VIDEO = "his is not a video: its first bytes are not those of a known video format"
FINDINGS = {verdict.words: str(verdict) for verdict in Verdict}
EXPECTED_STATUSES = ("404", "413", "415", "503")


@pytest.fixture(autouse=True)
def _service() -> None:
    """The service of these tests is another process: this one needs no database."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("DFD_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no chromium on the PATH, and DFD_TEST_CHROMIUM does not name one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Service:
    url: str
    data: Path


@pytest.fixture(scope="module")
def service(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """All of ``python -m dfd.web``, as someone starts it."""
    data = tmp_path_factory.mktemp("web")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("DFD_WEB_") and key != "DJANGO_SETTINGS_MODULE"
    }
    options = (f"checkpoint={tiny_checkpoint}", f"data={data}", f"port={port}", "max_upload_mb=1", "max_files=3")
    command = [sys.executable, "-m", "dfd.web", *options, "keep_uploads=true", "min_free_mb=0", "num_workers=1"]
    url = f"http://127.0.0.1:{port}"
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: process.poll() is not None or answers(f"{url}/health"), data / "log")
            assert process.poll() is None, (data / "log").read_text()
            yield Service(url, data)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answers(url: str) -> bool:
    """True when pages and a worker are there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (URLError, OSError):
        return False


def wait_until(done: Callable[[], bool], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while not done():
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two real videos where there are some, else drawn ones."""
    real = sorted((SHARED / "data" / "dev" / "videos").glob("*.mp4"), key=lambda path: path.stat().st_size)
    if len(real) >= 2:
        return real[:2]
    from dfd.video.encode import write_video

    folder = tmp_path_factory.mktemp("videos")
    for seed in (1, 2):
        write_video(folder / f"drawn-{seed}.mp4", drawn_frames(seed), fps=25)
    return sorted(folder.iterdir())


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.mp4"
    path.write_text("Dear editor, this is no video.")
    return path


@pytest.fixture
def large_file(tmp_path: Path, videos: list[Path]) -> Path:
    path = tmp_path / "large.mp4"
    path.write_bytes(videos[0].read_bytes().ljust(1_500_000, b"\0"))
    return path


@dataclass
class Visitor:
    """A browser of its own, and what went wrong in it."""

    context: Any
    page: Any
    base: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("console", lambda message: self.note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def note(self, kind: str, text: str) -> None:
        """An answer that a test asks for is no complaint, though the console has a line for it."""
        is_answer = text.startswith("Failed to load resource") and any(one in text for one in EXPECTED_STATUSES)
        if kind in ("error", "warning") and not is_answer:
            self.complaints.append(text)

    def go(self, path: str = "/") -> Any:
        return self.page.goto(f"{self.base}{path}")

    def send(self, *files: Path) -> None:
        self.page.set_input_files("#video", files)
        self.page.click("#submit")

    def wait_for_verdict(self) -> str:
        self.page.wait_for_selector(".finding .verdict", timeout=SCORE_MS)
        words: str = self.page.inner_text(".finding .verdict")
        return words.partition(" ")[2].lower()


@pytest.fixture
def visit(browser: Any, service: Service) -> Iterator[Callable[..., Visitor]]:
    """New visitors. Whatever they do, nothing may leave the server, and no page may break its own policy."""
    visitors = []

    def make(**options: Any) -> Visitor:
        context = browser.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(20_000)
        visitor = Visitor(context, None, service.url)
        context.on("request", lambda request: visitor.requests.append(request.url))
        context.on("page", visitor.watch)
        visitor.page = context.new_page()
        visitors.append(visitor)
        return visitor

    yield make
    for visitor in visitors:
        visitor.context.close()
        elsewhere = [url for url in visitor.requests if not url.startswith((f"{service.url}/", "data:", "blob:"))]
        assert not elsewhere
        assert not visitor.complaints


@pytest.fixture(scope="module")
def scored(browser: Any, service: Service, videos: list[Path]) -> tuple[Any, str]:
    """The cookies of a visitor who has a result, and its address."""
    context = browser.new_context()
    visitor = Visitor(context, context.new_page(), service.url)
    visitor.go()
    visitor.send(videos[0])
    visitor.wait_for_verdict()
    found = context.storage_state(), visitor.page.url.removeprefix(service.url)
    context.close()
    return found


def test_a_video_is_sent_scored_kept_and_deleted(
    visit: Callable[..., Visitor], videos: list[Path], service: Service
) -> None:
    visitor = visit(timezone_id="Asia/Tokyo")
    page = visitor.page
    visitor.go()
    visitor.send(videos[0])
    page.wait_for_url("**/jobs/*/")
    assert page.inner_text("h1") == videos[0].name
    verdict = visitor.wait_for_verdict()
    assert verdict in FINDINGS

    with page.expect_popup() as opened:
        page.get_by_role("link", name="Look at it").click()
    opened.value.wait_for_load_state()
    assert opened.value.inner_text("h1") == videos[0].name
    assert verdict in opened.value.inner_text("main").lower()
    for shown in (page, opened.value):
        assert "UTC" in shown.inner_text(".finding time")
        assert "GMT+9" in shown.inner_text(".finding time"), "the reader's own time is missing"
    opened.value.close()
    with page.expect_download() as kept:
        page.get_by_role("link", name="Download the report").click()
    assert kept.value.suggested_filename == f"{videos[0].stem}-report.html"
    with page.expect_download() as kept:
        page.get_by_role("link", name="Download the data").click()
    assert json.loads(kept.value.path().read_text())["verdict"] == FINDINGS[verdict]

    job = page.url
    folder = service.data / "jobs" / job.rstrip("/").rpartition("/")[2].replace("-", "")
    assert folder.is_dir()
    page.click("summary:has-text('Delete')")
    page.get_by_role("button", name="Delete it now").click()
    page.wait_for_url("**/jobs/")
    assert "The video and its results are deleted." in page.inner_text("main")
    assert page.goto(job).status == 404
    assert not folder.exists()


def test_a_new_browser_sends_two_videos_at_once_and_watches_both(
    visit: Callable[..., Visitor], videos: list[Path]
) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go()
    visitor.send(*videos)
    playwright.expect(page.locator(".files .taken")).to_have_count(2)
    page.click("#results")
    page.wait_for_url("**/batches/*/")
    page.evaluate("window.isFirstLoad = true")
    playwright.expect(page.locator("tbody .badge")).to_have_count(2, timeout=SCORE_MS)
    assert page.evaluate("window.isFirstLoad"), "the page was loaded again instead of kept up to date"
    names = page.locator("tbody th a").all_inner_texts()
    assert sorted(names) == sorted(path.name for path in videos)
    assert "2 of 2 are done" in page.inner_text("#how-far")
    page.get_by_role("button", name="File").click()
    names = sorted(path.name for path in videos)
    assert page.locator("tbody th a").all_inner_texts() == names
    page.get_by_role("button", name="File").click()
    assert page.locator("tbody th a").all_inner_texts() == names[::-1]
    with page.expect_download() as kept:
        page.get_by_role("link", name="Download the table").click()
    rows = list(csv.DictReader(kept.value.path().read_text().splitlines()))
    assert sorted(row["path"] for row in rows) == names
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Look at it").click()
    opened.value.wait_for_load_state()
    assert not opened.value.evaluate("document.getElementById('filter').hidden"), "the report's script did not run"
    assert all(name in opened.value.inner_text("#videos") for name in names)
    opened.value.close()
    visitor.go("/jobs/")
    page.click("summary:has-text('Delete all')")
    page.get_by_role("button", name="Delete all now").click()
    page.wait_for_selector(".empty")


def test_a_part_is_looked_at_again_from_the_page_of_the_result(
    visit: Callable[..., Visitor], scored: tuple[Any, str]
) -> None:
    cookies, job = scored
    visitor = visit(storage_state=cookies)
    page = visitor.page
    visitor.go(job)
    page.fill("#span", "soon")
    page.get_by_role("button", name="Look again").click()
    assert page.url.endswith(job), "a part that cannot be read was sent off"
    page.fill("#span", "0:00-0:01")
    page.get_by_role("button", name="Look again").click()
    page.wait_for_url(lambda url: not url.endswith(job))
    visitor.wait_for_verdict()
    assert "Only the part 0:00-0:01 was looked at." in page.inner_text("main")
    assert "You have sent this very file before" in page.inner_text(".same")


def test_only_a_part_is_sent_to_be_looked_at(visit: Callable[..., Visitor], videos: list[Path]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go()
    page.click("summary:has-text('Options')")
    page.fill("#span", "later")
    visitor.send(videos[0])
    assert page.inner_text("#problem") == "Write the part as 0:40-1:00."
    page.fill("#span", "0:00-0:01")
    page.click("#submit")
    page.wait_for_url("**/jobs/*/")
    assert "only 0:00-0:01" in page.inner_text(".under")


def test_rows_of_the_upload_page_follow_their_videos(visit: Callable[..., Visitor], videos: list[Path]) -> None:
    visitor = visit()
    visitor.go()
    visitor.send(*videos)
    scored = visitor.page.locator(".files .says:has-text('Scored')")
    playwright.expect(scored).to_have_count(2, timeout=SCORE_MS)


def test_without_a_script_a_video_is_sent_and_its_result_comes_by_itself(
    visit: Callable[..., Visitor], videos: list[Path], text_file: Path
) -> None:
    visitor = visit(java_script_enabled=False)
    page = visitor.page
    visitor.go()
    visitor.send(videos[0], text_file)
    page.wait_for_url("**/jobs/")
    assert NO_VIDEO in page.inner_text("[role=alert]")
    page.get_by_role("link", name=videos[0].name, exact=True).click()
    assert visitor.wait_for_verdict() in FINDINGS
    page.click("summary:has-text('Delete')")
    page.get_by_role("button", name="Delete it now").click()
    page.wait_for_selector(".empty")


@pytest.mark.parametrize("has_script", [True, False])
def test_a_text_named_mp4_is_told_to_be_no_video(
    visit: Callable[..., Visitor], text_file: Path, has_script: bool
) -> None:
    visitor = visit(java_script_enabled=has_script)
    visitor.go()
    visitor.send(text_file)
    visitor.page.wait_for_selector(f"text={NO_VIDEO}")


@pytest.mark.parametrize("has_script", [True, False])
def test_a_file_that_is_too_large_is_told_so_in_the_same_words(
    visit: Callable[..., Visitor], large_file: Path, has_script: bool
) -> None:
    visitor = visit(java_script_enabled=has_script)
    visitor.go()
    visitor.page.set_input_files("#video", large_file)
    if has_script:  # told before it is sent
        assert TOO_LARGE in visitor.page.inner_text(".files .refused")
    visitor.page.click("#submit")
    visitor.page.wait_for_selector(f"text={TOO_LARGE}")


def test_more_files_than_are_taken_at_once_are_left_out(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.mp4" for number in range(4)]
    for path in files:
        path.write_bytes(b"\0\0\0\x18ftypisom")
    visitor = visit()
    visitor.go()
    visitor.page.set_input_files("#video", files)
    assert visitor.page.inner_text("#submit") == "Send and score 3 videos"
    assert "nly 3 files are accepted at once" in visitor.page.inner_text(".files li:last-child")


def test_a_job_of_another_browser_is_not_found(visit: Callable[..., Visitor], scored: tuple[Any, str]) -> None:
    cookies, job = scored
    assert visit(storage_state=cookies).go(job).status == 200
    stranger = visit()
    assert stranger.go(job).status == 404
    assert stranger.page.inner_text("h1") == "Not found"


def test_a_busy_server_is_asked_again_and_waiting_can_be_cancelled(
    visit: Callable[..., Visitor], videos: list[Path]
) -> None:
    visitor = visit()
    page = visitor.page
    seconds = [60, 1]

    def busy(route: Any) -> None:
        body = {"error": "All places in the queue are taken.", "retry_seconds": seconds.pop(0)}
        route.fulfill(status=503, json=body)

    visitor.go()
    page.route("**/may-upload*", busy, times=2)
    visitor.send(videos[0])
    page.wait_for_selector("text=All places in the queue are taken. Trying again in")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("text=Cancelled")
    page.get_by_role("button", name="Send it again").click()
    page.wait_for_selector("text=Trying again in 1 second")
    page.wait_for_url("**/jobs/*/")
    visitor.wait_for_verdict()


def test_an_upload_that_broke_off_can_be_sent_again(visit: Callable[..., Visitor], videos: list[Path]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go()
    page.route(f"{visitor.base}/", lambda route: route.abort(), times=1)
    visitor.send(videos[0])
    page.wait_for_selector("text=The connection was interrupted")
    visitor.complaints.clear()  # the console has a line for the connection
    page.get_by_role("button", name="Send it again").click()
    page.wait_for_url("**/jobs/*/")


def test_leaving_in_the_middle_of_sending_asks_back(visit: Callable[..., Visitor], videos: list[Path]) -> None:
    visitor = visit()
    page = visitor.page
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    visitor.go()
    page.route("**/may-upload*", lambda route: route.fulfill(status=503, json={"error": "Busy.", "retry_seconds": 60}))
    visitor.send(videos[0])
    page.wait_for_selector("text=Trying again in")
    visitor.go("/about/")
    assert asked == ["beforeunload"]
    visitor.go("/")
    visitor.go("/about/")
    assert asked == ["beforeunload"]


def test_files_can_be_dropped_anywhere_and_taken_out_again(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go()
    dropped = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.items.add(new File(['x'], 'dropped.mp4')); return data; }"
    )
    for place in (".drop", "h1"):
        page.dispatch_event(place, "dragenter", {"dataTransfer": dropped})
        assert page.locator(".drop.over").count() == 1
        page.dispatch_event(place, "drop", {"dataTransfer": dropped})
        assert page.locator(".files .name bdi").all_inner_texts() == ["dropped.mp4"]
        page.get_by_role("button", name="Remove").click()
        assert page.locator(".files li").count() == 0
    page.click("#submit")
    assert page.inner_text("#problem") == "No file was chosen."


def test_a_job_that_was_deleted_elsewhere_says_so(visit: Callable[..., Visitor], videos: list[Path]) -> None:
    visitor = visit()
    visitor.go()
    visitor.page.route("**/state", lambda route: route.fulfill(status=404, json={}))
    visitor.send(videos[0])
    visitor.page.wait_for_selector("text=This no longer exists: it was deleted or has expired.")
    assert visitor.page.locator("button:visible").count() == 0


def test_everything_can_be_reached_and_done_by_keyboard(visit: Callable[..., Visitor], videos: list[Path]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.go()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0, "the link to the content does not show when it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "video"
    outline = page.locator(".drop").evaluate("zone => getComputedStyle(zone).outlineStyle")
    assert outline == "solid", "the zone does not show that its field has the focus"
    page.set_input_files("#video", videos[0])
    for name in ("Options", "Remove"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == name
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "submit"
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*/")
    visitor.wait_for_verdict()
    page.locator("summary:has-text('Delete')").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".empty")


def pages(job: str) -> dict[str, str]:
    return {
        **{"upload": "/", "history": "/jobs/", "job": job, "about": "/about/", "api": "/about/api/"},
        **{"error": "/nothing-here", "report": f"{job}report.html"},
    }


def open_all_details(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


@pytest.mark.parametrize("width", [320, 400, 800, 1300, 2000])
def test_no_page_is_wider_than_the_window(
    visit: Callable[..., Visitor], scored: tuple[Any, str], text_file: Path, width: int
) -> None:
    cookies, job = scored
    visitor = visit(storage_state=cookies, viewport={"width": width, "height": 800})
    for name, address in pages(job).items():
        visitor.go(address)
        open_all_details(visitor.page)
        if name == "upload":
            visitor.page.set_input_files("#video", text_file)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, name


# Of every text on the page: its colour, size and what lies behind it. WCAG 2.2, 1.4.3 and its definition of contrast.
FAINT_TEXTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || one.closest("svg, script, noscript, :disabled")) continue;
    if (!one.checkVisibility()) continue;
    const style = getComputedStyle(one);
    const [a, b] = [light(numbers(style.color).slice(0, 3)), light(behind(one))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (isLarge ? 3 : 4.5)) faint.push(`${contrast.toFixed(2)}: ${walker.currentNode.textContent.trim()}`);
  }
  return faint;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(
    visit: Callable[..., Visitor], scored: tuple[Any, str], text_file: Path, scheme: str
) -> None:
    cookies, job = scored
    visitor = visit(storage_state=cookies, color_scheme=scheme, reduced_motion="reduce")
    for name, address in pages(job).items():
        visitor.go(address)
        open_all_details(visitor.page)
        if name == "upload":
            visitor.send(text_file)
            visitor.page.wait_for_selector(".files .refused")
        assert not visitor.page.evaluate(FAINT_TEXTS), name


def test_pictures_of_every_page(visit: Callable[..., Visitor], scored: tuple[Any, str]) -> None:
    folder = os.environ.get("DFD_TEST_SCREENSHOTS")
    if not folder:
        pytest.skip("DFD_TEST_SCREENSHOTS names no folder")
    cookies, job = scored
    for size, viewport in {"wide": WIDE, "narrow": NARROW}.items():
        for scheme in ("light", "dark"):
            visitor = visit(storage_state=cookies, viewport=viewport, color_scheme=scheme)
            for name, address in pages(job).items():
                visitor.go(address)
                visitor.page.screenshot(path=Path(folder) / f"{name}-{size}-{scheme}.png", full_page=True)
