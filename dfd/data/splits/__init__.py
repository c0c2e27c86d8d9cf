"""Division of videos into train, val and test."""
