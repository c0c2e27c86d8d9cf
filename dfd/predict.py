"""``python predict.py``: score videos, or folders and lists of them. ``--help`` shows how."""

from dfd.base.machine import end_at_once
from dfd.config.entry import door

main = door("predict")

if __name__ == "__main__":
    end_at_once(main)
