"""Celeb-DF v1 and v2 as their archive unpacks."""

import shutil
from pathlib import Path

import pytest

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources import celebdf
from tests.data.miniature import make_celebdf

LIST = "List_of_testing_videos.txt"


def test_names_tell_people_and_originals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = celebdf(make_celebdf(tmp_path))
    rows = {row.name: row for row in listing.rows}
    assert rows["Celeb-real/id3_0000.mp4"].source_ids == ("celebdf:id3",)
    assert rows["YouTube-real/00001.mp4"].source_ids == ("celebdf:youtube:00001",)
    fake = rows["Celeb-synthesis/id3_id2_0000.mp4"]
    assert (fake.label, fake.dataset, fake.method) == (Label.FAKE, "celebdf", "Celeb-synthesis")
    assert fake.source_ids == ("celebdf:id3", "celebdf:id2")
    assert fake.extra == {"original": "Celeb-real/id3_0000.mp4", "official_split": "train"}
    assert {row.label for name, row in rows.items() if "-real/" in name} == {Label.REAL}
    assert len(rows) == 20
    assert caplog.text == "", "a complete data set gives no reason to warn"


def test_the_video_number_is_that_of_the_original(tmp_path: Path) -> None:
    for row in celebdf(make_celebdf(tmp_path, videos_each=3)).rows:
        if row.method:
            assert row.extra["original"][-8:] == row.name[-8:]


def test_the_owners_list_is_test_and_the_rest_is_train(tmp_path: Path) -> None:
    root = make_celebdf(tmp_path)
    rows = celebdf(root).rows
    listed = {line.split()[1] for line in (root / LIST).read_text().splitlines()}
    assert {row.name for row in rows if row.extra["official_split"] == "test"} == listed
    assert {row.name for row in rows if row.extra["official_split"] == "train"} == {row.name for row in rows} - listed


def test_the_list_is_read_however_it_was_saved(tmp_path: Path) -> None:
    root = make_celebdf(tmp_path)
    before = celebdf(root)
    text = (root / LIST).read_text()
    mangled = "\ufeff" + text.replace("/", "\\").replace(" ", "   ").replace("\n", "\r\n") + "\r\n\r\n"
    (root / LIST).write_bytes(mangled.encode())
    assert celebdf(root) == before


def test_without_the_list_there_is_no_official_split_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_celebdf(tmp_path)
    (root / LIST).unlink()
    assert not any("official_split" in row.extra for row in celebdf(root).rows)
    assert f"{LIST} is missing" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "0 Celeb-real/id1_0000.mp4",
            r"line 6: Celeb-real/id1_0000\.mp4 is fake \(0\), and Celeb-real/ holds real videos",
        ),
        ("1 Celeb-synthesis/id1_id0_0000.mp4", r"line 6: .* is real \(1\), and Celeb-synthesis/ holds fake videos"),
        ("2 Celeb-real/id1_0000.mp4", "line 6: .* is not of the form"),
        ("Celeb-real/id1_0000.mp4", "line 6: .* is not of the form"),
        ("1 Celeb-fake/id1_0000.mp4", "line 6: .* is not of the form"),
        ("1 Celeb-real/../YouTube-real/00000.mp4", "line 6: .* is not of the form"),
        ("1", "line 6: .* is not of the form"),
    ],
)
def test_lines_that_contradict_or_are_damaged_are_named(line: str, message: str, tmp_path: Path) -> None:
    root = make_celebdf(tmp_path)
    with (root / LIST).open("a") as file:
        file.write(f"{line}\n0 YouTube-real/00000.mp4\n")
    with pytest.raises(ManifestError, match=message) as caught:
        celebdf(root)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xff\xfe1"])
def test_a_list_that_lists_nothing_is_refused(data: bytes, tmp_path: Path) -> None:
    root = make_celebdf(tmp_path)
    (root / LIST).write_bytes(data)
    with pytest.raises(ManifestError, match=rf"{LIST}: 1 problem"):
        celebdf(root)


def test_what_is_listed_and_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_celebdf(tmp_path)
    (root / "Celeb-real/id7_0000.mp4").unlink()
    listing = celebdf(root)
    assert [(item.name, item.reason) for item in listing.left_out] == [("Celeb-real/id7_0000.mp4", "missing_file")]
    (fake,) = (row for row in listing.rows if row.name == "Celeb-synthesis/id7_id6_0000.mp4")
    assert fake.extra == {"official_split": "test"}
    assert "fakes made from videos that are not here: 1 (Celeb-synthesis/id7_id6_0000.mp4)" in caplog.text


def test_a_listed_link_that_leads_nowhere_is_named_once(tmp_path: Path) -> None:
    root = make_celebdf(tmp_path)
    (root / "Celeb-real/id7_0000.mp4").unlink()
    (root / "Celeb-real/id7_0000.mp4").symlink_to(tmp_path / "moved away.mp4")
    assert [item.name for item in celebdf(root).left_out] == ["Celeb-real/id7_0000.mp4"]


def test_parts_that_are_not_there_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_celebdf(tmp_path)
    shutil.rmtree(root / "YouTube-real")
    shutil.rmtree(root / "Celeb-real")
    listing = celebdf(root)
    assert len(listing.rows) == 8
    assert "missing parts: 2 (Celeb-real/, YouTube-real/)" in caplog.text
    assert "holds only fake videos" in caplog.text
    assert {item.reason for item in listing.left_out} == {"missing_file"}


def test_the_three_folders_without_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Celeb-real/videos").mkdir(parents=True)
    with pytest.raises(ManifestError, match="there is no video; found Celeb-real/"):
        celebdf(tmp_path)


PLUS_PLUS = {
    "Celeb-real/id0_0000.mp4": ("", ("celebdf:id0",)),
    "Celeb-real/id1_0002.mp4": ("", ("celebdf:id1",)),
    "YouTube-real/00170.mp4": ("", ("celebdf:youtube:00170",)),
    "Celeb-synthesis/FaceSwap/Celeb-DF/id0_id1_0000.mp4": ("Celeb-DF", ("celebdf:id0", "celebdf:id1")),
    "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4": ("SimSwap", ("celebdf:id0", "celebdf:id1")),
    "Celeb-synthesis/FaceReenact/LIA/id1_0002_id0_0000.mp4": ("LIA", ("celebdf:id1", "celebdf:id0")),
    "Celeb-synthesis/TalkingFace/SadTalker/id1_0002.mp4": ("SadTalker", ("celebdf:id1",)),
    "Celeb-synthesis/TalkingFace/FLOAT/00170_audio.mp4": ("FLOAT", ("celebdf:youtube:00170",)),
}


def test_celeb_df_plus_plus_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in (*PLUS_PLUS, "Celeb-synthesis/FaceSwap/SimSwap/readme.mp4", "Celeb-synthesis/FaceSwap/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    listed = "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4"
    (tmp_path / LIST).write_text(
        f"1 YouTube-real/00170.mp4\n0 {listed}\n0 Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4\n"
    )
    listing = celebdf(tmp_path)
    assert {row.name: (row.method, row.source_ids) for row in listing.rows} == PLUS_PLUS
    rows = {row.name: row for row in listing.rows}
    assert rows[listed].extra == {
        "scenario": "FaceSwap",
        "official_split": "test",
        "original": "Celeb-real/id0_0000.mp4",
    }
    lia = rows["Celeb-synthesis/FaceReenact/LIA/id1_0002_id0_0000.mp4"]
    assert (lia.extra["original"], lia.extra["official_split"]) == ("Celeb-real/id1_0002.mp4", "train")
    assert {(item.name, item.reason) for item in listing.left_out} == {
        ("Celeb-synthesis/FaceSwap/SimSwap/readme.mp4", "unknown_file"),
        ("Celeb-synthesis/FaceSwap/notes.txt", "unknown_file"),
        ("Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4", "missing_file"),
    }
