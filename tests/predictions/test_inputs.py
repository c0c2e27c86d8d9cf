"""Which files a list names."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from dfd.base.errors import MissingVideo
from dfd.base.types import Status
from dfd.predictions.inputs import NothingToScore, find_inputs
from dfd.report.page.wording import STATUS_WORDS
from dfd.report.videos.fragment import NO_VERDICTS
from dfd.video.decode import VideoReader


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


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_a_list_may_be_written_as_people_and_programs_write_lists(tmp_path: Path) -> None:
    made(tmp_path, "l/a.mp4", "l/b.mp4", "c d.mp4", "e.mp4", " f.mp4 ", "g.mp4", "#h.mp4", "i\u2028j.mp4", "k\\l.mp4")
    lines = [
        "\ufeff# my list",
        '"l/a.mp4"',
        "l\\b.mp4",
        "'c d.mp4'  ",
        "e.mp4   # the second take",
        " f.mp4 ",
        "\tg.mp4\t",
        "#gone.mp4",
        "",
        "#h.mp4",
        "i\u2028j.mp4",
        "k\\l.mp4",
    ]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode())
    found = [str(path.relative_to(tmp_path)) for path in find_inputs(str(tmp_path / "list.txt"))]
    names = ["l/a.mp4", "l/b.mp4", "c d.mp4", "e.mp4", " f.mp4 ", "g.mp4", "#h.mp4", "i\u2028j.mp4", "k\\l.mp4"]
    assert found == names


def test_a_file_that_is_not_there_is_listed_by_the_name_that_was_meant(tmp_path: Path) -> None:
    assert listed(tmp_path, '"gone\\a.mp4"  # Anna', "C:\\videos\\b.mp4") == [
        tmp_path / "gone/a.mp4",
        tmp_path / "C:/videos/b.mp4",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8", "cp1252"])
def test_a_list_of_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    made(tmp_path, "é.mp4", "b.mp4")
    (tmp_path / "list.txt").write_bytes("é.mp4\r\nb.mp4\r\n".encode(encoding))
    assert find_inputs(str(tmp_path / "list.txt")) == [tmp_path / "é.mp4", tmp_path / "b.mp4"]


def test_a_name_that_was_composed_otherwise_is_found(tmp_path: Path) -> None:
    on_disk, written = (unicodedata.normalize(form, "José/Núñez.mp4") for form in ("NFD", "NFC"))
    made(tmp_path, on_disk)
    assert listed(tmp_path, written, on_disk) == [tmp_path / on_disk]


@pytest.mark.parametrize("head", ["path,label", "Path,label", "File Path,label", "label;path"])
def test_a_table_with_a_column_of_paths_is_a_list(tmp_path: Path, head: str) -> None:
    made(tmp_path, "a, b.mp4", "c.mp4")
    rows = ['"a, b.mp4",real', "c.mp4,fake", "gone.mp4,fake"]
    if ";" in head:
        rows = ["real;a, b.mp4", "fake;c.mp4", "fake;gone.mp4"]
    (tmp_path / "list.csv").write_text("\n".join([head, *rows]) + "\n")
    assert find_inputs(str(tmp_path / "list.csv")) == [tmp_path / name for name in ("a, b.mp4", "c.mp4", "gone.mp4")]


def test_a_table_without_paths_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name,label\na.mp4,real\n")
    with pytest.raises(NothingToScore, match=r"has no column 'path' \(found: name, label\)"):
        find_inputs(str(tmp_path / "list.csv"))


def test_folders_that_link_to_each_other_are_looked_at_once_by_their_own_names(tmp_path: Path) -> None:
    made(tmp_path, "a/x.mp4", "b/y.mp4", "c/z.mp4")
    (tmp_path / "a" / "tob").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "toa").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "tob").symlink_to(tmp_path / "b")
    assert find_inputs(str(tmp_path)) == [tmp_path / name for name in ("a/x.mp4", "b/y.mp4", "c/z.mp4")]


def test_a_folder_that_only_a_link_leads_to_is_looked_at(tmp_path: Path) -> None:
    made(tmp_path, "other/deep/x.mp4", "inbox/y.mp4")
    for name in ("one", "two"):
        (tmp_path / "inbox" / name).symlink_to(tmp_path / "other")
    assert find_inputs(str(tmp_path / "inbox")) == [tmp_path / "inbox/one/deep/x.mp4", tmp_path / "inbox/y.mp4"]


def test_a_missing_file_is_missing_and_not_unreadable(tmp_path: Path) -> None:
    with pytest.raises(MissingVideo, match=r"gone\.mp4: no such file; correct its name") as caught:
        VideoReader(tmp_path / "gone.mp4")
    assert caught.value.status is Status.MISSING


def test_every_status_has_words(tmp_path: Path) -> None:
    assert set(STATUS_WORDS) == set(Status)
    assert set(NO_VERDICTS) == {status for status in Status if not status.has_faces}
    docs = Path(__file__).resolve().parents[2] / "docs"
    for page in ("predictions.md", "web.md", "openapi.json"):
        text = (docs / page).read_text("utf-8")
        assert [status for status in Status if status not in text] == []


def test_the_lists_of_the_field_are_read(tmp_path: Path, shared_field: Path) -> None:
    made(tmp_path, "l/a.mp4", "l/b.mp4")
    shutil.copy(shared_field / "in22.txt", tmp_path / "in22.txt")
    assert find_inputs(str(tmp_path / "in22.txt")) == [tmp_path / "l/a.mp4", tmp_path / "l/b.mp4"]
    assert all(path.is_file() for path in find_inputs(str(shared_field / "in21" / "l.txt")))
