"""Finding faces, following them through a video, cropping them."""
