"""The labels of the contact sheet."""

import re

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dfd.commands.sheet import LABEL_INCHES, label_of


def track(**changes) -> "pd.Series":
    row = {"video_id": "dev_036-0badcafe", "is_main": True, "track": 0, "label": "fake", "split": "test"}
    return pd.Series({**row, "method": "SadTalker talking-heads", "num_frames": 75, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"is_main": False},
        {"video_id": "a_name_of_a_video_that_goes_on_for_so_long_that_nobody_would_read_it-0badcafe"},
        {"method": "W" * 60},
        {"method": "$x$ and more"},
    ],
)
@pytest.mark.parametrize("room", [1.12, 0.64])
def test_a_label_is_shown_whole_within_its_room(changes, room):
    wanted = track(**changes)
    text, font_size = label_of(wanted, room=room)
    together = re.sub(r"[\s\\]", "", text)
    for part in (wanted["video_id"].rpartition("-")[0], wanted["method"], "75frames"):
        assert part.replace(" ", "") in together
    figure = Figure(dpi=100)
    box = figure.text(0, 0, text, fontsize=font_size).get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert box.height <= 100 * room
    if "W" not in text:  # the widest letter of all
        assert box.width <= 100 * (LABEL_INCHES + 0.1)


def test_a_label_that_fits_is_in_the_largest_letters():
    assert label_of(track(), room=1.12)[1] == 7
