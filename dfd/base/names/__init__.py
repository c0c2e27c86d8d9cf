"""Names of code: old ones, and those of plug-ins."""
