"""Another threshold or share of fakes tells verdicts anew, without scoring a video again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dfd.base.errors import ReportError
from dfd.base.types import DetectorScore, Label, Status, TrackScore, Verdict, VideoScore, WindowScore
from dfd.metrics.alike import alike
from dfd.models.files.scope import Scope
from dfd.predictions.rows import PredictionsError, json_of, read_scores, score_of
from dfd.predictions.verdicts import Teller, told_anew
from dfd.predictions.writer import PredictionWriter, write_run
from dfd.report.videos.page import write_videos_report
from dfd.scoring.aggregation import Judge, uncertain_band, verdict

SETTINGS = {"threshold": 0.5, "uncertain_margin": 0.1, "aggregation": "max_of_means"}
LABELLED = {"real": [0.1] * 12 + [0.7] * 3, "fake": [0.2] * 4 + [0.8] * 11}


def score(path: str, prob: float, settings: dict[str, Any], labelled: Any = None) -> VideoScore:
    """The score as a detector with these settings makes it."""
    threshold, margin = settings["threshold"], settings["uncertain_margin"]
    told = verdict(prob, threshold=threshold, margin=margin)
    label = Label.FAKE if prob >= threshold else Label.REAL
    return VideoScore(
        path,
        Status.OK,
        verdict=told,
        label=label,
        prob_fake=prob,
        confidence=prob if label is Label.FAKE else 1 - prob,
        model="one@01",
        tracks=(TrackScore(0, prob, told, (WindowScore(0.0, 1.0, prob, (0.0, 0.0, 9.0, 9.0)),)),),
        alike=alike(prob, labelled, prevalence=settings.get("prevalence")) if labelled else None,
    )


@pytest.mark.parametrize("prob", [0.1, 0.45, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("anew", [{"threshold": 0.9}, {"uncertain_margin": 0.0}, {"prevalence": 0.02}])
def test_a_line_told_anew_is_the_line_that_scoring_would_write(prob: float, anew: dict[str, float]) -> None:
    settings = {**SETTINGS, **anew}
    line = json_of(score("a.mp4", prob, SETTINGS, LABELLED)) | {"settings": SETTINGS}
    tellers = {"one@01": Teller(Judge(settings["threshold"], 0.0), LABELLED)}
    assert score_of(told_anew(line, settings, tellers)) == score("a.mp4", prob, settings, LABELLED)


def test_without_verdicts_no_threshold_makes_one() -> None:
    line = json_of(score("a.mp4", 0.99, SETTINGS)) | {"settings": SETTINGS}
    found = score_of(told_anew(line, SETTINGS, {"one@01": Teller(Judge(0.2, 0.0, no_verdict="it is weak"))}))
    assert (found.verdict, found.tracks[0].verdict) == (Verdict.UNCERTAIN, Verdict.UNCERTAIN)


def test_a_low_score_told_anew_goes_no_further_than_the_scope() -> None:
    line = json_of(score("a.mp4", 0.3, SETTINGS)) | {"settings": SETTINGS}
    found = score_of(told_anew(line, SETTINGS, {"one@01": Teller(Judge(0.8, 0.0, Scope()))}))
    assert (found.verdict, found.label, found.confidence) == (Verdict.UNCERTAIN, None, None)
    assert found.message.startswith("nothing found, but")
    again = told_anew(json_of(found), SETTINGS, {"one@01": Teller(Judge(0.2, 0.0, Scope()))})
    assert score_of(again).message == ""


def test_a_video_without_a_score_stays_without_a_verdict() -> None:
    line = json_of(VideoScore("a.mp4", Status.NO_FACE)) | {"settings": SETTINGS}
    assert score_of(told_anew(line, SETTINGS, {"one@01": Teller(Judge(0.2, 0.0))})).verdict is None


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    folder = tmp_path / "scores"
    with PredictionWriter(folder, model="one@01", settings=SETTINGS) as writer:
        for name, prob in (("a.mp4", 0.7), ("b.mp4", 0.2)):
            writer.write(score(name, prob, SETTINGS))
    band = list(uncertain_band(0.5, 0.1))
    model = {"name": "one@01", "threshold": 0.5, "uncertain_margin": 0.1, "uncertain_band": band, "temperature": 1.0}
    calibration = {"aggregation": "max_of_means", "labelled": LABELLED}
    write_run(folder, {"model": {**model, "calibration": calibration, "aggregation": "max_of_means"}})
    return folder


def test_a_folder_is_gone_on_with_under_another_threshold(scored: Path) -> None:
    settings = {**SETTINGS, "threshold": 0.9}
    with pytest.raises(PredictionsError, match=r"threshold is 0\.5 there, 0\.9 here"):
        PredictionWriter(scored, model="one@01", settings=settings)
    (scored / "annotated").mkdir()
    (scored / "annotated" / "a-01234567.mp4").touch()

    def anew(value: Any) -> dict[str, Any]:
        return told_anew(value, settings, {"one@01": Teller(Judge(0.9, 0.0))})

    with PredictionWriter(scored, model="one@01", settings=settings, tell_anew=anew) as writer:
        assert (writer.num_told_anew, writer.num_outdated) == (2, 1)
        assert writer.done == {"a.mp4", "b.mp4"}
    lines = read_scores(scored)
    assert [line["verdict"] for line in lines.values()] == ["real", "real"]
    assert all(line["settings"] == settings for line in lines.values())
    assert not (scored / "annotated").exists()  # it was drawn with the old verdicts
    assert (scored / "predictions.csv").read_text().count(",real,real,") == 2


def test_a_folder_of_several_detectors_is_gone_on_with_too(tmp_path: Path) -> None:
    one = score("a.mp4", 0.7, SETTINGS)
    each = tuple(DetectorScore(f"{name}@01", Status.OK, 0.7, Verdict.FAKE, 1, one.tracks) for name in ("one", "two"))
    names = ["one@01", "two@01"]
    with PredictionWriter(tmp_path / "s", model="both", settings=SETTINGS, detectors=names) as writer:
        writer.write(replace(one, model="both", detectors=each))
    settings = {**SETTINGS, "threshold": 0.9}
    tellers = {name: Teller(Judge(threshold, 0.0)) for name, threshold in zip(names, (0.9, 0.2), strict=True)}

    def anew(value: Any) -> dict[str, Any]:
        return told_anew(value, settings, tellers)

    with PredictionWriter(tmp_path / "s", model="both", settings=settings, detectors=names, tell_anew=anew) as writer:
        assert writer.num_told_anew == 1
    (line,) = read_scores(tmp_path / "s").values()
    assert [found["verdict"] for found in line["detectors"]] == ["real", "fake"]
    assert line["message"] == "the detectors disagree"


def test_another_setting_is_refused_by_its_name_alone(scored: Path) -> None:
    other = {**SETTINGS, "aggregation": "share"}
    with pytest.raises(PredictionsError, match="aggregation is 'max_of_means' there, 'share' here") as refused:
        PredictionWriter(scored, model="one@01", settings=other, tell_anew=lambda value: dict(value))
    assert "threshold" not in str(refused.value)


def test_a_report_with_another_threshold_is_a_folder_of_its_own(scored: Path, tmp_path: Path) -> None:
    before = (scored / "predictions.jsonl").read_bytes()
    output = tmp_path / "strict"
    page = write_videos_report([scored], output, changes={"threshold": 0.9, "prevalence": 0.02}).read_text()
    assert (scored / "predictions.jsonl").read_bytes() == before
    lines = read_scores(output)
    assert lines["a.mp4"]["verdict"] == "real"
    assert lines["a.mp4"]["alike"]["prevalence"] == 0.02
    assert "If 2\u00a0% of all videos are fake" in page
    with pytest.raises(ReportError, match="choose another --output"):
        write_videos_report([scored], scored, changes={"threshold": 0.9})
    with pytest.raises(ReportError, match="prevalence must be above 0"):
        write_videos_report([scored], tmp_path / "never", changes={"prevalence": 1.5})


def test_an_older_line_without_the_new_fields_is_read(scored: Path) -> None:
    line = next(iter(read_scores(scored).values()))
    for name in ("alike", "caveat", "scored_at"):
        del line[name]
    assert score_of(line) == replace(score("a.mp4", 0.7, SETTINGS))
