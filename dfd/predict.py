"""``python predict.py``: score videos, or folders and lists of them. ``--help`` shows how."""

from dfd.config.entry import door

main = door("predict")

if __name__ == "__main__":
    main()
