"""In the set that shows leakage, who is seen tells the label, and nothing else does."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401 - before decord: the other way round, torch's convolutions crash on some machines

from dfd.base.errors import DfdError
from dfd.base.types import Label
from dfd.data.demo import identity as identity_demo
from dfd.data.demo import videos as demo
from dfd.data.demo.identity import DATASET, METHOD, make_identity_videos
from dfd.data.demo.scenes import Format, Scene
from dfd.data.sources.manifest import read_manifest
from dfd.data.sources.row import VideoRow
from dfd.data.splits.assign import assign_splits
from dfd.faces.detect import build_detector
from dfd.video.decode import VideoReader

SMALL = {"num_people": 6, "videos_per_person": 2, "seconds": 0.2}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_identity_videos(tmp_path_factory.mktemp("identity") / "videos", **SMALL)


@pytest.fixture(scope="module")
def rows(small_set: Path) -> list[VideoRow]:
    return read_manifest(small_set)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_person_has_one_label_in_all_videos_and_half_of_the_people_are_called_fake(rows: list[VideoRow]) -> None:
    labels = defaultdict(set)
    for row in rows:
        (person,) = row.source_ids
        labels[person].add(row.label)
    assert len(labels) == SMALL["num_people"]
    assert all(len(of_one) == 1 for of_one in labels.values())
    assert Counter(next(iter(of_one)) for of_one in labels.values()) == {Label.REAL: 3, Label.FAKE: 3}
    assert Counter(row.source_ids for row in rows) == dict.fromkeys({row.source_ids for row in rows}, 2)
    assert {(row.dataset, row.label, row.method) for row in rows} == {
        (DATASET, Label.REAL, ""),
        (DATASET, Label.FAKE, METHOD),
    }


def test_neither_the_name_nor_the_form_of_a_video_tells_its_label(rows: list[VideoRow]) -> None:
    assert not any("real" in row.name or "fake" in row.name for row in rows)
    assert len({row.path.parent for row in rows}) == 1
    forms = set()
    for row in rows:
        with VideoReader(row.path) as reader:
            forms.add((reader.width, reader.height, reader.fps, reader.num_frames, reader.info.codec))
    assert len(forms) == 1


def test_the_label_has_no_part_in_the_drawing(rows: list[VideoRow], tmp_path: Path) -> None:
    with VideoReader(rows[0].path) as reader:
        form = Format(seconds=SMALL["seconds"] * 2, fps=round(reader.fps), width=reader.width, height=reader.height)
    for row in (rows[0], next(row for row in rows if row.label is not rows[0].label)):
        person = int(row.path.stem.removeprefix("person").split("_")[0])
        portrait = demo.portrait_of(0, identity_demo._CAST, person)
        scene = Scene.compose([portrait], form, np.random.default_rng([0, identity_demo._CAST, person]))
        demo.film_takes(scene, [tmp_path / f"person{person:02}_{take}.mp4" for take in range(2)])
        assert (tmp_path / row.name).read_bytes() == row.path.read_bytes()


def test_the_lots_differ_from_seed_to_seed(rows: list[VideoRow], tmp_path: Path) -> None:
    drawn = {tuple(row.label for row in rows)}
    for seed in (1, 2):
        manifest = make_identity_videos(tmp_path / str(seed), **(SMALL | {"seconds": 0.04}), seed=seed)
        drawn.add(tuple(row.label for row in read_manifest(manifest)))
    assert len(drawn) > 1


def test_nobody_is_known_from_the_demonstration() -> None:
    people = {demo.portrait_of(0, identity_demo._CAST, person).person for person in range(24)}
    assert len(people) == 24
    assert not people & {demo.portrait_of(0, cast, person).person for cast in (0, 1) for person in range(24)}


def test_a_split_by_source_keeps_people_apart_and_a_random_one_does_not(rows: list[VideoRow]) -> None:
    sides = {}
    for mode in ("source", "random_video"):
        splits = assign_splits(rows, fractions=(0.5, 0.25, 0.25), seed=0, frozen={}, mode=mode)
        sides[mode] = defaultdict(set)
        for row in rows:
            sides[mode][row.source_ids].add(splits[row.video_id])
    assert all(len(of_one) == 1 for of_one in sides["source"].values())
    assert any(len(of_one) == 2 for of_one in sides["random_video"].values())


def test_the_same_arguments_give_the_same_bytes(small_set: Path, tmp_path: Path) -> None:
    assert content(make_identity_videos(tmp_path / "again", **SMALL).parent) == content(small_set.parent)


def test_a_complete_set_is_left_alone(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_demo, "film_takes", lambda *_: pytest.fail("it was drawn again"))
    assert make_identity_videos(small_set.parent, **SMALL) == small_set


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DfdError, match="choose another folder"):
        make_identity_videos(tmp_path, **SMALL)


@pytest.mark.parametrize(("name", "value"), [("num_people", 7), ("num_people", 4), ("videos_per_person", 1)])
def test_what_cannot_show_a_leak_is_refused(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        make_identity_videos(tmp_path / "videos", **(SMALL | {name: value}))


def test_the_face_is_found_in_every_frame_looked_at(rows: list[VideoRow]) -> None:
    detector = build_detector("mtcnn")
    for row in rows[::2]:
        with VideoReader(row.path) as reader:
            frames = reader.frames([0, reader.num_frames - 1])
        assert [len(faces) for faces in detector(frames)] == [1, 1], row.name


def test_the_command_makes_the_set_and_says_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    monkeypatch.setattr(
        identity_demo,
        "make_identity_videos",
        lambda folder, **options: made.append(options["seed"]) or folder / "m.csv",
    )
    identity_demo.main([str(tmp_path / "people"), "--seed", "3"])
    assert made == [3]
    said = capsys.readouterr().out
    assert "Nothing in these drawn videos is forged" in said
    assert f"manifest={tmp_path / 'people' / 'm.csv'}" in said
