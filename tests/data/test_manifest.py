"""The manifest: what is right is read exactly, what is wrong is named with its line, all of it at once."""

import logging
import os
import unicodedata
from pathlib import Path

import pytest

from dfd.base.errors import ManifestError, SplitLeak
from dfd.base.types import Label
from dfd.data.sources.manifest import read_manifest, write_manifest
from dfd.data.sources.row import VideoRow, slug
from dfd.data.splits.assign import assign_splits


def write(folder: Path, text: str | bytes, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    path = folder / "manifest.csv"
    folder.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


def test_a_full_row_is_read_with_its_extra_columns(tmp_path: Path) -> None:
    text = "path,label,dataset,method,source_ids,split,age\nv/a.mp4, Fake ,ffpp,FaceSwap,p1; p2 ;p1,VAL,31\n"
    (row,) = read_manifest(write(tmp_path, text, "v/a.mp4"))
    assert row == VideoRow(
        tmp_path / "v/a.mp4", "v/a.mp4", Label.FAKE, "ffpp", "FaceSwap", ("p1", "p2"), "val", {"age": "31"}, 2
    )


def test_only_path_and_label_are_needed(tmp_path: Path) -> None:
    real, fake = read_manifest(write(tmp_path, "path,label\na.mp4,real\nb.mp4,fake\n", "a.mp4", "b.mp4"))
    assert (real.dataset, real.method, real.source_ids, real.split) == ("unknown", "", ("a.mp4",), "")
    assert (fake.dataset, fake.method) == ("unknown", "unknown")


def test_videos_without_source_ids_are_their_own_source_and_the_risk_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "path,label,source_ids\na.mp4,real,\nb.mp4,fake,a.mp4\n"
    rows = read_manifest(write(tmp_path, text, "a.mp4", "b.mp4"))
    assert rows[0].source_ids == rows[1].source_ids == ("a.mp4",)
    assert "1 of 2 rows have no source_ids" in caplog.text
    assert "both sides of the split" in caplog.text


def test_source_ids_that_differ_in_case_only_are_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_manifest(write(tmp_path, "path,label,source_ids\na,real,Elon\nb,fake,elon\n", "a", "b"))
    assert "'Elon' / 'elon'" in caplog.text


def test_relative_paths_start_at_the_manifest_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "outside.mp4").write_bytes(b"x")
    path = write(tmp_path / "set", "path,label\n../outside.mp4,real\n./a.mp4,fake\n", "a.mp4")
    monkeypatch.chdir(tmp_path)
    rows = read_manifest(Path("set/manifest.csv"))
    assert [row.path.is_absolute() and row.path.is_file() for row in rows] == [True, True]
    assert [row.name for row in rows] == ["../outside.mp4", "a.mp4"]
    assert [row.name for row in read_manifest(path)] == ["../outside.mp4", "a.mp4"]


def test_absolute_paths_and_the_home_folder_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = f"path,label\n{tmp_path}/a.mp4,real\n~/b.mp4,fake\n"
    rows = read_manifest(write(tmp_path, text, "a.mp4", "home/b.mp4"))
    assert [row.path for row in rows] == [tmp_path / "a.mp4", tmp_path / "home/b.mp4"]


ODD_NAMES = ["-rf.mp4", "two\nlines.mp4", "ünï côdé 日本.mp4", 'quo"te,comma;.mp4', " blank .mp4", "$(id) %s {x}.mp4"]


def test_odd_file_names_survive_writing_and_reading(tmp_path: Path) -> None:
    rows = [VideoRow(tmp_path / name, name, Label.REAL, source_ids=("p",), extra={"n": "1"}) for name in ODD_NAMES]
    write(tmp_path, "", *ODD_NAMES)
    write_manifest(tmp_path / "manifest.csv", rows)
    again = read_manifest(tmp_path / "manifest.csv")
    assert [(r.path, r.name, r.extra) for r in again] == [(r.path, r.name, r.extra) for r in rows]


@pytest.mark.parametrize("name", [*ODD_NAMES, "..", "a/../../b", "con.mp4", "x" * 300, "😀", ".hidden", "a\0b"])
def test_a_video_id_is_a_safe_file_name_whatever_the_video_is_called(name: str) -> None:
    for text in (slug(name), VideoRow(Path("/x"), name, Label.REAL).video_id):
        assert 0 < len(text) < 64
        assert text.strip(".-_") == text
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_videos_of_one_name_in_two_folders_or_data_sets_have_different_ids() -> None:
    rows = [
        VideoRow(Path("/x"), name, Label.REAL, dataset) for name in ("real/000.mp4", "fake/000.mp4") for dataset in "ab"
    ]
    assert len({row.video_id for row in rows}) == 4
    assert all(row.video_id.startswith("000-") for row in rows)


def test_writing_and_reading_gives_the_same_rows(tmp_path: Path) -> None:
    text = "path,label,dataset,method,source_ids,split,age\na,fake,d,m,p1;p2,test,3\nb,real,d,,p3,,\n"
    rows = read_manifest(write(tmp_path, text, "a", "b"))
    write_manifest(tmp_path / "again.csv", rows)
    assert read_manifest(tmp_path / "again.csv") == rows
    (tmp_path / "sub").mkdir()
    write_manifest(tmp_path / "sub" / "elsewhere.csv", rows)
    assert [row.path for row in read_manifest(tmp_path / "sub" / "elsewhere.csv")] == [row.path for row in rows]


def test_a_source_id_that_holds_the_separator_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="holds ';'"):
        write_manifest(tmp_path / "m.csv", [VideoRow(tmp_path / "a", "a", Label.REAL, source_ids=("a;b",))])


def test_every_bad_row_is_named_with_its_line_at_once(tmp_path: Path) -> None:
    text = (
        "path,label,dataset,method,source_ids,split\n"
        "good.mp4,real,,,p1,\n"  # 2
        "gone.mp4,real,,,p2,\n"  # 3
        "a.mp4,maybe,,,p3,\n"  # 4
        ",fake,,,p4,\n"  # 5
        '"multi\nline.mp4",0,,,p5,\n'  # 6 and 7
        "\n"
        "b.mp4,real,,FaceSwap,p6,\n"  # 9
        "c.mp4,fake,,,p7,validation\n"  # 10
        "d.mp4,fakee,,,,nowhere\n"  # 11
        "good.mp4,real,,,p1,\n"  # 12
        "./good.mp4,fake,,,p1,\n"  # 13
        "folder,real,,,,\n"  # 14
        "e.mp4,,,,,\n"  # 15
    )
    (tmp_path / "folder").mkdir()
    files = ["good.mp4", "a.mp4", "multi\nline.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"]
    found = problems(write(tmp_path, text, *files))
    assert [problem.split(":")[0] for problem in found] == [
        f"line {number}" for number in (3, 4, 5, 6, 9, 10, 11, 11, 12, 13, 14, 15)
    ]
    joined = "\n".join(found)
    for part in (
        f"line 3: no such file: {tmp_path}/gone.mp4",
        "line 4: label 'maybe' is not real or fake",
        "line 5: the path is empty",
        "line 6: label '0' is a number, and data sets disagree on which number is fake",
        "line 9: a real video has no method, but this one has 'FaceSwap'",
        "line 10: split 'validation' is not one of train, val, test; did you mean 'val'?",
        "line 11: label 'fakee' is not real or fake; did you mean 'fake'?",
        "line 11: split 'nowhere' is not one of train, val, test, or leave it empty",
        "line 12: 'good.mp4' is on line 2 already; keep one row",
        "line 13: 'good.mp4' is fake here and real on line 2",
        "line 14: 'folder' is a folder",
        "line 15: the label is empty",
    ):
        assert part in joined


def test_one_file_under_two_names_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\na.mp4,real\nlink.mp4,real\nsub/../a.mp4,real\nhard.mp4,real\n", "a.mp4")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    os.link(tmp_path / "a.mp4", tmp_path / "hard.mp4")
    found = problems(path)
    assert [problem.split(":")[0] for problem in found] == ["line 3", "line 4", "line 5"]
    assert "(there 'a.mp4')" in found[0]


def test_a_manifest_in_the_wrong_place_is_told_where_its_paths_start(tmp_path: Path) -> None:
    found = problems(write(tmp_path, "path,label\nx/a.mp4,real\nx/b.mp4,fake\n"))
    assert found[0] == f"none of its files exists: relative paths start at the manifest's folder, {tmp_path}"
    assert len(found) == 3


def test_backslashes_are_understood(tmp_path: Path) -> None:
    (row,) = read_manifest(write(tmp_path, "path,label\nv\\a.mp4,real\n", "v/a.mp4"))
    assert (row.path, row.name) == (tmp_path / "v/a.mp4", "v/a.mp4")


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", "null", "unknown", " NULL ", "nan;None"])
def test_what_programs_write_where_nothing_is_known_is_no_source_id(
    tmp_path: Path, nothing: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"{n}.mp4,{'fake' if n % 2 else 'real'},{nothing},{nothing},{nothing}" for n in range(4)]
    text = "\n".join(["path,label,source_ids,dataset,method", *lines]) if ";" not in nothing else None
    if text is None:
        lines = [f"{n}.mp4,{'fake' if n % 2 else 'real'},{nothing}" for n in range(4)]
        text = "\n".join(["path,label,source_ids", *lines])
    rows = read_manifest(write(tmp_path, text + "\n", *(f"{n}.mp4" for n in range(4))))
    assert [row.source_ids for row in rows] == [(row.name,) for row in rows]
    assert {row.dataset for row in rows} == {"unknown"}
    assert [row.method for row in rows] == ["", "unknown", "", "unknown"]
    assert "4 of 4 rows have no source_ids" in caplog.text


def test_a_name_that_was_composed_otherwise_is_found(tmp_path: Path) -> None:
    on_disk, written = (unicodedata.normalize(form, "Jos\u00e9/N\u00fa\u00f1ez.mp4") for form in ("NFD", "NFC"))
    assert on_disk != written
    (row,) = read_manifest(write(tmp_path, f"path,label\n{written},real\n", on_disk))
    assert row.path == tmp_path / on_disk


COPY = """,File Path,Label,Frame Count,Width,Height,Codec,File Size(MB)
0,DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4,FAKE,306,1920,1080,h264,4.0
1,original/000.mp4,REAL,306,1920,1080,h264,4.0
2,Deepfakes/000_003.mp4,FAKE,306,1920,1080,h264,4.0
"""
COPY_FILES = ("DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4", "original/000.mp4", "Deepfakes/000_003.mp4")


@pytest.mark.parametrize("place", ["", "csv/"])
def test_the_table_of_kaggles_copy_of_faceforensics_is_a_manifest(tmp_path: Path, place: str) -> None:
    write(tmp_path, COPY, *COPY_FILES)
    (tmp_path / f"{place}table.csv").parent.mkdir(exist_ok=True)
    (tmp_path / "manifest.csv").rename(tmp_path / f"{place}table.csv")
    rows = read_manifest(tmp_path / f"{place}table.csv")
    assert [row.path for row in rows] == [tmp_path / name for name in COPY_FILES]
    assert [(row.dataset, row.method, row.source_ids) for row in rows] == [
        ("dfd", "DeepFakeDetection", ("dfd:01", "dfd:02")),
        ("ffpp", "", ("ffpp:000",)),
        ("ffpp", "Deepfakes", ("ffpp:000", "ffpp:003")),
    ]
    assert rows[0].extra["Width"] == "1920"
    splits = assign_splits(rows)
    assert splits[rows[1].video_id] == splits[rows[2].video_id]


def test_the_tables_of_the_field_are_read(tmp_path: Path, shared_field: Path, caplog: pytest.LogCaptureFixture) -> None:
    nan = (shared_field / "in23_90pct_nan.csv").read_text()
    rows = read_manifest(write(tmp_path, nan, *(f"v{n:02}.mp4" for n in range(40))))
    num_unknown = nan.count(",nan")
    assert sum(row.source_ids == (row.name,) for row in rows) == num_unknown > 20
    assert f"{num_unknown} of 40 rows have no source_ids" in caplog.text
    assert len(read_manifest(shared_field / "in21" / "m.csv")) == 1
    copy = (shared_field / "in26_kaggle_ff.csv").read_text()
    assert len(read_manifest(write(tmp_path / "kaggle", copy, *COPY_FILES[:2]))) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_files_of_spreadsheets_are_read(tmp_path: Path, delimiter: str, line_end: str, mark: bytes) -> None:
    rows = [["path", "label", "source_ids"], ["a.mp4", "real", '"p1;p2"'], ["", "", ""]]
    text = line_end.join(delimiter.join(row) for row in rows) + line_end
    (row,) = read_manifest(write(tmp_path, mark + text.encode(), "a.mp4"))
    assert (row.name, row.source_ids, row.line) == ("a.mp4", ("p1", "p2"), 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"path,label\n", "a header and no rows"),
        ("path,label\nä,real\n".encode("latin-1"), "line 2: not UTF-8"),
        ("path,label\na,real\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"file,label\na,real\n", "no column 'path'"),
        (b"path,labl\na,real\n", "no column 'label'; is it the column 'labl'?"),
        (b"path,label,label\na,real,fake\n", "'label' is there twice"),
        (b'path,label\n"a,real\n', "is a quote never closed"),
        (b"a.mp4,real\nb.mp4,fake\n", "no column 'path'"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in "\n".join(problems(write(tmp_path, content, "a")))


def test_a_missing_manifest_and_a_folder_are_refused_with_the_reason(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "none.csv")[0]
    assert "source=folder" in problems(tmp_path)[0]


def test_rows_with_too_many_or_too_few_cells_are_named(tmp_path: Path) -> None:
    text = "path;label;source_ids\na;real;p1;p2\nb\nc;real\n"
    found = problems(write(tmp_path, text, "a", "b", "c"))
    assert found == [
        "line 2: 4 cells for 3 columns; put quotes around a cell that holds ';'",
        "line 3: 1 of 3 cells",
    ]


def test_a_misspelt_optional_column_is_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (row,) = read_manifest(write(tmp_path, "path,label,source_id\na,real,p1\n", "a"))
    assert "did you mean 'source_ids'" in caplog.text
    assert row.extra == {"source_id": "p1"}


def test_given_splits_that_divide_a_person_are_refused(tmp_path: Path) -> None:
    text = "path,label,source_ids,split\na,real,p1,train\nb,fake,p1;p2,\nc,real,p2,test\n"
    with pytest.raises(SplitLeak, match="joined through others of their 3 videos") as caught:
        read_manifest(write(tmp_path, text, "a", "b", "c"))
    assert "'a-" in str(caught.value)
    assert "'c-" in str(caught.value)


def test_the_manifest_of_the_development_videos_is_read(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = read_manifest(shared_data / "dev" / "manifest.csv")
    assert [sum(row.label is label for row in rows) for label in Label] == [21, 15]
    assert not caplog.records
