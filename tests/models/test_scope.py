"""A detector's verdicts go as far as what it was shown to find, and its words name the kinds of fakes it misses."""

import pytest

from dfd.base.errors import CheckpointError
from dfd.base.types import Verdict
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import caveat_of, scope_of
from dfd.models.files.scope import (
    KINDS,
    OfKind,
    Scope,
    common_scope,
    in_words,
    remark,
    scope_sentences,
    with_remark,
    words_of,
)
from dfd.scoring.aggregation import Judge

GOOD = OfKind(0.9, (0.75, 1.0), 8, 20, 0.75)
EVERY_KIND = Scope(dict.fromkeys(KINDS, GOOD), 0.05, 0.5)


def judge(scope: Scope | None) -> Judge:
    return Judge(0.5, 0.1, scope, "blending")


@pytest.mark.parametrize(
    "weak",
    [
        OfKind(0.9, (0.75, 1.0), 4, 20, 1.0),  # four videos show nothing
        OfKind(0.9, (0.75, 1.0), 8, 4, 1.0),
        OfKind(0.8, (0.45, 1.0), 8, 20, 1.0),  # the interval holds chance
        OfKind(0.9, (0.75, 1.0), 8, 20, 0.25),  # most of them are below the threshold
        OfKind(0.9, (0.75, 1.0), 8, 20, None),  # unknown at this threshold
    ],
)
def test_one_kind_that_would_be_missed_is_enough_to_call_no_video_real(weak: OfKind) -> None:
    scope = Scope({**EVERY_KIND.kinds, "talking_head": weak})
    assert judge(scope).verdict(0.01) is Verdict.UNCERTAIN
    assert judge(scope).side(0.01) == (None, None)
    assert judge(scope).remark(0.01) == "nothing found, but it would miss talking heads"
    assert judge(scope).verdict(0.9) is Verdict.FAKE


def test_a_detector_that_was_shown_to_find_every_kind_says_real() -> None:
    assert judge(EVERY_KIND).verdict(0.01) is Verdict.REAL
    assert judge(EVERY_KIND).remark(0.01) == ""


def test_a_detector_that_was_never_measured_never_says_real() -> None:
    assert judge(Scope()).verdict(0.01) is Verdict.UNCERTAIN
    assert "was not measured" in judge(Scope()).remark(0.01)


def test_the_drawn_fakes_of_the_demonstration_are_of_no_kind() -> None:
    card = DetectorCard(model={}, image_size=64, clip_len=1, data={"is_demo": True})
    assert judge(scope_of(card, 0.5)).verdict(0.01) is Verdict.REAL


def test_signs_are_told_with_the_kinds_that_they_stand_for() -> None:
    scope = Scope({"face_swap": GOOD, "generated": OfKind(0.3, (0.1, 0.5), 30, 20, 0.0)})
    assert judge(scope).remark(0.9) == "signs of blending found, as face swaps leave them"
    unshown = remark(Scope({"generated": scope.kinds["generated"]}), Verdict.FAKE, trace="blending")
    assert "no kind of fake" in unshown


def test_a_score_near_the_threshold_has_no_remark() -> None:
    assert judge(EVERY_KIND).remark(0.5) == judge(Scope()).remark(0.5) == ""


def test_with_another_threshold_no_share_of_fakes_is_known() -> None:
    moved = judge(EVERY_KIND).at(0.75, 0.0)
    assert moved.verdict(0.01) is Verdict.UNCERTAIN
    assert moved.scope is not None
    assert moved.scope.shown == list(KINDS)
    assert judge(EVERY_KIND).at(0.5, 0.0).verdict(0.01) is Verdict.REAL


def test_a_score_of_several_detectors_goes_as_far_as_each_of_them() -> None:
    less = OfKind(0.7, (0.6, 0.8), 9, 20, 0.5)
    scope = common_scope([EVERY_KIND, Scope({"face_swap": less})])
    assert scope.kinds == {"face_swap": less}
    assert common_scope([EVERY_KIND, EVERY_KIND]).may_say_real


def test_a_message_has_one_remark_on_the_scope() -> None:
    message = with_remark("2 faces; nothing found, but it would miss lip-syncs", "signs of blending found, as x")
    assert message == "2 faces; signs of blending found, as x"
    assert words_of(Verdict.FAKE, message) == "signs of blending found"
    assert words_of(Verdict.FAKE, "2 faces") == Verdict.FAKE.words


def test_the_caveat_has_the_figures_and_names_what_is_missing() -> None:
    scope = Scope({"face_swap": GOOD, "generated": OfKind(0.3, (0.1, 0.5), 30, 20, 0.0)}, 0.05, 0.5)
    said = scope_sentences(scope)
    assert "Shown to work on face swaps (video AUC 0.90, 0.75 to 1.00; 8 fake, 20 real, 75% found)." in said
    assert "Not shown to work on generated people (video AUC 0.30" in said
    assert f"Not measured: {in_words(['lip_sync', 'reenactment', 'talking_head'])}." in said
    assert "It calls 5% of the real videos fake." in said
    assert said.endswith("It never calls a video real.")
    train = {"num_videos": 2, "labels": {"real": 1, "fake": 1}}
    card = DetectorCard(
        model={}, image_size=64, clip_len=1, data={"splits": {"train": train}}, scope=scope.to_dict(), origin={}
    )
    assert said in caveat_of(card)


def test_a_card_keeps_its_scope() -> None:
    card = DetectorCard(model={}, image_size=64, clip_len=1, scope=EVERY_KIND.to_dict())
    assert Scope.of(DetectorCard.from_dict(card.to_dict()).scope) == EVERY_KIND


@pytest.mark.parametrize(
    "scope", [{"kinds": {"ghost": {}}}, {"kinds": {"generated": {"auc": 2}}}, {"kinds": 3}, {"false_alarms": "few"}]
)
def test_a_scope_that_cannot_be_is_refused(scope: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="its card is wrong"):
        DetectorCard(model={}, image_size=64, clip_len=1, scope=scope)
