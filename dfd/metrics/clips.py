"""Metrics over clips, collected during training and testing."""

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    BinaryStatScores,
)
from torchmetrics.utilities.data import dim_zero_cat


class _Counts(BinaryStatScores):
    """Counts right and wrong answers for clips, ignoring scores that are nan.

    An empty batch counts nothing, whereas torchmetrics fails: one of several processes may have no clips left.
    """

    num_not_finite: Tensor

    def __init__(self) -> None:
        super().__init__(validate_args=False)  # validation copies every batch from the GPU, and waits for it
        self.add_state("num_not_finite", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.num_not_finite = self.num_not_finite + (~preds.isfinite()).sum()
        if target.numel():
            super().update(preds, target)

    def _if_defined(self, value: Tensor, *counts: Tensor | list[Tensor]) -> Tensor:
        """``value`` if a count in its denominator is above 0 and every score was finite, else nan."""
        total = torch.stack([dim_zero_cat(count) for count in counts]).sum(dim=0)
        return torch.where((total > 0) & (self.num_not_finite == 0), value, torch.nan)


class _Accuracy(_Counts, BinaryAccuracy):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fp, self.fn, self.tn)


class _Precision(_Counts, BinaryPrecision):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fp)


class _Recall(_Counts, BinaryRecall):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fn)


class _F1(_Counts, BinaryF1Score):
    def compute(self) -> Tensor:
        return self._if_defined(super().compute(), self.tp, self.fp, self.fn)


class _AUC(BinaryAUROC):
    def __init__(self) -> None:
        super().__init__(validate_args=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        if target.numel():
            super().update(preds, target)
        else:  # empty tensors of the right types, for other processes to gather
            self.preds.append(preds)
            self.target.append(target)

    def compute(self) -> Tensor:  # type: ignore[override]
        label, prob = dim_zero_cat(self.target), dim_zero_cat(self.preds)
        if int(label.min()) == int(label.max()) or not bool(prob.isfinite().all()):
            return torch.tensor(torch.nan, device=label.device)
        return super().compute()


def clip_metrics(prefix: str) -> MetricCollection:
    """Build accuracy, precision, recall, F1 (at 0.5) and AUC over clips, named ``<prefix>accuracy`` and so on.

    ``update`` takes ``prob_fake`` (B,) in 0..1 and ``label`` (B,). Undefined metrics are nan, and so are all metrics of
    a split with a non-finite score: a network that has diverged has no accuracy.
    >>> metrics = clip_metrics("val/")
    >>> metrics.update(torch.tensor([0.1, 0.9, 0.8]), torch.tensor([0, 1, 0]))
    >>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}["val/precision"]
    0.5
    """
    return MetricCollection(
        {"accuracy": _Accuracy(), "precision": _Precision(), "recall": _Recall(), "f1": _F1(), "auc": _AUC()},
        prefix=prefix,
        # Metrics that share counts. torchmetrics would infer this from the first batch, and processes might disagree.
        compute_groups=[["accuracy", "precision", "recall", "f1"], ["auc"]],
    )
