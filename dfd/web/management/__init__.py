"""Commands for ``python -m dfd.web manage``."""
