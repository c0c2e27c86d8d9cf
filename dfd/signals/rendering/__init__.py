"""Statistics of a face against the rest of its own frame, and over time."""
