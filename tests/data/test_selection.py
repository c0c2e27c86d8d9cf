"""A draw takes exactly what is asked for, half real and half fake in each split, and says what is short."""

import random
from collections import Counter
from pathlib import Path

import pytest

from dfd.base.errors import SplitError
from dfd.base.types import Label
from dfd.data.sources.row import VideoRow
from dfd.data.splits.draw import draw_balanced, quotas
from dfd.data.splits.people import SPLITS, UNUSED

FRACTIONS = (0.6, 0.1, 0.3)


def video(dataset: str, split: str, number: int, method: str = "") -> tuple[VideoRow, str]:
    label = Label.FAKE if method else Label.REAL
    return VideoRow(Path("/v"), f"{split}/{method}/{number}.mp4", label, dataset, method), split


def made(*datasets: str, real: int = 100, fake: int = 60, methods: tuple[str, ...] = ("a", "b", "c")) -> dict:
    """Of each data set: real videos, and fakes of each method, in each split."""
    pairs = [video(d, split, n) for d in datasets for split in SPLITS for n in range(real)]
    pairs += [video(d, split, n, m) for d in datasets for split in SPLITS for m in methods for n in range(fake)]
    return dict(pairs_by_id(pairs))


def pairs_by_id(pairs: list[tuple[VideoRow, str]]) -> dict[str, tuple[VideoRow, str]]:
    return {row.video_id: (row, split) for row, split in pairs}


def draw(videos: dict, **arguments: object) -> dict[str, str]:
    rows = [row for row, _ in videos.values()]
    splits = {video_id: split for video_id, (_, split) in videos.items()}
    return draw_balanced(rows, splits, **({"fractions": FRACTIONS} | arguments))  # type: ignore[arg-type]


def counts(videos: dict, drawn: dict[str, str]) -> Counter:
    return Counter((videos[v][0].dataset, split, str(videos[v][0].label)) for v, split in drawn.items())


def test_each_split_gets_exactly_its_share_of_each_label_of_each_data_set() -> None:
    videos = made("ffpp", "dfdc")
    drawn = draw(videos, per_label={"ffpp": 100, "dfdc": 50})
    assert counts(videos, drawn) == {
        (dataset, split, label): number
        for dataset, numbers in {"ffpp": (60, 10, 30), "dfdc": (30, 5, 15)}.items()
        for split, number in zip(SPLITS, numbers, strict=True)
        for label in ("real", "fake")
    }
    assert all(videos[video_id][1] == split for video_id, split in drawn.items())


def test_one_number_is_for_every_data_set() -> None:
    videos = made("a", "b")
    assert draw(videos, per_label=20) == draw(videos, per_label={"a": 20, "b": 20})


def test_data_sets_without_a_number_are_not_used() -> None:
    videos = made("a", "b")
    assert {videos[video_id][0].dataset for video_id in draw(videos, per_label={"b": 20})} == {"b"}


@pytest.mark.parametrize("number", range(1, 60))
def test_nothing_is_lost_in_rounding(number: int) -> None:
    for fractions in [(0.6, 0.1, 0.3), (0.7, 0.15, 0.15), (1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0)]:
        found = quotas(number, fractions)
        assert sum(found) == number
        assert all(abs(n - number * f) < 1 for n, f in zip(found, fractions, strict=True))


def test_fakes_are_drawn_evenly_over_the_methods() -> None:
    videos = made("d")
    drawn = draw(videos, per_label=90)
    methods = Counter((split, videos[v][0].method) for v, split in drawn.items() if videos[v][0].method)
    assert methods == {(s, m): n for s, n in zip(SPLITS, (18, 3, 9), strict=True) for m in "abc"}


def test_a_method_that_has_too_few_is_filled_up_from_the_others() -> None:
    videos = made("d", methods=("a", "b")) | pairs_by_id([video("d", "train", 0, "rare")])
    drawn = draw(videos, per_label=100)
    methods = Counter(videos[v][0].method for v, split in drawn.items() if split == "train" and videos[v][0].method)
    assert methods["rare"] == 1
    assert sorted(methods.values()) == [1, 29, 30]


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    videos = made("d")
    shuffled = dict(random.Random(0).sample(list(videos.items()), len(videos)))
    assert draw(videos, per_label=50) == draw(shuffled, per_label=50)
    assert draw(videos, per_label=50) != draw(videos, per_label=50, seed=1)


def test_a_video_more_or_less_changes_one_of_the_drawn_at_most() -> None:
    videos = made("d")
    before = draw(videos, per_label=50)
    for split in SPLITS:
        for method in ("", "a"):
            more = videos | pairs_by_id([video("d", split, 1000, method)])
            assert len(before.keys() - draw(more, per_label=50).keys()) <= 1
    for video_id in list(before)[::7]:
        fewer = {key: value for key, value in videos.items() if key != video_id}
        assert before.keys() - draw(fewer, per_label=50).keys() == {video_id}


def test_a_larger_draw_holds_the_smaller_one() -> None:
    videos = made("d")
    assert draw(videos, per_label=50).keys() <= draw(videos, per_label=80).keys()


def test_every_shortage_is_named_with_its_numbers_and_the_remedies() -> None:
    videos = made("d", real=20)
    with pytest.raises(SplitError) as caught:
        draw(videos, per_label=100)
    message = str(caught.value)
    assert "d, train: 20 real videos of 60" in message
    assert "d, test: 20 real videos of 30" in message
    assert "val" not in message
    assert "fake videos" not in message
    assert all(remedy in message for remedy in ("per_label", "allow_fewer=true", "prepare more"))


def test_fewer_are_taken_if_allowed_as_many_real_as_fake(caplog: pytest.LogCaptureFixture) -> None:
    videos = made("d", real=20)
    drawn = draw(videos, per_label=100, allow_fewer=True)
    assert counts(videos, drawn) == {
        ("d", split, label): number
        for split, number in zip(SPLITS, (20, 10, 20), strict=True)
        for label in ("real", "fake")
    }
    assert "d, train: 20 real videos of 60" in caplog.text


def test_a_split_of_fraction_zero_is_drawn_from_by_nobody() -> None:
    videos = made("d")
    assert set(draw(videos, per_label=30, fractions=(0.7, 0.0, 0.3)).values()) == {"train", "test"}


def test_videos_in_no_split_are_not_drawn() -> None:
    videos = {key: (row, UNUSED if n % 2 else "") for n, (key, (row, _)) in enumerate(made("d").items())}
    with pytest.raises(SplitError, match="d, train: 0 real videos of 3"):
        draw(videos, per_label=5)


def test_a_data_set_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SplitError, match="names celebd, but there is no such data set; there are: celebdf, ffpp"):
        draw(made("ffpp", "celebdf"), per_label={"celebd": 5})


@pytest.mark.parametrize("per_label", [0, -1, 1.5, True, {}, {"d": 0}])
def test_a_number_that_is_none_is_refused(per_label: object) -> None:
    with pytest.raises(ValueError, match="per_label must be a whole number from 1"):
        draw(made("d"), per_label=per_label)
