"""Scores on disk: reading inputs, writing rows, pictures and annotated videos."""
