"""Published weights give published numbers. The weights lie beside a developer's checkout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dfd.base.errors import WeightsMissing
from dfd.base.types import Label
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_model, save_safetensors
from dfd.models.networks.systems.vgg19 import VGG19Pool3
from dfd.models.published.reading import published_state_dicts, read_published
from dfd.models.published.table import PUBLISHED

PICTURES = ("df00204", "df01254", "real00240", "real00772")
# Probability of REAL that the published networks give for the repository's four pictures, and for pictures that are
# 0 and 0.5 everywhere. With ReLU in place of LeakyReLU the first row would begin with .0473.
MESONET = {
    "mesonet-meso4-df": ("Meso4_DF.h5", (0.041412, 0.048694, 0.989748, 0.997702), (0.520977, 0.490236)),
    "mesonet-mesoinception-df": ("MesoInception_DF.h5", (0.026218, 0.000952, 1.0, 1.0), (0.332745, 0.084084)),
    "mesonet-meso4-f2f": ("Meso4_F2F.h5", (0.831237, 0.641100, 0.881023, 0.952439), (0.071053, 0.641594)),
    "mesonet-mesoinception-f2f": ("MesoInception_F2F.h5", (0.998743, 0.999997, 1.0, 0.990830), (0.941877, 0.831085)),
}


def adopted(name: str, *paths: Path) -> ClipClassifier:
    (state,) = published_state_dicts(PUBLISHED[name], paths)
    model = build_model(PUBLISHED[name].model).eval()
    model.load_state_dict(state, strict=True)
    return model


def prob_fake(model: ClipClassifier, pictures: list[torch.Tensor]) -> list[float]:
    with torch.inference_mode():
        return [float(model(picture[None, None]).softmax(dim=1)[0, Label.FAKE]) for picture in pictures]


@pytest.mark.parametrize("name", MESONET)
def test_mesonets_weights_give_their_golden_probabilities(shared_published: Path, tmp_path: Path, name: str) -> None:
    file, of_pictures, of_constants = MESONET[name]
    model = adopted(name, shared_published / "mesonet" / file)
    # Pictures of 342, 264, 256 and 208 px: the resizing to 256 by the nearest pixel is part of the result.
    given = [
        torch.from_numpy(np.array(Image.open(shared_published / "mesonet" / "pictures" / f"{picture}.jpg")))
        for picture in PICTURES
    ]
    found = prob_fake(model, [picture.permute(2, 0, 1) for picture in given])
    assert found == pytest.approx([1 - prob for prob in of_pictures], abs=1e-5)
    found = prob_fake(model, [torch.full((3, 256, 256), value) for value in (0.0, 0.5)])
    assert found == pytest.approx([1 - prob for prob in of_constants], abs=1e-5)

    card = DetectorCard(model=model.config, image_size=256, clip_len=1)
    save_safetensors(tmp_path / "d.safetensors", model, card)
    loaded, _ = load_model(tmp_path / "d.safetensors")
    assert prob_fake(loaded, [torch.zeros(3, 256, 256)]) == pytest.approx([1 - of_constants[0]], abs=1e-5)


# Probabilities of fake (index 0 in the authors' order) on feature maps of a formula: three maps of side 16, then one
# of side 37. They were computed with another implementation, which agreed with the authors' module to 6e-8.
CAPSULES = {
    "capsule-deepfakes": ("deepfakes_capsule_95.pt", [0.534504, 0.542879, 0.487064], [0.679094]),
    "capsule-face2face-c0": ("face2face_c0_capsule_29.pt", [0.713185, 0.713327, 0.713200], [0.686430]),
    "capsule-face2face-c23": ("face2face_c23_capsule_35.pt", [0.705651, 0.707215, 0.704626], [0.698968]),
    "capsule-face2face-c40": ("face2face_c40_capsule_54.pt", [0.697966, 0.702098, 0.696098], [0.698163]),
}


def formula_maps(rows: int, side: int) -> torch.Tensor:
    steps = torch.arange(rows * 256 * side**2, dtype=torch.float64)
    return (2 * torch.sin(0.37 * steps).clamp(min=0)).float().reshape(rows, -1)


@pytest.mark.parametrize("name", CAPSULES)
def test_the_published_capsule_heads_give_their_golden_probabilities(shared_published: Path, name: str) -> None:
    file, small, large = CAPSULES[name]
    tensors = read_published(shared_published / "capsule" / file)
    assert len(tensors) == 73
    state = PUBLISHED[name].convert({**tensors, **VGG19Pool3().state_dict()})
    head = {key.removeprefix("classify."): value for key, value in state.items() if key.startswith("classify.")}
    for side, expected in ((16, small), (37, large)):
        config = {**PUBLISHED[name].model}
        config["backbone"] = {**config["backbone"], "input_size": 8 * side}
        model = build_model(config).eval()
        model.classify.load_state_dict(head, strict=True)
        with torch.inference_mode():
            probs = model.head(formula_maps(len(expected), side)[:, None]).softmax(dim=1)
        assert probs[:, Label.FAKE].tolist() == pytest.approx(expected, abs=2e-6)
        torch.testing.assert_close(probs.sum(dim=1), torch.ones(len(expected)))


def test_a_capsule_detector_is_made_of_its_head_and_torchvisions_trunk(shared_published: Path, tmp_path: Path) -> None:
    """A trunk of random weights is refused, since torchvision states the hash of its file."""
    save_file(VGG19Pool3().state_dict(), tmp_path / "vgg19.safetensors")
    head = shared_published / "capsule" / "deepfakes_capsule_95.pt"
    with pytest.raises(WeightsMissing, match=r"vgg19\.safetensors: its SHA-256 is .* begins with dcbb9e9d"):
        published_state_dicts(PUBLISHED["capsule-deepfakes"], [head, tmp_path / "vgg19.safetensors"])


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("mesonet/Meso4_F2F.h5", "mesonet-meso4-df"),
        ("mesonet/MesoInception_DF.h5", "mesonet-meso4-df"),
        ("mesonet/Meso4_DF.h5", "sbi"),
        ("mesonet/Meso4_DF.h5", "icpr2020-b4"),
    ],
)
def test_a_file_of_another_published_detector_is_named(shared_published: Path, given: str, asked: str) -> None:
    theirs = {
        "Meso4_F2F": "mesonet-meso4-f2f",
        "MesoInception_DF": "mesonet-mesoinception-df",
        "Meso4_DF": "mesonet-meso4-df",
    }
    path = shared_published / given
    with pytest.raises(WeightsMissing) as error:
        published_state_dicts(PUBLISHED[asked], [path])
    expected = theirs[path.stem]
    assert f"{path}: is a file of {expected} and not of {asked}" in str(error.value)
    assert f"dfd adopt {expected} file={path}" in str(error.value)


def test_lrnets_weights_are_of_no_detector_that_dfd_runs(shared_published: Path) -> None:
    with pytest.raises(
        WeightsMissing, match=r"lr_g1\.pth: these are not the weights of sbi .*missing: net\._conv_stem"
    ):
        published_state_dicts(PUBLISHED["sbi"], [shared_published / "lrnet" / "lr_g1.pth"])
