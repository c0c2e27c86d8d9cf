"""Detectors that others have published: where their weights are, the terms, and how dfd's networks take them."""
