"""Uses of a trained module in Lightning's own way: loading a checkpoint, and predicting."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Adam

from dfd.base.types import ClipBatch, Label
from dfd.models.classifier import ClipClassifier, logits_of
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import load_checkpoint, load_model
from dfd.models.tensor_files import load_exactly
from dfd.training.learning.tuning import Tuning


class TrainedModule(LightningModule):
    """LightningModule around a classifier."""

    model: ClipClassifier
    card: DetectorCard
    freeze_batchnorm: bool
    tuning: Tuning

    def note_origin(self, **options: Any) -> None:
        """Keep in ``hparams`` how the network is built and which options the module was given, as plain values.

        Loggers get the whole configuration of a run instead, which holds these.
        """
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        given |= {"freeze_batchnorm": self.freeze_batchnorm, "tuning": asdict(self.tuning)}
        self.save_hyperparameters({"model": self.card.model, **given}, logger=False)

    @property
    def backbone(self) -> nn.Module:
        """The model's backbone, where Lightning's ``BackboneFinetuning`` looks for it."""
        return self.model.backbone

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **options: Any) -> Self:  # type: ignore[override]
        """Load a ``.ckpt`` or ``.safetensors``; the network is built from its card.

        Args:
            checkpoint_path: the file.
            options: arguments of the module; ``optimizer`` is Adam unless given.

        Raises:
            CheckpointError: the file is no detector, or its network cannot be built here.
        """
        model, card = load_model(checkpoint_path)
        return cls(model, **{"optimizer": partial(Adam), "card": card, **options})

    def load_weights(self, checkpoint_path: str | Path) -> None:
        """Take the classifier's weights from a checkpoint of this very network.

        Raises:
            CheckpointError: the file is no checkpoint of dfd.
            ValueError: its weights do not fit.
        """
        load_exactly(self.model, load_checkpoint(checkpoint_path)[1])

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Probability of FAKE of each clip, ``(B,)``, without the detector's temperature."""
        return logits_of(self.model, batch).float().softmax(dim=1)[:, Label.FAKE]
