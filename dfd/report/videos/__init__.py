"""Report of scored videos."""
