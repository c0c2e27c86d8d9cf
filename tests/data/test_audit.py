"""The audit of a store: a table anyone can read, and an exit status that a script can."""

from pathlib import Path

import pytest

from dfd.commands.audit import main
from dfd.data.store.plan import SplitPlan, write_split_plan, write_splits
from dfd.data.store.tables import build_index
from tests.data.conftest import add_video, make_row

SIDES = ["train", "train", "val", "val", "test", "test"]


def make_store(folder: Path, *, people: list[str], sides: list[str], plan: SplitPlan | None = None) -> Path:
    rows = [make_row(number, source_ids=(person,)) for number, person in enumerate(people)]
    for number, row in enumerate(rows):
        add_video(folder, row, number, num_frames=2)
    write_splits(folder, {row.video_id: side for row, side in zip(rows, sides, strict=True)})
    if plan:
        write_split_plan(folder, plan)
    build_index(folder)
    return folder


def test_a_sound_store_is_tabulated_and_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path, people=list("aabbcc"), sides=SIDES, plan=SplitPlan("source", (0.6, 0.1, 0.3), 5))
    assert main([f"store={store}"]) == 0
    out = capsys.readouterr().out
    assert "split=source (fractions [0.6, 0.1, 0.3], seed 5)" in out
    rows = {
        line.split()[0]: line.split()[1:5] for line in out.splitlines() if line.startswith(("train ", "val ", "test "))
    }
    assert rows["test"] == ["2", "1", "1", "1"]
    assert "train and test: no source id in common" in out
    assert "no source id and no video is in two splits" in out


def test_unused_videos_are_counted_and_are_no_overlap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path, people=[*"aabbcc", "a", "c"], sides=[*SIDES, "unused", "unused"])
    assert main([str(store)]) == 0
    unused = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("unused"))
    assert unused.split()[1:5] == ["2", "1", "1", "2"]


def test_an_overlap_is_put_in_numbers_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path, people=["a", "a", "b", "b", "a", "c"], sides=SIDES)
    assert main([str(store)]) == 1
    printed = capsys.readouterr()
    assert "train and test: 1 source ids in common (a); 1 of the 2 videos of test (50%) have a source" in printed.out
    assert "val and test: no source id in common" in printed.out
    assert "source id 'a' is in train" in printed.err
    assert "is what split=" not in printed.err


@pytest.mark.parametrize("mode", ["official", "random_video"])
def test_an_overlap_that_was_asked_for_fails_too_and_is_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    store = make_store(tmp_path, people=["a", "a", "b", "b", "a", "c"], sides=SIDES, plan=SplitPlan(mode))
    assert main([str(store)]) == 1
    printed = capsys.readouterr()
    assert f"split={mode} (" in printed.out
    assert f"This overlap is what split={mode} brings" in printed.err


def test_where_there_is_no_store_the_error_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none")]) == 1
    assert "make it with: python -m dfd.preprocess" in capsys.readouterr().err
