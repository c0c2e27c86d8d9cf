"""Structure of video files as their headers claim it: containers, streams, packets."""
