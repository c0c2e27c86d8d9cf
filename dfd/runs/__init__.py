"""Runs of training and studies, as folders: their records, settings and names."""
