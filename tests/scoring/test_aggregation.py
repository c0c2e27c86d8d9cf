"""Aggregations against tables counted by hand, and what all of them have in common."""

import pytest

from dfd.scoring.aggregation import AGGREGATIONS, confident, share, weakness, without_weak

SURE_FAKE, SURE_REAL, UNSURE = 0.9, 0.1, 0.4


@pytest.mark.parametrize(
    ("num_fake", "num_real", "num_unsure", "expected"),
    [
        (12, 0, 18, 0.6),  # 12 of 30: not more than 30 / 2.5, so the mean of all
        (13, 0, 17, 0.9),  # 13 of 30: the sure fakes alone
        (11, 0, 0, 0.9),  # 11 are not more than 11, and their mean is the mean of all
        (11, 1, 8, (11 * 0.9 + 0.1 + 8 * 0.4) / 20),  # more than half, but only 11
        (12, 18, 0, (12 * 0.9 + 18 * 0.1) / 30),  # 40 % fake is not enough, 60 % real neither
        (0, 28, 2, 0.1),  # 28 of 30 are more than 90 %
        (0, 27, 3, (27 * 0.1 + 3 * 0.4) / 30),  # 27 of 30 are 90 %, not more
        (13, 0, 0, 0.9),
    ],
)
def test_sure_windows_speak_alone_if_enough_agree(
    num_fake: int, num_real: int, num_unsure: int, expected: float
) -> None:
    windows = [SURE_FAKE] * num_fake + [SURE_REAL] * num_real + [UNSURE] * num_unsure
    assert confident([windows]) == ([pytest.approx(expected)], pytest.approx(expected))
    by_face = [windows[::2], windows[1::2]]
    assert confident(by_face)[1] == pytest.approx(expected), "the rule counts the crops of all faces together"


def test_exactly_0_8_and_0_2_are_not_sure() -> None:
    assert confident([[0.8] * 20 + [0.4] * 10])[1] == pytest.approx(20 / 30)
    assert confident([[0.2] * 20])[1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("windows", "tracks", "video"),
    [
        ([[0.5, 0.49, 0.51, 0.0]], [0.5], 0.5),
        ([[0.0, 1.0], [1.0, 1.0, 1.0, 0.0]], [0.5, 0.75], 0.75),
        ([[0.1, 0.2]], [0.0], 0.0),
    ],
)
def test_a_share_counts_the_windows_from_one_half_on(
    windows: list[list[float]], tracks: list[float], video: float
) -> None:
    assert share(windows) == (tracks, video)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_any_aggregation_of_equal_windows_below_one_half_or_above_stays_on_their_side(name: str) -> None:
    for prob in (0.05, 0.45, 0.55, 0.95):
        tracks, video = AGGREGATIONS[name]([[prob] * 3, [prob] * 30])
        assert len(tracks) == 2
        assert all((score >= 0.5) == (prob >= 0.5) for score in (*tracks, video))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_weak_appearance_has_a_score_but_no_part_in_the_video_s(name: str) -> None:
    aggregation = AGGREGATIONS[name]
    alone = aggregation([[0.3] * 20])
    tracks, video = without_weak(aggregation, [[0.3] * 20, [0.99] * 3], [False, True])
    assert video == alone[1]
    assert tracks[0] == alone[0][0]
    assert tracks[1] > tracks[0]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_weak_appearances_decide_where_nothing_else_is_there(name: str) -> None:
    windows = [[0.3] * 4, [0.9] * 3]
    assert without_weak(AGGREGATIONS[name], windows, [True, True]) == AGGREGATIONS[name](windows)


def test_one_fault_alone_makes_no_appearance_weak() -> None:
    """A short but clear face may be the forgery; a close-up is cut off; a face that is turned away is hardly found."""
    assert not weakness(1, 32)
    assert not weakness(32, 32, edge_fraction=1.0)
    assert not weakness(32, 32, is_sure=False)
    assert "only and cut off" in weakness(7, 32, edge_fraction=1.0)
    assert "only and hardly recognised" in weakness(7, 32, is_sure=False)
    assert weakness(8, 32, edge_fraction=0.5, is_sure=False)
    assert not weakness(8, 32, edge_fraction=0.49, is_sure=False)
