import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch  # before decord: the other way round, torch's convolutions crash on some machines

from dfd.base.errors import DfdError
from dfd.base.types import FrameArray, Label
from dfd.data.demo import videos as demo
from dfd.data.demo.faces import Portrait, View
from dfd.data.demo.person import Expression, Light, Person, Pose
from dfd.data.demo.scenes import Format, Scene, Swap
from dfd.data.demo.videos import DATASET, METHOD, make_demo_inbox, make_demo_videos, make_faceless_video
from dfd.data.sources.manifest import read_manifest
from dfd.data.splits.assign import assign_splits
from dfd.faces.detect import mtcnn

SMALL = {"num_people": 4, "videos_per_person": 1, "seconds": 0.4}


def decode(path: Path) -> FrameArray:
    from decord import VideoReader

    reader = VideoReader(str(path))
    return np.asarray(reader.get_batch(range(len(reader))).asnumpy())


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def portrait(number: int) -> Portrait:
    return Portrait(Person.invent(np.random.default_rng(number)))


@pytest.fixture(scope="module")
def detect():
    torch.set_num_threads(1)
    return mtcnn(min_face_fraction=40 / 240)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_videos(tmp_path_factory.mktemp("demo") / "videos", **SMALL)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_inbox(tmp_path_factory.mktemp("demo") / "inbox", seconds=0.4)


def test_the_same_seed_gives_the_same_bytes(small_set: Path, tmp_path: Path) -> None:
    assert content(make_demo_videos(tmp_path / "again", **SMALL).parent) == content(small_set.parent)


def test_another_seed_gives_other_people() -> None:
    assert Person.invent(np.random.default_rng([0, 0])) != Person.invent(np.random.default_rng([1, 0]))
    assert not np.array_equal(
        portrait(0).render(VIEW, Light())[0],
        portrait(1).render(VIEW, Light())[0],
    )


def test_the_manifest_has_as_many_fakes_as_real_videos(small_set: Path) -> None:
    rows = read_manifest(small_set)
    assert Counter(row.label for row in rows) == {Label.REAL: 4, Label.FAKE: 4}
    assert {row.dataset for row in rows} == {DATASET}
    assert {(row.label, row.method) for row in rows} == {(Label.REAL, ""), (Label.FAKE, METHOD)}
    assert all(row.name.startswith(f"{row.label}/") for row in rows)
    assert len({row.video_id for row in rows}) == 8


def test_a_fake_names_the_target_and_the_donor(small_set: Path) -> None:
    fakes = {row.name: row.source_ids for row in read_manifest(small_set) if row.label is Label.FAKE}
    assert fakes["fake/person02_0_as_person03.mp4"] == ("demo_person02", "demo_person03")


@pytest.mark.parametrize("num_people", [2, 3, 6, 7, 12])
def test_people_swap_faces_in_groups_of_two_or_three(num_people: int) -> None:
    donors = demo._donors(num_people)
    assert sorted(donors) == list(range(num_people))
    assert all(person != donor for person, donor in enumerate(donors))
    group = {person: min(person, donor, donors[donor]) for person, donor in enumerate(donors)}
    assert len(set(group.values())) == num_people // 2


def test_the_default_set_splits_by_person_with_both_labels_on_each_side(tmp_path: Path) -> None:
    # A tenth of a second is enough: the split does not look at pictures.
    rows = read_manifest(make_demo_videos(tmp_path / "videos", seconds=0.04, videos_per_person=2))
    split = assign_splits(rows)
    people, labels = defaultdict(set), defaultdict(set)
    for row in rows:
        people[split[row.video_id]].update(row.source_ids)
        labels[split[row.video_id]].add(row.label)
    assert labels == {name: {Label.REAL, Label.FAKE} for name in ("train", "val", "test")}
    assert not people["train"] & people["val"] | people["train"] & people["test"] | people["val"] & people["test"]


VIEW = View(Pose(160, 104, 48), Expression(), width=320, height=240)


@pytest.mark.parametrize("number", range(8))
def test_mtcnn_finds_eyes_and_mouth_where_they_are_drawn(detect, number: int) -> None:
    person = portrait(100 + number)
    colours, coverage = person.render(VIEW, Light())
    picture = np.full((240, 320, 3), 128, np.float32)
    picture[VIEW.area] += (colours - picture[VIEW.area]) * coverage
    (face,) = detect(np.clip(picture, 0, 255).astype(np.uint8)[None])[0]
    half_eyes, mouth = person.person.eye_distance / 2, 1.03
    drawn = np.array([[-half_eyes, 0], [half_eyes, 0], [0, mouth]]) * 48 + [160, 104]
    points = np.array(face.landmarks)
    found = np.array([points[0], points[1], (points[3] + points[4]) / 2])
    # A fifth of the distance between the eyes.
    assert np.abs(found - drawn).max() < 9


def test_mtcnn_finds_the_one_face_of_each_video(detect, small_set: Path) -> None:
    for row in read_manifest(small_set):
        assert [len(faces) for faces in detect(decode(row.path)[::4])] == [1, 1, 1], row.name


def test_a_swap_changes_the_inner_face_and_nothing_else() -> None:
    video = Format(seconds=0.2)
    generator = np.random.default_rng(3)
    target, donor = portrait(1), portrait(2)
    scene = Scene.compose([target], video, generator)
    swap = Swap.between(target, donor, video, generator)
    for frame, picture in enumerate(scene.frames()):
        pose = scene.actors[0].poses[frame]
        rows, columns = np.nonzero((swap.apply(picture, scene, scene.actors[0], frame) != picture).any(axis=2))
        assert len(rows) > 0.8 * pose.scale**2
        # From above the brows to the chin, and not as wide as the face (turning the head shifts it a little).
        assert pose.y - 0.9 * pose.scale < rows.min() < rows.max() < pose.y + 1.8 * pose.scale
        assert pose.x - 1.2 * pose.scale < columns.min() < columns.max() < pose.x + 1.2 * pose.scale


def test_a_fake_video_is_its_target_but_for_the_face(small_set: Path) -> None:
    real = decode(small_set.parent / "real/person00_0.mp4").astype(int)
    fake = decode(small_set.parent / "fake/person00_0_as_person01.mp4").astype(int)
    difference = np.abs(real - fake).max(axis=3)
    # x264 spreads a little of the change; the corners are far from the face.
    assert difference[:, :40, :40].mean() < 2
    assert difference.max() > 25


def test_a_scene_can_be_filmed_again() -> None:
    scene = Scene.compose([portrait(1)], Format(seconds=0.1), np.random.default_rng(0))
    assert np.array_equal(list(scene.frames()), list(scene.frames()))


def test_a_complete_set_is_left_alone(small_set: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in small_set.parent.rglob("*")}
    assert make_demo_videos(small_set.parent, **SMALL) == small_set
    assert {p: p.stat().st_mtime_ns for p in small_set.parent.rglob("*")} == before


def test_a_damaged_or_different_set_is_made_again(tmp_path: Path) -> None:
    one = {"num_people": 2, "videos_per_person": 1, "seconds": 0.04}
    manifest = make_demo_videos(tmp_path / "videos", **one)
    wanted = content(manifest.parent)
    (manifest.parent / "real/person00_0.mp4").write_bytes(b"cut")
    make_demo_videos(tmp_path / "videos", **one)
    assert content(manifest.parent) == wanted
    make_demo_videos(tmp_path / "videos", **{**one, "num_people": 3})
    assert len(read_manifest(manifest)) == 6
    make_demo_videos(tmp_path / "videos", **one)
    assert content(manifest.parent) == wanted


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo_videos(tmp_path / "videos", num_people=2, seconds=0.04, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DfdError, match=f"{tmp_path}.*choose another folder"):
        make_demo_videos(tmp_path, num_people=2, seconds=0.04)
    assert content(tmp_path) == {"thesis.txt": b"mine"}


def test_progress_counts_to_the_number_of_videos(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_demo_videos(
        tmp_path / "videos",
        num_people=2,
        videos_per_person=2,
        seconds=0.04,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(2, 8), (4, 8), (6, 8), (8, 8)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_people": 1}, "num_people"),
        ({"videos_per_person": 0}, "videos_per_person"),
        ({"seconds": 0.0}, "frame"),
        ({"width": 321}, "even"),
        ({"height": 64}, "160"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(tmp_path: Path, wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_demo_videos(tmp_path / "videos", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_everything_made_says_that_it_is_a_demonstration(small_set: Path, inbox: Path) -> None:
    for folder in (small_set.parent, inbox):
        assert "says nothing about real deepfakes" in (folder / "README.txt").read_text()
        assert "says nothing about real deepfakes" in json.loads((folder / demo.STAMP).read_text())["notice"]


def test_the_inbox_explains_each_of_its_videos(inbox: Path) -> None:
    readme = (inbox / "README.txt").read_text()
    files = {p.name for p in inbox.iterdir()} - {"README.txt", demo.STAMP}
    assert len(files) == 10
    assert all(name in readme for name in files)


def test_the_inbox_shows_nobody_from_the_training_set() -> None:
    trained = {demo.portrait_of(0, demo._TRAINING, i).person for i in range(14)}
    assert not trained & {demo.portrait_of(0, demo._INBOX, i).person for i in range(6)}


def test_the_inbox_has_faces_where_it_says_so(detect, inbox: Path) -> None:
    wanted = {"real_1": 1, "real_2": 1, "fake_1": 1, "fake_2": 1, "two_people": 2, "no_face": 0}
    for name, num_faces in wanted.items():
        assert {len(faces) for faces in detect(decode(inbox / f"{name}.mp4")[::3])} == {num_faces}, name


def test_a_broken_file_of_the_inbox_is_broken(inbox: Path) -> None:
    import av

    for name in ("cut_short.mp4", "text.mp4", "empty.mp4"):
        with pytest.raises(av.error.FFmpegError):
            av.open(str(inbox / name))
    with av.open(str(inbox / "cut_short.mkv")) as video:
        assert next(video.decode(video=0)).width == 320


def test_the_faceless_video_moves(tmp_path: Path) -> None:
    make_faceless_video(tmp_path / "pattern.mp4", seconds=0.4)
    frames = decode(tmp_path / "pattern.mp4").astype(int)
    assert frames.shape == (10, 240, 320, 3)
    assert np.abs(np.diff(frames, axis=0)).mean() > 1
