"""Figures show the numbers they are given, whatever the names and however many."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dfd.figures import style as plots
from dfd.figures.comparison import bar_comparison, metric_against, roc_overlay
from dfd.figures.curves import confusion_matrices, learning_curves, read_history, reliability_diagram
from dfd.figures.studies import StudyPoint, metric_by_parameter, parallel_coordinates

HOSTILE = "\udcff$\\frac{ a_long_name_without_any_space_in_it_at_all_that_goes_on_and_on + transformer (clip_len=100)"
COUNTS = {"tp": 116, "fn": 8, "fp": 17, "tn": 93}


def scores(seed=0, num=60):
    generator = np.random.default_rng(seed)
    label = np.arange(num) % 2
    return np.clip(generator.normal(0.4 + 0.2 * label, 0.25), 0, 1), label


def texts(figure):
    """Everything written on the figure that can be seen."""
    figure.canvas.draw()
    found = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_visible()]
    return [text.get_text() for text in found if text.get_text()]


@pytest.fixture
def history():
    epochs = np.arange(5) + 1
    return pd.DataFrame(
        {
            "epoch": epochs,
            "train/loss": 0.8 - 0.1 * epochs,
            "val/loss": 0.75 - 0.05 * epochs,
            "train/accuracy": 0.4 + 0.1 * epochs,
            "val/accuracy": 0.45 + 0.05 * epochs,
        }
    )


def test_the_chosen_epoch_is_marked_as_people_count(history):
    figure = learning_curves(history, chosen_epochs=[4], max_loss=2.0)
    assert "chosen: epoch 4" in texts(figure)
    assert figure.axes[0].get_ylim() == (0, 2.0)
    marks = [line for ax in figure.axes for line in ax.lines if list(line.get_xdata()) == [4, 4]]
    assert len(marks) == 2
    assert not any("chosen" in text for text in texts(learning_curves(history)))


def test_the_auc_of_an_epoch_is_drawn_where_it_was_logged(history):
    assert len(learning_curves(history).axes) == 2
    figure = learning_curves(history.assign(**{"val/auc": 0.6 + 0.05 * history["epoch"]}))
    (line,) = figure.axes[2].lines
    assert figure.axes[2].get_ylabel() == "AUC"
    assert line.get_ydata() == pytest.approx(0.6 + 0.05 * history["epoch"])


def test_an_epoch_that_several_runs_have_is_their_mean_in_a_band(history):
    other = history.assign(**{"val/loss": history["val/loss"] + 0.2})
    figure = learning_curves(pd.concat([history, other]), chosen_epochs=[4, 2, 4])
    _, val, *_ = figure.axes[0].lines
    assert val.get_ydata() == pytest.approx(history["val/loss"] + 0.1)
    assert len(figure.axes[0].collections) == 2
    assert "chosen: epochs 4, 2, 4" in texts(figure)
    assert len(learning_curves(history).axes[0].collections) == 0


@pytest.mark.parametrize("num_epochs", [1, 2, 5])
def test_the_marks_of_an_epoch_axis_are_whole_and_apart(history, num_epochs):
    figure = learning_curves(history.iloc[:num_epochs], chosen_epochs=[1])
    figure.canvas.draw()
    for ax in figure.axes:
        low, high = ax.get_xlim()
        marks = [mark for mark in ax.get_xticks() if low <= mark <= high]
        assert marks
        assert all(float(mark).is_integer() for mark in marks)
        assert all(second - first >= 1 for first, second in itertools.pairwise(marks))


def test_the_legend_of_learning_curves_covers_no_panel(history):
    figure = learning_curves(history.iloc[:1], chosen_epochs=[1])
    figure.canvas.draw()
    (legend,) = figure.legends
    assert not any(ax.get_legend() for ax in figure.axes)
    assert not any(legend.get_window_extent().overlaps(ax.get_window_extent()) for ax in figure.axes)


def test_a_metrics_file_is_counted_from_one_whichever_version_wrote_it(tmp_path):
    for first in (0, 1):
        rows = [f"{first + epoch},{epoch},0.{9 - epoch}" for epoch in range(3)]
        (tmp_path / "metrics.csv").write_text("\n".join(["epoch,step,val/loss", *rows]) + "\n")
        history = read_history(tmp_path / "metrics.csv")
        assert list(history["epoch"]) == [1, 2, 3]
        assert list(history["val/loss"]) == [0.9, 0.8, 0.7]


def test_every_confusion_matrix_has_its_counts_and_class_names():
    figure = confusion_matrices({f"model {index}": {**COUNTS, "tp": 200 + index} for index in range(7)})
    written = texts(figure)
    assert written.count("called fake") == written.count("is real") == 7
    assert all(any(text.startswith(f"{200 + index}\n") for text in written) for index in range(7))
    assert [ax.axison for ax in figure.axes].count(True) == 7


def test_bars_show_each_number_and_a_dash_where_there_is_none():
    panels = {"accuracy": [(0.9, (0.85, 0.95)), (None, None)], "loss": [(0.2, None), (1.4, None)]}
    figure = bar_comparison(["a", "b"], panels, reference={"accuracy": ("majority", 0.5)})
    written = texts(figure)
    assert {"0.900", " –", "0.200", "1.400", "majority 0.500"} <= set(written)
    widths = [[round(bar.get_width(), 3) for bar in ax.patches] for ax in figure.axes]
    assert widths == [[0.9], [0.2, 1.4]]


def test_bars_of_nothing_known_are_drawn():
    bar_comparison(["a"], {"accuracy": [(None, None)]}).canvas.draw()


def test_a_roc_curve_is_labelled_with_its_area():
    figure = roc_overlay({"good": [([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])], "bad": [([0.9, 0.8, 0.2], [0, 0, 1])]})
    assert {"good (AUC 1.000)", "bad (AUC 0.000)"} <= set(texts(figure))


def test_a_roc_curve_of_several_seeds_is_their_mean_with_the_deviation_of_the_area():
    good, bad = ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]), ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1])
    figure = roc_overlay({"model": [good, bad]})
    assert any("AUC 0.500 ± 0.707," in text.replace("\n", " ") for text in texts(figure))
    assert len(figure.axes[0].collections) == 1


def test_a_configuration_with_a_missing_seed_is_never_drawn_as_the_best():
    points = [
        StudyPoint({"head": "mean"}, 0.7, deviation=0.1),
        StudyPoint({"head": "gru"}, 0.9, "incomplete"),
    ]
    for draw in (metric_by_parameter, parallel_coordinates):
        figure = draw(points, metric="val/auc")
        assert {"the best", "a seed of it has no result"} <= set(texts(figure))
        orange = [line for line in figure.axes[0].lines if line.get_color() == plots.ORANGE]
        assert len(orange) == 1


def test_whole_numbers_of_a_parameter_have_whole_marks():
    points = [StudyPoint({"epochs": str(value)}, 0.5 + value / 10) for value in (1, 2)]
    figure = metric_by_parameter(points, metric="val/auc")
    figure.canvas.draw()
    assert all(float(mark).is_integer() for mark in figure.axes[0].get_xticks())


def test_a_metric_is_drawn_at_each_value_of_the_setting_and_unknown_ones_are_left_out():
    lines = {"lstm": {10: (0.8, (0.7, 0.9)), 20: (None, None), 100: (0.9, None)}}
    figure = metric_against("data.clip_len", {"accuracy": lines})
    (ax,) = figure.axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10", "20", "100"]
    drawn = ax.lines[0]
    assert list(drawn.get_xdata()) == [10, 100]
    assert list(drawn.get_ydata()) == [0.8, 0.9]


def test_whiskers_of_several_series_do_not_cover_each_other():
    lines = {name: {10: (0.8, (0.7, 0.9)), 20: (0.8, (0.7, 0.9))} for name in ("lstm", "mean")}
    (ax,) = metric_against("clip_len", {"accuracy": lines}).axes
    first, second = (
        line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"
    )
    assert first < 10 < second


@pytest.mark.parametrize("num", [1, 2, 12])
@pytest.mark.parametrize("name", ["resnext50 + lstm (data.clip_len=100)", HOSTILE], ids=["usual", "hostile"])
def test_detectors_of_any_name_and_number_fit_into_their_figures(tmp_path, history, num, name):
    """Nothing is read as a formula, and every text lies within the picture."""
    names = [f"{index}{name}" for index in range(num)]
    estimates = [(0.5 + 0.03 * index, (0.4, 0.9)) for index in range(num)]
    lines = {name: {10: (0.8, None), 20: (0.9, (0.8, 0.95)), 40: (math.nan, None)} for name in names}
    figures = {
        "matrices": confusion_matrices(dict.fromkeys(names, COUNTS)),
        "bars": bar_comparison(names, {"accuracy": estimates, "loss": estimates}),
        "roc": roc_overlay({name: [scores(index)] for index, name in enumerate(names)}),
        "against": metric_against("data.clip_len", {"accuracy": lines}),
        "curves": learning_curves(history, title=names[0]),
    }
    for kind, figure in figures.items():
        height, width = image.imread(plots.save(figure, tmp_path / f"{kind}.png")).shape[:2]
        renderer = FigureCanvasAgg(figure).get_renderer()
        for artist in [*figure.axes, *figure.legends]:
            box = artist.get_tightbbox(renderer)
            if box is not None:
                assert box.x0 >= -1, kind
                assert box.y0 >= -1, kind
                assert box.x1 <= width + 1, kind
                assert box.y1 <= height + 1, kind
        for ax in figure.axes:
            assert ax.get_window_extent(renderer).width > 100, f"{kind}: no room is left for the panel"


def test_a_loss_that_is_infinite_is_left_out_and_the_others_are_drawn(history):
    history.loc[2, "val/loss"] = math.inf
    history.loc[3, "val/loss"] = math.nan
    figure = learning_curves(history)
    figure.canvas.draw()
    train, val = figure.axes[0].lines
    assert list(val.get_xdata()) == [1, 2, 5]
    assert list(train.get_xdata()) == [1, 2, 3, 4, 5]
    history["train/loss"] = math.inf
    learning_curves(history).canvas.draw()


def test_an_estimate_without_an_interval_has_no_whisker():
    (bars,) = bar_comparison(["a", "b"], {"accuracy": [(1.0, None), (0.9, (0.8, 0.95))]}).axes
    assert sum(hasattr(container, "has_xerr") for container in bars.containers) == 1
    lines = {"lstm": {10: (1.0, None), 20: (0.9, (0.8, 0.95))}}
    (ax,) = metric_against("clip_len", {"accuracy": lines}).axes
    ((_, caps, (whiskers,)),) = ax.containers
    assert [len(segment) for segment in whiskers.get_segments()] == [0, 2]
    assert all(np.isnan(cap.get_ydata()[0]) for cap in caps)


def test_a_reliability_diagram_shows_every_bin_with_its_videos_and_marks_the_small_ones():
    # 0.05: 12 videos, 3 fake; 0.65: 4 videos, all fake.
    prob, label = [0.05] * 12 + [0.65] * 4, [1] * 3 + [0] * 9 + [1] * 4
    figure = reliability_diagram({"calibrated": prob, HOSTILE: [0.5] * 16}, label, title="run on test")
    written = texts(figure)
    assert "run on test: 9 real, 7 fake" in written
    assert any(text == "calibrated: calibration error 0.237" for text in written)  # (|0.6 - 3| + |2.6 - 4|) / 16
    assert {"12", "4", "16"} <= set(written)
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in points] == [pytest.approx((0.05, 0.25)), (0.65, 1.0)]
    assert [line.get_markerfacecolor() == "white" for line in points] == [False, True]


@pytest.mark.parametrize("num", [0, 1, 2])
def test_a_reliability_diagram_of_hardly_any_videos_is_drawn(num):
    figure = reliability_diagram({"a": [0.0, 1.0][:num]}, [1, 1][:num])
    assert f"0 real, {num} fake" in texts(figure)


def test_all_jobs_that_share_the_best_value_are_shown_as_the_best():
    points = [StudyPoint({"head": "mean"}, 0.9), StudyPoint({"head": "lstm"}, 0.9)]
    points.append(StudyPoint({"head": "gru"}, 0.5))
    for draw in (metric_by_parameter, parallel_coordinates):
        figure = draw(points, metric="val/auc")
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the best, 2 equal", "finished"]
        colors = [line.get_color() for line in figure.axes[0].lines if line.get_color() == plots.ORANGE]
        assert len(colors) == 2


def test_jobs_of_one_choice_with_one_value_do_not_hide_each_other():
    points = [StudyPoint({"head": "mean", "dropout": str(index / 10)}, 0.9) for index in range(5)]
    points.append(StudyPoint({"head": "lstm", "dropout": "0"}, 0.9))
    places = [float(line.get_xdata()[0]) for line in metric_by_parameter(points, metric="val/auc").axes[0].lines]
    assert len(set(places)) == 6
    assert sorted(round(place) for place in places) == [0] * 5 + [1]
