"""Which files a list names."""

from pathlib import Path

import pytest

from dfd.inputs import NothingToScore, find_inputs


def listed(folder: Path, *lines: str) -> list[Path]:
    (folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    return find_inputs(str(folder / "list.txt"))


def test_a_file_that_is_listed_in_two_ways_is_scored_once(tmp_path: Path) -> None:
    assert listed(tmp_path, "a.mp4", "./a.mp4", str(tmp_path / "a.mp4"), "b.mp4") == [
        tmp_path / "a.mp4",
        tmp_path / "b.mp4",
    ]


def test_a_name_may_begin_with_a_tilde_that_is_nobodys_home(tmp_path: Path) -> None:
    assert listed(tmp_path, "~no-such-user.mp4") == [tmp_path / "~no-such-user.mp4"]
    with pytest.raises(NothingToScore, match="no such file"):
        find_inputs("~no-such-user.mp4")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert listed(tmp_path, "~/a.mp4") == [Path("/home/anna/a.mp4")]


def test_what_predict_wrote_is_not_scored(tmp_path: Path) -> None:
    """Its drawn videos would be scored, drawn again, and so on with every run."""
    for name in ("a.mp4", "deeper/b.mp4", "scores/predictions.jsonl", "scores/annotated/a-1.mp4", "scores/report.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_inputs(str(tmp_path)) == [tmp_path / "a.mp4", tmp_path / "deeper/b.mp4"]
    for name in ("predictions.jsonl", "predictions.csv", "annotated/a-1.mp4", "evidence/ab/thumbnail.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_inputs(str(tmp_path)) == [tmp_path / "a.mp4", tmp_path / "deeper/b.mp4"]
