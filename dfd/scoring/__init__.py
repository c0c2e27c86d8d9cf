"""Scoring of videos by a detector."""
