"""Each published detector of a hub goes the whole way: from a file of the published names to a scored video."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from dfd.base.errors import WeightsMissing
from dfd.base.types import Status, Verdict
from dfd.commands.adopt import main
from dfd.commands.adopt.detector import with_preprocessor
from dfd.models.files.checkpoint import load_model
from dfd.models.files.onnx import to_onnx
from dfd.models.published.entry import Published
from dfd.models.published.names import adopted_path, members
from dfd.models.published.table import PUBLISHED, recognised
from dfd.scoring.panel import load_panel
from dfd.scoring.runtimes.runtime import OnnxRuntime, TorchRuntime
from dfd.video.encode import write_video
from tests.conftest import drawn_frames
from tests.models.published.references import REDUCED, filled
from tests.models.published.test_parity import shapes_of

HUB = [name for name in PUBLISHED if not name.startswith(("mesonet-", "capsule-", "thesis-"))]


@pytest.fixture(params=HUB)
def entry(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A detector of the table; of the largest networks one of the same build, narrow and shallow."""
    known = PUBLISHED[request.param]
    create = timm.create_model

    def narrow(name: str, **options: Any) -> torch.nn.Module:
        smaller = "tf_efficientnet_b0" if name.startswith("tf_efficientnet_b") else name
        network: torch.nn.Module = create(smaller, **options | REDUCED.get(known.name, {}))
        return network

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(timm, "create_model", narrow)
    files = tuple(dataclasses.replace(file, size_bytes=None, sha256=None) for file in known.files)
    monkeypatch.setitem(PUBLISHED, known.name, entry := dataclasses.replace(known, files=files))
    return entry


@pytest.fixture
def published_files(entry: Published, tmp_path: Path) -> list[Path]:
    """The files as its authors wrote them, of random weights: safetensors, or torch's format around a state dict."""
    paths, first = [], filled(shapes_of(entry))
    for number, file in enumerate(entry.files):
        path = tmp_path / file.name
        tensors = {name: tensor + (tensor.is_floating_point() and 0.001 * number) for name, tensor in first.items()}
        if path.suffix == ".safetensors":
            save_file(tensors, path)
        else:
            content = {f"module.{name}": tensor for name, tensor in tensors.items()}
            torch.save({"epoch": 1, "state_dict": content}, path)
        paths.append(path)
    return paths


def test_a_published_detector_is_adopted_scores_a_video_and_is_refused_under_another_name(
    entry: Published, published_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"file={path}" for path in published_files]
    assert main([entry.name, *given]) == 0
    assert len([path for path in members(adopted_path(entry.name), len(given)) if path.is_file()]) == len(given)
    write_video(tmp_path / "clip.mp4", drawn_frames(0), fps=25)
    options: dict[str, Any] = {"face_detector": {"name": "fixed_box"}, "max_windows": 2, "device": "cpu"}
    with load_panel([adopted_path(entry.name)], **options) as detector:
        score = detector.score(tmp_path / "clip.mp4")
    assert (score.status, score.verdict) == (Status.OK, Verdict.UNCERTAIN)
    assert score.prob_fake is not None
    assert 0 <= score.prob_fake <= 1
    assert sum(len(track.windows) for track in score.tracks) == 2
    assert f"{entry.name} is not calibrated" in score.message

    capsys.readouterr()
    like = recognised(filled(shapes_of(entry)))
    for other in set(HUB) - {entry.name}:
        needed = len(PUBLISHED[other].files)
        words = [other, *(given * needed)[:needed], f"output={tmp_path}/other.safetensors"]
        if other in like and needed == 1:
            continue  # the same network, whose weights alone tell them apart
        assert main(words) == 1, other
        said = capsys.readouterr().err
        assert not (tmp_path / "other.safetensors").exists()
        assert f"dfd adopt {entry.name}" in said or "made of" in said, (other, said)


@pytest.mark.slow
def test_a_published_detector_scores_a_real_video(
    entry: Published, published_files: list[Path], shared_data: Path
) -> None:
    assert main([entry.name, *(f"file={path}" for path in published_files)]) == 0
    with load_panel([adopted_path(entry.name)], max_windows=4, device="cpu") as detector:
        score = detector.score(next(iter(sorted((shared_data / "dev" / "videos").iterdir()))))
    assert (score.status, score.verdict) == (Status.OK, Verdict.UNCERTAIN)
    assert score.prob_fake is not None
    assert sum(len(track.windows) for track in score.tracks) >= 4


@pytest.mark.slow
def test_an_adopted_detector_exports_to_onnx_and_gives_the_same_probabilities(
    entry: Published, published_files: list[Path]
) -> None:
    assert main([entry.name, *(f"file={path}" for path in published_files)]) == 0
    for path in members(adopted_path(entry.name), len(published_files))[:2]:
        model, card = load_model(path)
        generator = torch.Generator().manual_seed(0)
        shape = (3, card.clip_len, 3, card.image_size, card.image_size)
        clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        expected = TorchRuntime(model, card, "cpu").prob_fake(clips)
        assert OnnxRuntime(to_onnx(model, card)).prob_fake(clips) == pytest.approx(expected, abs=1e-4)


def test_a_preprocessor_file_beside_the_weights_says_how_pictures_are_resized(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, path = PUBLISHED["gend-dinov3-l"], tmp_path / "preprocessor_config.json"
    assert with_preprocessor(entry, path) is entry
    path.write_text('{"resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}')
    backbone = with_preprocessor(entry, path).model["backbone"]
    assert (backbone["resample"], backbone["mean"], backbone["std"]) == ("bicubic", [0.5] * 3, [0.25] * 3)
    assert "preprocessor_config.json: crops are resized" in capsys.readouterr().out
    assert with_preprocessor(PUBLISHED["sbi"], path) is PUBLISHED["sbi"]  # from no hub
    path.write_text('{"resample": 1}')
    with pytest.raises(WeightsMissing, match=r"preprocessor_config\.json: is not a preprocessor's file"):
        with_preprocessor(entry, path)
