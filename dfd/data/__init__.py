"""Data: manifests, splits, preparation into clip stores, and batches of clips."""
