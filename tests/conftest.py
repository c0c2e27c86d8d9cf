"""What every test may use.

Real videos and weights lie beside a developer's checkout, never in it: tests that need them skip without.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

# Tests run side by side, one for each core: torch's threads would spin in each other's way. Commands that tests start
# inherit this, and they are to keep their bytecode: without it each compiles torch anew.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell starts its background jobs with Ctrl-C ignored, and whatever the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
TINY_BACKBONE = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False}
TINY_MODEL = {
    "backbone": TINY_BACKBONE,
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 16},
    "dropout": 0.1,
}


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no ../shared/{name} beside this checkout")
    return folder


@pytest.fixture
def shared_data() -> Path:
    return _shared("data")


@pytest.fixture
def shared_field() -> Path:
    return _shared("field")


@pytest.fixture
def shared_weights() -> Path:
    return _shared("weights")


@pytest.fixture
def shared_published() -> Path:
    return _shared("published")


def drawn_frames(seed: int, *, fake: bool = False, num_frames: int = 24, side: int = 96) -> np.ndarray:
    """Moving coloured patches, (N, side, side, 3). In a fake the middle flickers: something for a network to learn."""
    generator = np.random.default_rng(seed)
    base = generator.integers(40, 215, (side // 8, side // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    frames = np.stack([np.roll(base, shift=t, axis=1) for t in range(num_frames)])
    if fake:
        middle = slice(side // 4, 3 * side // 4)
        frames[::2, middle, middle] = 255 - frames[::2, middle, middle]
    return np.clip(frames + generator.normal(0, 3, frames.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 20 drawn videos of 20 "people", half of them fake."""
    from dfd.video.encode import write_video

    folder = tmp_path_factory.mktemp("videos")
    lines = ["path,label,dataset,method,source_ids"]
    for index in range(20):
        fake = index % 2 == 1
        write_video(folder / f"{index:02}.mp4", drawn_frames(index, fake=fake), fps=25)
        label = "fake,tiny,flicker" if fake else "real,tiny,"
        lines.append(f"{index:02}.mp4,{label},person{index}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_store(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip store of the drawn videos; read only."""
    from dfd.data.prepare.store import prepare_store
    from dfd.data.prepare.video import PreparationSettings
    from dfd.data.sources.manifest import read_manifest
    from dfd.faces.crop import Square
    from dfd.faces.extract import ExtractionSettings

    store = tmp_path_factory.mktemp("store")
    settings = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=64, margin_fraction=0.0)))
    prepare_store(read_manifest(tiny_videos), store, settings, fractions=(0.6, 0.2, 0.2), num_workers=2)
    return store


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of random weights for 64 px crops and clips of 4 frames."""
    import torch

    from dfd.models.classifier import build_model
    from dfd.models.files.card import DetectorCard
    from dfd.models.files.checkpoint import save_safetensors

    torch.manual_seed(0)
    model = build_model(TINY_MODEL)
    crop = {"extraction": {"crop_size": 64, "margin_fraction": 0.0}, "face_detector": {"name": "fixed_box"}}
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_safetensors(path, model, DetectorCard(model=model.config, image_size=64, clip_len=4, crop=crop))
    return path
