"""Preparation of videos into a clip store."""
