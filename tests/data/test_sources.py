"""What all sources keep, and a folder with real/ and fake/ as a data set."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources import SOURCES, LeftOut, Listing, folder
from dfd.data.sources.__main__ import main
from dfd.data.sources.catalogue import ABOUT
from dfd.data.sources.layout import LAYOUTS
from dfd.data.sources.manifest import read_manifest, write_manifest
from dfd.data.splits.assign import assign_splits
from tests.data import miniature_public as public
from tests.data.miniature import make_celebdf, make_dfdc, make_ffpp


def test_each_source_has_an_option_file_a_layout_and_facts() -> None:
    options = {path.stem for path in (Path(__file__).parents[2] / "conf/source").glob("*.yaml")}
    assert options == set(SOURCES) == set(LAYOUTS) == set(ABOUT)
    for about in (ABOUT[name] for name in SOURCES if name not in ("folder", "stills")):
        assert about.place.startswith("https://")
        assert about.licence
        assert about.videos


def test_the_list_names_every_data_set_or_those_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    everything = capsys.readouterr().out
    assert all(f"{name}: {about.title}\n" in everything for name, about in ABOUT.items())
    main(["kodf", "ffiw"])
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if line[:1].strip()] == [
        "kodf",
        "ffiw",
    ]
    with pytest.raises(SystemExit):
        main(["kodv"])
    assert "did you mean NAME kodf?" in capsys.readouterr().err


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def make_folder(root: Path) -> Path:
    touch(root, *(f"{label}/{number}.mp4" for label in ("real", "fake") for number in range(3)))
    return root


MAKE: dict[str, Callable[[Path], Path]] = {
    "folder": make_folder,
    "ffpp": make_ffpp,
    "dfdc": make_dfdc,
    "celebdf": make_celebdf,
    "dfdcp": public.make_dfdcp,
    "fakeavceleb": public.make_fakeavceleb,
    "deeperforensics": public.make_deeperforensics,
    "ffiw": public.make_ffiw,
    "kodf": public.make_kodf,
    "avdeepfake1m": public.make_avdeepfake1m,
    "deepspeak": public.make_deepspeak,
    "wilddeepfake": public.make_wilddeepfake,
    "df40": public.make_df40,
}
OF_PICTURES = ("wilddeepfake", "df40")
SHIPPED = tuple(name for name in MAKE if name not in ("folder", *OF_PICTURES))
WITH_ORIGINALS = ("ffpp", "dfdc", "celebdf", "dfdcp", "fakeavceleb", "avdeepfake1m", "deepspeak")
ANY_NAME = ("avdeepfake1m", "deepspeak")
"""Their own lists tell the videos, whatever these are called."""
WITHOUT_REALS = "deeperforensics"


def other_left_out(listing: Listing) -> list[LeftOut]:
    """What is left out, except fakes of the sound alone."""
    return [item for item in listing.left_out if item.reason != "audio_only"]


@pytest.mark.parametrize("source", MAKE)
def test_rows_are_sorted_named_from_the_root_and_never_opened_or_split(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path / "data")
    for path in root.rglob("*.mp4"):
        path.chmod(0)
    listing = SOURCES[source](root)
    assert other_left_out(listing) == []
    assert [row.name for row in listing.rows] == sorted({row.name for row in listing.rows})
    assert {row.label for row in listing.rows} == ({Label.FAKE} if source == WITHOUT_REALS else set(Label))
    for row in listing.rows:
        assert row.path == (root / row.name).absolute()
        assert row.split == ""
        assert bool(row.method) == (row.label is Label.FAKE)
    assert len({row.video_id for row in listing.rows}) == len(listing.rows)


@pytest.mark.parametrize("source", MAKE)
def test_a_listing_does_not_depend_on_where_the_data_set_lies(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKE[source](tmp_path / "one" / "data")
    MAKE[source](tmp_path / "two" / "data")
    monkeypatch.chdir(tmp_path / "two" / "data")
    first, second = SOURCES[source](tmp_path / "one" / "data"), SOURCES[source](".")
    assert [(row.video_id, row.source_ids, row.extra) for row in first.rows] == [
        (row.video_id, row.source_ids, row.extra) for row in second.rows
    ]
    assert all(row.path.is_absolute() for row in second.rows)


@pytest.mark.parametrize("source", WITH_ORIGINALS)
def test_a_fake_names_its_original_and_shares_a_source_with_it(source: str, tmp_path: Path) -> None:
    rows = SOURCES[source](MAKE[source](tmp_path)).rows
    reals = {row.name: row for row in rows if row.label is Label.REAL}
    fakes = [row for row in rows if row.label is Label.FAKE]
    assert fakes
    for fake in fakes:
        original = reals[fake.extra["original"]]
        assert original.source_ids[0] == fake.source_ids[0]
        assert original.dataset == fake.dataset
    assert not any("original" in row.extra for row in reals.values())


@pytest.mark.parametrize("source", MAKE)
def test_a_listing_survives_as_a_manifest(source: str, tmp_path: Path) -> None:
    rows = SOURCES[source](MAKE[source](tmp_path)).rows
    write_manifest(tmp_path / "manifest.csv", rows)
    again = read_manifest(tmp_path / "manifest.csv")
    for row, other in zip(rows, again, strict=True):
        assert (row.name, row.label, row.dataset, row.method, row.source_ids) == (
            other.name,
            other.label,
            other.dataset,
            other.method,
            other.source_ids,
        )
        assert {key: value for key, value in other.extra.items() if value} == row.extra


@pytest.mark.parametrize("source", MAKE)
def test_hidden_files_and_those_of_zip_programs_are_no_part_of_it(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    before = SOURCES[source](root)
    for base in {path.parent for path in root.rglob("*.mp4")} | {root}:
        touch(base, ".DS_Store", "._000.mp4", "Thumbs.db", "desktop.ini", "__MACOSX/._000.mp4", ".cache/000.mp4")
    assert SOURCES[source](root) == before


@pytest.mark.parametrize("source", [name for name in SHIPPED if name not in ANY_NAME])
def test_files_and_folders_that_are_not_of_the_data_set_are_left_out_by_name(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    before = SOURCES[source](root).rows
    base = before[0].path.parent
    inside = base.relative_to(root).as_posix()
    touch(base, "tmp4djliu1y", "copy of 000.mp4", "labels.csv", "frames/0.png")
    touch(root, "part.zip", "notes.txt", "elsewhere/000.mp4")
    listing = SOURCES[source](root)
    assert listing.rows == before
    assert [(item.name, item.reason) for item in other_left_out(listing)] == sorted(
        [
            *((f"{inside}/{name}", "unknown_file") for name in ("copy of 000.mp4", "labels.csv", "tmp4djliu1y")),
            (f"{inside}/frames/", "unknown_folder"),
            ("elsewhere/", "unknown_folder"),
            ("notes.txt", "unknown_file"),
            ("part.zip", "unknown_file"),
        ]
    )
    assert all(item.detail for item in listing.left_out)
    assert "unpack" in next(item.detail for item in listing.left_out if item.name == "part.zip")


@pytest.mark.parametrize("source", SHIPPED)
def test_an_upper_case_suffix_is_the_same_video(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    before = SOURCES[source](root)
    for path in list(root.rglob("*.mp4")):
        path.rename(path.with_suffix(".MP4"))
    after = SOURCES[source](root)
    assert other_left_out(after) == []
    assert [row.name.lower() for row in after.rows] == [row.name.lower() for row in before.rows]
    for old, new in zip(before.rows, after.rows, strict=True):
        assert (old.label, old.method, old.source_ids) == (new.label, new.method, new.source_ids)
        assert {key: value.lower() for key, value in new.extra.items()} == {
            key: value.lower() for key, value in old.extra.items()
        }


@pytest.mark.parametrize("source", SHIPPED)
def test_names_that_differ_in_case_alone_are_one_video(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    before = SOURCES[source](root)
    path = before.rows[0].path
    path.with_suffix(".MP4").write_bytes(b"x")
    if path.read_bytes():
        pytest.skip("the disk takes the two names for one")
    after = SOURCES[source](root)
    assert len(after.rows) == len(before.rows)
    (left,) = other_left_out(after)
    assert left.reason == "duplicate"
    assert left.name.lower() == before.rows[0].name.lower()


@pytest.mark.parametrize("source", [name for name in SHIPPED if name != WITHOUT_REALS])
def test_one_file_under_two_names_is_refused(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    rows = SOURCES[source](root).rows
    real, fake = (next(row for row in rows if row.label is label) for label in Label)
    fake.path.unlink()
    os.link(real.path, fake.path)
    with pytest.raises(ManifestError, match="is the same file as") as caught:
        SOURCES[source](root)
    assert real.name in str(caught.value)
    assert fake.name in str(caught.value)


@pytest.mark.parametrize("source", SHIPPED)
def test_a_link_that_leads_nowhere_is_missing(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    rows = SOURCES[source](root).rows
    row = next(row for row in rows if row.label is Label.FAKE)
    row.path.unlink()
    row.path.symlink_to(tmp_path / "moved away.mp4")
    listing = SOURCES[source](root)
    assert [(item.name, item.reason) for item in other_left_out(listing)] == [(row.name, "missing_file")]
    assert row.name not in {other.name for other in listing.rows}


@pytest.mark.parametrize("source", [name for name in SHIPPED if name not in ANY_NAME])
def test_an_unknown_name_that_is_not_utf8_can_be_written_down(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path)
    base = SOURCES[source](root).rows[0].path.parent
    try:
        (base / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("the disk takes UTF-8 names only")
    (left,) = other_left_out(SOURCES[source](root))
    assert left.name.encode("utf-8").endswith(rb"\udcff.mp4")


@pytest.mark.parametrize("other", MAKE)
def test_another_layout_is_recognised(other: str, tmp_path: Path) -> None:
    root = MAKE[other](tmp_path / "data")
    for source in MAKE.keys() - {other}:
        with pytest.raises(ManifestError, match=rf"found .*\. source={source} wants .*it looks like source={other}"):
            SOURCES[source](root)


@pytest.mark.parametrize("source", ["folder", "ffpp", "celebdf", "wilddeepfake", "fakeavceleb"])
def test_the_folder_above_and_one_within_are_answered_with_the_right_one(source: str, tmp_path: Path) -> None:
    root = MAKE[source](tmp_path / "downloads" / "data")
    inner = next(path for path in sorted(root.iterdir()) if path.is_dir())
    for wrong in (tmp_path / "downloads", inner):
        with pytest.raises(ManifestError) as caught:
            SOURCES[source](wrong)
        assert str(caught.value).endswith(f"give root={root}")


@pytest.mark.parametrize("source", MAKE)
def test_what_is_no_data_set_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="it is not a folder; give the one that holds"):
        SOURCES[source](tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=f"found nothing. source={source} wants the folder that holds"):
        SOURCES[source](tmp_path / "empty")
    touch(tmp_path / "file", "a.mp4")
    with pytest.raises(ManifestError, match="it is not a folder"):
        SOURCES[source](tmp_path / "file/a.mp4")


def test_files_below_real_and_fake_become_rows_in_any_case_and_depth(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "mine"
    touch(root, "Real/b.mp4", "Real/deep/er/a", "FAKE/x.txt", "FAKE/FaceSwap/c.mp4", "FAKE/.DS_Store", "other/d.mp4")
    listing = SOURCES["folder"](root)
    assert [(row.name, row.label, row.dataset, row.method) for row in listing.rows] == [
        ("FAKE/FaceSwap/c.mp4", Label.FAKE, "mine", "FaceSwap"),
        ("FAKE/x.txt", Label.FAKE, "mine", "unknown"),
        ("Real/b.mp4", Label.REAL, "mine", ""),
        ("Real/deep/er/a", Label.REAL, "mine", ""),
    ]
    assert all(row.path.is_file() and row.source_ids == (f"{row.dataset}:{row.name}",) for row in listing.rows)
    assert listing.left_out == [LeftOut("other/", "unknown_folder", "neither real/ nor fake/; not looked into")]
    assert "each of 4 videos counts as its own source" in caplog.text


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_folders_of_a_split_with_real_and_fake_in_each_keep_their_split(
    val: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "mine"
    touch(root, *(f"{split}/{label}/{split}.mp4" for split in ("train", val, "Test") for label in ("real", "fake")))
    touch(root, "train/fake/FaceSwap/c.mp4", "train/notes.txt", f"{val}/other/d.mp4", "extra/real/e.mp4")
    listing = SOURCES["folder"](root)
    found = {(row.name, row.label, row.split, row.method) for row in listing.rows}
    splits = {"train": "train", val: "val", "Test": "test"}
    assert found == {
        *((f"{folder}/real/{folder}.mp4", Label.REAL, split, "") for folder, split in splits.items()),
        *((f"{folder}/fake/{folder}.mp4", Label.FAKE, split, "unknown") for folder, split in splits.items()),
        ("train/fake/FaceSwap/c.mp4", Label.FAKE, "train", "FaceSwap"),
    }
    assert {item.name for item in listing.left_out} == {"train/notes.txt", f"{val}/other/", "extra/"}
    assert set(assign_splits(listing.rows).values()) == {"train", "val", "test"}


def test_a_folder_without_the_two_says_what_it_found(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.mp4", "readme.txt")
    with pytest.raises(ManifestError, match=r"neither real/ nor fake/; found train/, readme.txt"):
        folder(tmp_path)


def test_a_manifest_lying_there_is_suggested(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "manifest.csv", "videos/a.mp4")
    with pytest.raises(ManifestError, match=r"give manifest=.*manifest\.csv instead"):
        folder(tmp_path)
    touch(tmp_path, "real/a.mp4")
    folder(tmp_path)
    assert f"give manifest={tmp_path / 'manifest.csv'} instead" in caplog.text
    assert "only real videos" in caplog.text


def test_two_empty_class_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    with pytest.raises(ManifestError, match="there is no video; found real/"):
        folder(tmp_path)


def test_one_file_under_both_labels_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "fake/b.mp4")
    os.link(tmp_path / "real/a.mp4", tmp_path / "fake/a.mp4")
    with pytest.raises(ManifestError, match="same file as"):
        folder(tmp_path)


def test_folders_that_link_in_a_circle_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "fake/m/b.mp4")
    (tmp_path / "real/again").symlink_to(tmp_path / "real")
    assert [row.name for row in folder(tmp_path).rows] == ["fake/m/b.mp4", "real/a.mp4"]


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    with pytest.raises(ManifestError, match="is not UTF-8; rename it"):
        folder(tmp_path)


def test_two_folders_of_one_name_can_be_two_data_sets(tmp_path: Path) -> None:
    listings = [folder(make_folder(tmp_path / name / "videos"), dataset=name) for name in ("a", "b")]
    ids = [{row.video_id for row in listing.rows} for listing in listings]
    sources = [{source for row in listing.rows for source in row.source_ids} for listing in listings]
    assert not ids[0] & ids[1]
    assert not sources[0] & sources[1], "else equal file names would tie the two together"


def test_stills_are_real_and_a_folder_is_a_person(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "ann/1.jpg", "ann/deep/2.PNG", "bob/1.webp", "loose.jpeg", "ann/notes.txt", ".hidden/x.jpg")
    listing = SOURCES["stills"](tmp_path, dataset="faces")
    assert [(row.name, row.source_ids) for row in listing.rows] == [
        ("ann/1.jpg", ("faces:ann",)),
        ("ann/deep/2.PNG", ("faces:ann",)),
        ("bob/1.webp", ("faces:bob",)),
        ("loose.jpeg", ("faces:loose.jpeg",)),
    ]
    assert {row.label for row in listing.rows} == {Label.REAL}
    assert listing.left_out == [LeftOut("ann/notes.txt", "unknown_file", "not a picture")]
    assert "not in a person's folder" in caplog.text
    assert "both labels" not in caplog.text


def test_a_folder_without_pictures_is_no_stills(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.mp4")
    with pytest.raises(ManifestError, match="a folder of pictures for each person"):
        SOURCES["stills"](tmp_path)
