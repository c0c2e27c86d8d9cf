"""A probability of 0.8 should be right four times in five, and a threshold should lie where it errs least."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from dfd.base.errors import ConfigError
from dfd.evaluation.calibration import MIN_OF_LABEL, TEMPERATURES, best_threshold, calibrate, threshold_at, video_probs
from dfd.metrics.calibration import expected_calibration_error
from dfd.metrics.videos import video_metrics
from dfd.models.files.checkpoint import load_model
from dfd.scoring.detector import Detector


def drawn(num=3000, *, temperature=1.0, seed=0, num_windows=1, noise=0.0):
    """Log-odds of videos of one face that are true, then multiplied by ``temperature``, and labels drawn by them."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, num)
    label = (generator.random(num) < expit(true)).astype(int)
    windows = true[:, None] + noise * generator.normal(size=(num, num_windows))
    return (temperature * windows)[:, None, :].tolist(), label


def one_window(*log_odds):
    return [[[value]] for value in log_odds]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_that_logits_were_drawn_with_is_found(temperature):
    found = calibrate(*drawn(temperature=temperature))
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.note == ""


@pytest.mark.parametrize("num_windows", [1, 4])
def test_an_overconfident_detectors_calibration_error_falls_on_videos_it_was_not_fitted_on(num_windows):
    found = calibrate(*drawn(400, temperature=5, num_windows=num_windows, noise=0.5))
    log_odds, label = drawn(4000, temperature=5, num_windows=num_windows, noise=0.5, seed=1)
    before = expected_calibration_error(video_probs(log_odds), label)
    after = expected_calibration_error(video_probs(log_odds, temperature=found.temperature), label)
    assert before > 0.1
    assert after < before / 3


def test_of_several_windows_and_faces_it_is_the_videos_probability_that_is_fitted():
    """The maximum over three faces is high by chance; what is fitted must know of it."""
    generator = np.random.default_rng(0)
    log_odds = generator.normal(0, 3, (2000, 3, 2)).tolist()
    shown = video_probs(log_odds, temperature=2.0)
    label = (generator.random(2000) < shown).astype(int)
    found = calibrate(log_odds, label)
    assert found.temperature == pytest.approx(2.0, rel=0.1)
    assert found.aggregation == "max_of_shrunk_means"
    windows_alone = calibrate([[[window]] for video in log_odds for window in np.ravel(video)], label.repeat(6))
    assert windows_alone.temperature != pytest.approx(2.0, rel=0.5)


def test_the_probability_of_a_video_is_the_aggregation_of_its_windows():
    log_odds = [[[2.0, -1.0], [0.5]], [[-3.0]]]
    expected = [np.mean([expit(2.0 / 1.5), expit(-1.0 / 1.5)]), expit(-2.0)]
    found = video_probs(log_odds, temperature=1.5, aggregation="max_of_means")
    assert found == pytest.approx(np.maximum(expected, [expit(0.5 / 1.5), 0]))
    assert video_probs(log_odds, aggregation="max_of_windows") == pytest.approx([expit(2.0), expit(-3.0)])


def test_calibrating_does_not_change_the_ranking_of_videos_of_one_window():
    log_odds, label = drawn(300, temperature=4)
    found = calibrate(log_odds, label)
    before, after = (video_metrics(video_probs(log_odds, temperature=t), label) for t in (None, found.temperature))
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-12)


def test_calibrating_can_change_the_ranking_of_videos_of_several_windows():
    """One sure window against two rather sure ones: a mean of probabilities is no function of the mean of logits."""
    one_sure, both_rather = [[[20.0, -0.5]], [[1.0, 1.0]]]
    assert np.argmax(video_probs([one_sure, both_rather])) == 1
    assert np.argmax(video_probs([one_sure, both_rather], temperature=10.0)) == 0


def test_a_small_validation_set_told_apart_perfectly_is_not_believed_without_limit():
    """Its likelihood alone would be highest at a temperature of 0."""
    found = calibrate(one_window(*[-3.0] * 6, *[3.0] * 6), [0] * 6 + [1] * 6)
    assert found.temperature > 2 * TEMPERATURES[0]
    # Platt's targets for six and six: 7/8 and 1/8.
    assert video_probs(one_window(3.0), temperature=found.temperature)[0] == pytest.approx(7 / 8, abs=1e-3)
    assert found.threshold == pytest.approx(0.5)


def test_a_detector_whose_softmax_is_full_is_brought_back():
    """Nearly all probabilities are 0 or 1, where the likelihood is flat, so that a search could stop anywhere."""
    log_odds, label = drawn(500, temperature=15)
    saturated = calibrate([[[60 * value] for [value] in video] for video in log_odds], label)
    assert saturated.temperature == pytest.approx(TEMPERATURES[1], rel=0.01)
    assert "at the end of the searched range" in saturated.note
    assert saturated.after["nll"] < saturated.before["nll"]


@pytest.mark.parametrize("num_fake", [0, 1, MIN_OF_LABEL - 1])
def test_too_few_videos_of_a_label_are_refused_with_what_to_do(num_fake):
    label = np.array([0] * 20 + [1] * num_fake)
    found = calibrate(one_window(*np.linspace(-2, 2, len(label))), label)
    assert (found.temperature, found.threshold, found.after) == (None, 0.5, None)
    assert f"there are 20 real and {num_fake} fake videos" in found.note
    assert "split_fractions" in found.note


def test_just_enough_videos_are_calibrated():
    label = [0] * MIN_OF_LABEL + [1] * MIN_OF_LABEL
    assert calibrate(one_window(*np.linspace(-2, 2, len(label))), label).temperature is not None


def test_a_detector_that_gives_no_number_is_not_calibrated():
    found = calibrate(one_window(*[float("nan")] * 20), [0, 1] * 10)
    assert found.temperature is None
    assert "gave no number" in found.note
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_detector_that_knows_nothing_says_about_one_half_and_keeps_the_threshold():
    label = np.arange(40) % 2
    inverted = calibrate(one_window(*(4.0 * (1 - 2 * label))), label)
    assert inverted.threshold == 0.5
    assert "no threshold separates these videos better than chance" in inverted.note
    assert inverted.temperature == pytest.approx(TEMPERATURES[1], rel=0.01)
    assert video_probs(one_window(4.0), temperature=inverted.temperature)[0] == pytest.approx(0.55, abs=0.01)


def test_a_threshold_on_a_plateau_lies_in_its_middle_in_log_odds():
    prob = expit(np.array([-5.0, -4.0, 1.0, 2.0]))
    assert best_threshold(prob, [0, 0, 1, 1]) == pytest.approx(expit(-1.5))


def test_of_equally_good_gaps_the_widest_is_taken():
    # R, F, R, F: between the first two and between the last two, three of four are told.
    assert best_threshold(expit(np.array([-2.0, -1.0, 0.0, 3.0])), [0, 1, 0, 1]) == pytest.approx(expit(1.5))
    assert best_threshold(expit(np.array([-3.0, 0.0, 1.0, 2.0])), [0, 1, 0, 1]) == pytest.approx(expit(-1.5))


def test_the_threshold_counts_both_labels_alike_however_many_there_are():
    # Nine reals around one fake: accuracy would call everything real.
    prob = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.75, 0.8, 0.7]
    threshold = best_threshold(prob, [0] * 9 + [1])
    assert 0.65 < threshold < 0.7
    assert video_metrics(prob, [0] * 9 + [1], threshold=threshold)["balanced_accuracy"] == pytest.approx(
        (1 + 7 / 9) / 2
    )


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed, decimals):
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, 60)
    prob = np.clip(generator.normal(0.4 + 0.2 * label, 0.25), 0, 1)
    prob = prob if decimals is None else prob.round(decimals)
    chosen = video_metrics(prob, label, threshold=best_threshold(prob, label))["balanced_accuracy"]
    assert chosen == pytest.approx(max(video_metrics(prob, label, threshold=t)["balanced_accuracy"] for t in prob))


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_no_more_real_videos_than_allowed_are_called_fake_and_one_step_lower_they_would_be(share):
    prob = np.random.default_rng(0).random(200).round(2) * 0.99
    label = (np.arange(200) % 4 == 0).astype(int)
    threshold = threshold_at(share, prob, label)
    real = prob[label == 0]
    assert (real >= threshold).mean() <= share < (real >= np.nextafter(threshold, 0)).mean()


def test_a_share_of_false_alarms_decides_the_threshold_and_not_the_temperature():
    log_odds, label = drawn(400)
    found, best = calibrate(log_odds, label, false_alarms=0.05), calibrate(log_odds, label)
    assert found.temperature == best.temperature
    prob = video_probs(log_odds, temperature=found.temperature)
    assert (prob[label == 0] >= found.threshold).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(("share", "words"), [(0.05, "there are 10 real videos.*takes 20"), (0, "between 0 and 1")])
def test_a_share_of_false_alarms_that_no_video_can_be_is_refused(share, words):
    with pytest.raises(ConfigError, match=words):
        threshold_at(share, [0.1] * 10, [0] * 10)


def test_a_threshold_is_not_found_where_there_is_none():
    assert best_threshold([0.1, 0.9], [1, 0]) is None
    assert best_threshold([0.5, 0.5, 0.5], [1, 0, 1]) is None
    assert best_threshold([0.1, 0.9], [1, 1]) is None
    assert best_threshold([], []) is None


def test_a_threshold_separates_even_neighbouring_numbers_at_the_end_of_the_scale():
    high = 1.0
    low = float(np.nextafter(high, 0))
    assert low < best_threshold([low, high], [0, 1]) <= high
    assert 0.0 < best_threshold([0.0, 5e-324], [0, 1]) <= 5e-324


def test_the_verdicts_on_videos_of_one_window_do_not_depend_on_the_temperature():
    log_odds, label = drawn(60, temperature=3)
    raw, cold = (video_probs(log_odds, temperature=t) for t in (1.0, 3.0))
    assert ((raw >= best_threshold(raw, label)) == (cold >= best_threshold(cold, label))).all()


def test_the_card_has_what_was_found_and_the_detector_uses_it(tiny_checkpoint: Path) -> None:
    """A calibrated detector gives softmax(logits / temperature), and nothing else."""
    model, card = load_model(tiny_checkpoint)
    found = calibrate(*drawn(100, temperature=3), card=card)
    calibrated = found.on(card, split="val", windows_per_track=4)
    assert (calibrated.temperature, calibrated.threshold) == (found.temperature, found.threshold)
    assert (calibrated.calibration["split"], calibrated.calibration["windows_per_track"]) == ("val", 4)
    assert calibrated.calibration["num_real"] + calibrated.calibration["num_fake"] == 100
    assert calibrated.calibration["after"]["nll"] < calibrated.calibration["before"]["nll"]
    assert json.loads(json.dumps(calibrated.to_dict(), allow_nan=False)) == calibrated.to_dict()
    detector = Detector.of(model, calibrated, name="tiny", device="cpu")
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 64, 64, 3)).astype(np.uint8)
    with torch.inference_mode():
        logits = model(torch.from_numpy(clips).permute(0, 1, 4, 2, 3))
    expected = (logits / found.temperature).softmax(-1)[:, 1].tolist()
    assert detector.prob_fake(clips) == pytest.approx(expected, abs=1e-6)


def test_before_is_what_the_detector_was_before(tiny_checkpoint: Path) -> None:
    _, card = load_model(tiny_checkpoint)
    log_odds, label = drawn(100, temperature=3)
    first = calibrate(log_odds, label)
    again = calibrate(log_odds, label, card=replace(card, temperature=first.temperature, threshold=first.threshold))
    assert again.before == pytest.approx(first.after)
    assert again.after == pytest.approx(first.after)
