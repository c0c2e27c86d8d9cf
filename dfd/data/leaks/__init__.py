"""Copies of one video across splits and labels."""
