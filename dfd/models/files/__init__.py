"""Detectors on disk: cards, checkpoints, ONNX files and exported programs."""
