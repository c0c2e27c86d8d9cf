"""What must be said beside a detector's scores follows from its card."""

from dataclasses import replace
from typing import Any

import pytest

from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import UNKNOWN, caveat_of, first_sentence, made_caveat, why_no_verdict, with_made_caveat
from dfd.models.starter import FILE


def part(dataset: str, real: int = 30, fake: int = 60) -> dict[str, Any]:
    labels = {"real": real, "fake": fake}
    return {
        "num_videos": real + fake,
        "labels": labels,
        "datasets": {dataset: real + fake},
        "methods": {"FaceSwap": 60},
    }


TEST = {
    **{"index_sha256": "abc", "num_real": 30, "num_fake": 60},
    **{"metrics": {"auc": 0.712}, "intervals": {"auc": [0.61, 0.804]}},
}
CARD = DetectorCard(
    model={}, image_size=64, clip_len=1, data={"index_sha256": "abc", "splits": {"train": part("a"), "test": part("b")}}
)


def test_a_result_on_other_data_sets_is_told_with_its_number_and_interval() -> None:
    said = made_caveat(replace(CARD, test=TEST))
    assert said.startswith("This detector was trained on 90 videos (30 real, 60 fake) of a; forgeries: FaceSwap. ")
    assert "other data sets (b; 30 real, 60 fake): video AUC 0.71 (95 % interval 0.61 to 0.80;" in said


def test_the_fakes_found_at_a_bearable_rate_of_false_alarms_are_told_where_they_were_measured() -> None:
    measured = {**TEST, "metrics": {"auc": 0.712, "tpr_at_fpr_0.01": 0.14}}
    said = made_caveat(replace(CARD, test=measured))
    assert "and 14% of the fakes found where at most 1 % of the real videos are called fake." in said


@pytest.mark.parametrize(
    "data",
    [
        {"splits": {"train": part("a"), "test": part("a")}},  # the same data set
        {"blend": {"opacity": 1.0}},  # fakes of its own making
        {"index_sha256": "another"},  # another store's test
    ],
)
def test_a_result_on_videos_like_those_of_the_training_is_not_told(data: dict[str, Any]) -> None:
    said = made_caveat(replace(CARD, data={**CARD.data, **data}, test=TEST))
    assert "0.71" not in said
    assert "How well it does on other videos was not measured" in said


def test_a_detector_of_which_nothing_is_known_says_so() -> None:
    assert caveat_of(DetectorCard(model={}, image_size=64, clip_len=1)) == UNKNOWN


def test_a_fine_tuned_detector_says_what_it_began_from() -> None:
    lineage = [{"detector": "best", "copied": ["backbone"]}, {"name": "gend-clip-l14"}]
    assert " Its weights began from best, gend-clip-l14. " in made_caveat(replace(CARD, lineage=lineage))


def test_the_caveat_follows_the_card_unless_it_is_of_its_own() -> None:
    tested = with_made_caveat(with_made_caveat(CARD), test=TEST)
    assert "0.71" in tested.caveat
    assert "0.71" not in with_made_caveat(tested, test={}).caveat
    own = replace(CARD, caveat="Trained on paintings.")
    assert with_made_caveat(own, test=TEST).caveat == "Trained on paintings."


def test_an_adopted_detector_gives_verdicts_once_it_is_calibrated() -> None:
    adopted = replace(CARD, origin={"name": "theirs"})
    assert why_no_verdict(adopted, "x").startswith("theirs is not calibrated")
    assert why_no_verdict(replace(adopted, temperature=1.5), "x") == ""
    assert why_no_verdict(CARD, "x") == ""
    assert why_no_verdict(replace(CARD, temperature=1.5, no_verdict="it is weak"), "x") == "it is weak"


def test_the_starter_tells_measured_figures_of_real_fakes_and_what_to_use_instead() -> None:
    from dfd.models.files.card import read_card

    card = read_card(FILE)
    assert card is not None
    for figure in (
        "147",
        "0.50",
        "0.43 to 0.57",
        "0.90",
        "0.73 to 1.00",
        "8 classic",
        "0.47, 0.32 to 0.64",
        "7 %",
        "never",
    ):
        assert figure in card.caveat
    for figure in ("0.92", "0.86", "0.857"):  # of held-back blends
        assert figure not in card.caveat
    assert "dfd adopt" in card.no_verdict
    assert "dfd calibrate" in card.no_verdict


def test_the_first_sentence_is_whole() -> None:
    assert first_sentence("Trained on FF++ c23 (0.5 GB). Published: none.") == "Trained on FF++ c23 (0.5 GB)."
    assert first_sentence("One only") == "One only"
