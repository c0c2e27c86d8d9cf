"""Reading, sampling and writing video."""
