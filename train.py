"""``python train.py``: fit on train, choose the epoch and calibrate on val, test once. ``--help`` shows how."""

from dfd.train import main

if __name__ == "__main__":
    main()
