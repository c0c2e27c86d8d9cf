"""Openness of drawn eyes, and drawn blinks."""

import numpy as np
import pytest

from dfd.signals.blinks import blinks_of, count_blinks, openness


@pytest.mark.parametrize("height", [0.0, 1.5, 7.25])
@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_the_openness_of_a_drawn_eye_is_its_height_over_its_width(height: float, turn: float) -> None:
    half = height / 2
    eye = np.array([(0, 0), (10, half), (20, half), (30, 0), (20, -half), (10, -half)])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert openness(eye @ rotation + [50, 40]) == pytest.approx(height / 30, abs=1e-6)


def drawn(num_blinks: int, *, seconds: float = 60, rate: float = 30, length: int = 4) -> np.ndarray:
    """Openness of eyes that blink evenly."""
    values = np.full(round(seconds * rate), 0.3)
    for place in np.linspace(rate, len(values) - 2 * rate, num_blinks).round().astype(int):
        values[place : place + length] = 0.1
    return values


def test_twelve_drawn_blinks_in_a_minute_are_twelve() -> None:
    found = blinks_of(drawn(12), 30)
    assert found is not None
    assert (found.number, found.seconds, found.per_minute) == (12, 60, 12)
    assert found.interval == pytest.approx((6.2006, 20.9616), abs=1e-3)  # Poisson, tables of Garwood
    assert found.openness == 0.3


@pytest.mark.parametrize(("length", "number"), [(1, 0), (2, 12), (7, 12), (8, 0)])
def test_a_blink_has_two_to_seven_frames_at_thirty_a_second(length: int, number: int) -> None:
    assert count_blinks(drawn(12, length=length), 30) == number


def test_a_blink_is_as_long_at_any_frame_rate() -> None:
    assert count_blinks(drawn(12, rate=60, length=8), 60) == count_blinks(drawn(12, rate=15, length=2), 15) == 12


def test_unseen_eyes_are_no_blink_and_no_time() -> None:
    values = drawn(12)
    values[:900] = np.nan
    found = blinks_of(values, 30)
    assert found is not None
    assert (found.seconds, found.share_seen) == (30, 0.5)
    assert found.number == count_blinks(values[900:], 30)
    assert blinks_of(values[:1000], 30) is None


def test_no_blink_has_an_interval_too() -> None:
    found = blinks_of(drawn(0), 30)
    assert found is not None
    assert found.interval == pytest.approx((0, 3.689), abs=1e-3)
