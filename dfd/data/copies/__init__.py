"""Detection of copies of videos by content, whatever their names."""
