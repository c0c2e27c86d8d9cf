"""The clip store: face-only videos on disk, one folder per video, and the tables made from them."""
