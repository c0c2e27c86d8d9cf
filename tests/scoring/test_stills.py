"""Still pictures are scored as one frame, and the row says so."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfd.base.types import Status
from dfd.predictions.inputs import find_inputs, is_no_video
from dfd.scoring.detector import Detector
from tests.conftest import drawn_frames

PICTURE = Image.fromarray(drawn_frames(0, num_frames=1)[0])


@pytest.fixture(scope="module")
def detector(tiny_checkpoint: Path) -> Iterator[Detector]:
    with Detector.load(tiny_checkpoint, num_workers=1, device="cpu", tuned=True) as detector:
        yield detector


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "without_ending"])
def test_a_picture_is_scored_whatever_it_is_called(detector: Detector, tmp_path: Path, name: str) -> None:
    kind = {".jpg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tiff": "TIFF"}.get(Path(name).suffix, "PNG")
    PICTURE.save(tmp_path / name, format=kind)
    score = detector.score(tmp_path / name)
    assert score.status is Status.OK
    assert score.prob_fake is not None
    assert (score.num_frames, score.num_windows, score.num_windows_possible) == (1, 1, 1)
    assert score.duration_seconds is None
    assert score.message.startswith("a still picture, scored as one frame, repeated 4 times")
    assert score.file is not None
    assert (score.file.width, score.file.height, score.file.num_frames) == (*PICTURE.size, 1)


def test_a_lossless_picture_has_the_score_of_the_network_on_its_pixels(detector: Detector, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")
    crop = detector.extraction.crop.cut(np.asarray(PICTURE), (0, 0, *PICTURE.size), np.zeros((5, 2)))
    assert detector.score(tmp_path / "a.png").prob_fake == detector.prob_fake([np.stack([crop] * 4)])[0]


def test_a_photograph_of_a_phone_is_scored_as_shown(detector: Detector, tmp_path: Path) -> None:
    """Turned by its EXIF entry, with a second picture behind the first as phones write them (MPO)."""
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = PICTURE.rotate(180)
    turned.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[turned.resize((32, 32))], exif=exif)
    PICTURE.save(tmp_path / "b.jpg", format="JPEG")
    photograph, upright = (detector.score(tmp_path / name) for name in ("a.jpg", "b.jpg"))
    assert photograph.status is Status.OK
    assert photograph.prob_fake == pytest.approx(upright.prob_fake, abs=0.02)


def test_an_animation_and_a_damaged_picture_are_rows_that_say_what_to_do(detector: Detector, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "moving.webp", save_all=True, append_images=[PICTURE.rotate(90)])
    PICTURE.save(tmp_path / "whole.png")
    PICTURE.save(tmp_path / "misnamed.mp4", format="PNG")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-200])
    scores = {Path(score.path).name: score for score in detector.score_many(find_inputs(str(tmp_path)))}
    assert scores["whole.png"].status is Status.OK
    assert scores["moving.webp"].status is scores["cut.png"].status is Status.UNREADABLE
    assert "a still picture with the name of a video" in scores["misnamed.mp4"].message
    assert "convert it to a video" in scores["moving.webp"].message
    assert not any(is_no_video(score, str(tmp_path)) for score in scores.values())
