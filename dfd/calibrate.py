"""``python -m dfd.calibrate``: fit a detector's temperature and threshold to labelled videos, such as your own."""

from dfd.config.entry import door

main = door("calibrate")

if __name__ == "__main__":
    main()
