"""Videos with known labels, the scores of any detector beside them, and the protocols of published tables."""
