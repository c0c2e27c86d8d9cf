"""Every file of conf/ composes, and everything it would call takes what it would be given."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from dfd.config import CONFIG_DIR, EvaluateConfig, PredictConfig, PreprocessConfig, TrainConfig, check

ROOTS = {
    "train": (TrainConfig, ["data.store=s"]),
    "preprocess": (PreprocessConfig, ["store=s"]),
    "evaluate": (EvaluateConfig, ["checkpoint=c", "data.store=s"]),
    "predict": (PredictConfig, ["input=i", "checkpoint=c"]),
}
# Which roots take a group. A group that is in none would be dead.
GROUPS = {
    "backbone": ["train"],
    "temporal": ["train"],
    "optimizer": ["train"],
    "scheduler": ["train"],
    "trainer": ["train"],
    "callbacks": ["train"],
    "logger": ["train"],
    "experiment": ["train"],
    "debug": ["train"],
    "data": ["train", "evaluate"],
    "face_detector": ["preprocess", "predict"],
}
NEEDED = {"timm": ["backbone.name=resnet10t"]}
OPTIONS = sorted(
    (group, path.stem)
    for group in GROUPS
    for path in (CONFIG_DIR / group).glob("*.yaml")
    if path.stem != "default" or group == "callbacks"
)


def checked(root: str, *overrides: str) -> object:
    schema, needed = ROOTS[root]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(root, [*needed, *overrides], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = "outputs/test"  # what Hydra sets when a command runs
        HydraConfig.instance().set_config(cfg)
        del cfg["hydra"]
    return check(cfg, schema)


@pytest.mark.parametrize("root", ROOTS)
def test_each_root_composes_and_binds(root: str) -> None:
    assert isinstance(checked(root), ROOTS[root][0])


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_each_option_composes_and_binds(group: str, option: str) -> None:
    for root in GROUPS[group]:
        checked(root, f"{group}={option}", *NEEDED.get(option, []))


def test_every_group_is_tested() -> None:
    folders = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    assert folders - {"hydra"} == set(GROUPS)


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.rglob("*.yaml")), ids=lambda path: path.name)
def test_no_file_holds_a_path_of_somebodys_machine(path: Path) -> None:
    assert "/home/" not in path.read_text()
    assert "/Users/" not in path.read_text()


@pytest.mark.parametrize(
    ("group", "module"),
    [
        ("backbone", "dfd.models.backbones"),
        ("temporal", "dfd.models.temporal"),
        ("face_detector", "dfd.faces.detect"),
        ("scheduler", "dfd.training"),
    ],
)
def test_an_option_is_called_like_the_function_it_names(group: str, module: str) -> None:
    for path in (CONFIG_DIR / group).glob("*.yaml"):
        assert OmegaConf.load(path)["_target_"] == f"{module}.{path.stem}"
