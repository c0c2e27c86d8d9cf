"""DFDC's parts, as downloaded and as Kaggle's archives unpack."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources import dfdc
from tests.data.miniature import make_dfdc

FIRST, SECOND = "dfdc_train_part_0", "dfdc_train_part_1"


def metadata(part: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((part / "metadata.json").read_text())
    return value


def edit(part: Path, **entries: Any) -> None:
    """Change entries of a part's metadata; the names are without suffix, and a value of None removes the entry."""
    values = metadata(part) | {f"{name}.mp4": fields for name, fields in entries.items()}
    (part / "metadata.json").write_text(json.dumps({name: fields for name, fields in values.items() if fields}))


def stems(part: Path, label: str) -> list[str]:
    return [name.removesuffix(".mp4") for name, fields in metadata(part).items() if fields["label"] == label]


def test_metadata_tells_labels_and_originals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_dfdc(tmp_path)
    listing = dfdc(root)
    assert len(listing.rows) == 16
    for row in listing.rows:
        part, _, file = row.name.partition("/")
        said = metadata(root / part)[file]
        assert row.label.name == said["label"]
        assert row.dataset == "dfdc"
        assert row.method == ("unknown" if said["original"] else "")
        assert row.source_ids == (f"dfdc:{(said['original'] or file).removesuffix('.mp4')}",)
        assert row.extra == ({"original": f"{part}/{said['original']}"} if said["original"] else {})
    assert "source.parts_apart=true keeps each part on one side" in caplog.text


def test_parts_apart_ties_the_videos_of_a_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_dfdc(tmp_path)
    parts = defaultdict(set)
    for row in dfdc(root, parts_apart=True).rows:
        assert len(row.source_ids) == 2
        parts[row.name.partition("/")[0]].add(row.source_ids[1])
    assert parts == {FIRST: {f"dfdc:part:{FIRST}"}, SECOND: {f"dfdc:part:{SECOND}"}}
    assert "people recur" not in caplog.text


def test_an_original_may_lie_in_another_part(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    real = stems(root / FIRST, "REAL")[0]
    (root / SECOND / "zzzzzzzzzz.mp4").write_bytes(b"")
    edit(root / SECOND, zzzzzzzzzz={"label": "FAKE", "split": "train", "original": f"{real}.mp4"})
    (row,) = (row for row in dfdc(root).rows if row.name == f"{SECOND}/zzzzzzzzzz.mp4")
    assert row.source_ids == (f"dfdc:{real}",)
    assert row.extra["original"] == f"{FIRST}/{real}.mp4"


def test_a_fake_without_its_original_keeps_its_source_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_dfdc(tmp_path, fakes_each=2)
    real = stems(root / FIRST, "REAL")[0]
    (root / FIRST / f"{real}.mp4").unlink()
    edit(root / FIRST, **{real: None})
    listing = dfdc(root)
    orphans = [row for row in listing.rows if row.label is Label.FAKE and "original" not in row.extra]
    assert [row.source_ids for row in orphans] == [(f"dfdc:{real}",)] * 2
    assert listing.left_out == []
    assert "fakes made from videos that are not here: 2 (" in caplog.text


def test_a_part_alone_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = make_dfdc(tmp_path) / FIRST
    listing = dfdc(part, parts_apart=True)
    assert len(listing.rows) == 8
    assert listing.left_out == []
    assert {row.source_ids[1] for row in listing.rows} == {f"dfdc:part:{FIRST}"}
    monkeypatch.chdir(part)
    assert [row.source_ids for row in dfdc(".", parts_apart=True).rows] == [row.source_ids for row in listing.rows]


def test_archives_that_unpack_one_folder_deeper_are_read(tmp_path: Path) -> None:
    flat = make_dfdc(tmp_path / "flat")
    nested = tmp_path / "nested"
    for number in range(2):
        shutil.copytree(
            flat / f"dfdc_train_part_{number}", nested / f"dfdc_train_part_0{number}/dfdc_train_part_{number}"
        )
    (nested / "dfdc_train_part_00/readme.txt").write_text("x")
    listing = dfdc(nested, parts_apart=True)
    assert [row.source_ids for row in listing.rows] == [row.source_ids for row in dfdc(flat, parts_apart=True).rows]
    assert [item.name for item in listing.left_out] == ["dfdc_train_part_00/readme.txt"]


def test_what_is_listed_and_not_there_and_the_reverse_is_named(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    gone = stems(root / FIRST, "FAKE")[0]
    (root / FIRST / f"{gone}.mp4").unlink()
    (root / SECOND / "zzzzzzzzzz.mp4").write_bytes(b"")
    listing = dfdc(root)
    assert [(item.name, item.reason) for item in listing.left_out] == [
        (f"{FIRST}/{gone}.mp4", "missing_file"),
        (f"{SECOND}/zzzzzzzzzz.mp4", "unknown_file"),
    ]
    assert f"{SECOND}/metadata.json does not list it" in listing.left_out[1].detail
    assert len(listing.rows) == 15


def test_videos_whose_labels_are_not_told_are_counted_with_their_folder(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    (root / SECOND / "metadata.json").unlink()
    (root / "a/b/c").mkdir(parents=True)
    listing = dfdc(root)
    assert [(item.name, item.reason) for item in listing.left_out] == [
        ("a/", "unknown_folder"),
        (f"{SECOND}/", "unknown_folder"),
    ]
    assert "no metadata.json tells the labels of its 8 videos" in listing.left_out[1].detail


def test_the_same_video_in_two_parts_is_taken_once_from_where_it_is(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    shutil.copytree(root / FIRST, root / "again")
    listing = dfdc(root)
    names = {row.name for row in listing.rows}
    assert len(names) == 16
    assert {item.name.partition("/")[0] for item in listing.left_out} == {FIRST}, "the first by name is kept"
    assert {item.reason for item in listing.left_out} == {"duplicate"}
    assert len(listing.left_out) == 8
    for path in (root / "again").glob("*.mp4"):
        path.unlink()
    listing = dfdc(root)
    assert len(listing.rows) == 16
    assert {(item.name.partition("/")[0], item.reason) for item in listing.left_out} == {("again", "duplicate")}


def test_label_conflicts_are_all_named_at_once(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    reals, fakes = stems(root / FIRST, "REAL"), stems(root / FIRST, "FAKE")
    other_reals, other_fakes = stems(root / SECOND, "REAL"), stems(root / SECOND, "FAKE")
    edit(
        root / FIRST,
        **{
            reals[0]: {"label": "REAL", "original": f"{reals[1]}.mp4"},
            fakes[1]: {"label": "FAKE", "original": None},
            fakes[2]: {"label": "FAKE", "original": f"{fakes[3]}.mp4"},
            other_reals[0]: {"label": "FAKE", "original": f"{reals[1]}.mp4"},
            other_fakes[1]: {"label": "FAKE", "original": f"{reals[2]}.mp4"},
        },
    )
    with pytest.raises(ManifestError) as caught:
        dfdc(root)
    text = str(caught.value)
    assert f"{FIRST}/{reals[0]}.mp4 is REAL and has an original" in text
    assert f"{FIRST}/{fakes[1]}.mp4 is FAKE and has no original" in text
    assert f"{FIRST}/{fakes[2]}.mp4 has an original that is FAKE itself" in text
    assert f"{SECOND}/{other_reals[0]}.mp4 is REAL (original: none), and {FIRST}/{other_reals[0]}.mp4 FAKE" in text
    assert f"{SECOND}/{other_fakes[1]}.mp4 is FAKE (original: {other_reals[1]}.mp4), and {FIRST}/" in text


def test_a_fake_of_itself_is_a_conflict(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    fake = stems(root / FIRST, "FAKE")[0]
    edit(root / FIRST, **{fake: {"label": "FAKE", "original": f"{fake}.mp4"}})
    with pytest.raises(ManifestError, match="an original that is FAKE itself"):
        dfdc(root)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a.mp4": {"label": "FAKE"',
        b"[]",
        b"{}",
        b"\xff\xfe{}",
        b'{"a.mp4": {"is_fake": 1}}',
        b'{"a.mp4": "FAKE"}',
        b'{"a.mp4": {"label": "maybe", "original": null}}',
        b'{"a.mp4": {"label": "FAKE", "original": 7}}',
        b'{"../../a.mp4": {"label": "REAL", "original": null}}',
        b'{"/etc/a.mp4": {"label": "REAL", "original": null}}',
        b'{"": {"label": "REAL", "original": null}}',
        b'{"\\ud800.mp4": {"label": "REAL", "original": null}}',
        b'{"a.mp4": {"label": "FAKE", "original": "b;c.mp4"}}',
        b'{"a.mp4": {"label": "REAL", "original": null}, "a.mp4": {"label": "FAKE", "original": "b.mp4"}}',
    ],
)
def test_damaged_metadata_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    (root / SECOND / "metadata.json").write_bytes(data)
    with pytest.raises(ManifestError, match=rf"{SECOND}/metadata\.json: "):
        dfdc(root)


def test_a_list_of_another_form_is_refused_in_a_few_lines(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    (root / FIRST / "metadata.json").write_text(json.dumps({f"{n}.mp4": {"is_fake": 1} for n in range(5000)}))
    with pytest.raises(ManifestError, match="and 4995 more") as caught:
        dfdc(root)
    assert len(caught.value.problems) == 7


def test_metadata_without_videos_is_refused(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    for path in root.rglob("*.mp4"):
        path.unlink()
    with pytest.raises(ManifestError, match="there is no video"):
        dfdc(root)


def test_the_miniature_can_hold_fakes_that_are_fake_by_their_sound_alone(tmp_path: Path) -> None:
    filmed: dict[Path, tuple[tuple[str, ...], bool]] = {}

    def film(path: Path, people: tuple[str, ...], fake: bool) -> None:
        path.write_bytes(b"")
        filmed[path] = (people, fake)

    rows = dfdc(make_dfdc(tmp_path, film, num_audio_only=2)).rows
    unaltered = [row for row in rows if row.label is Label.FAKE and not filmed[row.path][1]]
    assert len(unaltered) == 2
    for row in unaltered:
        assert filmed[row.path] == filmed[tmp_path / row.extra["original"]]


def test_the_labelled_test_set_makes_an_official_split(tmp_path: Path) -> None:
    root = make_dfdc(tmp_path)
    (root / "test").mkdir()
    (root / "test/labels.csv").write_text("filename,label\naalscayrfi.mp4,0\nbbhtdfuqxq.mp4,1\nmissing.mp4,1\n")
    for name in ("aalscayrfi.mp4", "bbhtdfuqxq.mp4", "unlisted.mp4"):
        (root / "test" / name).write_bytes(b"")
    listing = dfdc(root)
    splits = {row.name: (row.label, row.extra["official_split"]) for row in listing.rows}
    assert splits["test/aalscayrfi.mp4"] == (Label.REAL, "test")
    assert splits["test/bbhtdfuqxq.mp4"] == (Label.FAKE, "test")
    assert {split for name, (_, split) in splits.items() if not name.startswith("test/")} == {"train"}
    assert {(item.name, item.reason) for item in listing.left_out} == {
        ("test/missing.mp4", "missing_file"),
        ("test/unlisted.mp4", "unknown_file"),
    }
    (root / "test/labels.csv").write_text("filename,label\naalscayrfi.mp4,2\n")
    with pytest.raises(ManifestError, match=r"labels\.csv: .*\n.*0' \(real\) or"):
        dfdc(root)
