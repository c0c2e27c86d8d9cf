"""A detector whose tensors were converted is kept, loaded and exported like any other."""

from pathlib import Path

import pytest
import torch

from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.models.files.onnx import to_onnx
from dfd.models.published.table import PUBLISHED
from dfd.scoring.runtimes.runtime import OnnxRuntime, TorchRuntime
from tests.models.published.references import filled, network_of
from tests.models.published.test_parity import KNOWN, shapes_of


def converted(name: str) -> ClipClassifier:
    entry = PUBLISHED[name]
    network = network_of(entry)
    network.load_state_dict(entry.convert(filled(shapes_of(entry)), network), strict=True)
    with torch.no_grad():  # probabilities that differ from crop to crop
        network.classify.weight /= network.classify.weight.norm()
        network.classify.bias.zero_()
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_a_converted_network_exports_to_onnx_and_gives_the_same_probabilities(name: str) -> None:
    model = converted(name)
    card = DetectorCard(model=PUBLISHED[name].build().config, image_size=64, clip_len=1, temperature=2.0)
    model.config = card.model
    clips = torch.randint(0, 256, (3, 1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = TorchRuntime(model, card, "cpu").prob_fake(clips)
    assert OnnxRuntime(to_onnx(model, card)).prob_fake(clips) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["deepfakebench-xception", "icpr2020-b4"])
def test_a_converted_network_is_kept_with_its_card_and_loaded_from_them_alone(tmp_path: Path, name: str) -> None:
    model = converted(name)
    card = DetectorCard(model=model.config, image_size=64, clip_len=1)
    save_safetensors(tmp_path / "d.safetensors", model, card)
    loaded, read = load_model(tmp_path / "d.safetensors")
    assert read == card
    clips = torch.randint(0, 256, (1, 1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(clips), model(clips))


@pytest.mark.parametrize("name", ["mesonet-meso4-df", "capsule-deepfakes"])
def test_a_published_network_can_be_trained(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(PUBLISHED[name].model).train()
    clips = torch.randint(0, 256, (4, 1, 3, 64, 64), dtype=torch.uint8)
    torch.nn.functional.cross_entropy(model(clips), torch.tensor([0, 1, 0, 1])).backward()
    learning = {key for key, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    frozen = {key for key, _ in model.named_parameters() if key.startswith("backbone.")} if "capsule" in name else set()
    assert not learning & frozen
    assert {key for key, _ in model.named_parameters() if key.endswith("weight")} - frozen <= learning
