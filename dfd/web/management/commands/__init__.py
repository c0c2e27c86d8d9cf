"""Commands of ``python -m dfd.web manage``, one per module."""
