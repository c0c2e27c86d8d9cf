"""``python predict.py``: score videos, or folders and lists of them. ``--help`` shows how."""

from dfd.predict import main

if __name__ == "__main__":
    main()
