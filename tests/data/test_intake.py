"""Which of a source's videos enter a store, and that none is left out without a word."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dfd.base.errors import SplitError
from dfd.base.types import Label
from dfd.data.prepare.audio_only import PairVerdict
from dfd.data.prepare.intake import take_in
from dfd.data.sources.row import VideoRow
from dfd.data.splits.assign import assign_splits


def make_rows(num_people: int = 20, fakes_each: int = 2, dataset: str = "dfdc") -> list[VideoRow]:
    """A real video of each person and fakes made of it."""
    rows = []
    for person in range(num_people):
        real = f"{dataset}/{person:02}.mp4"
        rows.append(VideoRow(Path("/v") / real, real, Label.REAL, dataset, "", (f"p{person}",)))
        for number in range(fakes_each):
            name = f"{dataset}/{person:02}_{number}.mp4"
            extra = {"original": real}
            rows.append(VideoRow(Path("/v") / name, name, Label.FAKE, dataset, "swap", (f"p{person}",), extra=extra))
    return rows


class Compare:
    """Says that the fakes named here show their original's picture; remembers what it was asked."""

    def __init__(self, *unaltered: str) -> None:
        self.unaltered = unaltered
        self.asked: list[str] = []

    def __call__(self, rows, originals):
        self.asked += [row.name for row in rows]
        assert all(row.extra["original"] in originals for row in rows)
        return [PairVerdict(r.name, r.extra["original"], 0.1 if r.name in self.unaltered else 30.0) for r in rows]


def splits_of(rows: list[VideoRow]) -> dict[str, str]:
    return assign_splits(rows, fractions=(0.6, 0.2, 0.2))


def names(rows: list[VideoRow]) -> list[str]:
    return sorted(row.name for row in rows)


def test_a_fake_with_the_picture_of_its_original_is_left_out_and_named() -> None:
    rows = make_rows()
    compare = Compare("dfdc/03_0.mp4")
    intake = take_in(rows, splits_of(rows), compare=compare)
    assert names(intake.rows) == sorted({row.name for row in rows} - {"dfdc/03_0.mp4"})
    (left,) = intake.left_out
    assert (left.name, left.reason) == ("dfdc/03_0.mp4", "audio_only")
    assert "differs from dfdc/03.mp4 by 0.10" in left.detail
    assert len(compare.asked) == len(set(compare.asked)) == 40


def test_nothing_is_compared_if_it_is_not_wanted() -> None:
    rows = make_rows()
    assert len(take_in(rows, splits_of(rows), audio_only_threshold=None).rows) == len(rows)


def test_a_pair_that_cannot_be_compared_is_kept_and_reported() -> None:
    rows = make_rows(5, 1)

    def fail(waiting, originals):
        return [PairVerdict(row.name, row.extra["original"], None, "unreadable") for row in waiting]

    intake = take_in(rows, splits_of(rows), compare=fail)
    assert len(intake.rows) == len(rows)
    assert [verdict.message for verdict in intake.not_compared] == ["unreadable"] * 5


def test_a_fake_whose_original_is_not_listed_is_not_compared() -> None:
    rows = [row for row in make_rows(4, 1) if row.name != "dfdc/02.mp4"]
    compare = Compare()
    take_in(rows, splits_of(rows), compare=compare)
    assert names([row for row in rows if row.name not in compare.asked and row.label is Label.FAKE]) == [
        "dfdc/02_0.mp4"
    ]


def test_a_draw_takes_others_for_the_fakes_that_were_not_altered_and_compares_no_more_than_it_must() -> None:
    rows = make_rows(20, 3)
    splits = splits_of(rows)
    draw = {"per_label": 10, "fractions": (0.6, 0.2, 0.2)}
    first = take_in(rows, splits, compare=Compare(), **draw)
    unaltered = [row.name for row in first.rows if row.label is Label.FAKE][:4]
    compare = Compare(*unaltered)
    intake = take_in(rows, splits, compare=compare, **draw)
    assert Counter(row.label for row in intake.rows) == {Label.REAL: 10, Label.FAKE: 10}
    assert not set(unaltered) & set(names(intake.rows))
    assert len(set(compare.asked)) == len(compare.asked) < 20
    kept = set(names(first.rows)) - set(unaltered)
    assert kept <= set(names(intake.rows)), "the rest of the draw stays as it was"
    assert len(intake.rows) + len(intake.left_out) == len(rows)
    assert Counter(item.reason for item in intake.left_out) == {"not_drawn": len(rows) - 24, "audio_only": 4}


@pytest.mark.parametrize("per_label", [None, 8])
def test_shards_together_take_in_what_one_run_does(per_label: int | None) -> None:
    rows = make_rows(20, 2)
    splits = splits_of(rows)
    options = {"per_label": per_label, "fractions": (0.6, 0.2, 0.2)}
    unaltered = ("dfdc/01_0.mp4", "dfdc/07_1.mp4")
    whole = take_in(rows, splits, compare=Compare(*unaltered), **options)
    parts = [take_in(rows, splits, shard=(i, 3), compare=Compare(*unaltered), **options) for i in range(3)]
    assert sorted(name for part in parts for name in names(part.rows)) == names(whole.rows)


@pytest.mark.parametrize("per_label", [None, 10])
def test_a_comparison_that_fails_in_one_shard_alone_loses_no_video_and_doubles_none(per_label: int | None) -> None:
    rows = make_rows(20, 2)
    splits = splits_of(rows)
    options = {"per_label": per_label, "fractions": (0.6, 0.2, 0.2)}
    unaltered = [row.name for row in rows if row.label is Label.FAKE][::5]

    def failing(waiting, originals):
        return [PairVerdict(row.name, row.extra["original"], None, "timeout") for row in waiting]

    parts = [
        take_in(rows, splits, shard=(i, 3), compare=failing if i == 1 else Compare(*unaltered), **options)
        for i in range(3)
    ]
    taken = [name for part in parts for name in names(part.rows)]
    assert len(taken) == len(set(taken))
    missed = set(names(take_in(rows, splits, compare=Compare(*unaltered), **options).rows)) - set(taken)
    # A draw takes another video for each that is left out, and the shard that could not tell took none: those alone.
    replacements = len(set(unaltered) & set(names(take_in(rows, splits, compare=failing, **options).rows)))
    assert len(missed) <= (0 if per_label is None else replacements)


def test_a_stock_is_drawn_for_each_label_by_itself() -> None:
    """FaceForensics++ has 1000 real videos: that they are all needed must not end the draw of the fakes."""
    rows = make_rows(10, 4)
    intake = take_in(rows, splits_of(rows), per_label=20, fractions=(0.6, 0.2, 0.2), audio_only_threshold=None)
    assert Counter(row.label for row in intake.rows) == {Label.REAL: 10, Label.FAKE: 20}


def test_a_data_set_that_per_label_does_not_name_is_left_out_for_that_reason() -> None:
    rows = [*make_rows(6, 1), *make_rows(6, 1, "other")]
    rows = [row if row.dataset == "dfdc" else replace(row, source_ids=(f"o{row.source_ids[0]}",)) for row in rows]
    intake = take_in(rows, splits_of(rows), per_label={"dfdc": 100}, audio_only_threshold=None)
    assert {row.dataset for row in intake.rows} == {"dfdc"}
    assert {item.detail for item in intake.left_out} == {"per_label does not name its data set"}


def test_a_video_between_two_splits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(3, 1)
    splits = {**dict.fromkeys((row.video_id for row in rows), "train"), rows[1].video_id: "unused"}
    intake = take_in(rows, splits, audio_only_threshold=None)
    assert rows[1] not in intake.rows
    assert [(item.name, item.reason) for item in intake.left_out] == [(rows[1].name, "unused")]


def test_a_data_set_that_is_not_there_is_refused() -> None:
    rows = make_rows()
    with pytest.raises(SplitError, match="celebdf"):
        take_in(rows, splits_of(rows), per_label={"celebdf": 5}, audio_only_threshold=None)
