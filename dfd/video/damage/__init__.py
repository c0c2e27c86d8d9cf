"""Signs of damage in video files."""
