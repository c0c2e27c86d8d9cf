"""What each command does. The doors (``train.py``, ``dfd/preprocess.py``...) compose the options and call these."""
