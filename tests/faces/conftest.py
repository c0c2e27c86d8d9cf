import numpy as np
import pytest


def drawn_face(frame, x, y, size):
    """A plain drawing of a face that MTCNN finds."""
    import cv2

    def ellipse(dx, dy, rx, ry, colour):
        centre, axes = (round(x + dx * size), round(y + dy * size)), (round(rx * size), round(ry * size))
        cv2.ellipse(frame, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(0, -0.15, 0.42, 0.52, (60, 40, 30))  # hair
    ellipse(0, 0, 0.36, 0.48, (222, 176, 148))
    for side in (-1, 1):
        ellipse(side * 0.15, -0.17, 0.085, 0.018, (70, 45, 35))  # brow
        ellipse(side * 0.15, -0.09, 0.075, 0.04, (245, 240, 235))
        ellipse(side * 0.15, -0.09, 0.035, 0.038, (50, 35, 30))
    ellipse(0, 0.07, 0.045, 0.1, (200, 150, 125))
    ellipse(-0.03, 0.15, 0.02, 0.013, (140, 90, 75))
    ellipse(0.03, 0.15, 0.02, 0.013, (140, 90, 75))
    ellipse(0, 0.28, 0.13, 0.035, (170, 70, 70))
    return cv2.GaussianBlur(frame, (0, 0), max(0.5, size / 150))


@pytest.fixture
def face_frames():
    """Three frames ``(3, 240, 320, 3)`` with one large drawn face, and where it is: ``(3, 2)`` centres and its size."""
    centres = [(150, 118), (160, 120), (172, 124)]
    frames = [drawn_face(np.full((240, 320, 3), (90, 110, 130), np.uint8), x, y, 130) for x, y in centres]
    return np.stack(frames), np.array(centres), 130
