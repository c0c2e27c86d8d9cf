"""The demonstration: videos of drawn people and drawn face swaps."""
