"""Example of a plug-in for dfd. Its import registers the parts that detectors are made of."""

from residual_lab.backbone import residual
from residual_lab.head import two_layers

__all__ = ["residual", "two_layers"]
