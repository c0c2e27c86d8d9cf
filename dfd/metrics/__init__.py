"""Metrics of a detector's quality; FAKE is the positive class in all of them."""
