"""Every file of conf/ composes, and everything it would call takes what it would be given."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from dfd.base.errors import ConfigError
from dfd.config.build import build
from dfd.config.check import check
from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR
from dfd.config.schemas import (
    CalibrateConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PreprocessConfig,
    TrainConfig,
)
from dfd.data.blend.families import FAMILIES, KIND, Blends
from dfd.data.blend.module import BlendDataModule

ROOTS = {
    "train": (TrainConfig, ["data.store=s"]),
    "preprocess": (PreprocessConfig, ["store=s"]),
    "evaluate": (EvaluateConfig, ["checkpoint=c", "data.store=s"]),
    "calibrate": (CalibrateConfig, ["checkpoint=c", "data.store=s"]),
    "predict": (PredictConfig, ["input=i", "checkpoint=c"]),
    "export": (ExportConfig, ["checkpoint=c"]),
}
# Which roots take a group. A group that is in none would be dead.
GROUPS = {
    "backbone": ["train"],
    "temporal": ["train"],
    "head": ["train"],
    "loss": ["train"],
    "optimizer": ["train"],
    "scheduler": ["train"],
    "trainer": ["train"],
    "callbacks": ["train"],
    "logger": ["train"],
    "experiment": ["train"],
    "debug": ["train"],
    "strategy": ["train"],
    "data": ["train", "evaluate", "calibrate"],
    "face_detector": ["preprocess", "predict"],
    "crop": ["preprocess", "predict"],
    "source": ["preprocess"],
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


@pytest.mark.parametrize(
    "path", sorted((CONFIG_DIR / "data" / "augmentation").glob("*.yaml")), ids=lambda path: path.stem
)
@pytest.mark.parametrize("data", ["demo", "clips", "mixed", "blend"])
def test_an_augmentation_is_laid_over_that_of_any_data(path: Path, data: str) -> None:
    config = checked("train", f"data={data}", f"data/augmentation={path.stem}")
    assert isinstance(config, TrainConfig)
    assert OmegaConf.load(path).items() <= config.data["augmentation"].items()
    assert config.data["augmentation"]["flip_prob"] == 0.5
    if path.stem == "fingerprint":  # of weights that one makes oneself
        with pytest.raises(ConfigError, match="make them with dfd fingerprint"):
            build(config.data["augmentation"])
    else:
        assert build(config.data["augmentation"]) is not None


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
        ("head", "dfd.models.heads"),
        ("face_detector", "dfd.faces.detect"),
        ("scheduler", "dfd.training.schedules"),
        ("source", "dfd.data.sources"),
    ],
)
def test_an_option_is_called_like_the_function_it_names(group: str, module: str) -> None:
    for path in (CONFIG_DIR / group).glob("*.yaml"):
        assert OmegaConf.load(path)["_target_"] == f"{module}.{path.stem}"


def test_the_thesis_experiments_have_the_original_hyper_parameters() -> None:
    resnext, inception = (checked("train", f"experiment=thesis_{name}") for name in ("resnext50", "inception_v3"))
    assert isinstance(resnext, TrainConfig)
    assert isinstance(inception, TrainConfig)
    for config in (resnext, inception):
        assert config.temporal == {
            "_target_": "dfd.models.temporal.lstm",
            **{"hidden_features": 2048, "num_layers": 1, "bidirectional": False, "dropout": 0.0, "reduce": "mean"},
        }
        assert config.dropout == 0.4
        assert config.label_smoothing == 0
        assert config.class_weights is None
        assert config.optimizer["_target_"] == "torch.optim.Adam"
        assert (config.optimizer["lr"], config.optimizer["weight_decay"]) == (1e-5, 1e-3)
        assert config.trainer["gradient_clip_val"] is None
        assert config.callbacks["early_stopping"] is None
        data = config.data
        assert (data["clip_len"], data["clip_stride"], data["batch_size"], data["num_workers"]) == (10, 1, 4, 4)
        assert data["augmentation"] is None
        assert data["per_label"] == {"ffpp": 1000, "dfdc": 1500, "celebdf": 500}
        assert sum(data["fractions"][:2]) == pytest.approx(0.7)
    assert (resnext.backbone["_target_"], resnext.backbone["pretrained"]) == ("dfd.models.backbones.resnext50", True)
    assert (inception.backbone["_target_"], inception.backbone["pretrained"]) == (
        "dfd.models.backbones.inception_v3",
        True,
    )
    assert (resnext.trainer["max_epochs"], inception.trainer["max_epochs"]) == (50, 20)


@pytest.mark.parametrize(("name", "head"), [("thesis_as_published", "lstm_over_batch"), ("mean_pool_baseline", "mean")])
def test_the_comparisons_differ_from_the_thesis_in_the_head_alone(name: str, head: str) -> None:
    config, thesis = checked("train", f"experiment={name}"), checked("train", "experiment=thesis_resnext50")
    assert config.temporal["_target_"] == f"dfd.models.temporal.{head}"  # type: ignore[attr-defined]
    config.temporal = thesis.temporal  # type: ignore[attr-defined]
    assert config == thesis


def test_each_study_composes_binds_and_varies_something() -> None:
    studies = sorted((SWEEPS_DIR / "study").glob("*.yaml"))
    assert studies
    for path in studies:
        checked("train", f"study={path.stem}")
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            sweeper = compose("train", [f"study={path.stem}", "data.store=s"], return_hydra_config=True).hydra.sweeper
        # All but the grid find their jobs themselves, such as one for each method in the store.
        assert sweeper.params or not sweeper._target_.endswith(".GridSweeper")


def test_photographs_are_read_as_such_without_more_ado() -> None:
    from dfd.commands.preprocess import settings_of

    for overrides, is_still in ((["source=stills"], True), (["source=folder"], False), (["stills=true"], True)):
        assert settings_of(checked("preprocess", *overrides, "store=a", "root=b")).stills is is_still


def test_every_setting_of_blends_is_in_the_config_as_the_code_has_it_and_can_be_given() -> None:
    def blends(*overrides: str) -> Blends:
        config = checked("train", "data=blend", "data.store=absent", *overrides)
        assert isinstance(config, TrainConfig)
        others = {name: family for name, family in FAMILIES.items() if name != KIND}
        names = {field.name for field in fields(FAMILIES[KIND].settings)}
        assert set(config.data["blend"]) == {"kind", *names, *others}
        for name, family in others.items():
            assert set(config.data["blend"][name]) == {field.name for field in fields(family.settings)}
        data = build(config.data)
        assert isinstance(data, BlendDataModule)
        return data.blend

    # As JSON, which does not tell lists from tuples.
    for name, settings in blends().settings.items():
        assert json.dumps(asdict(settings)) == json.dumps(asdict(FAMILIES[name].settings()))
    given = blends("data.blend.feather=[0.02,0.1]", "data.blend.regions={mouth: 1}").settings[KIND]
    assert (given.feather, given.regions) == ([0.02, 0.1], {"mouth": 1})
    given = blends("data.blend.kind={self: 2, warp: 1}", "data.blend.warp.side=[64,64]")
    assert (given.weights, given.settings["warp"].side) == ({"self": 2, "warp": 1}, [64, 64])
