"""The scope of a detector is measured kind by kind, on videos that did not make it, and written into its file."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfd.base.errors import ConfigError, StoreError
from dfd.base.files import file_sha256
from dfd.commands.evaluate import evaluate
from dfd.config.schemas import EvaluateConfig
from dfd.data.store.folders import read_records
from dfd.evaluation.calibration import Calibration
from dfd.evaluation.scope import foreign_videos, measured_scope, shared_videos, with_kinds
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_checkpoint, replace_card, weights_sha256
from dfd.models.files.scope import Scope
from tests.conftest import drawn_frames


def table(fakes: dict[str, list[float]], real: list[float]) -> pd.DataFrame:
    rows = [("r", 0, "", prob) for prob in real]
    rows += [("f", 1, kind, prob) for kind, probs in fakes.items() for prob in probs]
    return pd.DataFrame(rows, columns=["video_id", "label", "kind", "prob_fake"])


def test_each_kind_is_set_against_all_real_videos() -> None:
    real = [0.1, 0.2, 0.3, 0.4, 0.6]
    found = measured_scope(
        table({"face_swap": [0.9, 0.8, 0.7, 0.95, 0.45], "generated": [0.05] * 6}, real), threshold=0.5, data={}
    )
    swaps = found.kinds["face_swap"]
    assert (swaps.auc, swaps.num_fake, swaps.num_real, swaps.found) == (pytest.approx(24 / 25), 5, 5, 0.8)
    assert swaps.interval[0] <= swaps.auc <= swaps.interval[1]
    assert found.kinds["generated"].auc == 0
    assert found.false_alarms == 0.2
    assert found.shown == ["face_swap"]
    assert found.unmeasured == ["lip_sync", "reenactment", "talking_head"]


def test_videos_without_a_score_and_fakes_of_other_kinds_count_for_nothing() -> None:
    plain = table({"lip_sync": [0.9] * 5}, [0.1] * 5)
    more = pd.concat([plain, table({"editing": [0.0], "lip_sync": [np.nan]}, [np.nan])])
    assert measured_scope(more, threshold=0.5, data={}) == measured_scope(plain, threshold=0.5, data={})


@pytest.mark.parametrize(("fakes", "real"), [({"editing": [0.9]}, [0.1]), ({"lip_sync": [0.9]}, [])])
def test_without_real_videos_or_fakes_of_a_known_kind_there_is_no_scope(fakes: Any, real: list[float]) -> None:
    with pytest.raises(StoreError, match="the manifest's column 'kind'"):
        measured_scope(table(fakes, real), threshold=0.5, data={})


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One store with kinds, all in test; and a store of training: another person, one that recurs, and a copy."""
    from dfd.data.prepare.store import prepare_store
    from dfd.data.prepare.video import PreparationSettings
    from dfd.data.sources.manifest import read_manifest
    from dfd.faces.crop import Square
    from dfd.faces.extract import ExtractionSettings
    from dfd.video.encode import write_video

    folder = tmp_path_factory.mktemp("kinds")
    settings = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=64, margin_fraction=0.0)))
    for index in range(6):
        write_video(folder / f"{index}.mp4", drawn_frames(index, fake=index % 2 == 1, num_frames=8, side=64), fps=25)
    shutil.copy(folder / "0.mp4", folder / "copy.mp4")
    here = [
        f"{i}.mp4,{'fake,a,x' if i % 2 else 'real,a,'},p{i},test,{'editing' if i == 5 else 'lip_sync'}"
        for i in range(4)
    ]
    here += ["5.mp4,fake,a,x,p5,test,editing"]
    there = ["4.mp4,real,b,,q4,train", "copy.mp4,real,b,,q0,train", "3.mp4,fake,b,x,p3,val", "5.mp4,fake,b,x,q,test"]
    made = []
    for name, head, rows in (("here", ",kind", here), ("there", "", there)):
        manifest = folder / f"{name}.csv"
        manifest.write_text("\n".join([f"path,label,dataset,method,source_ids,split{head}", *rows]) + "\n")
        prepare_store(read_manifest(manifest), folder / name, settings, num_workers=1)
        made.append(folder / name)
    return made[0], made[1]


def ids(store: Path) -> dict[str, str]:
    return {record.name: record.video_id for record in read_records(store)}


def test_the_kind_of_a_fake_is_that_of_its_manifest(
    stores: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    names = ids(stores[0])
    scored = pd.DataFrame({"video_id": [names["1.mp4"], names["5.mp4"], "else"], "label": 1})
    with caplog.at_level(logging.WARNING):
        assert with_kinds(scored, stores[0])["kind"].tolist() == ["lip_sync", "editing", ""]
    assert "1 of (none), 1 of editing" in caplog.text


def test_videos_of_the_training_are_found_by_person_and_by_content(stores: tuple[Path, Path]) -> None:
    here, there = (read_records(store) for store in stores)
    names = ids(stores[0])
    # 3 by its person, 0 as a copy under another name; 5 is in both stores, too.
    assert shared_videos(here, there) == {names["0.mp4"], names["3.mp4"], names["5.mp4"]}


def trained_on(store: Path, /, **data: Any) -> DetectorCard:
    data = {"index_sha256": file_sha256(store / "index.csv"), "store": str(store), **data}
    return DetectorCard(model={}, image_size=64, clip_len=4, data=data)


def test_what_made_the_detector_is_left_out(stores: tuple[Path, Path]) -> None:
    here, there = stores
    names = ids(here)
    scored = pd.DataFrame({"video_id": list(names.values())})
    found = foreign_videos(scored, here, "test", trained_on(there), None)
    # 5 was in the training's test split alone, which made nothing.
    assert set(found.table["video_id"]) == {names["1.mp4"], names["2.mp4"], names["5.mp4"]}
    assert found.num_left_out == 2


def test_the_splits_that_made_a_detector_are_refused_and_its_test_split_is_whole(stores: tuple[Path, Path]) -> None:
    here, _ = stores
    scored = pd.DataFrame({"video_id": list(ids(here).values())})
    with pytest.raises(ConfigError, match="split=val: these videos trained the detector"):
        foreign_videos(scored, here, "val", trained_on(here), None)
    with pytest.raises(ConfigError, match="split=all: these videos trained the detector"):
        foreign_videos(scored, here, "all", trained_on(here), None)
    assert len(foreign_videos(scored, here, "test", trained_on(here), None).table) == len(scored)


def test_a_store_of_the_training_that_is_not_there_has_to_be_named(stores: tuple[Path, Path]) -> None:
    here, there = stores
    scored = pd.DataFrame({"video_id": list(ids(here).values())})
    card = trained_on(there, store="moved")
    with pytest.raises(ConfigError, match=r"moved is not there.*trained_on=DIR"):
        foreign_videos(scored, here, "test", card, None)
    with pytest.raises(ConfigError, match="is not the store that the detector was trained on"):
        foreign_videos(scored, here, "test", card, str(here))
    assert foreign_videos(scored, here, "test", card, str(there)).num_left_out == 2


def options(checkpoint: Path, store: Path, output: Path, changes: Mapping[str, Any] | None = None) -> EvaluateConfig:
    data = {"_target_": "dfd.data.clips.module.ClipDataModule", "store": str(store), "batch_size": 4, "num_workers": 0}
    values: dict[str, Any] = dict.fromkeys(EvaluateConfig.__dataclass_fields__)
    values |= {
        "update_scope": True,
        "checkpoint": str(checkpoint),
        "data": data,
        "split": "test",
        "device": "cpu",
        "output": str(output),
    }
    values["prevalence"] = 0.01
    return EvaluateConfig(**{**values, **(changes or {})})


def test_an_evaluation_writes_the_scope_into_the_file_and_leaves_the_weights(
    stores: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.safetensors"
    shutil.copy(tiny_checkpoint, mine)
    evaluate(options(mine, stores[0], tmp_path / "out"))
    before, weights = load_checkpoint(tiny_checkpoint)
    after, same = load_checkpoint(mine)
    assert weights_sha256(weights) == weights_sha256(same)
    assert replace(after, scope={}, caveat=before.caveat) == before
    scope = Scope.of(after.scope)
    assert (scope.kinds["lip_sync"].num_fake, scope.kinds["lip_sync"].num_real, scope.shown) == (2, 2, [])
    assert scope.data["checked"].startswith("not checked")
    said = " ".join(capsys.readouterr().out.split())
    assert "lip-syncs: AUC" in said
    assert "it never calls a video real" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": "starter"}, "export it to a file of your own"),
        ({"checkpoint": "a.ckpt"}, "export it first"),
        ({"threshold": 0.3}, "leave out suite and threshold"),
    ],
)
def test_where_no_scope_can_be_written_nothing_is_scored(
    changes: dict[str, Any], message: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(options(tiny_checkpoint, tmp_path, tmp_path, changes))


def test_a_calibration_keeps_the_scope_and_forgets_what_was_found_at_the_old_threshold() -> None:
    scope = measured_scope(table({"lip_sync": [0.9] * 5}, [0.1] * 5), threshold=0.5, data={"split": "test"})
    card = DetectorCard(model={}, image_size=64, clip_len=4, scope=scope.to_dict())
    after = Scope.of(Calibration(2.0, 0.5, "max_of_means", 5, 5, {}, {}).on(card).scope)
    assert after.kinds["lip_sync"] == replace(scope.kinds["lip_sync"], found=None)
    assert (after.false_alarms, after.data) == (None, {"split": "test"})


def test_another_card_in_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    from dfd.base.errors import CheckpointError

    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        replace_card(tmp_path / "a.safetensors", DetectorCard(model={}, image_size=64, clip_len=4))
