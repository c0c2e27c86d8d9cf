"""From manifests of videos to batches of clips."""
