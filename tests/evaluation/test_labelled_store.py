"""A store keeps what its manifest says of people and of times, and an evaluation finds it again."""

from pathlib import Path

import pytest

from dfd.base.errors import ConfigError
from dfd.data.clips.module import ClipDataModule
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.manifest import read_manifest
from dfd.evaluation.labelled.measured import Options
from dfd.evaluation.labelled.videos import has_segments, labels_of_store, with_manifest_columns
from dfd.evaluation.splits import evaluated
from dfd.faces.crop import Square
from dfd.faces.extract import ExtractionSettings
from dfd.scoring.detector import Detector
from dfd.video.encode import write_video
from tests.conftest import drawn_frames


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four test videos of 24 frames at 25 a second; the fakes are fake in their first half."""
    folder = tmp_path_factory.mktemp("labelled")
    lines = ["path,label,dataset,method,source_ids,split,sex,fake_segments"]
    for index in range(4):
        write_video(folder / f"{index}.mp4", drawn_frames(index, num_frames=24, side=64), fps=25)
        kind = "fake,lab,swap" if index % 2 else "real,lab,"
        lines.append(f"{index}.mp4,{kind},p{index},test,{'fm'[index // 2]},{'0-0.48' if index % 2 else ''}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=64, margin_fraction=0.0)))
    prepare_store(read_manifest(folder / "manifest.csv"), folder / "store", settings, num_workers=1)
    return folder / "store"


def test_the_columns_of_a_manifest_are_found_again_in_the_store(store: Path) -> None:
    videos = with_manifest_columns(labels_of_store(store, "test"), store, ["sex"])
    assert dict(zip(videos["name"], videos["sex"], strict=True)) == {
        **{"0.mp4": "f", "1.mp4": "f"},
        **{"2.mp4": "m", "3.mp4": "m"},
    }
    assert has_segments(store)
    with pytest.raises(ConfigError, match=r"no video has the manifest column 'age' \(it kept fake_segments, sex\)"):
        with_manifest_columns(videos, store, ["age"])


def test_windows_of_a_store_have_their_times_in_the_video_and_are_measured_against_its_segments(
    store: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    detector = Detector.load(tiny_checkpoint, device="cpu")
    data = ClipDataModule(store, clip_len=4, num_eval_clips=6, num_workers=0)
    data.setup("test")
    metrics, table = evaluated(detector, data, "test", tmp_path, Options(0.5, groups=["sex"]), checkpoint="tiny")
    times = [(round(start, 2), round(end, 2)) for start, end, _ in table["windows"].iloc[0]]
    assert times == [(0.0, 0.16), (0.16, 0.32), (0.32, 0.48), (0.48, 0.64), (0.64, 0.8), (0.8, 0.96)]
    found = metrics["segments"]
    assert (found["num_segments"], found["num_with_segments"], found["num_videos"]) == (2, 2, 4)
    assert [group["group"] for group in metrics["groups"]["sex"]["groups"]] == ["f", "m"]
    assert (metrics["frames"]["unit"], metrics["frames"]["num_real"]) == ("window", 12)
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0].startswith("video_id,dataset,method,label")
