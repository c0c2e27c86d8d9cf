"""FaceForensics++ and DeepFakeDetection as the owners' script downloads them."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dfd.base.errors import ConfigError, ManifestError
from dfd.base.types import Label
from dfd.data.sources import ffpp, folder
from dfd.data.sources.row import VideoRow
from tests.data.miniature import FFPP_METHODS, make_ffpp

YOUTUBE = "original_sequences/youtube/c23/videos"
DEEPFAKES = "manipulated_sequences/Deepfakes/c23/videos"


def by_name(rows: list[VideoRow]) -> dict[str, VideoRow]:
    return {row.name: row for row in rows}


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def test_file_names_tell_people_method_original_and_data_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path)
    listing = ffpp(root)
    rows = by_name(listing.rows)
    assert rows[f"{YOUTUBE}/000.mp4"].source_ids == ("ffpp:000",)
    fake = rows["manipulated_sequences/NeuralTextures/c23/videos/003_002.mp4"]
    assert (fake.label, fake.dataset, fake.method) == (Label.FAKE, "ffpp", "NeuralTextures")
    assert fake.source_ids == ("ffpp:003", "ffpp:002")
    assert fake.extra == {"original": f"{YOUTUBE}/003.mp4", "official_split": "train"}
    (name,) = (name for name in rows if "/01_02__" in name)
    assert (rows[name].dataset, rows[name].method) == ("dfd", "DeepFakeDetection")
    assert rows[name].source_ids == ("dfd:01", "dfd:02")
    assert rows[name].extra == {"original": "original_sequences/actors/c23/videos/01__exit_phone_room.mp4"}
    assert rows[rows[name].extra["original"]].source_ids == ("dfd:01",)
    assert Counter((row.dataset, row.method) for row in listing.rows) == {
        ("ffpp", ""): 8,
        ("dfd", ""): 8,
        ("dfd", "DeepFakeDetection"): 8,
        **{("ffpp", method): 8 for method in FFPP_METHODS},
    }
    assert caplog.text == "", "a complete data set gives no reason to warn"


def test_scenes_of_several_words_belong_to_the_same_scene_of_the_first_actor(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path, methods=["DeepFakeDetection"])
    for name in ("27__walking_down_street_outside_angry", "27__walk_down_hall_angry"):
        (root / f"original_sequences/actors/c23/videos/{name}.mp4").write_bytes(b"")
    base = root / "manipulated_sequences/DeepFakeDetection/c23/videos"
    (base / "27_11__walking_down_street_outside_angry__NDWIVW7H.mp4").write_bytes(b"")
    (base / "27_13__kitchen_pan__0XUW13RW.mp4").write_bytes(b"")
    rows = {Path(name).name: row for name, row in by_name(ffpp(root).rows).items()}
    assert (
        rows["27_11__walking_down_street_outside_angry__NDWIVW7H.mp4"]
        .extra["original"]
        .endswith("/27__walking_down_street_outside_angry.mp4")
    )
    assert "original" not in rows["27_13__kitchen_pan__0XUW13RW.mp4"].extra
    assert rows["27_13__kitchen_pan__0XUW13RW.mp4"].source_ids == ("dfd:27", "dfd:13")


@pytest.mark.parametrize("place", [".", "splits", "dataset/splits"])
def test_the_official_lists_are_honoured_wherever_they_usually_lie(place: str, tmp_path: Path) -> None:
    rows = ffpp(make_ffpp(tmp_path, lists=place)).rows
    expected = {"000": "train", "001": "train", "002": "train", "003": "train", "004": "val", "005": "val"}
    for row in rows:
        if row.dataset == "dfd":
            assert "official_split" not in row.extra, "the lists say nothing of DeepFakeDetection"
        else:
            people = {source_id.removeprefix("ffpp:") for source_id in row.source_ids}
            assert {expected.get(person, "test") for person in people} == {row.extra["official_split"]}


def test_without_lists_there_is_no_official_split_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not any("official_split" in row.extra for row in ffpp(make_ffpp(tmp_path, lists=None)).rows)
    assert len(warnings(caplog, "the official split is not known")) == 1


def test_what_the_lists_do_not_name_has_no_official_split_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_ffpp(tmp_path)
    for name in (f"{YOUTUBE}/998.mp4", f"{DEEPFAKES}/000_002.mp4", f"{DEEPFAKES}/000_004.mp4"):
        (root / name).write_bytes(b"")
    rows = by_name(ffpp(root).rows)
    assert [name for name, row in rows.items() if row.dataset == "ffpp" and "official_split" not in row.extra] == [
        f"{DEEPFAKES}/000_002.mp4",
        f"{DEEPFAKES}/000_004.mp4",
        f"{YOUTUBE}/998.mp4",
    ], "two people of one split are not yet a pair of it"
    (warning,) = warnings(caplog, "without an official split")
    assert "official split: 3 (" in warning
    assert f"{DEEPFAKES}/000_004.mp4" in warning


def test_a_partial_download_is_counted_and_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path)
    (root / YOUTUBE / "000.mp4").unlink()
    (root / DEEPFAKES / "001_000.mp4").unlink()
    (root / "manipulated_sequences/FaceSwap/c23/videos/002_003.mp4").unlink()
    rows = by_name(ffpp(root).rows)
    assert len(rows) == 61
    orphan = rows[f"{DEEPFAKES}/000_001.mp4"]
    assert orphan.source_ids == ("ffpp:000", "ffpp:001")
    assert orphan.extra == {"official_split": "train"}
    (warning,) = warnings(caplog, "of the official lists that are not here")
    assert warning.endswith("that are not here: 3 (Deepfakes/001_000.mp4, FaceSwap/002_003.mp4, youtube/000.mp4)")
    (warning,) = warnings(caplog, "fakes made from videos that are not here")
    assert "not here: 5 (manipulated_sequences/" in warning


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": [["000", "001"]], "test": [["001", "002"]]}, r"001 is in test\.json and in train\.json"),
        ({"train": [["000", "001"]], "val": [["000", "001"]]}, r"000 with 001 is in val\.json and in train\.json"),
        ({"train": [["000", "001", "002"]]}, r"train\.json: entry 1 is \['000', '001', '002'\], not a pair"),
        ({"test": [["000", "001"], [2, 3]]}, r"test\.json: entry 2 is \[2, 3\]"),
        ({"val": [["004", "004"]]}, r"not a pair of ids"),
        ({"val": ["004", "005"]}, r"entry 1 is '004'"),
        ({"val": {"004": "005"}}, r"val\.json.*\n.*not a list of pairs of ids"),
        ({"val": []}, r"not a list of pairs of ids"),
    ],
)
def test_damaged_or_contradictory_lists_are_refused(lists: dict[str, Any], message: str, tmp_path: Path) -> None:
    root = make_ffpp(tmp_path, lists=None)
    for name, value in lists.items():
        (root / f"{name}.json").write_text(json.dumps(value))
    with pytest.raises(ManifestError, match=message):
        ffpp(root)


@pytest.mark.parametrize("data", [b'[["000", "001"', b"\xff\xfe[", b"", b"[" * 100_000])
def test_a_list_that_is_no_json_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    root = make_ffpp(tmp_path)
    (root / "splits/val.json").write_bytes(data)
    with pytest.raises(ManifestError, match=r"val\.json: 1 problem\n.*from the data set's owners again"):
        ffpp(root)


def test_lists_in_two_places_agree_or_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path, lists="splits")
    before = ffpp(root)
    shutil.copytree(root / "splits", root / "dataset/splits")
    assert ffpp(root) == before
    shutil.copy(root / "splits/test.json", root / "train.json")
    with pytest.raises(ManifestError, match=r"006 is in splits/test\.json and in train\.json"):
        ffpp(root)


def test_a_list_that_is_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path)
    (root / "splits/val.json").unlink()
    rows = ffpp(root).rows
    assert {row.extra.get("official_split") for row in rows if row.dataset == "ffpp"} == {"train", "test", None}
    assert warnings(caplog, "missing official lists: 1 (val.json)")


def test_parts_that_are_not_there_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path)
    shutil.rmtree(root / "manipulated_sequences/FaceShifter")
    shutil.rmtree(root / "manipulated_sequences/NeuralTextures")
    shutil.rmtree(root / "original_sequences/actors")
    listing = ffpp(root)
    assert len(listing.rows) == 64 - 24
    (warning,) = warnings(caplog, "missing parts")
    assert warning.endswith(
        "missing parts: 3 (manipulated_sequences/FaceShifter/, manipulated_sequences/NeuralTextures/, "
        "original_sequences/actors/)"
    )


def test_nobody_has_to_have_deepfakedetection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = ffpp(make_ffpp(tmp_path, methods=FFPP_METHODS))
    assert {row.dataset for row in listing.rows} == {"ffpp"}
    assert caplog.text == ""


@pytest.mark.parametrize("one", ["original_sequences", "manipulated_sequences"])
def test_one_label_alone_is_listed_with_a_warning(one: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path)
    shutil.rmtree(root / one)
    rows = ffpp(root).rows
    assert len({row.label for row in rows}) == 1
    assert not any("original" in row.extra for row in rows)
    assert warnings(caplog, f"holds only {rows[0].label} videos")


def test_only_the_asked_compression_is_listed_and_masks_are_no_videos(tmp_path: Path) -> None:
    root = make_ffpp(make_ffpp(tmp_path), compression="c40")
    first, second = ffpp(root), ffpp(root, compression="c40")
    assert len(first.rows) == len(second.rows) == 64
    assert all("/c40/" in row.name for row in second.rows)
    assert all("/c40/" in row.extra["original"] for row in second.rows if row.method)
    assert not any("masks" in row.name for row in first.rows)
    assert first.left_out == second.left_out == []


def test_c0_is_the_old_name_of_raw(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path, compression="c0")
    assert all("/c0/" in row.name for row in ffpp(root, compression="raw").rows)
    with pytest.raises(ManifestError, match=r"no c23/videos/: only raw; source\.compression=raw takes that"):
        ffpp(root)


def test_a_part_in_another_compression_says_which(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ffpp(tmp_path)
    part = root / "manipulated_sequences/Face2Face"
    (part / "c23").rename(part / "c40")
    shutil.copytree(part / "c40", part / "raw")
    (root / "manipulated_sequences/FaceSwap/c23/videos").rename(root / "manipulated_sequences/FaceSwap/c23/images")
    assert Counter(row.method for row in ffpp(root).rows)["Face2Face"] == 0
    (warning,) = warnings(caplog, "parts left out")
    assert "manipulated_sequences/Face2Face has no c23/videos/: only raw, c40" in warning
    assert "manipulated_sequences/FaceSwap has no c23/videos/: it holds c23/" in warning


def test_a_compression_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path)
    with pytest.raises(ManifestError, match="Deepfakes has no c40/videos/: only c23") as caught:
        ffpp(root, compression="c40")
    assert len(caught.value.problems) == 8
    with pytest.raises(ConfigError, match=r"source\.compression=c24: no such compression; it is one of raw, c23, c40"):
        ffpp(root, compression="c24")


def test_methods_bring_the_originals_of_their_data_set(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path)

    def found(*methods: str) -> set[tuple[str, str]]:
        return {(row.dataset, row.method) for row in ffpp(root, methods=methods).rows}

    assert found("Deepfakes", "FaceSwap") == {("ffpp", ""), ("ffpp", "Deepfakes"), ("ffpp", "FaceSwap")}
    assert found("DeepFakeDetection") == {("dfd", ""), ("dfd", "DeepFakeDetection")}
    assert ffpp(root, methods="FaceSwap").rows == ffpp(root, methods=["FaceSwap"]).rows


def test_methods_that_do_not_exist_or_are_not_there_are_refused(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path, methods=["Deepfakes", "FaceSwap"])
    with pytest.raises(ConfigError, match=r"source\.methods: .*'Deepfake', did you mean Deepfakes\?; 'face2face', did"):
        ffpp(root, methods=["Deepfake", "FaceSwap", "face2face"])
    with pytest.raises(ConfigError, match="null takes all"):
        ffpp(root, methods=[])
    with pytest.raises(ManifestError, match="manipulated_sequences/Face2Face was requested but is missing"):
        ffpp(root, methods=["Deepfakes", "Face2Face"])
    (root / "original_sequences/youtube/c23").rename(root / "original_sequences/youtube/c40")
    with pytest.raises(ManifestError, match="Deepfakes has no c40/videos/") as caught:
        ffpp(root, methods=["Deepfakes"], compression="c40")
    assert len(caught.value.problems) == 1


def test_a_misspelt_part_is_named_with_the_right_spelling(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path)
    (root / "manipulated_sequences/FaceSwap").rename(root / "manipulated_sequences/faceswap")
    (left,) = ffpp(root).left_out
    assert (left.name, left.reason) == ("manipulated_sequences/faceswap/", "unknown_folder")
    assert "did you mean FaceSwap?" in left.detail


def test_videos_beside_their_folder_are_named(tmp_path: Path) -> None:
    root = make_ffpp(tmp_path)
    names = ["original_sequences/youtube/c23/000.mp4", "original_sequences/youtube/c23.zip"]
    for name in names:
        (root / name).write_bytes(b"x")
    assert sorted(item.name for item in ffpp(root).left_out) == sorted(names)


def test_two_empty_main_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "original_sequences").mkdir()
    with pytest.raises(ManifestError, match="there is no video; found original_sequences/"):
        ffpp(tmp_path)


def make_copy(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


COPY = (
    *("original/000.mp4", "original/003.mp4", "Deepfakes/000_003.mp4", "FaceShifter/003_000.mp4"),
    *("DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4", "csv/FF++_Metadata.csv"),
)


@pytest.mark.parametrize("originals", ["original", "Original"])
def test_kaggles_copy_is_taken_as_it_is(originals: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_copy(tmp_path, *(name.replace("original", originals) for name in COPY))
    rows = {row.name: row for row in ffpp(root).rows}
    assert {name: (row.label, row.dataset, row.method, row.source_ids) for name, row in rows.items()} == {
        f"{originals}/000.mp4": (Label.REAL, "ffpp", "", ("ffpp:000",)),
        f"{originals}/003.mp4": (Label.REAL, "ffpp", "", ("ffpp:003",)),
        "Deepfakes/000_003.mp4": (Label.FAKE, "ffpp", "Deepfakes", ("ffpp:000", "ffpp:003")),
        "FaceShifter/003_000.mp4": (Label.FAKE, "ffpp", "FaceShifter", ("ffpp:003", "ffpp:000")),
        "DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4": (
            Label.FAKE,
            "dfd",
            "DeepFakeDetection",
            ("dfd:01", "dfd:02"),
        ),
    }
    assert rows["Deepfakes/000_003.mp4"].extra["original"] == f"{originals}/000.mp4"
    assert "missing parts: 3 (Face2Face/, FaceSwap/, NeuralTextures/)" in caplog.text


def test_kaggles_copy_has_one_compression_and_the_methods_that_it_has(tmp_path: Path) -> None:
    root = make_copy(tmp_path, *COPY)
    with pytest.raises(ManifestError, match=r"this copy holds only c23; give source\.compression=c23"):
        ffpp(root, compression="c40")
    with pytest.raises(ManifestError, match="Face2Face was requested but is missing"):
        ffpp(root, methods=["Face2Face"])
    assert {row.method for row in ffpp(root, methods=["Deepfakes"]).rows} == {"", "Deepfakes"}


def test_kaggles_copy_is_recognised_by_other_sources(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="it looks like source=ffpp"):
        folder(make_copy(tmp_path, *COPY))
