"""Moments of a scored video: the windows that are shown."""

import numpy as np

from dfd.base.types import TrackScore, Verdict
from dfd.faces.found import FaceWindow, frame_picture
from dfd.scoring.video.state import _Kept, moments_of


def test_a_frame_of_which_no_picture_was_kept_is_shown_as_a_crop_alone() -> None:
    picture = frame_picture(np.full((40, 60, 3), 90, np.uint8), np.array([5, 5, 20, 20], np.float32))
    windows = [
        FaceWindow(
            0, 0, 0.0, 0.1, (0.0, 0.05, 0.1), np.zeros((3, 8, 8, 3), np.uint8), (5, 5, 20, 20), pictures=pictures
        )
        for pictures in ((picture, picture, picture), (picture, b"", picture), ())
    ]
    kept = [_Kept(0.5, place, window) for place, window in enumerate(windows)]
    moments = list(moments_of([TrackScore(0, 0.5, Verdict.UNCERTAIN, ())], {0: kept}, number=3, model=None))
    assert [moment.frame is None for moment in moments] == [False, True, True]
