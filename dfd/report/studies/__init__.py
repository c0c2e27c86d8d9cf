"""Studies in reports: their jobs, configurations and figures."""
