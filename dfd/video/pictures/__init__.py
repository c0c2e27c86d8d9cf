"""Decoded frames as RGB pictures."""
