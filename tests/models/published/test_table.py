"""The table of published detectors: complete, consistent, and of the published sizes."""

import json
import math
import re
import subprocess
import sys

import pytest
import torch

from dfd.base.errors import ConfigError
from dfd.faces.crop import crop_of
from dfd.models.classifier import architecture, resolve_model_config
from dfd.models.files.card import DetectorCard
from dfd.models.published.entry import PublishedFile
from dfd.models.published.table import INDEPENDENT_CHECK, PUBLISHED, caveat, published, recognised
from dfd.scoring.aggregation import AGGREGATIONS

NAMES = {
    *("gend-clip-l14", "gend-pe-l", "gend-dinov3-l", "dfdc-b7", "effort", "sbi"),
    *("deepfakebench-xception", "deepfakebench-efficientnetb4", "icpr2020-b4"),
    *(f"mesonet-{network}-{kind}" for network in ("meso4", "mesoinception") for kind in ("df", "f2f")),
    *("capsule-deepfakes", "capsule-face2face-c0", "capsule-face2face-c23", "capsule-face2face-c40"),
    "thesis-upstream",
}
# Parameters with the head, by the publications or computed from them; tensors of the network's state dict.
SIZES = {
    "gend-clip-l14": 303_179_776 + 2_050,
    "gend-pe-l": 315_774_976 + 2_050,
    "gend-dinov3-l": 303_128_576 + 2_050,
    "effort": 303_179_776 + 2_050,
    "dfdc-b7": 63_786_960 + 2_561,
    "sbi": 17_548_616 + 3_586,
    "icpr2020-b4": 17_548_616 + 1_793,
    "deepfakebench-efficientnetb4": 17_548_616 + 3_586,
    "deepfakebench-xception": 20_806_952 + 4_098,
    "mesonet-meso4-df": 27_977,
    "mesonet-mesoinception-df": 28_615,
    "capsule-deepfakes": 2_325_568 + 471_321,
}


def test_the_table_has_every_detector_that_is_offered() -> None:
    assert set(PUBLISHED) == NAMES
    assert all(entry.name == name for name, entry in PUBLISHED.items())


@pytest.mark.parametrize("name", SIZES)
def test_a_network_has_as_many_parameters_as_the_published_one(name: str) -> None:
    assert sum(parameter.numel() for parameter in PUBLISHED[name].build().parameters()) == SIZES[name]


@pytest.mark.parametrize(("name", "count"), [("deepfakebench-xception", 276), ("sbi", 706), ("icpr2020-b4", 706)])
def test_a_network_has_as_many_tensors_as_the_published_one(name: str, count: int) -> None:
    assert len(PUBLISHED[name].build().state_dict()) == count


def test_gend_clip_with_its_unused_projection_takes_the_bytes_of_the_published_file() -> None:
    entry = PUBLISHED["gend-clip-l14"]
    num_values = sum(value.numel() for value in entry.build().state_dict().values()) + 768 * 1024
    assert 4 * num_values == 1_215_873_032
    assert entry.files[0].size_bytes is not None
    assert 0 < entry.files[0].size_bytes - 4 * num_values < 100_000  # the header


def test_the_names_of_gend_clip_make_a_header_of_the_published_files_length() -> None:
    """A safetensors header lists every name, shape and place: another name would change its length."""
    entry = PUBLISHED["gend-clip-l14"]
    state = entry.build().state_dict()
    shapes: dict[str, list[int]] = {"feature_extractor.visual_projection.weight": [768, 1024]}
    for own, source in entry.recipe(state).items():
        shape = list(state[own].shape)
        shape = {"cls_token": [1024], "pos_embed": [257, 1024]}.get(own.rpartition(".")[2], shape)
        shapes |= {name: [shape[0] // len(source.names), *shape[1:]] for name in source.names}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name in sorted(shapes):
        end = place + 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [place, end]}
        place = end
    length = len(json.dumps(header, separators=(",", ":")))
    assert 8 + -(-length // 8) * 8 + place == entry.files[0].size_bytes


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_entry_says_all_that_a_user_must_know(name: str) -> None:
    entry = PUBLISHED[name]
    for text in (entry.title, entry.licence_code, entry.licence_weights, entry.training_data, entry.citation):
        assert len(text) > 2
    assert entry.home.startswith("https://")
    assert all(file.url.startswith("https://") for file in entry.files)
    assert len({file.name for file in entry.files}) == len(entry.files)
    assert all(0.3 < figure.value < 1 and figure.source for figure in entry.figures)
    assert crop_of(entry.input).to_dict()["kind"] == entry.input["kind"]
    assert entry.aggregation in AGGREGATIONS
    assert set(entry.label_order) == {"real", "fake"}
    text = caveat(entry)
    assert entry.training_data in text
    assert text.endswith(INDEPENDENT_CHECK)
    assert text.startswith(entry.warning or "Trained on")
    assert not re.search(r"\.\.|  |None", text)


def test_what_shows_an_error_says_so_first() -> None:
    assert [name for name, entry in PUBLISHED.items() if entry.warning] == ["thesis-upstream"]
    assert "demonstration of an error" in PUBLISHED["thesis-upstream"].warning


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_config_resolves_to_itself_and_fits_a_card(name: str) -> None:
    entry = PUBLISHED[name]
    model = entry.build()
    assert resolve_model_config(model.config) == model.config
    assert architecture(model.config) == {
        **model.config,
        "backbone": {**model.config["backbone"], **({"freeze": False} if "freeze" in model.config["backbone"] else {})},
    }
    side = entry.model["backbone"].get("input_size", entry.input["size"])
    card = DetectorCard(model=model.config, image_size=side, clip_len=entry.clip_len)
    assert DetectorCard.from_dict(card.to_dict()) == card
    assert not model.mixes_clips


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_tensor_of_a_network_has_a_published_source(name: str) -> None:
    entry = PUBLISHED[name]
    state = entry.build().state_dict()
    sources = entry.recipe(state)
    assert sources.keys() == state.keys()
    used = [published_name for source in sources.values() for published_name in source.names]
    assert len(used) == len(set(used))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_detector_recognises_its_own_names_and_no_other_networks(name: str) -> None:
    entry = PUBLISHED[name]
    sources = entry.recipe(entry.build().state_dict())
    hollow = {published_name: torch.zeros(0) for source in sources.values() for published_name in source.names}
    found = recognised(hollow)
    assert name in found
    family = name.rpartition("-")[0] if name.startswith("mesonet") else name.partition("-")[0]
    assert all(other.startswith(family) for other in found)
    assert len(found) == 1 or name.startswith(("mesonet", "capsule"))


def test_the_table_does_not_wait_for_timm_or_torchvision() -> None:
    slow = ["timm", "torchvision", "h5py"]
    code = f"import sys, dfd.models.published.reading; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_refused_with_one_that_is_close() -> None:
    with pytest.raises(ConfigError, match="gend-clip: there is no published detector of this name; did you mean"):
        published("gend-clip")
    assert published("sbi") is PUBLISHED["sbi"]


@pytest.mark.parametrize("sha256", ["", "abc", "X" * 64, "a" * 65])
def test_a_hash_that_is_none_is_refused(sha256: str) -> None:
    with pytest.raises(ValueError, match="sha256 of w must be 8 to 64"):
        PublishedFile(name="w", url="https://example.org/w", sha256=sha256)
