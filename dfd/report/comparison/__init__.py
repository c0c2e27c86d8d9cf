"""Comparison of the results of runs."""
