"""A folder with real/ and fake/ is a data set."""

import os
from pathlib import Path

import pytest

from dfd.data.sources import SOURCES, folder
from dfd.errors import ManifestError
from dfd.types import Label


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_files_below_real_and_fake_become_rows_in_any_case_and_depth(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "mine"
    touch(root, "Real/b.mp4", "Real/deep/er/a", "FAKE/x.txt", "FAKE/FaceSwap/c.mp4", "FAKE/.DS_Store", "other/d.mp4")
    rows = SOURCES["folder"](root)
    assert [(row.name, row.label, row.dataset, row.method) for row in rows] == [
        ("FAKE/FaceSwap/c.mp4", Label.FAKE, "mine", "FaceSwap"),
        ("FAKE/x.txt", Label.FAKE, "mine", "unknown"),
        ("Real/b.mp4", Label.REAL, "mine", ""),
        ("Real/deep/er/a", Label.REAL, "mine", ""),
    ]
    assert all(row.path.is_file() and row.source_ids == (row.name,) for row in rows)
    assert "each of 4 videos is taken for its own source" in caplog.text


def test_a_folder_without_the_two_says_what_it_found(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.mp4", "readme.txt")
    with pytest.raises(ManifestError, match=r"neither real/ nor fake/; found readme.txt, train/"):
        folder(tmp_path)


def test_a_manifest_lying_there_is_suggested(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "manifest.csv", "videos/a.mp4")
    with pytest.raises(ManifestError, match=r"give manifest=.*manifest\.csv instead"):
        folder(tmp_path)
    touch(tmp_path, "real/a.mp4")
    folder(tmp_path)
    assert f"give manifest={tmp_path / 'manifest.csv'} instead" in caplog.text
    assert "only real videos" in caplog.text


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="it is not a folder"):
        folder(tmp_path / "none")
    (tmp_path / "real").mkdir()
    with pytest.raises(ManifestError, match="no file in real/"):
        folder(tmp_path)


def test_one_file_under_both_labels_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "fake/b.mp4")
    os.link(tmp_path / "real/a.mp4", tmp_path / "fake/a.mp4")
    with pytest.raises(ManifestError, match="same file as"):
        folder(tmp_path)


def test_folders_that_link_in_a_circle_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "fake/m/b.mp4")
    (tmp_path / "real/again").symlink_to(tmp_path / "real")
    assert [row.name for row in folder(tmp_path)] == ["fake/m/b.mp4", "real/a.mp4"]


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    with pytest.raises(ManifestError, match="is not UTF-8; rename it"):
        folder(tmp_path)
