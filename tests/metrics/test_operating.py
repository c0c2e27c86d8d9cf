"""Operating points, kinds, groups, sources and segments, each against scikit-learn or a table counted by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from dfd.metrics.formulas import MAX_FPRS, TPRS
from dfd.metrics.groups import by_column, by_kind, paired_auc
from dfd.metrics.operating import exact_interval, in_use, operating_points
from dfd.metrics.segments import (
    IOUS,
    Segment,
    _hits,
    _values,
    moments_inside,
    parse_segments,
    proposals,
    temporal_metrics,
)
from dfd.metrics.videos import bootstrap_intervals, video_metrics


def drawn(seed: int, *, num: int = 300, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, num)
    prob = np.clip(generator.normal(0.4 + 0.2 * label, 0.2), 0, 1)
    return (prob if decimals is None else prob.round(decimals)), label


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(3))
def test_the_share_found_at_a_rate_of_false_alarms_equals_scikit_learns(seed: int, decimals: int | None) -> None:
    prob, label = drawn(seed, decimals=decimals)
    fpr, tpr, thresholds = reference.roc_curve(label, prob, drop_intermediate=False)
    values, points = video_metrics(prob, label), operating_points(prob, label, threshold=0.5)
    for limit, name, point in zip(MAX_FPRS, TPRS, points[1:], strict=True):
        last = np.flatnonzero(fpr <= limit)[-1]
        assert values[name] == pytest.approx(tpr[last])
        assert (point["tpr"], point["fpr"]) == pytest.approx((tpr[last], fpr[last]))
        assert point["threshold"] == (None if last == 0 else pytest.approx(thresholds[last]))


def test_a_threshold_of_an_operating_point_keeps_its_rate_and_the_next_lower_score_does_not() -> None:
    prob, label = drawn(5, num=1000)
    (_, _, one_percent, _) = operating_points(prob, label, threshold=0.5)
    reals = prob[label == 0]
    assert (reals >= one_percent["threshold"]).mean() <= 0.01
    lower = prob[prob < one_percent["threshold"]].max()
    assert (reals >= lower).mean() > 0.01 or (prob[label == 1] >= lower).mean() == one_percent["tpr"]


def test_twenty_real_videos_allow_one_false_alarm_at_five_percent_and_none_at_one() -> None:
    prob = [0.9, 0.8, 0.7, *[0.1] * 18, 0.85, 0.75]
    label = [1, 1, 1, *[0] * 18, 0, 0]
    points = {point["max_fpr"]: point for point in operating_points(prob, label, threshold=0.5)}
    assert [points[limit]["fp"] for limit in MAX_FPRS] == [0, 0, 1]
    assert [points[limit]["tp"] for limit in MAX_FPRS] == [1, 1, 2]
    assert points[None]["fp"] == 2


def test_the_values_in_use_are_those_of_bayes_rule_counted_by_hand() -> None:
    # Of 100,000 videos 1000 are fake: 800 of them are found; of 99,000 real ones 1 % are called fake, 990.
    used = in_use(80, 100, 10, 1000, prevalence=0.01)
    assert used["ppv"] == pytest.approx(800 / (800 + 990))
    assert used["npv"] == pytest.approx(98010 / (98010 + 200))
    assert used["real_per_fake"] == pytest.approx(990 / 800)
    assert used["ppv_interval"][0] < used["ppv"] < used["ppv_interval"][1]


def test_no_false_alarm_among_few_real_videos_makes_no_certainty() -> None:
    used = in_use(30, 30, 0, 30, prevalence=0.01)
    assert used["ppv"] == 1
    assert used["ppv_interval"][0] < 0.5
    assert operating_points([0.9] * 30 + [0.1] * 30, [1] * 30 + [0] * 30, threshold=0.5)[1]["tpr_interval"] == (
        exact_interval(30, 30)
    )


def test_a_detector_that_finds_nothing_has_no_number_of_real_videos_per_fake() -> None:
    used = in_use(0, 10, 0, 10, prevalence=0.1)
    assert (used["ppv"], used["real_per_fake"], used["npv"]) == (None, None, pytest.approx(0.9))


def test_the_interval_of_frames_that_are_all_alike_within_their_video_is_that_of_the_videos() -> None:
    prob, label = drawn(0, num=80)
    videos = bootstrap_intervals(prob, label, ["auc"], num_resamples=400)["auc"]
    frames = [np.repeat(values, 5) for values in (prob, label, np.arange(80))]
    assert videos is not None
    found = bootstrap_intervals(*frames[:2], ["auc"], num_resamples=400, clusters=frames[2])["auc"]
    naive = bootstrap_intervals(*frames[:2], ["auc"], num_resamples=400)["auc"]
    assert found == pytest.approx(videos, abs=0.02)
    assert naive[1] - naive[0] < 0.7 * (found[1] - found[0])


def table(seed: int = 0, *, num: int = 40) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = [("a", "", 0, 0.3)] * num + [("a", "swap", 1, 0.6)] * num + [("a", "talk", 1, 0.4)] * num
    frame = pd.DataFrame(rows, columns=["dataset", "method", "label", "prob_fake"])
    return frame.assign(prob_fake=np.clip(frame["prob_fake"] + generator.normal(0, 0.15, len(frame)), 0, 1))


def test_each_kind_is_compared_with_the_real_videos_of_its_data_set_and_seen_kinds_are_apart() -> None:
    videos = table()
    found = by_kind(videos, {"a/swap": True, "a/talk": False})
    for kind in found["kinds"]:
        rows = videos[(videos["label"] == 0) | (videos["method"] == kind["method"])]
        assert kind["auc"] == pytest.approx(reference.roc_auc_score(rows["label"], rows["prob_fake"]))
        assert kind["interval"][0] < kind["auc"] < kind["interval"][1]
    swap, talk = found["kinds"]
    assert (swap["seen"], talk["seen"]) == (True, False)
    assert (found["seen"]["auc"], found["unseen"]["auc"]) == (swap["auc"], talk["auc"])
    assert found["unknown"] is None


def test_the_mean_of_kinds_has_the_interval_of_a_mean_over_shared_real_videos() -> None:
    found = by_kind(table(), {})
    assert found["unknown"]["auc"] == pytest.approx(np.mean([kind["auc"] for kind in found["kinds"]]))
    low, high = found["unknown"]["interval"]
    narrowest = min(kind["interval"][1] - kind["interval"][0] for kind in found["kinds"])
    # Independent kinds would give a mean that is about 0.7 times as uncertain; shared real videos keep it above.
    assert 0.6 * narrowest < high - low < sum(kind["interval"][1] - kind["interval"][0] for kind in found["kinds"])


def test_a_kind_without_real_videos_of_its_data_set_is_counted_and_not_measured() -> None:
    found = by_kind(table()[lambda rows: rows["label"] == 1], {"a/swap": True})
    assert [kind["auc"] for kind in found["kinds"]] == [None, None]
    assert found["seen"] is None


def test_the_paired_auc_counted_by_hand() -> None:
    # Source x: fakes .9 and .4 against real .5: one of two in order. Source y: one tie, one half. z: no real video.
    rows = [("x", 0, 0.5), ("x", 1, 0.9), ("x;z", 1, 0.4), ("y", 0, 0.3), ("y", 1, 0.3)]
    found = paired_auc(pd.DataFrame(rows, columns=["source_ids", "label", "prob_fake"]))
    assert found["auc"] == pytest.approx((0.5 + 0.5) / 2)
    assert (found["num_sources"], found["num_pairs"], found["interval"]) == (2, 3, None)


def test_a_detector_that_only_knows_the_camera_has_a_paired_auc_of_one_half() -> None:
    """Over all videos it looks good, because fakes come mostly from one camera."""
    rows = [(f"p{i}", label, 0.9 if i >= 20 else 0.1) for i in range(40) for label in ([0, 1] if i % 4 else [i >= 20])]
    videos = pd.DataFrame(rows, columns=["source_ids", "label", "prob_fake"])
    assert video_metrics(videos["prob_fake"], videos["label"])["auc"] > 0.55
    assert paired_auc(videos)["auc"] == 0.5


def test_groups_of_people_have_their_own_numbers_and_the_gap_of_the_extremes() -> None:
    videos = pd.concat([table(1).assign(sex="f"), table(2).assign(sex="m")], ignore_index=True)
    videos.loc[videos["sex"].eq("m") & videos["label"].eq(1), "prob_fake"] *= 0.7
    found = by_column(videos, "sex", threshold=0.5)
    for group in found["groups"]:
        rows = videos[videos["sex"] == group["group"]]
        expected = reference.recall_score(rows["label"], rows["prob_fake"] >= 0.5)
        assert group["recall"] == pytest.approx(expected)
    gap = found["gaps"]["recall"]
    values = {group["group"]: group["recall"] for group in found["groups"]}
    assert (gap["lowest"], gap["highest"]) == ("m", "f")
    assert gap["gap"] == pytest.approx(values["f"] - values["m"])
    assert 0 < gap["interval"][0] < gap["gap"] < gap["interval"][1]
    assert found["warnings"] == []


def test_a_small_group_is_pointed_out_and_takes_no_part_in_the_gap() -> None:
    videos = table().assign(sex="f")
    videos.loc[:4, "sex"] = "x"
    videos.loc[5:9, "sex"] = ""
    found = by_column(videos, "sex", threshold=0.5)
    assert found["gaps"] == {}
    assert found["warnings"] == [
        "sex not known: 5 real and 0 fake videos are too few to compare (at least 10 of each)",
        "sex x: 5 real and 0 fake videos are too few to compare (at least 10 of each)",
    ]


def test_segments_are_read_in_every_form_of_a_time() -> None:
    assert [(one.start, one.end) for one in parse_segments("1:00:05-1:00:07.25;0:02–0:03 ; 4-5")] == [
        (2, 3), (4, 5), (3605, 3607.25),
    ]  # fmt: skip
    assert parse_segments(" ") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [("0:40", "'0:40' is no segment"), ("0:40-0:30", "ends after its start"), ("0-5;4-6", "0-5 and 4-6 overlap")],
)
def test_a_wrong_segment_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_segments(text)


def test_temporal_ap_and_ar_counted_by_hand() -> None:
    """Two segments; ranked: a hit (IoU 1), a false one, a hit with IoU 0.6, and one that finds what was found."""
    truth = {"a": [Segment(0, 10), Segment(20, 30)], "real": []}
    proposed = {
        "a": [Segment(0, 10, 0.9), Segment(20, 26, 0.7), Segment(0, 9, 0.6)],
        "real": [Segment(0, 5, 0.8)],
    }
    found = temporal_metrics(truth, proposed)
    assert found["ap"] == pytest.approx({"0.5": (1 + 2 / 3) / 2, "0.75": 0.5, "0.95": 0.5})
    assert found["ar"] == {"0.5": 1.0, "0.75": 0.5, "0.95": 0.5}
    assert (found["num_videos"], found["num_segments"]) == (2, 2)


def drawn_segments(num: int) -> tuple[dict[str, list[Segment]], dict[str, list[Segment]]]:
    """Videos, every third of them real, with proposals near and far from their segments."""
    generator = np.random.default_rng(3)
    truth = {f"v{place:02}": [Segment(2, 6)] if place % 3 else [] for place in range(num)}
    shifts = generator.normal(0, 1, num).clip(-2, 2)
    near = {v: Segment(2 + s, 6 + s, float(c)) for v, s, c in zip(truth, shifts, generator.random(num), strict=True)}
    return truth, {video: [near[video], Segment(10, 12, float(generator.random()))] for video in truth}


def test_a_resample_of_videos_is_measured_as_the_videos_that_it_holds() -> None:
    truth, proposed = drawn_segments(6)
    counts = dict(zip(truth, (2, 0, 1, 1, 3, 0), strict=True))
    copies = [(video, f"{video}-{copy}") for video, number in counts.items() for copy in range(number)]
    expected = temporal_metrics({new: truth[v] for v, new in copies}, {new: proposed[v] for v, new in copies})
    ranked = sorted(
        ((one, place) for place, video in enumerate(truth) for one in proposed[video]),
        key=lambda item: -item[0].confidence,
    )
    hits = {f"{iou:g}": _hits(ranked, [*truth.values()], iou) for iou in IOUS}
    of_video, per_video = (np.array(values) for values in ([place for _, place in ranked], [*map(len, truth.values())]))
    found = _values(hits, of_video, per_video, np.array([[*counts.values()]], float))
    for name in ("ap", "ar"):
        assert {iou: value[0] for iou, value in found[name].items()} == pytest.approx(expected[name])


def test_temporal_intervals_hold_the_value_and_need_ten_videos_with_segments() -> None:
    found = temporal_metrics(*drawn_segments(30))
    for name in ("ap", "ar"):
        low, high = found[f"{name}_intervals"]["0.5"]
        assert low < found[name]["0.5"] < high
    assert temporal_metrics(*drawn_segments(12))["ap_intervals"] == {"0.5": None, "0.75": None, "0.95": None}


def test_a_perfect_curve_gives_its_segment_first_and_a_temporal_ap_of_one() -> None:
    curve = [(t, t + 1, 0.95 if 4 <= t < 8 else 0.05) for t in range(12)]
    first = proposals(curve)[0]
    assert (first.start, first.end) == (4, 8)
    assert temporal_metrics({"v": [Segment(4, 8)]}, {"v": proposals(curve)})["mean_ap"] == 1.0


def test_windows_far_apart_make_no_common_proposal() -> None:
    found = proposals([(0, 1, 0.9), (50, 51, 0.9), (60, 61, 0.1)])
    assert {(one.start, one.end) for one in found if one.confidence > 0.1} == {(0, 1), (50, 51)}


def test_the_highest_moment_is_inside_or_outside_of_the_segments() -> None:
    truth = {"in": [Segment(1, 3)], "out": [Segment(1, 3)], "real": []}
    windows = {"in": [(0, 1, 0.1), (2, 3, 0.9)], "out": [(0, 1, 0.8), (2, 3, 0.7)], "real": [(0, 1, 0.99)]}
    assert moments_inside(truth, windows) == (1, 2)
