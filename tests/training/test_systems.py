"""Training of published systems: the constraint after every step, and a trunk that stays as it is."""

from functools import partial

import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging

from dfd.models.files.checkpoint import load_checkpoint, load_model
from tests.commands.test_commands import UNTESTED, run
from tests.models.test_systems import is_constrained
from tests.training.test_training import Clips, checkpointing, loader, make_module, make_trainer

SSTNET = {
    "backbone": {
        **{"_target_": "dfd.models.backbones.sstnet", "name": "test_resnet"},
        **{"picture_size": 32, "pretrained": False},
    },
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 8, "reduce": "last"},
}
FILTERS = "backbone.network.residual.filters.weight"


class EachStep(Callback):
    """Looks at the filters after each batch, and counts the optimizer's steps."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append((trainer.global_step, dict(pl_module.model.named_parameters())[FILTERS].detach().clone()))


def test_constrained_filters_keep_the_constraint_after_each_step_and_in_the_average_of_the_weights(tmp_path):
    module, watch = make_module(config=SSTNET, optimizer=partial(torch.optim.SGD, lr=0.5)), EachStep()
    start = dict(module.model.named_parameters())[FILTERS].detach().clone()
    callbacks = [*checkpointing(tmp_path), watch, EMAWeightAveraging(decay=0.5)]
    trainer = make_trainer(tmp_path, *callbacks, max_epochs=2, accumulate_grad_batches=2)
    trainer.fit(module, loader(), loader())
    assert [step for step, _ in watch.seen] == [0, 1, 2, 2, 3, 4]  # two batches make a step, and the last one its own
    assert all(is_constrained(weight) for _, weight in watch.seen)
    assert not torch.allclose(watch.seen[-1][1], start)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    average, moving = saved["state_dict"][f"model.{FILTERS}"], saved["current_model_state"][f"model.{FILTERS}"]
    assert is_constrained(average)
    assert is_constrained(moving)
    assert not torch.equal(average, moving)


def test_a_resumed_sstnet_goes_on_as_one_that_was_never_stopped(tmp_path):
    def train(folder, epochs, ckpt_path=None):
        trainer = make_trainer(folder, *checkpointing(folder), max_epochs=epochs)
        trainer.fit(make_module(config=SSTNET), loader(), loader(), ckpt_path=ckpt_path)
        return load_model(folder / "checkpoints/last.ckpt")[0].state_dict()

    whole = train(tmp_path / "whole", 2)
    train(tmp_path / "parts", 1)
    parts = train(tmp_path / "parts", 2, ckpt_path=tmp_path / "parts/checkpoints/last.ckpt")
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_sstnet_depends_on_the_order_of_the_frames():
    module = make_module(config=SSTNET)
    frames = Clips([0, 1]).frames
    model = module.model.eval()
    with torch.inference_mode():
        assert not torch.allclose(model(frames), model(frames.flip(1)))


def test_the_experiment_of_capsules_trains_the_head_and_leaves_the_trunk_alone(tiny_store, tmp_path):
    words = ["experiment=capsule", f"data.store={tiny_store}", "data.num_workers=0", "trainer=cpu", *UNTESTED]
    words += ["backbone.pretrained=false", "backbone.input_size=16", "trainer.max_epochs=1", "data.batch_size=6"]
    run("train", *words, f"hydra.run.dir={tmp_path / 'run'}")
    card, learned = load_checkpoint(tmp_path / "run" / "detector.safetensors")
    assert card.model["head"]["num_capsules"] == 3
    run("train", *words, "optimizer.lr=1e-30", f"hydra.run.dir={tmp_path / 'still'}")
    _, initial = load_checkpoint(tmp_path / "still" / "detector.safetensors")
    changed = {name.partition(".")[0] for name, tensor in learned.items() if not torch.equal(tensor, initial[name])}
    assert changed == {"classify"}
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    trained = saved["optimizer_states"][0]["param_groups"][0]["params"]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    head = [name for name in learned if name.startswith("classify.") and not name.endswith(statistics)]
    assert len(trained) == len(head)
