"""The page of scored videos: it hides nothing, loads nothing, and stays small enough to open."""

import base64
import csv
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from dfd.base.errors import ReportError
from dfd.base.types import (
    DetectorScore,
    FileFacts,
    Label,
    Moment,
    Status,
    TrackScore,
    Verdict,
    VideoScore,
    WindowScore,
)
from dfd.commands.report import main
from dfd.metrics.alike import alike
from dfd.models.files.caveat import DEMO
from dfd.predictions.pictures import evidence_place
from dfd.predictions.rows import read_scores
from dfd.predictions.writer import PredictionWriter, write_run
from dfd.report.page.policy import report_policy
from dfd.report.videos.page import write_videos_report
from dfd.report.videos.pictures import embed, picture_sizes
from dfd.report.videos.scored import find_scored, read_scored
from dfd.report.videos.timeline import MAX_BARS, Scale, timeline
from dfd.report.videos.warnings import NO_PROOF, NO_RUN, NOT_CALIBRATED
from dfd.scoring.aggregation import uncertain_band, verdict

TEMPLATES = Path(__file__).resolve().parents[2] / "dfd" / "report" / "templates"
THRESHOLD, MARGIN = 0.5, 0.1
SETTINGS = {"face_detector": {"name": "mtcnn"}, "max_windows": 16}
HOSTILE_NAMES = [
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "a' onmouseover='alert(1)'.mp4",
    "</style><style>*{display:none}.mp4",
    "{{ 7 * 7 }}{% raw %}.mp4",
    "new\nline\r\ttab.mp4",
    "clip\u202e4pm.exe",
    "b\udcff\udc80.mp4",
    "-rf.mp4",
    "=cmd|'calc'!A1.mp4",
    "Ünïcödé 東京 مقطع 👩‍👩‍👧.mp4",
    "javascript:alert(1)",
    "--><!--.mp4",
    "&lt;b&gt;.mp4",
    "a" * 250,
    " .mp4",
    "nul\x00byte.mp4",
]


def crop(seed: int, side: int = 112) -> np.ndarray:
    """A face-like picture that JPEG cannot make nothing of."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 255, (side // 8, side // 8, 3)).astype(np.float32)
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def score(
    path: str,
    *probs: float,
    num_windows: int = 4,
    num_moments: int = 1,
    possible: int | None = None,
    status: Status = Status.OK,
    model: str = "resnext50@1f2e",
    seed: int = 0,
    pictures: bool = True,
) -> VideoScore:
    """A video with a face for each probability."""
    tracks = []
    moments = []
    heat = np.linspace(0, 1, 112 * 112, dtype=np.float32).reshape(112, 112)
    for track, prob in enumerate(probs):
        windows = tuple(
            WindowScore(2.0 * k, 2.0 * k + 0.4, prob, (10.0 + track, 20.0, 110.0, 140.0)) for k in range(num_windows)
        )
        tracks.append(TrackScore(track, prob, verdict(prob, threshold=THRESHOLD, margin=MARGIN), windows))
        if pictures:
            moments += [Moment(track, k, 2.0 * k + 0.2, prob, crop(seed + k + track), heat) for k in range(num_moments)]
    prob = max(probs)
    label = Label.FAKE if prob >= THRESHOLD else Label.REAL
    return VideoScore(
        path,
        status,
        verdict=verdict(prob, threshold=THRESHOLD, margin=MARGIN),
        label=label,
        prob_fake=prob,
        confidence=max(prob, 1 - prob),
        num_faces=len(probs),
        num_frames=10 * num_windows,
        num_windows=num_windows,
        num_windows_possible=possible or num_windows,
        duration_seconds=2.0 * num_windows,
        seconds=1.5,
        model=model,
        file=FileFacts(123456, hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest(), 640, 360, 25.0),
        tracks=tuple(tracks),
        thumbnail=crop(seed, 160)[:90] if pictures else None,
        moments=tuple(moments),
    )


def no_face(path: str, status: Status = Status.NO_FACE, message: str | None = None) -> VideoScore:
    message = f"{path}: no face in any of 30 frames" if message is None else message
    return VideoScore(path, status, model="resnext50@1f2e", message=message, seconds=0.2)


def facts(**model: object) -> dict:
    counts = {"num_videos": 210, "labels": {"real": 70, "fake": 140}, "datasets": {"ffpp": 210}, "methods": {"X2": 140}}
    said = {
        "name": "resnext50@1f2e",
        "threshold": THRESHOLD,
        "temperature": 1.3,
        "uncertain_margin": MARGIN,
        "uncertain_band": list(uncertain_band(THRESHOLD, MARGIN)),
        "aggregation": "max_of_means",
        "data": {"splits": {"train": counts}},
    }
    started = "2026-01-31T21:40:12+00:00"
    return {"started": started, "dfd": "0.1.0", "input": "/home/ann/inbox", "model": said | model, "settings": SETTINGS}


def make_folder(folder: Path, scores: list[VideoScore], *, run: dict | None = None, settings: dict = SETTINGS) -> Path:
    model = scores[0].model if scores else "resnext50@1f2e"
    several = [one.model for one in scores[0].detectors] if scores else []
    with PredictionWriter(folder, model=model, settings=settings, detectors=several) as writer:
        for one in scores:
            writer.write(one)
    if run is not None:
        write_run(folder, run)
    return folder


class Page(HTMLParser):
    """What a browser would make of a page: tags that nest, ids, addresses, text."""

    VOID = ("meta", "img", "input", "rect", "path", "line", "circle", "br", "link")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == [], f"not closed: {self.open}"
        self.text = " ".join(" ".join(text for tag, text in self.texts if tag not in ("style", "script")).split())

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} is there twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attributes.get(attribute) is not None]


def page_of(folder: Path, output: Path, **options) -> Page:
    return Page(write_videos_report([folder], output, **options))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> tuple[Path, Page]:
    """Videos of every verdict, with two faces and several moments, and some without one."""
    folder = make_folder(
        tmp_path_factory.mktemp("mixed"),
        [
            score("/home/ann/inbox/real.mp4", 0.1),
            score("/home/ann/inbox/fake.mp4", 0.2, 0.93, num_moments=3),
            score("/home/ann/inbox/deep/unsure.mp4", 0.55, possible=100),
            score("/home/ann/inbox/cut.mp4", 0.3, status=Status.PARTIAL),
            no_face("/home/ann/inbox/landscape.mp4"),
            no_face("/home/ann/inbox/text.mp4", Status.UNREADABLE, "/home/ann/inbox/text.mp4: not a video"),
        ],
        run=facts(),
    )
    return folder, page_of(folder, folder)


def test_the_most_suspicious_video_comes_first_and_one_without_a_verdict_is_never_hidden(mixed):
    page = mixed[1]
    rows = [row["data-verdict"] for row in page.named("tr") if "data-verdict" in row]
    assert rows == ["fake", "uncertain", "real", "real", "none", "none"]
    apart = page.text.index("Nothing is known about these videos")
    for name in ("landscape.mp4", "text.mp4"):
        assert page.text.index(name) < apart < page.text.rindex(name)
    assert page.text.count("no face in any of 30 frames") == page.text.count("not a video") == 2
    assert "1 no face found, 1 cannot be read" in page.text


def test_a_verdict_is_said_by_word_and_shape_not_by_colour_alone(mixed):
    for words in ("▲ signs of a fake", "◆ cannot tell", "● no sign found", "○ no verdict"):
        assert words in mixed[1].text


def test_the_page_says_what_scored_when_and_that_it_is_no_proof(mixed):
    text = mixed[1].text
    assert "6 videos, from inbox, scored 31 January 2026, 21:40 UTC" in text
    assert NO_PROOF in text
    assert "Detector resnext50@1f2e" in text
    assert "Signs of a fake from a score of 0.6 on Cannot tell from 0.4 to 0.6" in text
    assert "210 videos (70 real, 140 fake) of ffpp; forgeries: X2" in text
    assert "1 video was examined only in part (40 frames in 4 of 100 windows, 4 %)" in text
    assert "1 video is damaged: only the readable part was scored." in text
    assert "2 videos are without a verdict. That does not make them genuine." in text


def test_nothing_is_loaded_from_anywhere_and_only_the_pages_own_script_may_run(mixed):
    page = mixed[1]
    assert not {"link", "iframe", "object", "embed", "base", "use"} & {tag for tag, _ in page.tags}
    for address in page.values("src"):
        assert address.startswith("data:image/jpeg;base64,")
    assert all(address.startswith("#") for address in page.values("href"))
    assert not {"style", "srcset", "action", "formaction", "data", "background"} & {
        name for _, attributes in page.tags for name in attributes
    }
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    source = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page.source)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", source)
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert report_policy(page.source) == report_policy(page.source[:2000]) == policy
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page.source, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_a_page_without_a_policy_of_its_own_is_not_given_one():
    named = '<meta http-equiv="Content-Security-Policy" content="default-src *">'
    for page in ("", "<html><head><title>a</title></head></html>", f"<head><title>a</title>{named}</head>"):
        with pytest.raises(ReportError, match="declares no content security policy"):
            report_policy(page)


def test_the_page_shows_nothing_of_the_machine_it_was_made_on(mixed):
    folder, page = mixed
    assert "/home/ann" not in page.source
    assert str(folder) not in page.source
    assert "deep/" in page.text, "what tells videos apart is kept"


def assert_sound(page: Page) -> None:
    """Ids are unique, every reference has its target, headings go down one by one, pictures have words."""
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for address in page.values("href"):
        assert address[1:] in ids
    for attribute in ("aria-labelledby", "aria-describedby", "for"):
        assert {name for value in page.values(attribute) for name in value.split()} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image.get("alt") is not None and image["width"] and image["height"] for image in page.named("img"))
    charts = [svg for svg in page.named("svg") if svg.get("class") == "chart"]
    assert all(svg["role"] == "img" for svg in charts)
    assert len(page.named("desc")) == len(charts)
    assert all("aria-hidden" in svg or svg.get("class") == "chart" or "y" in svg for svg in page.named("svg"))
    assert {"header", "main", "nav"} <= {tag for tag, _ in page.tags}
    assert page.named("html")[0]["lang"] == "en"
    assert len(page.named("caption")) == len(page.named("table"))


def test_the_page_is_sound(mixed):
    page = mixed[1]
    assert_sound(page)
    assert len([one for one in page.named("th") if one.get("data-sort")]) == 6
    assert [one["aria-sort"] for one in page.named("th") if "aria-sort" in one] == ["descending"]
    assert [image["alt"] for image in page.named("img") if image["alt"]], "the pictures of evidence have words"
    # Two faces of fake.mp4, one each of the three others.
    assert len([svg for svg in page.named("svg") if svg.get("class") == "chart"]) == 5
    assert "4 windows from 0:00 to 0:06: mean 0.930, highest 0.930 at 0:00.0, 4 of 4 at or above" in page.text


def test_an_appearance_that_does_not_count_says_why(tmp_path):
    one = score("a.mp4", 0.2, 0.93)
    weak = replace(one.tracks[1], weak="seen in 7 windows only and cut off by the frame's edge")
    folder = make_folder(tmp_path / "s", [replace(one, tracks=(one.tracks[0], weak))], run=facts())
    page = Page(write_videos_report([folder], tmp_path / "out"))
    said = "It does not count for the whole video: seen in 7 windows only and cut off by the frame's edge."
    assert page.text.count(said) == 2, "below the timeline and in its description"


def test_the_report_leads_to_the_annotated_videos_that_lie_beside_it(tmp_path):
    paths = ["in/a b#.mp4", "in/portrait.jpg", "in/not drawn.mp4"]
    folder = make_folder(tmp_path / "s", [score(path, 0.9) for path in paths], run=facts())
    names = [
        f"{Path(path).stem}-{evidence_place(path).rpartition('/')[2][:8]}.{suffix}"
        for path, suffix in zip(paths[:2], ("mp4", "jpg"), strict=True)
    ]
    (folder / "annotated").mkdir()
    for name in names:
        (folder / "annotated" / name).write_bytes(b"drawn")
    page = Page(write_videos_report([folder], folder))
    found = [link for link in page.values("href") if link.startswith("annotated/")]
    assert sorted(unquote(link) for link in found) == sorted(f"annotated/{name}" for name in names)
    assert all(urlsplit(link).fragment == "" and (folder / unquote(link)).is_file() for link in found)
    (folder / "predictions.jsonl").write_text((folder / "predictions.jsonl").read_text().splitlines()[0] + "\n")
    single = Page(write_videos_report([folder], folder))
    assert [unquote(link) for link in single.values("href") if "annotated" in link] == [f"annotated/{names[0]}"]
    elsewhere = Page(write_videos_report([folder], tmp_path / "out"))
    assert not [link for link in elsewhere.values("href") if "annotated" in link]


def test_each_moment_has_its_crop_the_heat_its_time_and_its_place(mixed):
    page = mixed[1]
    assert "Appearance 2 (0:00–0:06) at 0:02.2, as the detector saw it" in page.values("alt")
    assert page.values("alt").count("The same with heat where it suggests fake") == 3 + 3 + 3
    assert "2 0:02.2 score 0.930 box 11, 20 to 110, 140 px" in page.text


def test_the_file_that_was_scored_can_be_recognised(mixed):
    text = mixed[1].text
    assert "123.5 kB (123,456 bytes)" in text
    assert "640 × 360 pixels" in text
    assert hashlib.sha256(b"/home/ann/inbox/fake.mp4").hexdigest() in text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_stays_text(tmp_path, name):
    scores = [score(name, 0.9), no_face(f"{name}2", message=f"{name}2: <b>bad</b>\n<script>alert(2)</script>")]
    folder = make_folder(tmp_path / "scores", scores, run=facts(data={"splits": {"train": {"methods": {name: 1}}}}))
    page = page_of(folder, tmp_path, title=name, warnings=[name])
    assert_sound(page)
    assert len(page.named("script")) == 1
    assert "<b>bad</b>" in page.text
    assert all(address.startswith(("#", "data:image/jpeg")) for address in page.values("href") + page.values("src"))
    shown = "".join(text for _, text in page.texts)
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00]", shown)
    assert "7 * 7" not in name or "{{ 7 * 7 }}{% raw %}.mp4" in page.text


def test_what_a_name_hides_is_written_out(tmp_path):
    names = ["clip\u202e4pm.exe", "b\udcff.mp4", "new\nline.mp4"]
    folder = make_folder(tmp_path, [score(name, 0.9) for name in names])
    text = page_of(folder, tmp_path).text
    assert all(shown in text for shown in (r"clip\u202e4pm.exe", r"b\xff.mp4", r"new\nline.mp4"))


def test_pictures_named_outside_the_evidence_are_never_opened(tmp_path):
    folder = make_folder(tmp_path / "scores", [score("a.mp4", 0.9)])
    secret = folder / "evidence" / "x.jpg"
    shutil.copy(next(folder.glob("evidence/*/thumbnail.jpg")), tmp_path / "secret.jpg")
    secret.symlink_to(tmp_path / "secret.jpg")
    value = json.loads((folder / "predictions.jsonl").read_text())
    for name in ("../secret.jpg", "/etc/passwd", str(tmp_path / "secret.jpg"), "evidence/x.jpg", "evidence/\x00.jpg"):
        changed = value | {"thumbnail": name, "moments": [value["moments"][0] | {"crop": name, "heatmap": None}]}
        (folder / "predictions.jsonl").write_text(json.dumps(changed) + "\n")
        page = page_of(folder, tmp_path / "out")
        assert page.named("img") == []
        assert "2 pictures could not be read." in page.text


def test_a_picture_that_is_gone_is_said_and_the_rest_is_shown(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9)])
    next(folder.glob("evidence/*/moment-0.jpg")).unlink()
    next(folder.glob("evidence/*/thumbnail.jpg")).write_bytes(b"no picture")
    page = page_of(folder, tmp_path)
    assert "2 pictures could not be read." in page.text
    assert page.named("img") == []


def test_a_folder_without_run_json_is_shown_without_a_threshold(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9), score("b.mp4", 0.1)])
    page = page_of(folder, tmp_path)
    assert_sound(page)
    assert NO_RUN in page.text
    assert "Detector resnext50@1f2e" in page.text
    assert "▲ signs of a fake" in page.text
    assert 'class="threshold"' not in page.source
    assert 'class="area unknown"' in page.source


def test_a_folder_with_no_verdict_at_all_lists_its_videos(tmp_path):
    folder = make_folder(tmp_path, [no_face(f"{status}.mp4", status) for status in Status if not status.has_faces])
    page = page_of(folder, tmp_path)
    assert_sound(page)
    assert "Each video" not in page.text
    for words in ("no face found", "cannot be read", "too large", "took too long", "failed"):
        assert words in page.text


def test_a_folder_in_which_nothing_was_scored_is_no_error(tmp_path):
    page = page_of(make_folder(tmp_path, [], run=facts()), tmp_path)
    assert "No video has been scored." in page.text
    assert_sound(page)


@pytest.mark.parametrize(
    ("run", "probs", "sentence"),
    [
        (facts(data={"is_demo": True}), [0.9], DEMO),
        (facts(temperature=None), [0.9], NOT_CALIBRATED),
        (facts(), [0.9] * 40 + [0.1], "40 of 41 scored videos have the verdict “signs of a fake”"),
        (facts(), [0.1] * 20, "20 of 20 scored videos have the verdict “no sign found”"),
    ],
)
def test_what_weakens_a_score_is_said(tmp_path, run, probs, sentence):
    scores = [score(f"{index}.mp4", prob, pictures=False) for index, prob in enumerate(probs)]
    text = page_of(make_folder(tmp_path, scores, run=run), tmp_path).text
    assert sentence in text


def test_the_caveat_is_on_top_and_figures_of_the_training_are_not_told(tmp_path):
    told = facts(caveat="Trained on paintings.", metrics={"val/auc": 0.987654}, no_verdict="it is too weak")
    page = page_of(make_folder(tmp_path, [score("a.mp4", 0.9), score("b.mp4", 0.1)], run=told), tmp_path)
    assert page.text.index("Trained on paintings.") < page.text.index("signs of a fake")
    assert "Only scores, no verdicts: it is too weak." in page.text
    assert "0.987654" not in page.text
    assert "ece" not in page.text
    assert 'class="threshold"' not in page.source  # which decides nothing then
    assert "onfidence" not in page.text


def test_each_detector_of_several_has_its_caveat(tmp_path):
    each = [{"name": "one@01", "caveat": "Trained on paintings."}, {"name": "two@02", "caveat": "Trained on masks."}]
    page = page_of(
        make_folder(tmp_path, [score("a.mp4", 0.9), score("b.mp4", 0.1)], run=facts(detectors=each)), tmp_path
    )
    assert "one: Trained on paintings." in page.text
    assert "two: Trained on masks." in page.text


def of_two(name: str, one: float, two: float) -> VideoScore:
    """Score of two detectors, of which the first knows labelled videos and the second gives no verdict."""
    whole = score(name, one)
    known = alike(one, {"real": [0.1] * 12, "fake": [0.9] * 18 + [0.1] * 2})
    first = DetectorScore("detector@01", Status.OK, one, whole.verdict, 1, whole.tracks, alike=known)
    tracks = tuple(replace(track, prob_fake=two, verdict=Verdict.UNCERTAIN) for track in whole.tracks)
    second = DetectorScore("net@02", Status.OK, two, None, 1, tracks)
    return replace(whole, model="detector@01 + net@02", detectors=(first, second))


def test_several_detectors_have_columns_words_and_titles_of_their_own(tmp_path):
    described = [
        {"name": "detector@01", "title": "mine", "threshold": 0.7, "uncertain_band": [0.6, 0.8]},
        {"name": "net@02", "threshold": 0.5, "no_verdict": "it was not calibrated"},
    ]
    scores = [of_two("a.mp4", 0.9, 0.25), of_two("b.mp4", 0.1, 0.75)]
    folder = make_folder(tmp_path, scores, run=facts(name="detector@01 + net@02", detectors=described))
    page = page_of(folder, tmp_path)
    assert_sound(page)
    heads = page.source[page.source.index("<thead") : page.source.index("</thead>")]
    assert heads.count("c-each") == 2
    assert ">mine</th>" in heads
    assert ">net</th>" in heads
    assert 'data-label="net" data-value="0.25"' in page.source
    assert "mine: Of the 32 videos with a known label" in page.text
    assert "mine@01 + net@02" in page.text
    assert page.source.count("M0 30.0H1000") == 2  # the threshold of the first, once a video


def test_how_often_such_a_score_was_right_is_told_beside_it(tmp_path):
    found = alike(0.9, {"real": [0.1] * 12, "fake": [0.9] * 18 + [0.1] * 2})
    page = page_of(make_folder(tmp_path, [replace(score("a.mp4", 0.9), alike=found), score("b.mp4", 0.1)]), tmp_path)
    assert "Of the 20 videos with a known label" not in page.text  # 18 have this score, and all others are as far
    assert "Of the 32 videos with a known label" in page.text


def test_a_printed_page_has_a_head_that_no_name_can_break_out_of(tmp_path):
    page = page_of(make_folder(tmp_path, [score("a.mp4", 0.9), score("b.mp4", 0.1)]), tmp_path, title='x"} </style><b>')
    assert_sound(page)
    assert '@top-left { content: "x\\22 \\7d  \\3c \\2f style' in page.source


def test_a_sound_folder_has_nothing_to_be_read_with_care(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9), score("b.mp4", 0.1)], run=facts())
    assert "To be read with care" not in page_of(folder, tmp_path).text
    assert "To be read with care mine" in page_of(folder, tmp_path, warnings=["mine"]).text


def test_shards_are_one_report_and_one_folder(tmp_path):
    shards = [
        make_folder(tmp_path / "0", [score("in/a.mp4", 0.9), score("in/b\udcff.mp4", 0.2)], run=facts()),
        make_folder(tmp_path / "1", [score("in/c.mp4", 0.5), no_face("in/d.mp4")], run=facts()),
        make_folder(tmp_path / "2", [], run=facts()),
    ]
    page = Page(write_videos_report(shards, tmp_path / "out"))
    assert_sound(page)
    assert "4 videos, from inbox" in page.text
    merged = tmp_path / "out"
    whole = read_scores(shards[0]) | read_scores(shards[1])
    assert read_scores(merged) == whole
    with (merged / "predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert {row["path"] for row in csv.DictReader(file)} == set(whole)
    for value in whole.values():
        for name in [value["thumbnail"], *(moment["crop"] for moment in value["moments"])]:
            assert name is None or (merged / name).is_file()
    assert json.loads((merged / "run.json").read_text())["merged_from"] == ["0", "1", "2"]
    again = Page(write_videos_report([merged], tmp_path / "again"))
    assert again.named("img") == page.named("img")
    write_videos_report(shards[:2], merged)  # an earlier merge may be replaced
    assert json.loads((merged / "run.json").read_text())["merged_from"] == ["0", "1"]


def test_merging_never_overwrites_what_was_scored(tmp_path):
    first, second = (make_folder(tmp_path / name, [score(f"{name}.mp4", 0.9)]) for name in "ab")
    other = make_folder(tmp_path / "c", [score("c.mp4", 0.9)])
    kept = (other / "predictions.jsonl").read_text()
    with pytest.raises(ReportError, match="is one of the folders to merge"):
        write_videos_report([first, second], first)
    with pytest.raises(ReportError, match="already holds scores"):
        write_videos_report([first, second], other)
    assert (other / "predictions.jsonl").read_text() == kept
    assert not (other / "report.html").exists()


@pytest.mark.parametrize(
    ("second", "options", "named"),
    [
        ([score("b.mp4", 0.1, model="other@1")], {}, "detector is resnext50@1f2e and other@1"),
        ([score("b.mp4", 0.1)], {"settings": SETTINGS | {"max_windows": 4}}, "max_windows is 16 and 4"),
        ([score("b.mp4", 0.1)], {"run": facts(threshold=0.6)}, "threshold is 0.5 and 0.6"),
        ([score("b.mp4", 0.1)], {"run": facts(temperature=None)}, "temperature is 1.3 and null"),
        ([score("a.mp4", 0.1)], {}, "'a.mp4' was scored in"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused_by_name(tmp_path, second, options, named):
    one = make_folder(tmp_path / "one", [score("a.mp4", 0.9)], run=facts())
    two = make_folder(tmp_path / "two", second, **options)
    with pytest.raises(ReportError, match=re.escape(named)):
        write_videos_report([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_given_twice_is_one_folder(tmp_path):
    folder = make_folder(tmp_path / "scores", [score("a.mp4", 0.9)])
    assert len(read_scored([folder, tmp_path / "scores" / "."]).videos) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prob_fake": 1.5}, "prob_fake must be a finite number in 0..1, got 1.5"),
        ({"prob_fake": float("nan")}, "prob_fake must be a finite number, got nan"),
        ({"status": "fine"}, "status must be one of ok, partial"),
        ({"tracks": [{"track": 0}]}, "tracks[0] lacks prob_fake, verdict, windows"),
        ({"num_faces": "two"}, "num_faces must be a whole number, got 'two'"),
    ],
)
def test_a_damaged_score_is_named(tmp_path, change, reason):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9)])
    value = json.loads((folder / "predictions.jsonl").read_text())
    (folder / "predictions.jsonl").write_text(json.dumps(value | change) + "\n")
    with pytest.raises(ReportError, match=re.escape(reason)) as caught:
        write_videos_report([folder], tmp_path / "out")
    assert "'a.mp4'" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"schema_version": 1}', '{"schema_version": 2, "model": {"threshold": 7}}']
)
def test_a_damaged_run_json_is_named(tmp_path, text):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9)])
    (folder / "run.json").write_text(text)
    with pytest.raises(ReportError, match=r"run\.json: cannot be read"):
        write_videos_report([folder], tmp_path)


def test_the_same_scores_give_the_same_page(tmp_path):
    scores = [score("a.mp4", 0.9, 0.2, num_moments=2), score("b.mp4", 0.9), no_face("c.mp4")]
    for name, order in (("one", scores), ("two", scores[::-1])):
        write_videos_report([make_folder(tmp_path / name, order, run=facts())], tmp_path / name)
    assert (tmp_path / "one" / "report.html").read_bytes() == (tmp_path / "two" / "report.html").read_bytes()


@pytest.mark.slow
def test_a_thousand_videos_stay_within_what_opens_and_what_is_left_out_is_said(tmp_path):
    folder = make_folder(tmp_path, [score("0.mp4", 0.9, 0.8, num_windows=16, num_moments=3)], run=facts())
    value = json.loads((folder / "predictions.jsonl").read_text())
    lines = [json.dumps(value | {"path": f"{index}.mp4"}) + "\n" for index in range(1000)]
    (folder / "predictions.jsonl").write_text("".join(lines))
    page = page_of(folder, tmp_path)
    assert len(page.source) < 32_000_000
    assert_sound(page)
    assert len(page.named("article")) == 1000
    assert all(image["decoding"] == "async" for image in page.named("img"))
    assert "left out here to keep the page small; the pictures are in evidence/" in page.text


def test_pictures_shrink_with_the_number_of_videos_and_every_face_comes_before_a_second_moment(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9, 0.3, num_moments=3)])
    (video,) = read_scored([folder]).videos
    few, many = (embed(video, picture_sizes(number)) for number in (1, 1000))
    assert (len(few.moments), few.num_left_out) == (6, 0)
    assert few.still is not None
    assert many.still is None
    assert {moment.facts.track for moment in many.moments} == {0, 1}
    assert many.num_left_out == 6 - len(many.moments) > 0
    pictures = [many.thumbnail, *(shown for m in many.moments for shown in (m.crop, m.heatmap))]
    assert sum(len(picture.data) for picture in pictures) <= picture_sizes(1000).num_bytes


def test_a_moment_has_its_whole_frame_after_the_faces_and_within_their_budget(tmp_path, monkeypatch):
    whole = score("a.mp4", 0.9, 0.3, num_moments=3)
    moments = tuple(replace(moment, frame=crop(moment.window, 240)[:120]) for moment in whole.moments)
    folder = make_folder(tmp_path, [replace(whole, moments=moments), score("b.mp4", 0.1)], run=facts())
    page = page_of(folder, tmp_path)
    assert_sound(page)
    wholes = [image for image in page.named("img") if (image["alt"] or "").startswith("The whole frame at 0:0")]
    assert len(wholes) == 6
    (video,) = (one for one in read_scored([folder]).videos if one.score.path == "a.mp4")
    shown = embed(video, picture_sizes(2))
    faces = sum(len(one.crop.data) + len(one.heatmap.data) for one in shown.moments if one.heatmap)
    pictures = faces + sum(len(one.data) for one in (shown.thumbnail, shown.still) if one)
    room = pictures + len(shown.moments[0].frame.data) + 10
    monkeypatch.setattr("dfd.report.videos.pictures.MAX_BYTES_PER_VIDEO", room)
    few = embed(video, picture_sizes(2))
    assert (len(few.moments), few.num_left_out) == (6, 0)
    assert 1 <= sum(one.frame is not None for one in few.moments) < 6
    assert all(one.frame is None for one in embed(video, picture_sizes(1000)).moments)


def windows(*starts: float, length: float = 0.4, prob: float = 0.75) -> list[WindowScore]:
    return [WindowScore(start, start + length, prob, (0, 0, 1, 1)) for start in starts]


def test_a_timeline_has_a_bar_where_a_window_is_and_nothing_between():
    drawn = timeline(windows(0, 5, 9.5, length=0.5), 10.0, Scale(0.5, (0.4, 0.6)))
    assert [(bar.left, bar.right) for bar in drawn.bars] == [(0, 50), (500, 550), (950, 1000)]
    assert drawn.areas() == {"fake": "M0 100V25H50V100zM500 100V25H550V100zM950 100V25H1000V100z"}
    assert drawn.lines() == {"fake": "M0 25H50M500 25H550M950 25H1000"}
    assert drawn.percent(5.25) == 52.5


def test_bars_are_coloured_by_the_side_of_the_threshold_they_are_on():
    scale = Scale(0.5, (0.4, 0.6))
    probs = (0.39, 0.4, 0.6, 0.61)
    assert [scale.zone(prob) for prob in probs] == ["real", "uncertain", "uncertain", "fake"]
    assert [str(verdict(prob, threshold=0.5, margin=0.1)) for prob in probs] == [scale.zone(prob) for prob in probs]
    assert [Scale(0.5, (0.5, 0.5)).zone(prob) for prob in (0.49, 0.5)] == ["real", "fake"]
    assert Scale().zone(0.9) == "unknown"


@pytest.mark.parametrize("duration", [0.3, 2.0, 59.0, 61.5, 754.0, 4000.0, 100_000.0])
def test_a_timelines_axis_has_few_labels_in_order_from_zero(duration):
    ticks = timeline(windows(0.0, length=0.1), duration, Scale()).ticks
    assert 2 <= len(ticks) <= 7
    percents = [tick.percent for tick in ticks]
    assert percents[0] == 0
    assert percents == sorted(set(percents))
    assert percents[-1] <= 100
    assert ticks[0].label.startswith("0:00")
    assert len({tick.label for tick in ticks}) == len(ticks)


def test_a_window_of_a_long_video_is_still_seen_and_stays_on_the_axis():
    for start in (0.0, 1800.0, 3599.9):
        (bar,) = timeline(windows(start, length=0.1), 3600.0, Scale(0.5)).bars
        assert bar.right - bar.left == pytest.approx(3.0)
        assert 0 <= bar.left < bar.right <= 1000


def test_two_thousand_windows_share_bars_and_keep_their_peaks_and_gaps():
    many = windows(*np.arange(0, 500, 0.5), *np.arange(750, 1250, 0.5), prob=0.2)
    many[100] = WindowScore(50.0, 50.4, 0.99, (0, 0, 1, 1))
    drawn = timeline(many, 1250.0, Scale(0.5))
    assert len(many) == 2000
    assert len(drawn.bars) <= MAX_BARS
    assert max(bar.highest for bar in drawn.bars) == 0.99
    assert not [bar for bar in drawn.bars if 402.5 < bar.left < 597.5]
    assert len(drawn.areas()["real"]) + len(drawn.lines()["real"]) + len(drawn.peaks()) < 20_000


def test_a_timeline_longer_than_the_header_says_holds_all_windows():
    drawn = timeline(windows(0, 20), 10.0, Scale())
    assert drawn.duration == pytest.approx(20.4)
    assert drawn.bars[-1].right == 1000


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """WCAG 2.2's contrast ratio."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_light_in_dark_and_on_paper():
    style = (TEMPLATES / "css" / "video.css").read_text()
    schemes = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(schemes) == 3
    verdicts = ["fake", "uncertain", "real", "none"]
    pairs = [(text, ground) for text in ("ink", "soft", "accent") for ground in ("page", "ground", "note", "care")]
    pairs += [(name, f"{name}-ground") for name in verdicts] + [(name, "page") for name in verdicts]
    pairs += [("page", "ink")]
    for scheme in schemes:
        for text, ground in pairs:
            assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)


def test_nothing_moves_and_all_is_printed():
    styles = {path.name: path.read_text() for path in TEMPLATES.rglob("*.css")}
    for style in styles.values():
        assert not re.search(r"transition|animation|scroll-behavior", style), "else heed prefers-reduced-motion"
        for rule in re.findall(r"@media ([^{]*)\{", style):
            assert rule.startswith(("screen", "print", "(prefers-color-scheme: dark)", "(forced-colors"))
    style = styles["videos.css"]
    assert "@media screen {\n  .filtered { display: none; }\n}" in style
    assert "position: sticky" not in style.split("@media print")[1]


def test_the_command_tells_scored_videos_from_training_runs(tmp_path, capsys):
    folder = make_folder(tmp_path / "scores", [score("a.mp4", 0.9), score("b.mp4", 0.1)], run=facts())
    assert main([str(folder)]) == 0
    assert f"the report is {folder / 'report.html'}" in capsys.readouterr().out
    assert "Scored videos" in Page(folder / "report.html").text
    run = tmp_path / "run"
    run.mkdir()
    (run / "summary.json").write_text("{}")
    assert main([str(folder), str(run)]) == 1
    assert "make one report of scored videos and another of training runs" in capsys.readouterr().err
    assert main([str(run), "--output", str(tmp_path / "out")]) == 0
    assert "1 run compared" in capsys.readouterr().out


def test_one_video_has_the_page_of_its_result_unless_a_title_asks_for_the_table(tmp_path, capsys):
    folder = make_folder(tmp_path / "scores", [score("a.mp4", 0.9)], run=facts())
    assert main([str(folder)]) == 0
    page = Page(folder / "report.html")
    assert "What dfd" in page.text
    assert "All videos" not in page.text
    assert main([str(folder), "--threshold", "0.95", "--output", str(tmp_path / "strict")]) == 0
    strict = Page(tmp_path / "strict" / "report.html").text
    assert "What dfd" in strict
    assert "Signs of a fake" in page.text
    assert "Signs of a fake Scor" not in strict
    assert main([str(folder), "--title", "Tonight", "--output", str(tmp_path / "table")]) == 0
    assert "All videos" in Page(tmp_path / "table" / "report.html").text
    assert "1 folder of scored videos read" in capsys.readouterr().out


def test_the_command_finds_the_shards_in_a_folder(tmp_path, capsys):
    for index in range(2):
        make_folder(tmp_path / "shards" / str(index), [score(f"{index}.mp4", 0.9)])
    assert [path.name for path in find_scored([tmp_path / "shards"])] == ["0", "1"]
    assert main([str(tmp_path / "shards"), "--output", str(tmp_path / "out"), "--title", "Tonight"]) == 0
    assert "2 folders of scored videos read" in capsys.readouterr().out
    assert "Tonight 2 videos" in Page(tmp_path / "out" / "report.html").text


@pytest.mark.browser
def test_the_table_sorts_and_filters_in_a_browser(mixed, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium")
    check = """
      const names = () => [...document.querySelectorAll("#videos tbody tr:not(.filtered) bdi:first-child")]
        .map((one) => one.textContent).filter((text) => !text.endsWith("/")).join(" ");
      const said = [];
      document.querySelector("th.c-file button").click();
      said.push(names(), document.querySelector("th.c-file").getAttribute("aria-sort"));
      document.querySelector("th.c-duration button").click();
      document.querySelector("th.c-duration button").click();
      said.push(names().split(" ").slice(-2).sort().join(" "));
      document.querySelector("input[value=none]").click();
      document.getElementById("words").value = "AL.M";
      document.getElementById("words").dispatchEvent(new Event("input", {bubbles: true}));
      said.push(names(), document.getElementById("shown").textContent);
      document.title = said.join("|");
    """
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", mixed[1].source)
    (tmp_path / "page.html").write_text(source.replace("</body>", f"<script>{check}</script></body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'home'}"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    by_name, sort, unknown, filtered, shown = title.split("|")
    assert by_name == "cut.mp4 fake.mp4 landscape.mp4 real.mp4 text.mp4 unsure.mp4"
    assert sort == "ascending"
    assert unknown == "landscape.mp4 text.mp4"
    assert filtered == "real.mp4"
    assert shown == "1 of 6 shown"


def test_a_face_is_told_in_the_words_of_its_videos_scope(tmp_path):
    within = score("a.mp4", 0.9, 0.1)
    tracks = tuple(replace(one, verdict=Verdict.UNCERTAIN) if one.prob_fake < 0.5 else one for one in within.tracks)
    within = replace(within, tracks=tracks, message="signs of blending found, as face swaps leave them")
    page = page_of(make_folder(tmp_path, [within], run=facts()), tmp_path)
    assert "signs of blending found, 0.900" in page.text
    assert "nothing found, 0.100" in page.text


@pytest.mark.parametrize(("rule", "is_said"), [("share", True), ("max_of_means", False)])
def test_a_rule_by_which_a_faces_score_is_no_mean_is_said(tmp_path, rule, is_said):
    page = page_of(make_folder(tmp_path, [score("a.mp4", 0.9)], run=facts(aggregation=rule)), tmp_path)
    assert ("the share of its windows with a score of 0.5 or more" in page.text) == is_said


def test_labelled_segments_are_drawn_on_every_timeline_of_their_video_and_said_in_words(tmp_path: Path) -> None:
    label = {"label": "fake", "method": "swap", "segments": [[2.0, 5.0], [6.0, 99.0]]}
    scores = [score("a.mp4", 0.9, 0.2), score("b.mp4", 0.3)]
    page = page_of(make_folder(tmp_path, scores, run={**facts(), "labels": {"a.mp4": label}}), tmp_path / "out")
    drawn = [tag["d"] for name, tag in page.tags if name == "path" and tag.get("class") == "labelled"]
    duration = scores[0].duration_seconds
    left, right, second = (round(1000 * seconds / duration, 1) for seconds in (2.0, 5.0, 6.0))
    assert drawn == 2 * [f"M{left} 0H{right}V100H{left}z", f"M{second} 0H1000.0V100H{second}z"], "up to the end"
    assert page.text.count("Labelled as fake: 0:02.0–0:05.0, 0:06.0–1:39.0.") >= 2
    assert "fake (swap), 0:02.0–0:05.0" in page.text
    assert page.text.count("labelled as fake in the manifest") == 1, "the key"


def test_merged_shards_keep_the_labels_of_each_and_damaged_ones_are_named(tmp_path: Path) -> None:
    label = {"label": "fake", "method": "", "segments": [[0.0, 1.0]]}
    shards = [
        make_folder(tmp_path / name, [score(name, 0.9)], run={**facts(), "labels": {name: label}}) for name in "ab"
    ]
    write_videos_report(shards, tmp_path / "out")
    assert read_scored([tmp_path / "out"]).labels.keys() == {"a", "b"}
    write_run(shards[0], {**facts(), "labels": {"a": {"label": "fake", "segments": [[-1, 2]]}}})
    with pytest.raises(ReportError, match=r"labels.a.segments"):
        read_scored(shards[:1])
