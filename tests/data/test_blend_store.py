"""`dfd blend`: pseudo-fakes as a store, beside their reals, on the side of their people, and never made twice."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dfd.base.errors import StoreError
from dfd.commands.adopt.pseudo_fakes import main
from dfd.data.blend.families import FAMILIES, Blends
from dfd.data.blend.stores import BlendStoreSettings, write_blends
from dfd.data.clips.dataset import read_frames
from dfd.data.clips.module import ClipDataModule
from dfd.data.clips.tracks import read_landmarks
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.manifest import read_manifest
from dfd.data.store.folders import read_records
from dfd.data.store.tables import read_index
from dfd.faces.crop import Square
from dfd.faces.extract import ExtractionSettings
from dfd.models.files.caveat import training_words
from tests.conftest import drawn_frames

BOTH = BlendStoreSettings(("self", "warp"), Blends.of(), num_frames=6, still_frames=5)


@pytest.fixture(scope="module")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, one of them a recorded fake, and two photographs of one person."""
    from dfd.video.encode import write_video

    folder, store = tmp_path_factory.mktemp("reals"), tmp_path_factory.mktemp("stores") / "real"
    faces = ExtractionSettings(crop=Square(size=48, margin_fraction=0.1))
    stills, videos = ["path,label,dataset,source_ids,split"], ["path,label,dataset,method,source_ids,split"]
    for number in range(2):
        Image.fromarray(drawn_frames(number, num_frames=1)[0]).save(folder / f"{number}.png")
        stills.append(f"{number}.png,real,photos,p1,train")
    for number, (label, split) in enumerate(
        [("real,films,", "train"), ("real,films,", "val"), ("fake,films,x", "val")]
    ):
        write_video(folder / f"{number}.mp4", drawn_frames(50 + number, num_frames=8), fps=25)
        videos.append(f"{number}.mp4,{label},v{number},{split}")
    for name, lines, is_still in (("stills", stills, True), ("videos", videos, False)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        settings = PreparationSettings({"name": "fixed_box"}, faces, stills=is_still)
        prepare_store(read_manifest(folder / f"{name}.csv"), store, settings, num_workers=1)
    return store


class Here:
    """The pool of workers, in this process: no time goes into starting one."""

    def __init__(self, *, initializer: Any, initargs: Any, **_: Any) -> None:
        initializer(*initargs)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Any, tasks: Any) -> Any:
        return ((task, function(task)) for task in tasks)


@pytest.fixture(scope="module")
def blends(real_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("stores") / "blends"
    seen: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfd.data.blend.stores.WorkerPool", Here)
        counts = write_blends(real_store, store, BOTH, on_video=lambda *one: seen.append(one))
    assert counts == {"": 4, "self_blend": 4, "warp_blend": 4}
    assert seen == [(number, 4) for number in range(5)]
    return store


def test_each_real_video_has_a_fake_of_each_family_with_its_people_and_its_split(
    real_store: Path, blends: Path
) -> None:
    index, reals = read_index(blends), read_index(real_store).query("label == 'real'")
    assert index.groupby("method").size().to_dict() == {"": 4, "self_blend": 4, "warp_blend": 4}
    assert (index["label"] == "fake").equals(index["method"] != "")
    for row in reals.to_dict("records"):
        made = index[(index["dataset"] == row["dataset"]) & index["video_id"].str.startswith(row["video_id"][:1])]
        made = made[made["source_ids"] == row["source_ids"]]
        assert set(made["split"]) == {row["split"]}
        assert set(made["method"]) == {"", "self_blend", "warp_blend"}
    assert set(reals["video_id"]) == set(index.loc[index["method"] == "", "video_id"])


def test_it_trains_as_labelled_clips_and_says_that_it_is_of_blends(blends: Path) -> None:
    data = ClipDataModule(blends, clip_len=4, batch_size=2, num_workers=0, balanced_methods=True, landmarks=True)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["frames"].shape == (2, 4, 3, 48, 48)
    summary = data.summary()
    assert list(summary["blend"]["families"]) == ["self", "warp"]
    assert "fakes made from them by blending, never on recorded fakes" in training_words(summary)
    assert all(not any(found.values()) for found in summary["split"]["overlap"].values())


def test_a_fake_lies_where_its_real_clip_lies(blends: Path) -> None:
    records = {record.name: record for record in read_records(blends)}
    folder = blends / "films"
    clips = {name: folder / record.video_id / "0.mp4" for name, record in records.items() if "mp4" in name}
    real, fake = (read_frames(clips[name], range(6)).astype(int) for name in ("0.mp4", "0.mp4+warp_blend"))
    assert real.shape == fake.shape == (6, 48, 48, 3)
    assert 0.5 < np.abs(real - fake).mean() < 40
    first, second = (read_landmarks(clips[name], range(6)) for name in ("0.mp4", "0.mp4+warp_blend"))
    assert np.array_equal(first, second)


def test_the_landmarks_of_a_photograph_move_with_it(blends: Path) -> None:
    row = read_index(blends).query("dataset == 'photos'").iloc[0]
    points = read_landmarks(blends / row["path"], range(5)) * 48
    assert row["num_frames"] == 5
    assert 0.1 < np.abs(points[0] - points[-1]).max() < 48 * 0.08


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_an_interrupted_run_goes_on_and_a_finished_one_does_nothing(
    real_store: Path, blends: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "again"
    shutil.copytree(blends, store)
    whole = contents(store)
    lost = read_index(store).query("method == 'warp_blend'").iloc[0]
    shutil.rmtree((store / lost["path"]).parent)
    (store / "index.csv").unlink()
    told: list[tuple[int, int]] = []
    monkeypatch.setattr("dfd.data.blend.stores.WorkerPool", Here)
    write_blends(real_store, store, BOTH, on_video=lambda *one: told.append(one))
    assert told == [(3, 4), (4, 4)]
    assert contents(store) == whole

    def no_pool(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing was left to do")

    monkeypatch.setattr("dfd.data.blend.stores.WorkerPool", no_pool)
    assert write_blends(real_store, store, BOTH, num_workers=1)[""] == 4


def test_what_was_made_otherwise_is_not_mixed_in(real_store: Path, blends: Path, tmp_path: Path) -> None:
    other = BlendStoreSettings(("warp",), Blends.of({"warp": {"side": [40, 40]}}))
    with pytest.raises(StoreError, match="it holds 12 videos that were made in another way"):
        write_blends(real_store, blends, other)
    with pytest.raises(StoreError, match="the fakes need a store of their own"):
        write_blends(real_store, real_store, BOTH)
    with pytest.raises(StoreError, match="holds no real video"):
        write_blends(tmp_path, tmp_path / "out", BOTH)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["families=[self,wrap]"], "families: there is no 'wrap', only self, warp"),
        (["families="], "families must be different names, got none"),
        (["--num-frames", "0"], "num_frames must be at least 1"),
        (["blend.warp.sides=[1,2]"], "did you mean"),
        (["blend.warp.blur=4"], "warp.blur must be an odd whole number"),
        (["blend.kind=warp"], "say --families here"),
        (["num_workers=0"], "--num-workers must be at least 1"),
    ],
)
def test_wrong_words_are_named(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["absent", f"output={tmp_path / 'out'}", *words]) == 1
    assert said in capsys.readouterr().err


def test_the_command_takes_options_of_the_families(
    real_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["families=[warp]", "blend.warp.side=[40,40]", "num_workers=1", "num_frames=2"]
    assert main([f"store={real_store}", f"output={tmp_path / 'warps'}", *words]) == 0
    assert "4 real, 4 warp_blend: the clip store is" in capsys.readouterr().out
    settings = read_records(tmp_path / "warps")[0].settings["blends"]
    assert settings["families"]["warp"]["side"] == [40, 40]
    table = pd.read_csv(tmp_path / "warps" / "videos.csv")
    assert len(table) == 8
    assert set(settings["families"]) <= set(FAMILIES)
