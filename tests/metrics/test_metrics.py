import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from dfd.metrics.calibration import expected_calibration_error, reliability_bins
from dfd.metrics.clips import clip_metrics
from dfd.metrics.formulas import resample, resampled
from dfd.metrics.significance import holm, mcnemar
from dfd.metrics.videos import bootstrap_intervals, metrics_by_group, roc_curve, video_metrics


def random_table(seed, *, num=200, decimals=None):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, num)
    prob = np.clip(generator.normal(0.4 + 0.2 * label, 0.25), 0, 1)
    return (prob if decimals is None else prob.round(decimals)), label


def test_metrics_of_scores_that_are_not_finite_are_nan_also_in_later_batches_of_the_split() -> None:
    """A network that has diverged was given an AUC of 0.667, and won its study."""
    metrics = clip_metrics("val/")
    metrics.update(torch.tensor([0.1, torch.nan, 0.9]), torch.tensor([0, 1, 1]))
    metrics.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
    assert all(bool(value.isnan()) for value in metrics.compute().values())
    metrics.reset()
    metrics.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
    assert {float(value) for value in metrics.compute().values()} == {1.0}


# One decimal: eleven distinct scores for 200 videos, so nearly all are tied.
@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_video_metrics_equal_scikit_learns(seed, decimals, threshold):
    prob, label = random_table(seed, decimals=decimals)
    called = (prob >= threshold).astype(int)
    ours = video_metrics(prob, label, threshold=threshold)
    expected = {
        "accuracy": reference.accuracy_score(label, called),
        "balanced_accuracy": reference.balanced_accuracy_score(label, called),
        "precision": reference.precision_score(label, called),
        "recall": reference.recall_score(label, called),
        "recall_real": reference.recall_score(label, called, pos_label=0),
        "f1": reference.f1_score(label, called),
        "auc": reference.roc_auc_score(label, prob),
        "ap": reference.average_precision_score(label, prob),
        "brier": reference.brier_score_loss(label, prob),
    }
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    tn, fp, fn, tp = reference.confusion_matrix(label, called).ravel()
    assert (ours["tn"], ours["fp"], ours["fn"], ours["tp"]) == (tn, fp, fn, tp)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(3))
def test_the_roc_curve_equals_scikit_learns(seed, decimals):
    prob, label = random_table(seed, decimals=decimals)
    ours = roc_curve(prob, label)
    theirs = reference.roc_curve(label, prob, drop_intermediate=False)
    for mine, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, expected)


@pytest.mark.parametrize("num_bins", [1, 5, 10, 15])
@pytest.mark.parametrize("decimals", [None, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_reliability_bins_equal_scikit_learns(seed, decimals, num_bins):
    prob, label = random_table(seed, decimals=decimals)
    filled = [found for found in reliability_bins(prob, label, num_bins=num_bins) if found.count]
    share, mean = calibration_curve(label, prob, n_bins=num_bins)
    np.testing.assert_allclose([found.num_fake / found.count for found in filled], share)
    np.testing.assert_allclose([found.mean_prob for found in filled], mean)
    counts = np.array([found.count for found in filled])
    expected = (counts * np.abs(share - mean)).sum() / len(prob)
    assert expected_calibration_error(prob, label, num_bins=num_bins) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_equals_scikit_learns_and_is_finite_where_that_is_not(seed):
    prob, label = random_table(seed)
    inside = prob.clip(0.01, 0.99)
    assert video_metrics(inside, label)["nll"] == pytest.approx(reference.log_loss(label, inside))
    assert video_metrics([1.0, 0.0], [0, 1])["nll"] == pytest.approx(24 * np.log(2))


def test_a_calibration_counted_by_hand():
    # (0.1, 0.2]: 0.15 and 0.2, one fake: |0.35 - 1|; (0.7, 0.8]: three of 0.8, two fake: |2.4 - 2|; 1.0 right: 0.
    prob, label = [0.15, 0.2, 0.8, 0.8, 0.8, 1.0], [0, 1, 1, 0, 1, 1]
    assert expected_calibration_error(prob, label) == pytest.approx((0.65 + 0.4 + 0) / 6)
    assert video_metrics(prob, label)["brier"] == pytest.approx((0.0225 + 0.64 + 0.04 + 0.64 + 0.04 + 0) / 6)
    bins = reliability_bins(prob, label)
    assert [(found.count, found.num_fake) for found in bins if found.count] == [(2, 1), (3, 2), (1, 1)]
    assert [(found.low, found.high) for found in bins][1] == pytest.approx((0.1, 0.2))
    assert bins[0].mean_prob is None


def test_a_videos_probability_of_0_or_1_has_a_bin():
    bins = reliability_bins([0.0, 1.0], [0, 1], num_bins=4)
    assert [found.count for found in bins] == [1, 0, 0, 1]


def test_a_detector_that_says_what_it_knows_has_a_small_calibration_error_and_an_overconfident_one_a_large():
    generator = np.random.default_rng(0)
    odds = generator.normal(0, 2, 20_000)
    prob = 1 / (1 + np.exp(-odds))
    label = (generator.random(prob.size) < prob).astype(int)
    assert expected_calibration_error(prob, label) < 0.015
    overconfident = 1 / (1 + np.exp(-4 * odds))
    assert expected_calibration_error(overconfident, label) > 0.1
    assert video_metrics(overconfident, label)["brier"] > video_metrics(prob, label)["brier"]


def test_no_bins_are_refused_and_no_videos_have_no_calibration():
    with pytest.raises(ValueError, match="num_bins must be 1 or more, got 0"):
        expected_calibration_error([0.5], [1], num_bins=0)
    assert expected_calibration_error([], []) is None
    assert video_metrics([], [])["brier"] is None


def table_of(tp, fn, fp, tn):
    """Scores on the right or wrong side of 0.5 and their labels."""
    return [0.9] * tp + [0.1] * fn + [0.9] * fp + [0.1] * tn, [1] * (tp + fn) + [0] * (fp + tn)


@pytest.mark.parametrize(
    ("counts", "precision", "recall", "f1", "accuracy"),
    [((116, 8, 17, 93), 0.872, 0.935, 0.903, 0.893), ((105, 1, 29, 99), 0.784, 0.991, 0.875, 0.872)],
    ids=["ResNeXt50", "Inception v3"],
)
def test_the_original_studys_confusion_matrices_counted_by_hand(counts, precision, recall, f1, accuracy):
    """Table 4.1 of the thesis printed them with the classes swapped: precision 0.93 and recall 0.87."""
    metrics = video_metrics(*table_of(*counts))
    assert (metrics["tp"], metrics["fn"], metrics["fp"], metrics["tn"]) == counts
    rounded = [round(metrics[name], 3) for name in ("precision", "recall", "f1", "accuracy")]
    assert rounded == [precision, recall, f1, accuracy]


def test_a_small_table_counted_by_hand():
    # Sorted: F .9, R .8, F .7, F .4, R .2, R .1: of 9 pairs, 7 are in order; one ROC corner has both rates at 1/3.
    metrics = video_metrics([0.9, 0.8, 0.7, 0.4, 0.2, 0.1], [1, 0, 1, 1, 0, 0])
    assert metrics["auc"] == pytest.approx(7 / 9)
    assert metrics["ap"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert metrics["eer"] == pytest.approx(1 / 3)
    assert metrics["majority_baseline"] == 0.5
    assert (metrics["num_real"], metrics["num_fake"]) == (3, 3)


def test_the_equal_error_rate_lies_between_the_points_of_the_roc():
    # All four tied: the ROC is the diagonal, which meets the other diagonal in the middle.
    assert video_metrics([0.5] * 4, [0, 1, 0, 1])["eer"] == pytest.approx(0.5)
    # One tie of one fake and one real above one of each apart: from (0, 0) over (1/2, 1/2) to (1/2, 1).
    assert video_metrics([0.9, 0.9, 0.5, 0.1], [0, 1, 1, 0])["eer"] == pytest.approx(0.5)
    assert video_metrics([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])["eer"] == 0
    assert video_metrics([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1])["eer"] == 1


def test_a_detector_that_ranks_the_wrong_way_round_has_auc_0_and_all_ties_have_one_half():
    assert video_metrics([0.1, 0.9], [1, 0])["auc"] == 0
    assert video_metrics([0.3] * 5, [0, 1, 1, 0, 1])["auc"] == 0.5


def test_fake_is_the_positive_class():
    metrics = video_metrics([0.9, 0.9, 0.1], [1, 0, 0])
    assert (metrics["tp"], metrics["fp"], metrics["tn"], metrics["fn"]) == (1, 1, 1, 0)
    assert metrics["recall"] == 1
    assert metrics["recall_real"] == 0.5


def test_a_score_at_the_threshold_is_called_fake():
    assert video_metrics([0.5], [1])["tp"] == 1


def test_what_is_not_defined_is_none_and_never_zero():
    only_real = video_metrics([0.1, 0.2], [0, 0])
    undefined = ("balanced_accuracy", "precision", "recall", "f1", "auc", "ap", "eer")
    assert all(only_real[name] is None for name in undefined)
    assert only_real["accuracy"] == only_real["recall_real"] == only_real["majority_baseline"] == 1
    only_fake = video_metrics([0.9, 0.2], [1, 1])
    assert only_fake["recall_real"] is None
    assert only_fake["auc"] is None
    assert only_fake["recall"] == 0.5
    nothing = video_metrics([], [])
    assert {name for name, value in nothing.items() if value is not None} == {
        "tp", "fp", "fn", "tn", "num_real", "num_fake",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prob", "label", "message"),
    [
        ([0.5, 0.5], [1], "one length"),
        ([1.5], [1], "in 0..1"),
        ([float("nan")], [1], "leave out videos that have no score"),
        ([0.5], [2], "labels must be 0"),
    ],
)
def test_a_wrong_table_is_refused(prob, label, message):
    with pytest.raises(ValueError, match=message):
        video_metrics(prob, label)


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        ("ffpp", "", 0, 0.1), ("ffpp", "", 0, 0.6), ("ffpp", "faceswap", 1, 0.9), ("ffpp", "deepfakes", 1, 0.55),
        ("dfdc", "", 0, 0.2), ("dfdc", "swap", 1, 0.3), ("dfdc", "swap", 1, float("nan")), ("celebdf", "", 0, 0.4),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["dataset", "method", "label", "prob_fake"])


def test_a_method_is_set_against_all_real_videos_of_its_dataset(table):
    methods = metrics_by_group(table)["methods"]
    assert set(methods) == {"ffpp/faceswap", "ffpp/deepfakes", "dfdc/swap"}
    assert (methods["ffpp/faceswap"]["num_real"], methods["ffpp/faceswap"]["num_fake"]) == (2, 1)
    assert methods["ffpp/faceswap"]["auc"] == 1
    assert methods["ffpp/deepfakes"]["auc"] == 0.5


def test_groups_are_the_same_numbers_as_of_their_rows_alone(table):
    groups = metrics_by_group(table, threshold=0.35)
    alone = table[(table["dataset"] == "ffpp")]
    expected = video_metrics(alone["prob_fake"], alone["label"], threshold=0.35)
    assert groups["datasets"]["ffpp"] == {**expected, "num_unscored": 0}


def test_a_video_without_a_score_is_counted_and_not_judged(table):
    groups = metrics_by_group(table)
    assert groups["datasets"]["dfdc"]["num_unscored"] == 1
    assert groups["datasets"]["dfdc"]["num_fake"] == 1
    assert groups["overall"]["num_real"] + groups["overall"]["num_fake"] == 7


def test_the_groups_do_not_depend_on_the_order_of_the_rows(table):
    assert metrics_by_group(table.sample(frac=1, random_state=1)) == metrics_by_group(table)


def test_the_groups_are_fit_for_json(table):
    json.dumps(metrics_by_group(table), allow_nan=False)


def test_a_missing_column_is_named(table):
    with pytest.raises(ValueError, match="no column method"):
        metrics_by_group(table.drop(columns="method"))


def bootstrap_interval(prob, label, metric, **options):
    return bootstrap_intervals(prob, label, [metric], **options)[metric]


def test_the_bootstrap_interval_contains_the_value_and_repeats_for_a_seed():
    prob, label = random_table(0, num=80)
    auc = video_metrics(prob, label)["auc"]
    low, high = bootstrap_interval(prob, label, "auc", num_resamples=300)
    assert low < auc < high
    assert (low, high) == bootstrap_interval(prob, label, "auc", num_resamples=300)
    wide = bootstrap_interval(prob, label, "auc", num_resamples=300, confidence=0.99)
    assert wide[0] <= low
    assert high <= wide[1]


def test_a_metric_that_is_not_defined_has_no_interval():
    assert bootstrap_interval([0.5, 0.6], [1, 1], "auc", num_resamples=10) is None
    assert bootstrap_interval([], [], "accuracy", num_resamples=10) is None


@pytest.mark.parametrize("decimals", [None, 1])
def test_resamples_at_once_have_the_numbers_of_each_alone(decimals):
    prob, label = random_table(3, num=30, decimals=decimals)
    counts_RN = resample(label == 1, 40, np.random.default_rng(0))
    at_once = resampled(prob, label == 1, counts_RN, 0.4)
    for row, counts in enumerate(counts_RN):
        drawn = np.repeat(np.arange(30), counts)
        alone = video_metrics(prob[drawn], label[drawn], threshold=0.4)
        assert {name: at_once[name][row] for name in alone} == pytest.approx(alone)


def test_the_bootstrap_interval_of_an_accuracy_is_that_of_coins():
    # 400 videos of one label, 300 right: about 0.75 +- 1.96 * sqrt(0.75 * 0.25 / 400).
    interval = bootstrap_interval([0.9] * 300 + [0.1] * 100, [1] * 400, "accuracy", num_resamples=4000)
    assert interval == pytest.approx((0.75 - 0.0424, 0.75 + 0.0424), abs=0.006)


def test_the_bootstrap_intervals_of_one_metric_do_not_depend_on_the_others():
    prob, label = random_table(4, num=70)
    together = bootstrap_intervals(prob, label, ["auc", "precision", "eer"], num_resamples=200)
    for name, interval in together.items():
        assert bootstrap_interval(prob, label, name, num_resamples=200) == interval


def test_the_bootstrap_keeps_the_share_of_fakes():
    prob, label = random_table(1, num=50)
    found = bootstrap_intervals(prob, label, ["num_fake", "majority_baseline"], num_resamples=50)
    assert found["num_fake"] == (label.sum(), label.sum())
    assert found["majority_baseline"] == pytest.approx([max(label.mean(), 1 - label.mean())] * 2)


def test_a_resample_in_which_nothing_is_called_fake_does_not_spoil_the_interval_of_the_precision():
    # One video of 10 is called fake, so a resample without it has no precision.
    interval = bootstrap_interval([0.9] + [0.1] * 9, [1] * 5 + [0] * 5, "precision", num_resamples=200)
    assert interval == (1.0, 1.0)


def test_mcnemar_equals_the_table_counted_by_hand():
    # Both right 5, only a right 4, only b right 1, both wrong 2.
    correct_a = [1] * 5 + [1] * 4 + [0] * 1 + [0] * 2
    correct_b = [1] * 5 + [0] * 4 + [1] * 1 + [0] * 2
    found = mcnemar(correct_a, correct_b)
    assert (found.b, found.c) == (4, 1)
    # Of 5 coins, at most 1 shows heads: (1 + 5) / 32; both sides: 12 / 32.
    assert found.p_value == pytest.approx(12 / 32)


def test_mcnemar_equals_the_binomial_tail_and_the_published_example():
    # Agresti, Categorical Data Analysis, approval of a prime minister: 150 and 86 changed their mind.
    found = mcnemar([1] * 150 + [0] * 86, [0] * 150 + [1] * 86)
    assert found.p_value == pytest.approx(2 * binom.cdf(86, 236, 0.5))
    assert found.p_value == pytest.approx(3.7e-5, rel=0.02)


def test_mcnemar_does_not_depend_on_videos_that_both_get_right_or_wrong_nor_on_who_is_first():
    a, b = [1, 1, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0]
    found = mcnemar(a, b)
    more = mcnemar(a + [1] * 50 + [0] * 7, b + [1] * 50 + [0] * 7)
    assert more == found
    swapped = mcnemar(b, a)
    assert (swapped.b, swapped.c, swapped.p_value) == (found.c, found.b, pytest.approx(found.p_value))


def test_two_detectors_that_never_differ_are_not_told_apart():
    assert mcnemar([1, 0, 1], [1, 0, 1]).p_value == 1
    assert mcnemar([], []).p_value == 1
    with pytest.raises(ValueError, match="one length"):
        mcnemar([1, 0], [1])


def test_holm_equals_the_steps_counted_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, each at least the one before: 0.04, 0.06, 0.06, 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(3))
def test_clip_metrics_over_batches_equal_video_metrics_at_once(seed):
    prob, label = random_table(seed, num=50)
    metrics = clip_metrics("val/")
    for batch in np.array_split(np.arange(50), 7):
        metrics.update(torch.tensor(prob[batch], dtype=torch.float32), torch.tensor(label[batch]))
    values = {name: value.item() for name, value in metrics.compute().items()}
    expected = video_metrics(prob.astype(np.float32), label)
    assert values == pytest.approx({f"val/{n}": expected[n] for n in ("accuracy", "precision", "recall", "f1", "auc")})


def test_clip_metrics_that_are_not_defined_are_nan_without_a_warning():
    metrics = clip_metrics("val/")
    metrics.update(torch.tensor([0.1, 0.2]), torch.tensor([0, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {name: value.item() for name, value in metrics.compute().items()}
    assert values.pop("val/accuracy") == 1
    assert all(np.isnan(value) for value in values.values())


def test_at_its_boundary_a_percentile_interval_has_no_width_so_that_a_reader_must_not_take_it_for_certain():
    assert bootstrap_interval([0.9] * 3 + [0.1] * 3, [1] * 3 + [0] * 3, "auc", num_resamples=50) == (1.0, 1.0)
    assert bootstrap_interval([0.9] * 6, [1] * 3 + [0] * 3, "balanced_accuracy", num_resamples=50) == (0.5, 0.5)
