"""Videos with their scores drawn in."""
