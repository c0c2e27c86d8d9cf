"""Data sets that are listed from a description: their own lists and tables, and what their names say of people."""

import json
from pathlib import Path

import pytest

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.prepare.video import PreparationSettings, prepare_video
from dfd.data.sources import SOURCES
from dfd.data.sources.public.spoken import segments
from dfd.data.sources.row import VideoRow
from dfd.data.splits.assign import assign_splits
from dfd.faces.detect import build_detector
from dfd.metrics.segments import parse_segments
from tests.data import miniature_public as public
from tests.data.miniature import make_ffpp


def rows_of(source: str, root: Path) -> dict[str, VideoRow]:
    return {row.name: row for row in SOURCES[source](root).rows}


@pytest.mark.parametrize("source", ["dfdcp", "deeperforensics", "deepspeak", "avdeepfake1m", "wilddeepfake", "df40"])
def test_official_splits_can_be_taken_as_they_are(source: str, tmp_path: Path) -> None:
    rows = SOURCES[source](getattr(public, f"make_{source}")(tmp_path / "data")).rows
    official = {row.video_id: row.extra["official_split"] for row in rows if "official_split" in row.extra}
    splits = assign_splits(rows, mode="official", official=official)
    assert official
    for video_id, split in official.items():
        # A data set without val gives up a part of its train.
        assert splits[video_id] == split or (split == "train" and splits[video_id] == "val")


def test_the_preview_of_dfdc_names_both_people_of_a_fake(tmp_path: Path) -> None:
    rows = rows_of("dfdcp", public.make_dfdcp(tmp_path))
    fake = rows["method_A/21/21_A/22_21_A_001.mp4"]
    assert (fake.method, fake.source_ids) == ("method_A", ("dfdcp:21", "dfdcp:22"))
    assert fake.extra == {"original": "original_videos/21/21_A_001.mp4", "official_split": "test"}


def test_a_list_that_contradicts_a_folder_or_is_damaged_is_refused(tmp_path: Path) -> None:
    path = public.make_dfdcp(tmp_path) / "dataset.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries | {"original_videos/11/11_A_001.mp4": {"label": "fake", "set": "train"}}))
    with pytest.raises(ManifestError, match=r"original_videos/11/11_A_001\.mp4 is fake, which contradicts its folder"):
        SOURCES["dfdcp"](tmp_path)
    path.write_text(json.dumps({"original_videos/11/11_A_001.mp4": {"label": "real", "set": "somewhere"}}))
    with pytest.raises(ManifestError, match="not of the form"):
        SOURCES["dfdcp"](tmp_path)


def test_listed_videos_that_are_missing_are_named(tmp_path: Path) -> None:
    public.make_dfdcp(tmp_path)
    (tmp_path / "original_videos/21/21_A_001.mp4").unlink()
    (left,) = SOURCES["dfdcp"](tmp_path).left_out
    assert (left.name, left.reason) == ("original_videos/21/21_A_001.mp4", "missing_file")


def test_fakes_of_the_sound_alone_are_left_out(tmp_path: Path) -> None:
    for source, word in (("fakeavceleb", "RealVideo-FakeAudio"), ("avdeepfake1m", "real_video_fake_audio")):
        listing = SOURCES[source](getattr(public, f"make_{source}")(tmp_path / source))
        left = [item for item in listing.left_out if item.reason == "audio_only"]
        assert left
        assert all(word in item.name for item in left)
        assert not any(word in row.name for row in listing.rows)


def test_methods_and_donors_come_from_the_table_or_the_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    public.make_fakeavceleb(tmp_path)
    swapped = "FakeVideo-FakeAudio/African/men/id00076/00109_2.mp4"
    synced = "FakeVideo-RealAudio/African/men/id00076/00109_1_id00166_wavtolip.mp4"
    both = ("voxceleb2:id00076", "voxceleb2:id00166")
    rows = rows_of("fakeavceleb", tmp_path)
    assert [(rows[name].method, rows[name].source_ids) for name in (swapped, synced)] == [
        ("fsgan-wav2lip", both),
        ("wav2lip", both),
    ]
    assert (rows[swapped].extra["race"], rows[swapped].extra["sex"]) == ("African", "men")
    (tmp_path / "meta_data.csv").unlink()
    rows = rows_of("fakeavceleb", tmp_path)
    assert [(rows[name].method, rows[name].source_ids) for name in (swapped, synced)] == [
        ("unknown", both[:1]),
        ("wavtolip", both),
    ]
    assert "meta_data.csv is missing" in caplog.text


def test_one_person_has_one_name_in_data_sets_of_one_corpus(tmp_path: Path) -> None:
    first = rows_of("fakeavceleb", public.make_fakeavceleb(tmp_path / "a")).values()
    second = rows_of("avdeepfake1m", public.make_avdeepfake1m(tmp_path / "b")).values()
    shared = {i for row in first for i in row.source_ids} & {i for row in second for i in row.source_ids}
    assert shared == {"voxceleb2:id00076"}
    splits = assign_splits([*first, *second])
    assert len({splits[row.video_id] for row in (*first, *second) if "voxceleb2:id00076" in row.source_ids}) == 1


def test_fakes_stay_with_the_real_videos_of_another_data_set_that_they_are_made_of(tmp_path: Path) -> None:
    originals = rows_of("ffpp", make_ffpp(tmp_path / "ffpp")).values()
    for source in ("deeperforensics", "df40"):
        fakes = rows_of(source, getattr(public, f"make_{source}")(tmp_path / source)).values()
        splits = assign_splits([*originals, *fakes])
        real = next(row for row in originals if row.source_ids == ("ffpp:000",))
        fake = next(row for row in fakes if "ffpp:000" in row.source_ids)
        assert splits[fake.video_id] == splits[real.video_id]


def test_times_of_a_fake_are_kept_in_seconds(tmp_path: Path) -> None:
    rows = rows_of("avdeepfake1m", public.make_avdeepfake1m(tmp_path))
    folder = "val/silent_videos/subject_7_ab12_vid_0_1"
    assert rows[f"{folder}/fake_video_real_audio.mp4"].extra["fake_segments"] == "0.48-1.12"
    # Of the picture, not of the sound, where the entry tells them apart.
    assert rows[f"{folder}/fake_video_fake_audio.mp4"].extra["fake_segments"] == "2-2.5;61-62.25"
    assert "fake_segments" not in rows[f"{folder}/real.mp4"].extra
    assert segments([]) == ""
    # Nine hours and a thousandth: no exponents, no rounding to six digits.
    spans = parse_segments(segments([[32400.001, 32400.0031], [0.00001, 0.002], [32400.5, 32401]]))
    assert [(span.start, span.end) for span in spans] == [(0, 0.002), (32400.001, 32400.003), (32400.5, 32401)]


@pytest.mark.parametrize("span", [[[2]], [[3, 2]], [["a", "b"]], "all"])
def test_times_that_make_no_sense_are_refused(span: object, tmp_path: Path) -> None:
    path = public.make_avdeepfake1m(tmp_path) / "val_metadata.json"
    entries = json.loads(path.read_text())
    entries[1]["fake_segments"] = span
    path.write_text(json.dumps(entries))
    with pytest.raises(ManifestError, match=r"val_metadata\.json: .*\n.*not of the form"):
        SOURCES["avdeepfake1m"](tmp_path)


def test_videos_without_the_list_that_labels_them_are_refused(tmp_path: Path) -> None:
    public.make_avdeepfake1m(tmp_path)
    (tmp_path / "train_metadata.json").unlink()
    with pytest.raises(ManifestError, match=r"train/ has videos, and train_metadata\.json, .* is missing"):
        SOURCES["avdeepfake1m"](tmp_path)


@pytest.mark.parametrize("source", ["avdeepfake1m", "deepspeak"])
def test_what_the_owners_do_not_list_is_left_out(source: str, tmp_path: Path) -> None:
    root = getattr(public, f"make_{source}")(tmp_path)
    before = SOURCES[source](root)
    folder = before.rows[0].path.parent
    public.lay(folder, ["copy of 000.mp4", "tmp4djliu1y"])
    after = SOURCES[source](root)
    assert after.rows == before.rows
    new = {(Path(item.name).name, item.reason) for item in after.left_out} - {
        (Path(item.name).name, item.reason) for item in before.left_out
    }
    assert new == {("copy of 000.mp4", "unlisted"), ("tmp4djliu1y", "unknown_file")}


def test_a_fake_of_two_people_of_two_sides_has_no_official_split(tmp_path: Path) -> None:
    rows = rows_of("deepspeak", public.make_deepspeak(tmp_path))
    assert rows["deepspeak-1/facefusion--0-1--4095-4931--0.mp4"].extra["official_split"] == "train"
    assert "official_split" not in rows["deepspeak-1/wav2lip--1-7--4931-10--0.mp4"].extra


def test_a_table_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    path = public.make_deepspeak(tmp_path) / "annotations-fake.csv"
    path.write_text(path.read_text().replace("identity-target", "target"))
    with pytest.raises(ManifestError, match=r"annotations-fake\.csv: .*\n.*no column identity-target"):
        SOURCES["deepspeak"](tmp_path)


def test_variants_of_deeperforensics_can_be_chosen_and_actors_added(tmp_path: Path) -> None:
    root = public.make_deeperforensics(tmp_path)
    listing = SOURCES["deeperforensics"](root, variants=["end_to_end"], actors=True)
    assert {row.method for row in listing.rows} == {"end_to_end", ""}
    (actor,) = (row for row in listing.rows if row.label is Label.REAL)
    assert actor.source_ids == ("deeperforensics:M101",)
    with pytest.raises(ManifestError, match="manipulated_videos/end_to_end_level_9 was requested but is missing"):
        SOURCES["deeperforensics"](root, variants=["end_to_end_level_9"])


def test_the_method_of_kodf_is_in_the_folder_or_the_number(tmp_path: Path) -> None:
    public.lay(public.make_kodf(tmp_path), ["synthesized_videos/105028_105042_1_0002.mp4"])
    rows = rows_of("kodf", tmp_path)
    assert rows["synthesized_videos/105028_105042_1_0002.mp4"].method == "dfl"
    assert {row.method for row in rows.values()} == {"", "dfl", "fsgan", "audio-driven"}


def test_pictures_of_one_archive_are_one_source(tmp_path: Path) -> None:
    rows = rows_of("wilddeepfake", public.make_wilddeepfake(tmp_path))
    assert rows["fake_train/1/fake/0"].source_ids == rows["fake_train/1/fake/3"].source_ids
    assert rows["fake_train/1/fake/0"].source_ids != rows["fake_train/2/fake/0"].source_ids
    public.lay(tmp_path, ["real_train/9.tar.gz"])
    (tmp_path / "real_train/1/real/empty").mkdir()
    left = {item.name: item.detail for item in SOURCES["wilddeepfake"](tmp_path).left_out}
    assert "unpack it" in left["real_train/9.tar.gz"]
    assert "without pictures" in left["real_train/1/real/empty/"]


def test_a_half_of_df40_is_known_by_the_name_of_its_folder(tmp_path: Path) -> None:
    whole = rows_of("df40", public.make_df40(tmp_path))
    half = rows_of("df40", tmp_path / "DF40_train")
    assert whole["DF40_train/simswap/frames/000_003"].extra == {"domain": "ff", "official_split": "train"}
    assert half["simswap/frames/000_003"].extra == {"domain": "ff", "official_split": "train"}
    assert half["simswap/frames/000_003"].source_ids == ("ffpp:000", "ffpp:003")


def test_copies_of_ffpp_in_real_and_fake_are_told_by_their_names(tmp_path: Path) -> None:
    names = ("real/033.mp4", "real/01__exit_phone_room.mp4", "fake/033_097.mp4")
    public.lay(tmp_path, [*names, "fake/01_02__exit_phone_room__YVGY8LOK.mp4", "fake/mine.mp4"])
    public.write_json(tmp_path / "test.json", [["033", "097"]])
    listing = SOURCES["ffpp"](tmp_path)
    rows = {row.name: (row.dataset, row.method, row.source_ids, row.extra) for row in listing.rows}
    assert rows["real/033.mp4"] == ("ffpp", "", ("ffpp:033",), {"official_split": "test"})
    assert rows["fake/033_097.mp4"] == (
        *("ffpp", "unknown", ("ffpp:033", "ffpp:097")),
        {"original": "real/033.mp4", "official_split": "test"},
    )
    assert rows["fake/01_02__exit_phone_room__YVGY8LOK.mp4"] == (
        *("dfd", "DeepFakeDetection", ("dfd:01", "dfd:02")),
        {"original": "real/01__exit_phone_room.mp4"},
    )
    assert [item.name for item in listing.left_out] == ["fake/mine.mp4"]


def test_a_sequence_of_pictures_becomes_clips(tmp_path: Path) -> None:
    public.make_wilddeepfake(tmp_path / "data")
    row = rows_of("wilddeepfake", tmp_path / "data")["fake_test/1/fake/5"]
    settings = PreparationSettings(face_detector={"name": "fixed_box"}, min_track_frames=1)
    record = prepare_video(row, tmp_path / "store", settings, build_detector(name="fixed_box"))
    assert (record.num_frames, record.width, record.codec) == (2, 16, "png")
    assert record.size_bytes == sum(path.stat().st_size for path in row.path.iterdir())
    assert [track.num_frames for track in record.tracks] == [2]
