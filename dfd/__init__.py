"""dfd: detect face deepfakes in video."""

__version__ = "0.1.0"
