"""Looking at a video: the windows that are scored, decoded and cropped in worker processes."""
