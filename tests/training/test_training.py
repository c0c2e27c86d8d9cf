import csv
import json
import math
from functools import partial

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dfd.base.errors import CheckpointError, ConfigError, RunDiverged
from dfd.metrics.videos import video_metrics
from dfd.models.classifier import build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_checkpoint, load_model
from dfd.training.callbacks import EpochBar, check_monitors
from dfd.training.learning.compiling import compile_backbone
from dfd.training.loggers import RunCSVLogger
from dfd.training.module import LOGGED_METRICS, DetectorModule
from dfd.training.results import (
    VAL_METRICS,
    best_checkpoint,
    check_optimized_metric,
    optimized_value,
    write_run_summary,
)
from dfd.training.schedules import constant, cosine, plateau, step

CONFIG = {
    "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 8},
}


class Clips(Dataset):
    """Noise, brighter if fake."""

    def __init__(self, labels):
        generator = torch.Generator().manual_seed(0)
        self.labels = labels
        self.frames = torch.randint(0, 180, (len(labels), 2, 3, 32, 32), dtype=torch.uint8, generator=generator)
        self.frames += 60 * torch.tensor(labels, dtype=torch.uint8)[:, None, None, None, None]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"frames": self.frames[index], "label": self.labels[index]}


def loader(labels=(0, 1, 0, 1, 1, 0), batch_size=2):
    return DataLoader(Clips(list(labels)), batch_size=batch_size)


def make_module(*, seed=0, config=None, **options):
    lightning.seed_everything(seed, verbose=False)
    model = build_model(config or CONFIG)
    card = DetectorCard(model=model.config, image_size=32, clip_len=2)
    options.setdefault("optimizer", partial(torch.optim.Adam, lr=1e-3))
    return DetectorModule(model, card=card, **options)


def make_trainer(folder, *callbacks, max_epochs=2, **options):
    options.setdefault("logger", RunCSVLogger(save_dir=str(folder), resumed_from="last.ckpt"))
    return lightning.Trainer(
        default_root_dir=folder,
        max_epochs=max_epochs,
        callbacks=list(callbacks),
        accelerator="cpu",
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        **{"enable_progress_bar": False, "log_every_n_steps": 1, "num_sanity_val_steps": 1, **options},
    )


def checkpointing(folder):
    """As conf/callbacks/default.yaml has it."""
    options = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
    best = ModelCheckpoint(filename="best", monitor="val/loss", **options)
    return best, ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **options)


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curve(folder, name):
    return {int(row["epoch"]): float(row[name]) for row in rows_of(folder) if row.get(name)}


class StopAfter(Callback):
    """As if the process were stopped at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.should_stop or trainer.current_epoch == self.epoch


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs and a test, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    module = make_module(scheduler=partial(cosine, warmup_fraction=0.2))
    trainer = make_trainer(folder, *checkpointing(folder))
    trainer.fit(module, loader(), loader())
    trainer.test(module, loader(), ckpt_path=best_checkpoint(trainer), weights_only=True, verbose=False)
    return folder, trainer, module


def test_the_bar_counts_epochs_from_one_and_names_no_version(tmp_path, capsys):
    trainer = make_trainer(tmp_path, EpochBar(), enable_progress_bar=True, max_epochs=2)
    trainer.fit(make_module(), loader(), loader())
    shown = "".join(capsys.readouterr())
    assert "Epoch 1/2" in shown
    assert "Epoch 2/2" in shown
    assert "Epoch 0" not in shown
    assert "v_num" not in shown


def test_every_metric_of_every_split_is_logged_once_per_epoch(finished):
    folder, _, _ = finished
    for name in ("loss", "accuracy", "precision", "recall", "f1", "auc"):
        assert set(curve(folder, f"train/{name}")) == set(curve(folder, f"val/{name}")) == {1, 2}
        assert any(row.get(f"test/{name}") for row in rows_of(folder))


def test_logged_metrics_are_those_of_the_whole_split_and_not_a_mean_over_batches(finished):
    _, trainer, module = finished
    labels = (0, 1, 1, 1, 0)  # the last batch is shorter
    trainer.test(module, loader(labels, batch_size=2), verbose=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    with torch.inference_mode():
        logits = module.model.eval()(Clips(list(labels)).frames)
    expected = video_metrics(logits.softmax(-1)[:, 1].double().clamp(0, 1), labels)
    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        value = math.nan if expected[name] is None else expected[name]
        assert logged[f"test/{name}"] == pytest.approx(value, nan_ok=True)
    loss = nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
    assert logged["test/loss"] == pytest.approx(loss, rel=1e-4)


def test_the_sanity_check_leaves_no_trace(tmp_path):
    values = []
    for sanity_steps in (0, -1):
        folder = tmp_path / str(sanity_steps)
        trainer = make_trainer(folder, max_epochs=1, num_sanity_val_steps=sanity_steps)
        trainer.fit(make_module(), loader(), loader())
        values.append({name: curve(folder, name) for name in ("val/loss", "val/auc", "train/loss", "val/accuracy")})
    assert values[0] == values[1]


def test_a_checkpoint_loads_with_weights_only_and_scores_as_the_model(finished):
    folder, _, _ = finished
    for name in ("best.ckpt", "last.ckpt"):
        torch.load(folder / "checkpoints" / name, weights_only=True)
    model, _ = load_model(folder / "checkpoints" / "last.ckpt")
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, content["state_dict"][f"model.{key}"])


def test_the_card_in_a_checkpoint_has_the_validation_metrics_of_its_epoch(finished):
    folder, trainer, _ = finished
    best_epoch = torch.load(best_checkpoint(trainer), weights_only=True)["epoch"] + 1
    card, _ = load_checkpoint(best_checkpoint(trainer))
    assert card.metrics["val/loss"] == pytest.approx(curve(folder, "val/loss")[best_epoch])
    assert card.metrics["val/loss"] == pytest.approx(min(curve(folder, "val/loss").values()))
    assert all(name.startswith("val/") for name in card.metrics)
    assert card.model["temporal"]["reduce"] == "mean"


def test_a_run_that_was_stopped_and_resumed_has_the_curve_of_one_that_was_not(tmp_path):
    def run(folder, *callbacks, ckpt_path=None):
        module = make_module(
            optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True),
            scheduler=partial(cosine, warmup_fraction=0.3),
        )
        stopping = EarlyStopping("val/loss", patience=30)
        trainer = make_trainer(
            folder, *checkpointing(folder), stopping, *callbacks, max_epochs=4, gradient_clip_val=1.0
        )
        trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path, weights_only=True)
        return module, trainer, stopping

    whole, whole_trainer, whole_stopping = run(tmp_path / "whole")
    run(tmp_path / "parts", StopAfter(epoch=1))
    assert set(curve(tmp_path / "parts", "val/loss")) == {1, 2}
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    resumed, trainer, stopping = run(tmp_path / "parts", ckpt_path=last)

    for name in ("train/loss", "val/loss", "train/lr", "val/auc"):
        assert curve(tmp_path / "parts", name) == pytest.approx(curve(tmp_path / "whole", name), rel=1e-5)
    assert trainer.global_step == whole_trainer.global_step == 12
    assert (stopping.wait_count, float(stopping.best_score)) == pytest.approx(
        (whole_stopping.wait_count, float(whole_stopping.best_score))
    )
    assert float(trainer.checkpoint_callback.best_model_score) == pytest.approx(
        float(whole_trainer.checkpoint_callback.best_model_score)
    )
    for tensor, expected in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(tensor, expected)


def test_an_average_of_the_weights_is_what_is_validated_and_kept_and_survives_resuming(tmp_path):
    """callbacks=ema."""

    def run(folder, *more, ckpt_path=None, max_epochs=3):
        module = make_module(optimizer=partial(torch.optim.SGD, lr=0.05))
        trainer = make_trainer(
            folder, *checkpointing(folder), EMAWeightAveraging(decay=0.5), *more, max_epochs=max_epochs
        )
        trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path)
        return curve(folder, "val/loss")

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", StopAfter(0))
    assert run(tmp_path / "parts", ckpt_path=tmp_path / "parts/checkpoints/last.ckpt") == pytest.approx(whole)
    model, _ = load_model(tmp_path / "whole/checkpoints/last.ckpt")
    clips = Clips([0, 1, 0, 1, 1, 0])
    with torch.inference_mode():
        loss = nn.functional.cross_entropy(model(clips.frames), torch.tensor(clips.labels))
    assert float(loss) == pytest.approx(whole[3], rel=1e-4)
    saved = torch.load(tmp_path / "whole/checkpoints/last.ckpt", weights_only=True)
    moving, kept = saved["current_model_state"], saved["state_dict"]
    assert not torch.equal(moving["model.classify.weight"], kept["model.classify.weight"])


def test_the_state_of_early_stopping_survives_resuming(tmp_path):
    def run(max_epochs, ckpt_path=None):
        stopping = EarlyStopping("val/loss", patience=3, min_delta=1e9)  # nothing is ever an improvement
        trainer = make_trainer(tmp_path, *checkpointing(tmp_path), stopping, max_epochs=max_epochs)
        trainer.fit(make_module(), loader(), loader(), ckpt_path=ckpt_path, weights_only=True)
        return trainer

    run(2)
    assert run(20, tmp_path / "checkpoints" / "last.ckpt").current_epoch == 4  # one first, then three without


def test_resuming_another_model_is_refused_with_what_differs(tmp_path, finished):
    folder, _, _ = finished
    other = {**CONFIG, "temporal": {"_target_": "dfd.models.temporal.mean"}}
    with pytest.raises(CheckpointError, match=r"another model \(temporal: .*lstm.*not .*mean"):
        make_trainer(tmp_path).fit(
            make_module(config=other), loader(), loader(), ckpt_path=folder / "checkpoints" / "last.ckpt"
        )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (partial(constant), [1.0, 1.0, 1.0]),
        (partial(constant, warmup_fraction=1.0), [2 / 9, 5 / 9, 8 / 9]),
        (partial(step, every_epochs=1, factor=0.1), [1.0, 0.1, 0.01]),
        (partial(plateau, patience=0, factor=0.5, mode="max"), [1.0, 1.0, 0.5]),
    ],
)
def test_the_logged_learning_rate_follows_the_schedule(tmp_path, schedule, expected):
    # At this rate, and with frozen statistics, nothing moves: the plateau sees one and the same loss.
    module = make_module(optimizer=partial(torch.optim.SGD, lr=1e-12), scheduler=schedule, freeze_batchnorm=True)
    make_trainer(tmp_path, max_epochs=3).fit(module, loader(), loader())
    factors = [rate / 1e-12 for rate in curve(tmp_path, "train/lr").values()]
    assert factors == pytest.approx(expected, rel=1e-5)


def test_the_cosine_warms_up_and_falls_to_its_end(tmp_path):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = cosine(optimizer, total_steps=100, warmup_fraction=0.1, final_fraction=0.01)["scheduler"]
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.01)


def test_a_schedule_of_a_run_without_an_end_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"set trainer\.max_epochs"):
        make_trainer(tmp_path, max_epochs=-1).fit(make_module(scheduler=constant), loader(), loader())


def test_a_validation_split_of_one_class_logs_nan_and_nothing_stops(tmp_path):
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), EarlyStopping("val/loss", patience=1))
    trainer.fit(make_module(), loader(), loader([0, 0, 0, 0]))
    assert trainer.current_epoch == 2
    assert all(math.isnan(value) for value in curve(tmp_path, "val/auc").values())
    card, _ = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert "val/auc" not in card.metrics
    assert "val/loss" in card.metrics


def test_smoothing_and_class_weights_act_on_the_training_loss_only():
    batch = {"frames": Clips([0, 1, 1]).frames, "label": torch.tensor([0, 1, 1])}
    plain, weighted = make_module(), make_module(label_smoothing=0.1, class_weights=[2.0, 1.0])
    losses = {}
    for name, module in {"plain": plain, "weighted": weighted}.items():
        module.log = lambda *_, **__: None
        module.trainer = lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        module.trainer.strategy.optimizers = [module.make_optimizer(module.parameters())]
        module.eval()  # without dropout, for comparison
        module.training_step(batch, 0)
        module.validation_step(batch, 0)
        losses |= {(name, key): float(loss.compute()) for key, loss in module.losses.items() if loss.update_called}
    logits = plain.model(batch["frames"])
    expected = nn.functional.cross_entropy(
        logits, batch["label"], weight=torch.tensor([2.0, 1.0]), label_smoothing=0.1
    ).item()
    assert losses["weighted", "train/loss"] == pytest.approx(expected)
    assert losses["weighted", "val/loss"] == pytest.approx(losses["plain", "val/loss"])
    assert losses["plain", "train/loss"] == pytest.approx(losses["plain", "val/loss"])


@pytest.mark.parametrize("options", [{"class_weights": [1.0]}, {"class_weights": [1.0, 0.0]}, {"label_smoothing": 1.0}])
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        make_module(**options)


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_batch_normalisation_keeps_its_statistics(tmp_path, freeze):
    module = make_module(freeze_batchnorm=freeze)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items() if "running_mean" in name}
    make_trainer(tmp_path, max_epochs=2).fit(module, loader(), loader())
    assert before
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items()) == freeze


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        make_trainer(tmp_path / name, max_epochs=1).fit(make_module(seed=seed), loader(), loader())
    assert curve(tmp_path / "a", "val/loss") == curve(tmp_path / "b", "val/loss")
    assert curve(tmp_path / "a", "val/loss") != curve(tmp_path / "c", "val/loss")


def test_a_detector_learns_what_can_be_learned(tmp_path):
    module = make_module(optimizer=partial(torch.optim.Adam, lr=3e-3))
    make_trainer(tmp_path, max_epochs=8).fit(module, loader([0, 1] * 8, batch_size=4), loader([0, 1] * 4))
    assert curve(tmp_path, "val/auc")[7] == 1.0


def test_bfloat16_training_runs_and_its_metrics_are_of_full_precision(tmp_path):
    make_trainer(tmp_path, max_epochs=1, precision="bf16-mixed").fit(make_module(), loader(), loader())
    assert math.isfinite(curve(tmp_path, "val/loss")[1])


def test_a_run_leaves_a_detector_a_summary_and_its_curves(finished):
    folder, trainer, _ = finished
    best = best_checkpoint(trainer)
    value = optimized_value(trainer, best, "val/loss")
    write_run_summary(folder, best, trainer, facts={"seed": 0})
    model, card = load_model(folder / "detector.safetensors")
    assert value == card.metrics["val/loss"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["val"] == card.metrics
    assert summary["seed"] == 0
    losses = curve(folder, "val/loss")
    assert min(losses) == summary["epochs_counted_from"] == 1
    assert summary["best_epoch"] == min(losses, key=losses.get)
    assert summary["train"]["train/loss"] == pytest.approx(curve(folder, "train/loss")[summary["best_epoch"]])
    assert summary["comparison_only"] is False
    assert "test/auc" in summary["test"]
    assert summary["num_parameters"] == sum(p.numel() for p in model.parameters())
    assert (folder / "learning_curves.png").stat().st_size > 1000


def test_a_run_of_the_published_lstm_leaves_a_summary_and_no_detector(tmp_path):
    config = {**CONFIG, "temporal": {"_target_": "dfd.models.temporal.lstm_over_batch", "hidden_features": 8}}
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), max_epochs=1)
    trainer.fit(make_module(config=config), loader(), loader())
    write_run_summary(tmp_path, best_checkpoint(trainer), trainer)
    assert json.loads((tmp_path / "summary.json").read_text())["comparison_only"] is True
    assert not (tmp_path / "detector.safetensors").exists()


@pytest.mark.parametrize("metric", ["val/acc", "test/auc"])
def test_a_metric_that_no_sweep_may_optimise_is_refused_with_those_it_may(metric):
    with pytest.raises(ConfigError, match=rf"optimized_metric: '{metric}' is not one of val/loss, .*val/auc"):
        check_optimized_metric(metric)


def test_a_run_without_checkpoints_has_nothing_to_optimise(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(make_module(), loader(), loader())
    assert best_checkpoint(trainer) is None
    assert optimized_value(trainer, None, "val/loss") is None


def test_what_is_called_a_validation_metric_is_logged(finished):
    folder, _, _ = finished
    assert all(curve(folder, name) for name in VAL_METRICS)


def test_a_compiler_that_does_not_work_is_refused_with_the_option_to_change(monkeypatch):
    def broken(function):
        raise RuntimeError("InvalidCxxCompiler: no working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    model = make_module().model
    with pytest.raises(ConfigError, match=r"C\+\+ compiler .*no working.*compile=false"):
        compile_backbone(model, torch.device("cpu"))


@pytest.mark.slow
def test_a_compiled_backbone_gives_the_same_and_keeps_its_names():
    model = make_module().model.eval()
    frames = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    names = list(model.state_dict())
    with torch.inference_mode():
        expected = model(frames)
        compile_backbone(model, torch.device("cpu"))
        torch.testing.assert_close(model(frames), expected, rtol=1e-3, atol=1e-4)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_a_fused_optimizer_clips_in_mixed_precision_as_one_that_is_not(tmp_path, precision, algorithm):
    """Lightning refuses it; on GPUs it is what conf/trainer/gpu.yaml asks for."""
    weights = []
    for fused in (True, False):
        module = make_module(optimizer=partial(torch.optim.SGD, lr=0.1, fused=fused))
        # By hand: by name, Lightning takes bf16 in the place of fp16 on CPUs.
        plugin = MixedPrecision(precision, "cpu", torch.amp.GradScaler("cpu") if precision == "16-mixed" else None)
        trainer = make_trainer(
            *(tmp_path / str(fused),),
            **{"max_epochs": 2, "plugins": [plugin], "gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm},
        )
        trainer.fit(module, loader(), loader())
        weights.append({name: tensor.clone() for name, tensor in module.model.named_parameters()})
    start = dict(make_module().model.named_parameters())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-6, msg=name)
    moved = torch.stack([(tensor - start[name]).norm() for name, tensor in weights[0].items()]).norm()
    assert moved > 0
    if algorithm == "norm":
        assert moved <= 6 * 0.1 * 0.01 * 1.001  # six steps of the rate times the norm that is allowed


def test_gradients_are_logged_at_their_norm_before_they_are_clipped(tmp_path):
    norms = {}
    for name, clip in {"clipped": 1e-3, "free": None}.items():
        module = make_module(optimizer=partial(torch.optim.SGD, lr=0.0))
        make_trainer(tmp_path / name, gradient_clip_val=clip).fit(module, loader(), loader())
        norms[name] = [
            float(row["train/grad_norm_step"]) for row in rows_of(tmp_path / name) if row["train/grad_norm_step"]
        ]
    assert norms["clipped"] == pytest.approx(norms["free"])
    assert min(norms["free"]) > 1e-3


def test_every_so_many_steps_loss_rate_and_gradients_are_in_the_log_and_in_the_bar(tmp_path):
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(dict(trainer.progress_bar_metrics))

    module = make_module(optimizer=partial(torch.optim.SGD, lr=1e-3))
    make_trainer(tmp_path, Watch(), log_every_n_steps=2, max_epochs=3).fit(module, loader(), loader())
    rows = [row for row in rows_of(tmp_path) if row["train/loss_step"]]
    assert [int(row["step"]) for row in rows] == [1, 3, 5, 7]  # of nine, counted from 0
    assert all(float(row["train/lr_step"]) == pytest.approx(1e-3) for row in rows)
    assert all(float(row["train/grad_norm_step"]) > 0 for row in rows)
    assert {"train/loss_step", "train/lr_step"} <= seen[0].keys()  # of the first step of the first epoch
    assert "train/grad_norm_step" in seen[1]
    assert seen[0]["train/loss_step"] != seen[1]["train/loss_step"]


def lost_module():
    """Its second step's loss is nan, and every later one."""
    return make_module(optimizer=partial(torch.optim.SGD, lr=1e38))


def test_a_training_whose_loss_is_not_finite_ends_after_ten_such_steps(tmp_path):
    trainer = make_trainer(
        tmp_path, *checkpointing(tmp_path), max_epochs=2, limit_val_batches=0, num_sanity_val_steps=0
    )
    with pytest.raises(
        RunDiverged, match=r"^diverged: the training loss is not finite since step \d+, .*rate of 1e\+38"
    ):
        trainer.fit(lost_module(), loader([0, 1] * 40), loader())
    assert 10 <= trainer.global_step <= 20
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_diverged_training_keeps_no_checkpoint_of_the_epoch_in_which_it_did(tmp_path):
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), max_epochs=3)
    with pytest.raises(RunDiverged, match=r"validation loss is not finite since step 2, .*gradient_clip_val=1\.0"):
        trainer.fit(lost_module(), loader(), loader())
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_short_training_without_validation_does_not_end_well_with_a_lost_loss(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=1, limit_val_batches=0, num_sanity_val_steps=0)
    with pytest.raises(RunDiverged):
        trainer.fit(lost_module(), loader(), loader())


def test_a_process_whose_own_loss_is_finite_ends_with_the_one_whose_is_not(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, max_epochs=1)
    asked = []

    def reduce(value, group=None, reduce_op="mean"):
        if reduce_op != "max":
            return value
        asked.append(int(value))
        return torch.maximum(value, torch.tensor(12))  # of the other process

    monkeypatch.setattr(trainer.strategy, "reduce", reduce)
    with pytest.raises(RunDiverged, match="since step"):
        trainer.fit(make_module(), loader([0, 1] * 15), loader())
    assert asked == [0]


def test_single_steps_without_a_finite_loss_do_not_end_a_run(tmp_path):
    """The first steps of fp16 are such: their gradients overflow until their scale is found."""

    class Hiccup(DetectorModule):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if batch_idx < 9:
                self.steps_not_finite = self.steps_not_finite + 1
            return loss

    module = make_module()
    module.__class__ = Hiccup
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, loader([0, 1] * 15), loader())
    assert trainer.global_step == 15


def test_weights_that_are_not_finite_are_refused_before_the_first_step(tmp_path):
    module = make_module()
    with torch.no_grad():
        module.model.classify.weight.fill_(torch.nan)
    trainer = make_trainer(tmp_path)
    with pytest.raises(ConfigError, match="not finite before its first step"):
        trainer.fit(module, loader(), loader())
    assert trainer.global_step == 0


def test_a_run_of_fewer_steps_than_an_epoch_is_validated_kept_and_tested(tmp_path):
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), max_steps=2, max_epochs=-1)
    module = make_module()
    trainer.fit(module, loader([0, 1] * 6), loader())
    assert trainer.global_step == 2
    assert curve(tmp_path, "val/loss").keys() == curve(tmp_path, "train/loss").keys() == {1}
    best = best_checkpoint(trainer)
    assert best is not None
    assert optimized_value(trainer, best, "val/loss") == pytest.approx(curve(tmp_path, "val/loss")[1])
    trainer.test(module, loader(), ckpt_path=best, weights_only=True, verbose=False)
    assert "test/loss" in trainer.callback_metrics


@pytest.mark.parametrize(
    ("options", "validated"),
    [
        ({"check_val_every_n_epoch": 2, "max_epochs": 3}, {2, 3}),
        ({"check_val_every_n_epoch": 5, "max_epochs": 3}, {3}),
        ({"check_val_every_n_epoch": 2, "max_steps": 2}, {1}),
        ({"check_val_every_n_epoch": None, "val_check_interval": 50, "max_epochs": 2}, {2}),
        ({"min_epochs": 2, "max_steps": 2}, {1}),
        ({"val_check_interval": 0.5, "max_epochs": 2}, {1, 2}),
        ({"val_check_interval": 3, "max_epochs": 2}, {1, 2}),
    ],
)
def test_the_end_of_every_run_is_validated_and_kept(tmp_path, options, validated):
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), EarlyStopping("val/loss"), **options)
    trainer.fit(make_module(), loader([0, 1] * 4), loader())
    assert curve(tmp_path, "val/loss").keys() == validated
    assert best_checkpoint(trainer) is not None
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == trainer.global_step
    val_steps = [int(row["step"]) for row in rows_of(tmp_path) if row["val/loss"]]
    assert val_steps[-1] == trainer.global_step - 1
    assert len(val_steps) == len(set(val_steps))


def test_a_run_that_a_callback_ends_is_validated_where_validations_are_rare(tmp_path):
    """Ends the run early, as Lightning's max_time does."""

    class StopAtStep(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step >= 2

    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), StopAtStep(), check_val_every_n_epoch=2, max_epochs=9)
    trainer.fit(make_module(), loader(), loader())
    assert trainer.global_step == 2
    assert best_checkpoint(trainer) is not None


def test_what_a_run_goes_on_from_is_the_end_of_an_epoch_however_often_it_is_validated(tmp_path):
    class Crash(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 3):
                raise RuntimeError("the power fails")

    def run(folder, *more, ckpt_path=None):
        trainer = make_trainer(folder, *checkpointing(folder), *more, val_check_interval=0.5)
        trainer.fit(make_module(), loader([0, 1] * 4), loader(), ckpt_path=ckpt_path, weights_only=True)
        return curve(folder, "train/loss")

    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path / "parts", Crash())
    assert run(tmp_path / "parts", ckpt_path=tmp_path / "parts" / "checkpoints" / "last.ckpt") == pytest.approx(whole)


def test_a_plateau_counts_validations_where_they_are_rarer_than_epochs(tmp_path):
    module = make_module(
        optimizer=partial(torch.optim.SGD, lr=1e-12),
        scheduler=partial(plateau, patience=0, factor=0.5),
        freeze_batchnorm=True,
    )
    make_trainer(tmp_path, max_epochs=7, check_val_every_n_epoch=2).fit(module, loader(), loader())
    rates = [round(rate / 1e-12, 3) for rate in curve(tmp_path, "train/lr").values()]
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("length", [{"total_steps": 5}, {"epochs": 1, "steps_per_epoch": 3}])
def test_a_cycle_that_is_shorter_than_the_run_is_refused_before_the_first_batch(tmp_path, length):
    trainer = make_trainer(tmp_path)
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0, **length)
    with pytest.raises(ConfigError, match=r"made for [35] steps, but the run has 6"):
        trainer.fit(make_module(scheduler=cycle), loader(), loader())
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": partial(torch.optim.Adam, lr=1e-5)}, r"optimizer\.lr=0\.001, not 1e-05: its"),
        ({"optimizer": partial(torch.optim.SGD, lr=1e-3)}, "optimizer=Adam, not SGD: its"),
        ({"scheduler": partial(plateau, patience=1)}, "scheduler=cosine, not plateau: its"),
        ({"scheduler": None}, "scheduler=cosine, not none"),
    ],
)
def test_resuming_with_an_optimizer_or_schedule_that_would_not_be_used_is_refused(finished, tmp_path, options, message):
    folder, _, _ = finished
    module = make_module(**{"scheduler": partial(cosine, warmup_fraction=0.2), **options})
    with pytest.raises(CheckpointError, match=message):
        make_trainer(tmp_path, max_epochs=3).fit(
            module, loader(), loader(), ckpt_path=folder / "checkpoints" / "last.ckpt", weights_only=True
        )


def test_a_run_goes_on_with_other_kernels_and_from_a_checkpoint_that_does_not_know_its_options(finished, tmp_path):
    folder, _, _ = finished
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    del saved["dfd_stepping"]
    torch.save(saved, tmp_path / "old.ckpt")
    for path in (folder / "checkpoints" / "last.ckpt", tmp_path / "old.ckpt"):
        module = make_module(
            optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True), scheduler=partial(cosine, warmup_fraction=0.2)
        )
        trainer = make_trainer(tmp_path, max_epochs=3)
        trainer.fit(module, loader(), loader(), ckpt_path=path, weights_only=True)
        assert trainer.current_epoch == 3


def test_a_run_of_one_cycle_is_not_resumed_as_a_longer_one(tmp_path):
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1e-3)
    make_trainer(tmp_path, *checkpointing(tmp_path)).fit(make_module(scheduler=cycle), loader(), loader())
    with pytest.raises(ConfigError, match="made for 6 steps, but the run has 9"):
        make_trainer(tmp_path, max_epochs=3).fit(
            make_module(scheduler=cycle),
            loader(),
            loader(),
            ckpt_path=tmp_path / "checkpoints" / "last.ckpt",
            weights_only=True,
        )


TORCH_SCHEDULERS = {
    "StepLR": ({"step_size": 1, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
    "CosineAnnealingLR": ({"T_max": 2}, [1, 1, 0.5, 0.5, 0, 0]),
    "ExponentialLR": ({"gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
    "OneCycleLR": ({"max_lr": 1.0, "pct_start": 0.5, "anneal_strategy": "linear"}, None),
    "CyclicLR": ({"base_lr": 0.0, "max_lr": 1.0, "step_size_up": 2}, [0, 0.5, 1, 0.5, 0, 0.5]),
    "CosineAnnealingWarmRestarts": ({"T_0": 1}, [1, 1, 1, 1, 1, 1]),
    "ReduceLROnPlateau": ({"patience": 0, "factor": 0.5, "eps": 0.0}, [1, 1, 1, 1, 0.5, 0.5]),
}


@pytest.mark.parametrize("name", TORCH_SCHEDULERS)
def test_a_scheduler_of_torch_is_stepped_as_it_expects(tmp_path, name):
    options, factors = TORCH_SCHEDULERS[name]
    scale = 1e-12  # at such a rate, with frozen statistics, nothing moves: the plateau sees one and the same loss
    options = {key: value * scale if key in ("max_lr", "base_lr") else value for key, value in options.items()}
    module = make_module(
        optimizer=partial(torch.optim.SGD, lr=scale, momentum=0.9),
        scheduler=partial(getattr(torch.optim.lr_scheduler, name), **options),
        freeze_batchnorm=True,
    )
    make_trainer(tmp_path, max_epochs=3).fit(module, loader([0, 1, 0, 1]), loader())
    rates = [float(row["train/lr_step"]) / scale for row in rows_of(tmp_path) if row["train/lr_step"]]
    if factors is None:  # one cycle over the six steps of the run: up to max_lr, and down to nearly nothing
        assert max(rates) == pytest.approx(1)
        assert 0 < rates.index(max(rates)) < 5
        assert rates[-1] < 1e-4
    else:
        assert rates == pytest.approx(factors, abs=1e-5)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (partial(torch.optim.lr_scheduler.StepLR), "StepLR cannot be built with these options: .*step_size"),
        (partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0, pct_start=7.0), "OneCycleLR cannot be built"),
        (partial(lambda optimizer: 3), "makes a int, which is not a scheduler of torch"),
    ],
)
def test_a_scheduler_that_cannot_be_made_is_a_sentence(tmp_path, scheduler, message):
    with pytest.raises(ConfigError, match=message):
        make_trainer(tmp_path).fit(make_module(scheduler=scheduler), loader(), loader())


@pytest.mark.parametrize(
    ("monitor", "options", "message"),
    [
        (
            "val/aux",
            {},
            r"EarlyStopping monitors 'val/aux', .* did you mean 'val/auc'\? Logged are val/loss, .*train/lr",
        ),
        ("val/loss", {"limit_val_batches": 0}, r"without a validation \(trainer\.limit_val_batches=0\)"),
        ("test/loss", {}, "EarlyStopping monitors 'test/loss', which is not logged"),
    ],
)
def test_a_monitor_that_nothing_logs_is_refused_with_what_is_logged(tmp_path, monitor, options, message):
    trainer = make_trainer(tmp_path, EarlyStopping(monitor), **options)
    with pytest.raises(ConfigError, match=message):
        check_monitors(trainer, LOGGED_METRICS)


@pytest.mark.parametrize("monitor", LOGGED_METRICS)
def test_everything_that_may_be_monitored_is_there_to_be_monitored(tmp_path, monitor):
    trainer = make_trainer(tmp_path, *checkpointing(tmp_path), EarlyStopping(monitor, check_finite=False), max_epochs=1)
    check_monitors(trainer, LOGGED_METRICS)
    trainer.fit(make_module(), loader(), loader())
    assert monitor in trainer.callback_metrics


def test_a_schedule_that_follows_what_is_not_logged_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="the scheduler monitors 'val/lost'"):
        make_trainer(tmp_path).fit(make_module(scheduler=partial(plateau, monitor="val/lost")), loader(), loader())


def test_a_clip_that_only_fills_up_a_share_is_not_counted():
    clips, module = Clips([0, 1, 1]), make_module().eval()
    repeated = {
        "frames": clips.frames,
        "label": torch.tensor([0, 1, 1]),
        "is_repeat": torch.tensor([False, True, True]),
    }
    alone = {"frames": clips.frames[:1], "label": torch.tensor([0])}
    counted = []
    for batch in (repeated, alone):
        module.validation_step(batch, 0)
        metrics = (module.losses["val/loss"].compute(), module.val_metrics.compute()["val/accuracy"])
        counted.append([float(value) for value in metrics])
        module.losses["val/loss"].reset()
        module.val_metrics.reset()
    assert counted[0] == pytest.approx(counted[1])
    module.validation_step({**repeated, "is_repeat": torch.tensor([True, True, True])}, 0)  # a share of nothing else
    assert module.losses["val/loss"].weight == 0
    assert not module.val_metrics["auc"].target[0].numel()
