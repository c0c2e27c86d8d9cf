"""How often a score was right is counted by hand here, and follows Bayes' rule."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfd.metrics.alike import MAX_KEPT, NEAREST, alike, check_prevalence, labelled_in, labelled_scores, wilson_interval

# 30 labelled videos: nearest to 0.8 are the 20 with 0.7 and 0.9, of which 14 are fake.
TABLE = {"real": [0.1] * 8 + [0.7] * 4 + [0.9] * 2, "fake": [0.1] * 2 + [0.7] * 5 + [0.9] * 9}


def test_the_nearest_videos_are_counted_as_by_hand() -> None:
    found = alike(0.8, TABLE)
    assert found is not None
    assert (found.lowest, found.highest) == (0.7, 0.9)
    assert (found.num_real, found.num_fake) == (6, 14)
    assert (found.num_real_as_high, found.num_real_known) == (2, 14)
    assert found.prevalence == pytest.approx(16 / 30)
    assert found.share_fake == pytest.approx(14 / 20)
    assert found.interval == pytest.approx(wilson_interval(14, 20))


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.5, 0.9])
def test_another_prevalence_gives_what_bayes_rule_gives(prevalence: float) -> None:
    found = alike(0.8, TABLE, prevalence=prevalence)
    assert found is not None
    # By hand: such a score has 14 of the 16 fakes, and 6 of the 14 real ones.
    of_fakes, of_reals, prior = Fraction(14, 16), Fraction(6, 14), Fraction(prevalence)
    expected = prior * of_fakes / (prior * of_fakes + (1 - prior) * of_reals)
    assert found.share_fake == pytest.approx(float(expected))
    assert found.prevalence == prevalence
    assert found.interval[0] < found.share_fake < found.interval[1]


def test_all_videos_that_are_as_near_as_the_last_one_count() -> None:
    found = alike(0.5, {"real": [0.5] * 30, "fake": [0.5] * 10 + [0.9]})
    assert found is not None
    assert (found.num_real, found.num_fake) == (30, 10)


def test_of_many_labelled_videos_a_tenth_is_counted() -> None:
    scores = [index / 1001 for index in range(1, 1001)]
    found = alike(0.5, {"real": scores[::2], "fake": scores[1::2]})
    assert found is not None
    assert found.num_real + found.num_fake in (100, 101)  # 0.5 lies between two that are equally near


@pytest.mark.parametrize("labelled", [{"real": [0.1] * 10, "fake": [0.9] * 9}, {"real": [0.1] * 30, "fake": []}])
def test_of_too_few_videos_or_of_one_label_nothing_is_said(labelled: dict[str, list[float]]) -> None:
    assert alike(0.5, labelled) is None
    assert labelled_in({"labelled": labelled, "aggregation": "max_of_means"}, aggregation="max_of_means") is None


def test_scores_by_another_rule_are_not_used() -> None:
    calibration = {"labelled": TABLE, "aggregation": "max_of_means"}
    assert labelled_in(calibration, aggregation="max_of_means") == TABLE
    assert labelled_in(calibration, aggregation="share") is None


@pytest.mark.parametrize("damaged", [None, 3, {"real": [0.5] * 20}, {"real": [2.0] * 20, "fake": [0.5]}, {"real": "x"}])
def test_a_damaged_table_is_none(damaged: object) -> None:
    assert labelled_in({"labelled": damaged, "aggregation": "share"}, aggregation="share") is None


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_an_impossible_prevalence_is_refused(prevalence: float) -> None:
    with pytest.raises(ValueError, match="prevalence must be above 0 and below 1"):
        check_prevalence(prevalence)


def test_a_card_keeps_a_bounded_number_of_scores_that_spread_as_all_do() -> None:
    kept = labelled_scores([index / 9999 for index in range(10_000)], [index % 2 == 0 for index in range(10_000)])
    assert [len(scores) for scores in kept.values()] == [MAX_KEPT, MAX_KEPT]
    assert kept["real"][MAX_KEPT // 2] == pytest.approx(0.5, abs=0.002)
    assert (kept["fake"][0], kept["real"][-1]) == (0.0, 1.0)


probabilities = st.floats(0, 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(probabilities, st.lists(probabilities, min_size=10), st.lists(probabilities, min_size=10), st.floats(0.01, 0.99))
def test_what_is_said_is_possible_for_any_table(
    score: float, real: list[float], fake: list[float], prevalence: float
) -> None:
    found = alike(score, {"real": real, "fake": fake}, prevalence=prevalence)
    assert found is not None
    assert NEAREST <= found.num_real + found.num_fake <= len(real) + len(fake)
    assert 0 <= found.interval[0] <= found.share_fake <= found.interval[1] <= 1
    assert found.lowest <= found.highest
    assert found.num_real_as_high == sum(one >= score for one in real)


@settings(deadline=None)
@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_where_fakes_are_rarer_fewer_such_scores_are_fake(one: float, other: float) -> None:
    low, high = sorted((one, other))
    rarer, commoner = alike(0.8, TABLE, prevalence=low), alike(0.8, TABLE, prevalence=high)
    assert rarer is not None
    assert commoner is not None
    assert rarer.share_fake <= commoner.share_fake
