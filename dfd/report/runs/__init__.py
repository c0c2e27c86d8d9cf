"""Report that compares training runs."""
