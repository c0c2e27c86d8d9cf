"""``python predict.py``: score videos, or folders and lists of them. ``--help`` shows how."""

from dfd.base.machine import end_at_once
from dfd.predict import main

if __name__ == "__main__":
    end_at_once(main)
