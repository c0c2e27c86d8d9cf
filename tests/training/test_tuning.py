"""What a run learns: stages, norms, low-rank changes, rates by depth, and Lightning's own finetuning."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from dfd.base.errors import CheckpointError, ConfigError
from dfd.models.backbones import resnext50, timm
from dfd.models.files.checkpoint import load_checkpoint, load_model
from dfd.models.networks.lora import merge_lora
from dfd.training.learning.tuning import Tuning, stages_of
from dfd.training.results import write_run_summary
from dfd.training.schedules import constant
from tests.training.test_training import CONFIG, checkpointing, loader, make_module, make_trainer

VIT = {
    "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_vit", "pretrained": False, "img_size": 32},
    "temporal": {"_target_": "dfd.models.temporal.mean"},
}
FROZEN = {**CONFIG, "backbone": {**CONFIG["backbone"], "freeze": True}}
LORA = {**VIT, "backbone": {**VIT["backbone"], "lora": 2}}


def learned(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def trained(folder: Path, *callbacks, **options):
    module = make_module(**options)
    before = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
    trainer = make_trainer(folder, *callbacks, max_epochs=1)
    trainer.fit(module, loader(), loader())
    changed = {name for name, tensor in module.model.state_dict().items() if not torch.equal(tensor, before[name])}
    return module, changed, trainer


def test_the_stages_of_a_vit_are_its_blocks_and_those_of_a_resnet_its_layers() -> None:
    vit = stages_of(timm(name="test_vit", pretrained=False).network)
    num_blocks = len(timm(name="test_vit", pretrained=False).network.blocks)
    assert len(vit) >= num_blocks + 1
    assert any("patch_embed" in name for name in vit[0])
    assert all(name.startswith("blocks.0.") for name in vit[1])
    layers = stages_of(resnext50(pretrained=False).network)
    assert layers[0] == ["conv1.weight"]
    assert all(name.startswith("layer4.") for name in layers[-1])
    for network in (timm(name="test_resnet", pretrained=False).network, resnext50(pretrained=False).network):
        names = [name for stage in stages_of(network) for name in stage]
        assert sorted(names) == sorted(name for name, _ in network.named_parameters())


def test_frozen_stages_keep_their_weights_and_their_statistics(tmp_path: Path) -> None:
    module, changed, _ = trained(tmp_path, tuning=Tuning(freeze_stages=2))
    stages = stages_of(module.model.backbone.network)
    fixed = {f"backbone.network.{name}" for stage in stages[:2] for name in stage}
    assert fixed
    assert not fixed & changed
    assert {f"backbone.network.{name}" for name in stages[-1]} & changed
    first = next(name for name in fixed if "bn" in name or "norm" in name).rpartition(".")[0]
    assert not any(name.startswith(f"{first}.running") for name in changed)


def test_norms_alone_learn_and_are_few(tmp_path: Path) -> None:
    module, changed, _ = trained(tmp_path, config=VIT, tuning=Tuning(learns="norms"))
    inside = {name for name in changed if name.startswith("backbone.")}
    assert inside
    assert all("norm" in name for name in inside)
    assert {"classify.weight", "classify.bias"} <= changed
    backbone = module.model.backbone
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) < 0.02 * sum(
        p.numel() for p in backbone.parameters()
    )


def test_a_low_rank_change_learns_alone_is_resumed_and_ends_in_plain_weights(tmp_path: Path) -> None:
    best = checkpointing(tmp_path)
    _, changed, trainer = trained(tmp_path, *best, config=LORA)
    assert {name.rpartition(".")[2] for name in changed if name.startswith("backbone.")} == {"lora_up", "lora_down"}
    path = best[0].best_model_path
    assert load_checkpoint(path)[0].model["backbone"]["lora"] == 2
    frames = torch.rand(2, 2, 3, 32, 32)
    expected = load_model(path)[0](frames)
    write_run_summary(tmp_path, path, trainer)
    plain, card = load_model(tmp_path / "detector.safetensors")
    assert card.model["backbone"]["lora"] is None
    assert not any("lora" in name for name, _ in plain.named_parameters())
    assert torch.allclose(plain(frames), expected, atol=1e-5)
    assert not torch.equal(expected, make_module(config=LORA).model.eval()(frames))
    with pytest.raises(CheckpointError, match="another model"):
        make_trainer(tmp_path, max_epochs=2).fit(make_module(config=VIT), loader(), ckpt_path=path, weights_only=True)
    assert not merge_lora(plain)


def test_lora_begins_as_the_network_that_it_changes() -> None:
    frames = torch.rand(1, 2, 3, 32, 32)
    changed, plain = make_module(config=LORA).model.eval(), make_module(config=VIT).model.eval()
    plain.load_state_dict({n: t for n, t in changed.state_dict().items() if "lora" not in n})
    assert torch.equal(plain(frames), changed(frames))


def test_rates_fall_with_depth_and_the_head_has_the_optimizers(tmp_path: Path) -> None:
    tuning = Tuning(layer_decay=0.5, backbone_rate=0.1)
    module = make_module(config=VIT, tuning=tuning, scheduler=partial(constant))
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, loader(), loader())
    groups = trainer.optimizers[0].param_groups
    stages = stages_of(module.model.backbone.network)
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, *(1e-4 * 0.5**n for n in range(len(stages)))])
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in module.model.classify.parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))
    assert float(trainer.callback_metrics["train/lr"]) == pytest.approx(1e-3)


def test_lightnings_backbone_finetuning_works(tmp_path: Path) -> None:
    seen = []

    class Watch(BackboneFinetuning):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(next(pl_module.model.backbone.parameters()).detach().clone())

    module = make_module(scheduler=partial(constant))
    start = next(module.model.backbone.parameters()).detach().clone()
    finetuning = Watch(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5, verbose=False)
    make_trainer(tmp_path, finetuning, max_epochs=3).fit(module, loader(), loader())
    assert torch.equal(seen[0], start)
    assert not torch.equal(seen[1], start)


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (CONFIG, {"learns": "norm"}, "tuning.learns=norm is not one of all, norms"),
        (CONFIG, {"freeze_stages": 99}, "the backbone has . stages; to fix all of them use backbone.freeze=true"),
        (CONFIG, {"freeze_stages": -1}, "0 or more"),
        (CONFIG, {"layer_decay": 0.0}, "tuning.layer_decay must be above 0"),
        (
            {**CONFIG, "backbone": {**CONFIG["backbone"], "freeze": True}},
            {"learns": "norms"},
            "fixes the whole backbone",
        ),
    ],
)
def test_what_cannot_be_tuned_so_is_refused(config, options, said) -> None:
    with pytest.raises(ConfigError, match=said):
        make_module(config=config, tuning=Tuning(**options))


def test_lora_needs_a_transformer() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.lora=4: test_resnet has no attention"):
        timm(name="test_resnet", pretrained=False, lora=4)
