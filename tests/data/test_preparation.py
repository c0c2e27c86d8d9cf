"""Planning a store's splits: frozen before anything is prepared, in one mode, and kept when the store grows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dfd.base.errors import SplitError, SplitLeak, StoreError
from dfd.base.types import Status
from dfd.data.prepare.store import plan_splits
from dfd.data.sources.row import VideoRow
from dfd.data.splits.people import UNUSED, audit
from dfd.data.store.folders import write_record
from dfd.data.store.plan import SplitPlan, read_split_plan, read_splits, write_splits
from dfd.data.store.records import PLAN_NAME, SPLITS_NAME
from tests.data.conftest import failed_record, make_row


def rows_of(num_people: int, *, first: int = 0) -> list[VideoRow]:
    return [make_row(n, source_ids=(f"person{n // 2}",)) for n in range(2 * first, 2 * (first + num_people))]


def listed(rows: list[VideoRow]) -> list[VideoRow]:
    """With the owners' lists: by video, so that people are on two sides."""
    return [replace(row, extra={"official_split": "test" if n % 3 == 0 else "train"}) for n, row in enumerate(rows)]


def test_a_plan_freezes_all_rows_and_says_how(tmp_path: Path) -> None:
    splits = plan_splits(tmp_path, rows_of(20), fractions=(0.6, 0.2, 0.2), seed=3)
    assert read_splits(tmp_path) == splits
    assert read_split_plan(tmp_path) == SplitPlan("source", (0.6, 0.2, 0.2), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PLAN_NAME, SPLITS_NAME]


def test_planning_again_for_a_part_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    rows = rows_of(20)
    splits = plan_splits(tmp_path, rows)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert plan_splits(tmp_path, rows[3:9]).items() <= splits.items()
    assert plan_splits(tmp_path, rows, fractions=(0.5, 0.25, 0.25), seed=9) == splits
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_person_of_an_earlier_plan_keeps_the_side_of_its_videos(tmp_path: Path) -> None:
    rows = rows_of(20)
    splits = plan_splits(tmp_path, rows)
    for row in rows:
        write_record(tmp_path, failed_record(row, Status.NO_FACE))
    late = [make_row(100 + n, source_ids=(f"person{n}",)) for n in range(20)]
    grown = plan_splits(tmp_path, late)
    assert [grown[row.video_id] for row in late] == [splits[row.video_id] for row in rows[::2]]
    assert read_splits(tmp_path) == grown == grown | splits


def test_new_videos_under_other_fractions_are_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan_splits(tmp_path, rows_of(20))
    assert not caplog.records
    plan_splits(tmp_path, rows_of(20, first=20), seed=2)
    assert "40 videos keep their splits, made by fractions [0.7, 0.15, 0.15] with seed 0; 40 new ones" in caplog.text
    assert read_split_plan(tmp_path) == SplitPlan(seed=2)


def test_another_mode_is_refused_with_the_remedy(tmp_path: Path) -> None:
    plan_splits(tmp_path, rows_of(20))
    with pytest.raises(SplitError, match=r"split=source, .* asks for split=random_video; .* delete splits\.csv and"):
        plan_splits(tmp_path, rows_of(20), mode="random_video")
    (tmp_path / SPLITS_NAME).unlink()
    (tmp_path / PLAN_NAME).unlink()
    plan_splits(tmp_path, rows_of(20), mode="random_video")
    assert read_split_plan(tmp_path) == SplitPlan("random_video")


def test_a_store_that_does_not_say_how_it_was_divided_was_divided_by_source(tmp_path: Path) -> None:
    rows = rows_of(20)
    write_splits(tmp_path, {row.video_id: "train" for row in rows})
    with pytest.raises(SplitError, match="divided with split=source"):
        plan_splits(tmp_path, rows, mode="official")
    assert set(plan_splits(tmp_path, rows).values()) == {"train"}


def test_official_splits_come_from_the_rows_and_from_what_the_store_holds(tmp_path: Path) -> None:
    rows = listed(rows_of(30))
    splits = plan_splits(tmp_path, rows, mode="official")
    assert {row.video_id for row in rows if splits[row.video_id] == "test"} == {row.video_id for row in rows[::3]}
    for row in rows:
        write_record(tmp_path, failed_record(row, Status.NO_FACE))
    late = make_row(500, extra={})
    grown = plan_splits(tmp_path, [late], mode="official")
    assert grown.items() >= splits.items()
    assert late.video_id in grown


def test_rows_without_an_official_split_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="no video of drawn"):
        plan_splits(tmp_path, rows_of(5), mode="official")
    with pytest.raises(SplitLeak):
        plan_splits(tmp_path, [make_row(n, source_ids=("a",), split=s) for n, s in enumerate(["train", "val"])])
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_was_damaged_is_named(tmp_path: Path) -> None:
    for text in ["{", '{"mode": "other"}', "[]", '{"mode": "source", "fractions": [1, 1, 1]}']:
        (tmp_path / PLAN_NAME).write_text(text)
        with pytest.raises(StoreError, match=r"split\.json"):
            plan_splits(tmp_path, rows_of(5))
    (tmp_path / PLAN_NAME).write_text(json.dumps({"mode": "source", "fractions": [0.6, 0.1, 0.3], "seed": 1}))
    assert read_split_plan(tmp_path) == SplitPlan("source", (0.6, 0.1, 0.3), 1)


def test_a_group_that_is_cut_is_planned_once_and_its_used_videos_can_be_prepared_alone(tmp_path: Path) -> None:
    people = [f"id{n}" for n in range(12)]
    rows = [make_row(2 * n, source_ids=(person,)) for n, person in enumerate(people * 4)]
    pairs = [(a, b) for a in people for b in people if a != b]
    rows += [make_row(1001 + 2 * n, source_ids=pair) for n, pair in enumerate(pairs)]
    splits = plan_splits(tmp_path, rows)
    assert set(splits.values()) == {"train", "val", "test", "unused"}
    used = [row for row in rows if splits[row.video_id] != "unused"]
    assert plan_splits(tmp_path, used[::2]).items() <= splits.items()
    audit([replace(row, split=splits[row.video_id]) for row in rows])


def test_other_fractions_that_change_nothing_are_announced_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan_splits(tmp_path, rows_of(20))
    plan_splits(tmp_path, rows_of(20), fractions=(0.6, 0.1, 0.3))
    assert "delete splits.csv and split.json" in caplog.text


def test_a_store_whose_people_were_cut_grows_by_a_video_between_them(tmp_path: Path) -> None:
    """What is in no split is not prepared, so the store has no record of the videos that tied the people together."""
    people, pairs = range(12), [(a, b) for a in range(12) for b in range(12) if a < b]
    reals = [make_row(2 * (10 * p + n), source_ids=(f"id{p}",)) for p in people for n in range(4)]
    swaps = [make_row(2001 + 2 * n, source_ids=(f"id{a}", f"id{b}")) for n, (a, b) in enumerate(pairs)]
    splits = plan_splits(tmp_path, [*reals, *swaps])
    assert UNUSED in splits.values()
    for row in (*reals, *swaps):
        if splits[row.video_id] != UNUSED:
            write_record(tmp_path, failed_record(row, Status.NO_FACE))
    late = [make_row(4001 + 2 * n, source_ids=(f"id{a}", f"id{b}")) for n, (a, b) in enumerate(pairs)]
    grown = plan_splits(tmp_path, late)
    assert [grown[row.video_id] for row in late] == [splits[row.video_id] for row in swaps]
