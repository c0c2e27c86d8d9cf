"""Figures of detectors, studies and clips; each function returns a matplotlib figure."""
