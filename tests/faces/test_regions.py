import numpy as np
import pytest

from dfd.base.types import FaceBox
from dfd.faces.detectors.region import Region, disjoint
from dfd.faces.extract import ExtractionSettings, FaceExtractor
from dfd.faces.tracks.regions import Regions

POINTS = ((0.0, 0.0),) * 5


def face(x, y, side=40):
    return FaceBox(x, y, x + side, y + side, 0.9, POINTS)


def picture(*squares):
    """A plain picture of 256 x 320 pixels with squares of 40 pixels."""
    image = np.full((256, 320, 3), 90, np.uint8)
    for x, y in squares:
        image[y : y + 40, x : x + 40] = 220
    return image


def looked_at(regions):
    """Where the regions are, as a picture of truth values."""
    seen = np.zeros((256, 320), bool)
    for region in regions:
        seen[region.top : region.bottom, region.left : region.right] = True
    return seen


@pytest.fixture
def regions():
    """After a look at a picture with a face at (64, 96)."""
    regions = Regions(4, room=lambda side: side / 2)
    assert regions.of(picture((64, 96))) is None
    regions.seen([face(64, 96)], whole=True)
    return regions


def test_a_face_is_looked_for_around_its_place(regions):
    (region,) = regions.of(picture((64, 96)))
    assert region == Region(32, 64, 128, 160, smallest=20.0)


def test_every_fourth_key_frame_is_looked_at_as_a_whole(regions):
    is_whole = []
    for _ in range(9):
        is_whole.append(regions.of(picture((64, 96))) is None)
        regions.seen([face(64, 96)], whole=is_whole[-1])
    assert is_whole == [False, False, False, True] * 2 + [False]


def test_a_newcomer_is_looked_for_where_the_picture_changed_at_any_size(regions):
    found = regions.of(picture((64, 96), (224, 40)))
    assert looked_at(found)[40:80, 224:264].all()
    assert looked_at(found)[96:136, 64:104].all()
    assert [region.smallest for region in found] == [20.0, 0.0]


def test_what_has_changed_since_an_earlier_look_is_looked_at_once(regions):
    for expected in (True, False):
        found = regions.of(picture((64, 96), (224, 40)))
        regions.seen([face(64, 96)], whole=False)
        assert looked_at(found)[40:80, 224:264].any() == expected


def test_single_cells_and_faint_changes_are_not_looked_at(regions):
    image = picture((64, 96))
    image[200:212, 200:212] = 255
    image[:40] += 12
    assert len(regions.of(image)) == 1


def test_a_face_that_was_missed_is_looked_for_again(regions):
    regions.seen([face(200, 96), face(64, 96)], whole=True)
    regions.seen([face(64, 96)], whole=False)
    assert looked_at(regions.of(picture((64, 96))))[96:136, 200:240].all()


def test_after_a_cut_without_a_face_or_with_much_that_changed_the_whole_picture_is_looked_at(regions):
    assert regions.of(255 - picture((64, 96))) is None
    regions.seen([], whole=True)
    assert regions.of(picture((64, 96))) is None
    regions.seen([face(64, 96)], whole=True)
    assert regions.of(picture((64, 96))) is not None
    regions.forget()
    assert regions.of(picture((64, 96))) is None


class Bright:
    """Finds bright squares of 40 pixels, in parts of a picture too; counts the pixels that it was shown."""

    name, batch_size = "bright", 1

    def __init__(self):
        self.num_pixels = 0

    def __call__(self, frames):
        return [self.within(frame, [Region(0, 0, frame.shape[1], frame.shape[0])]) for frame in frames]

    def room(self, side):
        return side / 2

    def within(self, frame, regions):
        self.num_pixels += sum(region.area for region in regions)
        found = []
        for left, top, right, bottom, _ in disjoint(regions):
            bright = frame[top:bottom, left:right, 0] > 200
            while bright.any():
                y, x = (int(places[0]) for places in np.nonzero(bright))
                bright[y : y + 40, x : x + 40] = False
                found.append(face(left + x, top + y))
        return found


@pytest.mark.parametrize("second", [lambda t: None, lambda t: (240, 24) if t > 14 else None, lambda t: (8 * t, 200)])
def test_faces_are_found_in_parts_as_in_whole_pictures_with_fewer_pixels_looked_at(second):
    """A face that moves slowly, and another that is not there, comes within the shot, or moves far."""
    squares = [[(64 + t // 2, 96), *filter(None, [second(t)])] for t in range(31)]
    frames = np.stack([picture(*at) for at in squares])
    found, pixels = [], []
    for whole_every in (1, 4):
        detector = Bright()
        extractor = FaceExtractor(detector, ExtractionSettings(key_frame_stride=5, whole_every=whole_every))
        pieces = sorted(extractor.run([(0, frames)]), key=lambda piece: (piece.track, piece.start_frame))
        found.append([(piece.track, piece.start_frame, piece.boxes_xyxy.tolist()) for piece in pieces])
        pixels.append(detector.num_pixels)
    assert found[0] == found[1]
    assert pixels[1] < pixels[0]
