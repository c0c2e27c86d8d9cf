"""Labels beside the scored videos: whose they are, and what is refused."""

from pathlib import Path

import pytest

from dfd.base.errors import ConfigError
from dfd.predictions.labels import labels_beside


def manifest(folder: Path, *rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text("\n".join(["path,label,method,fake_segments", *rows, ""]))
    return folder / "labels.csv"


def test_a_video_has_the_label_of_the_path_that_the_manifest_leads_to(tmp_path: Path) -> None:
    path = manifest(tmp_path / "set", "b/1.mp4,fake,swap,0:01-0:02.5;0:04-0:05", "a/1.mp4,real,,", "c/2.mp4,fake,x,")
    found = labels_beside(path, [tmp_path / "set/a/1.mp4", tmp_path / "set/b/1.mp4", tmp_path / "9.mp4"])
    assert found.labels == {
        str(tmp_path / "set/a/1.mp4"): {"label": "real", "method": "", "segments": []},
        str(tmp_path / "set/b/1.mp4"): {"label": "fake", "method": "swap", "segments": [[1, 2.5], [4, 5]]},
    }
    assert found.sentence == "2 of 3 videos are labelled, 1 with fake_segments"


def test_a_video_elsewhere_has_the_label_of_the_name_that_it_ends_with_if_that_is_one(tmp_path: Path) -> None:
    path = manifest(tmp_path / "set", "b/1.mp4,fake,swap,", "a/1.mp4,real,,", "c/2.mp4,fake,x,")
    found = labels_beside(path, [tmp_path / "copy/b/1.mp4", Path("2.mp4"), Path("1.mp4")])
    assert {Path(name).name: one["label"] for name, one in found.labels.items()} == {"1.mp4": "fake", "2.mp4": "fake"}
    assert "1.mp4" not in found.labels, "two videos have this name"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.mp4,real,,0:01-0:02", "a real video has no fake segments"),
        ("a.mp4,fake,x,0:02", "'0:02' is no segment"),
        ("b.mp4,fake,x,", "names none of the videos to score"),
    ],
)
def test_labels_that_cannot_be_drawn_are_refused_before_anything_is_scored(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        labels_beside(manifest(tmp_path / "set", row), [tmp_path / "a.mp4"])
