"""Faces followed through a video: shots, tracks, and the appearances that are reported."""
