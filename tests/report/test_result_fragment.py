"""The result of one video as a piece of a web page: it says what was found and what not, and nothing in it can run."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from dfd.base.errors import ReportError
from dfd.base.types import Status, Verdict, VideoScore
from dfd.models.files.caveat import DEMO
from dfd.predictions.writer import PredictionWriter, write_run
from dfd.report.page.policy import report_policy
from dfd.report.page.wording import probability
from dfd.report.videos.fragment import MEANINGS, NO_VERDICTS, NOT_REAL, render_result
from dfd.report.videos.fragment import WITHOUT_VERDICT as WITHOUT_VERDICT_MEANING
from dfd.report.videos.single import write_result_page
from dfd.report.videos.warnings import NO_RUN, NOT_CALIBRATED, NOT_LOOKED_AT
from tests.report.test_videos_report import HOSTILE_NAMES, TEMPLATES, Page, facts, make_folder, no_face, score

WITHOUT_VERDICT = [status for status in Status if not status.has_faces]


def fragment_of(folder: Path) -> Page:
    path = folder / "result.html"
    path.write_text(render_result(folder), encoding="utf-8")
    return Page(path)


def result(folder: Path, one: VideoScore, **run: object) -> Page:
    return fragment_of(make_folder(folder, [one], run=facts(**run)))


def assert_harmless(page: Page) -> None:
    """It fits the policy ``default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:``."""
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"html", "head", "body", "main", "h1", "base", "meta", "link", "style", "script"}
    assert not tags & {"iframe", "object", "embed", "use", "image", "foreignobject", "a", "form", "input", "video"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"style", "href", "xlink:href", "srcset", "action", "formaction", "data", "background", "poster"}
    assert not [name for name in names if name.startswith("on")]
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.values("src"))
    assert not re.search(r"https?:|url\(|javascript:\S*;", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page.source))


def assert_sound(page: Page) -> None:
    """Ids are unique, every reference has its target, headings go down one by one from h2, pictures have words."""
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for attribute in ("aria-labelledby", "aria-describedby"):
        assert {name for value in page.values(attribute) for name in value.split()} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == min(levels) == 2
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image["alt"] and image["width"] and image["height"] for image in page.named("img"))
    for svg in page.named("svg"):
        words = svg.get("aria-label") or svg.get("aria-labelledby")
        assert (svg.get("role") == "img" and words) or svg.get("aria-hidden") or "y" in svg


@pytest.mark.parametrize(
    ("prob", "verdict", "words"),
    [
        (0.93, Verdict.FAKE, "▲ Signs of a fake Score 0.930 from 0 to 1;"),
        (0.45, Verdict.UNCERTAIN, "◆ Cannot tell Score 0.450 from 0 to 1;"),
        (0.55, Verdict.UNCERTAIN, "◆ Cannot tell Score 0.550 from 0 to 1;"),
        (0.1, Verdict.REAL, "● No sign found Score 0.100 from 0 to 1;"),
    ],
)
def test_a_verdict_is_said_first_by_word_and_shape_with_what_it_means(tmp_path, prob, verdict, words):
    page = result(tmp_path, score("/home/ann/a.mp4", prob))
    assert_sound(page)
    assert_harmless(page)
    assert page.text.startswith(words)
    assert f"{MEANINGS[verdict]} {NOT_LOOKED_AT}" in page.text
    assert not [one for other, one in MEANINGS.items() if other != verdict and one in page.text]
    assert not re.search(r"\breal\b|onfidence", page.text.partition("Trained on")[0], re.IGNORECASE)


@pytest.mark.parametrize("prob", [0.0, 0.00004, 0.25, 0.5, 0.730891, 0.9999, 1.0])
def test_the_marker_stands_at_the_probability_and_the_scale_is_said_in_words(tmp_path, prob):
    page = result(tmp_path, score("a.mp4", prob), threshold=0.3, uncertain_band=[0.2, 0.42])
    (marker,) = [svg for svg in page.named("svg") if svg.get("class") == "marker"]
    assert float(marker["x"].removesuffix("%")) == pytest.approx(100 * prob, abs=0.005)
    (band,) = [rect for rect in page.named("rect") if rect.get("class") == "band" and "%" in rect.get("x", "")]
    assert (band["x"], band["width"]) == ("20.0%", "22.0%")
    (threshold,) = [line for line in page.named("line") if line.get("class") == "threshold"]
    assert threshold["x1"] == threshold["x2"] == "30.0%"
    (words,) = page.values("aria-label")
    assert words.endswith(" to 1, fake. The threshold is 0.3. From 0.2 to 0.42 cannot be told.")
    assert words.startswith(f"Score {probability(prob)} on a scale from 0, no sign of a fake, ")


def test_the_parts_of_the_scale_fill_it_without_overlap(tmp_path):
    page = result(tmp_path, score("a.mp4", 0.9), threshold=0.3, uncertain_band=[0.2, 0.42])
    parts = [rect for rect in page.named("rect") if rect.get("class") in ("zone real", "zone fake", "band")]
    extents = sorted(
        (float(rect.get("x", "0%")[:-1]), float(rect["width"][:-1])) for rect in parts if "%" in rect["width"]
    )
    assert extents == [(0.0, 20.0), (20.0, 22.0), (42.0, 58.0)]


def test_without_an_uncertain_band_the_scale_has_two_parts(tmp_path):
    page = result(tmp_path, score("a.mp4", 0.9), uncertain_band=[0.5, 0.5])
    assert page.values("aria-label")[0].endswith("from 0, no sign of a fake, to 1, fake. The threshold is 0.5.")
    assert not [rect for rect in page.named("rect") if rect.get("class") == "band"]


def test_without_run_json_the_scale_has_no_threshold(tmp_path):
    page = fragment_of(make_folder(tmp_path, [score("a.mp4", 0.9)]))
    assert_sound(page)
    assert NO_RUN in page.text
    assert page.values("aria-label") == ["Score 0.900 on a scale from 0, least suspicious, to 1, most suspicious."]
    assert not [one for one in page.values("class") if one in ("threshold", "band", "zone real")]


@pytest.mark.parametrize("status", WITHOUT_VERDICT)
def test_a_video_without_a_verdict_is_not_called_real_and_its_owner_is_told_what_to_do(tmp_path, status):
    page = result(tmp_path, no_face("/home/ann/a.mp4", status, "/home/ann/a.mp4: what happened"), temperature=None)
    assert_sound(page)
    assert_harmless(page)
    assert page.text.startswith("○ No verdict")
    for words in (NO_VERDICTS[status].reason, NO_VERDICTS[status].advice, NOT_REAL, "program: what happened"):
        assert words in page.text
    assert "more suspicious" not in page.text
    assert NOT_CALIBRATED not in page.text, "there is no score to be read with care"
    assert page.values("aria-label") == []


def test_every_status_without_a_verdict_has_words_of_its_own():
    assert set(NO_VERDICTS) == set(WITHOUT_VERDICT)
    assert len({one.reason for one in NO_VERDICTS.values()}) == len(NO_VERDICTS)


@pytest.mark.parametrize(
    ("change", "run", "sentence"),
    [
        ({}, {"temperature": None}, NOT_CALIBRATED),
        ({"possible": 100}, {}, "This video was examined only in part (40 frames in 4 of 100 windows, 4 %)."),
        ({"status": Status.PARTIAL}, {}, "This video is damaged: only the readable part was scored."),
    ],
)
def test_what_weakens_the_score_is_said_of_this_video(tmp_path, change, run, sentence):
    text = result(tmp_path, score("a.mp4", 0.9, num_windows=4, **change), **run).text
    assert f"To be read with care {sentence}" in text
    assert "1 video" not in text
    assert text.index(sentence) < text.index("The face over time")


def remark(folder: Path, message: str, **changes: object) -> str:
    """Text of a result whose message and other values are changed as a detector would give them."""
    value = json.loads((folder / "predictions.jsonl").read_text())
    changed = json.dumps({**value, **changes, "message": message})
    (folder / "predictions.jsonl").write_text(changed + "\n")
    return fragment_of(folder).text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("only the part 0:40-1:00 was looked at; one more thing", "Only the part 0:40-1:00 was looked at."),
        ("a still picture, scored as one frame", "A still picture, scored as one frame."),
    ],
)
def test_a_part_and_a_still_are_said_where_one_sees_it(tmp_path, message, words):
    text = remark(make_folder(tmp_path, [score("a.mp4", 0.9)], run=facts()), message)
    assert f"To be read with care {words}" in text
    assert ("Note one more thing" in text) == ("one more" in message)


def test_how_much_was_looked_at_is_said_once(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9, num_windows=4, possible=100)], run=facts())
    text = remark(folder, "4 of 100 windows were looked at, evenly spaced (max_windows=4)")
    assert "This video was examined only in part" in text
    assert "windows were looked at" not in text


def test_a_score_without_a_verdict_is_not_said_to_be_near_a_threshold(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9)], run=facts())
    text = remark(folder, "no verdict: x is not calibrated", verdict="uncertain")
    assert text.startswith("◆ Cannot tell Score 0.900")
    assert f"{WITHOUT_VERDICT_MEANING} The reason: x is not calibrated." in text
    assert MEANINGS[Verdict.UNCERTAIN] not in text


def test_the_demonstrations_detector_has_a_caveat_even_without_one_in_its_card(tmp_path):
    assert result(tmp_path, score("a.mp4", 0.9), data={"is_demo": True}).text.startswith(f"About this detector {DEMO}")


def test_the_caveat_of_the_detector_comes_before_everything_else(tmp_path):
    page = result(tmp_path, score("a.mp4", 0.9), caveat="Trained on <b>paintings</b>.")
    assert_sound(page)
    assert_harmless(page)
    assert page.text.startswith("About this detector Trained on <b>paintings</b>. ▲ Signs of a fake")
    assert page.text.count("Trained on <b>paintings") == 1


def detectors(*found: tuple[str, float, str | None]) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "status": "ok",
            "prob_fake": prob,
            "verdict": verdict,
            "num_windows": 0,
            "tracks": [],
            "message": "",
        }
        for model, prob, verdict in found
    ]


@pytest.mark.parametrize(
    ("found", "disagree"),
    [
        ([("a@1", 0.9, "fake"), ("b@2", 0.1, "real")], True),
        ([("a@1", 0.9, "fake"), ("b@2", 0.6, "uncertain")], False),
        ([("a@1", 0.9, None), ("b@2", 0.2, None)], True),
        ([("a@1", 0.9, None), ("b@2", 0.6, "fake")], False),
    ],
)
def test_each_of_several_detectors_has_a_row_and_disagreement_is_said(tmp_path, found, disagree):
    text = remark(make_folder(tmp_path, [score("a.mp4", 0.9)], run=facts()), "", detectors=detectors(*found))
    assert ("The detectors disagree" in text) == disagree
    for model, prob, verdict in found:
        said = Verdict(verdict or "uncertain").words
        assert re.search(rf"{model[0]} \S {said} {prob:.3f}", text)


def test_the_downloaded_page_is_the_result_and_nothing_else(tmp_path):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9)], run=facts(caveat="Trained on paintings."))
    page = Page(write_result_page(folder))
    assert fragment_of(folder).text in page.text
    assert "a.mp4" in page.text.partition("About this detector")[0]
    assert not re.search(r"(?:src|href)=\"(?!data:)", page.source)
    assert report_policy(page.source).startswith("default-src 'none'")


def test_a_sound_score_has_nothing_to_be_read_with_care(tmp_path):
    assert "To be read with care" not in result(tmp_path, score("a.mp4", 0.9)).text


@pytest.mark.parametrize(
    ("status", "words"),
    [(Status.PARTIAL, "What was wrong with the file: cut short"), (Status.OK, "Note cut short")],
)
def test_a_message_of_a_scored_video_is_shown(tmp_path, status, words):
    folder = make_folder(tmp_path, [score("a.mp4", 0.9, status=status)], run=facts())
    value = json.loads((folder / "predictions.jsonl").read_text())
    (folder / "predictions.jsonl").write_text(json.dumps(value | {"message": "a.mp4: cut short"}) + "\n")
    assert words in fragment_of(folder).text


def test_every_face_has_its_timeline_its_numbers_and_its_moments_most_suspicious_first(tmp_path):
    page = result(tmp_path, score("/home/ann/a.mp4", 0.2, 0.93, num_moments=3))
    assert_sound(page)
    assert_harmless(page)
    assert "The faces over time" in page.text
    assert page.text.index("Appearance 2 (0:00–0:06) ▲ signs of") < page.text.index("Appearance 1 (0:00–0:06) ● no")
    assert len(page.named("desc")) == 2
    assert page.text.count("Every window in numbers") == 2
    assert page.values("alt").count("The same with heat where it suggests fake") == 6
    assert "2 0:02.2 score 0.930 box 11, 20 to 110, 140 px" in page.text
    assert "The face over time" in result(tmp_path / "one", score("a.mp4", 0.9)).text


def test_the_file_and_the_detector_are_named_and_the_machine_is_not(tmp_path):
    page = result(tmp_path, score("/home/ann/inbox/a.mp4", 0.9))
    for words in (
        *("123.5 kB (123,456 bytes)", "640 × 360 pixels", "Scored 31 January 2026, 21:40 UTC"),
        *("Detector resnext50@1f2e", "210 videos (70 real, 140 fake) of ffpp; forgeries: X2"),
        *("Calibrated yes", "settings.max_windows 16"),
        hashlib.sha256(b"/home/ann/inbox/a.mp4").hexdigest(),
    ):
        assert words in page.text
    assert "/home/ann" not in page.source
    assert "inbox" not in page.source
    assert str(tmp_path) not in page.source


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("status", [Status.OK, Status.ERROR])
def test_a_hostile_name_or_message_stays_text(tmp_path, name, status):
    one = score(name, 0.9) if status is Status.OK else no_face(name, status)
    run = facts(data={"splits": {"train": {"methods": {name: 1}}}}, file=name)
    folder = make_folder(tmp_path, [one], run=run, settings={name: name})
    value = json.loads((folder / "predictions.jsonl").read_text())
    message = f"{name}: <b>bad</b>\n<script>alert(2)</script> {name}"
    (folder / "predictions.jsonl").write_text(json.dumps(value | {"message": message}) + "\n")
    page = fragment_of(folder)
    assert_sound(page)
    assert_harmless(page)
    assert "<b>bad</b>" in page.text
    shown = "".join(text for _, text in page.texts)
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00]", shown)


@pytest.mark.parametrize("scores", [[], [score("a.mp4", 0.9, pictures=False), no_face("b.mp4")]])
def test_a_folder_of_no_or_several_videos_is_refused(tmp_path, scores):
    folder = make_folder(tmp_path, scores)
    with pytest.raises(ReportError, match=f"has {len(scores)} videos; a result page needs exactly one"):
        render_result(folder)


def test_a_folder_without_scores_and_a_damaged_score_are_refused(tmp_path):
    with pytest.raises(ReportError, match="holds no scored videos"):
        render_result(tmp_path)
    folder = make_folder(tmp_path, [score("a.mp4", 0.9)])
    value = json.loads((folder / "predictions.jsonl").read_text())
    (folder / "predictions.jsonl").write_text(json.dumps(value | {"verdict": None}) + "\n")
    with pytest.raises(ReportError, match="is damaged"):
        render_result(folder)


def test_pictures_that_do_not_fit_are_said_without_naming_a_folder_that_the_page_does_not_give(tmp_path, monkeypatch):
    monkeypatch.setattr("dfd.report.videos.pictures.MAX_BYTES_PER_VIDEO", 15_000)
    page = result(tmp_path, score("a.mp4", 0.9, 0.3, num_moments=4))
    assert re.search(r"\d more moments are left out here to keep the page small\.", page.text)
    assert "evidence/" not in page.source


def test_what_the_detector_scored_is_shown(tmp_path, tiny_checkpoint, tiny_videos):
    from dfd.scoring.detector import Detector

    with Detector.load(tiny_checkpoint) as detector:
        one = detector.score(tiny_videos.parent / "01.mp4")
        with PredictionWriter(tmp_path, model=detector.name, settings={}) as writer:
            writer.write(one)
        write_run(tmp_path, {"model": detector.describe()})
    page = fragment_of(tmp_path)
    assert_sound(page)
    assert_harmless(page)
    (marker,) = [svg for svg in page.named("svg") if svg.get("class") == "marker"]
    assert float(marker["x"].removesuffix("%")) == pytest.approx(100 * one.prob_fake, abs=0.005)
    assert one.file.sha256 in page.text
    assert len(page.named("img")) >= 3, "a frame, a crop and its heatmap"


def test_every_class_of_the_fragment_that_styles_it_is_in_what_is_served(tmp_path):
    """The page that includes it has two files of style, and the report's own is not one of them."""
    style = "".join(path.read_text() for path in sorted((TEMPLATES / "css").iterdir()))
    served = set(re.findall(r"\.([a-z][a-z-]*)", style))
    pages = [result(tmp_path / "a", score("a.mp4", 0.9, 0.1)), result(tmp_path / "b", no_face("b.mp4"))]
    used = {name for page in pages for value in page.values("class") for name in value.split()}
    assert used - served <= {"shape", "found", "plot"}
