"""Several networks measured as one detector."""
