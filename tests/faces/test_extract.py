import numpy as np
import pytest

from dfd.base.types import FaceBox
from dfd.faces.crop import Square
from dfd.faces.detect import mtcnn
from dfd.faces.extract import ExtractionSettings, FaceExtractor, ShotCutDetector, confirmed, main_track, shrink

SETTINGS = ExtractionSettings(crop=Square(size=32, margin_fraction=0.25), key_frame_stride=5)


class SquareDetector:
    """Finds plain red squares; remembers what it was shown."""

    name = "squares"

    def __init__(self, batch_size=1):
        self.batch_size = batch_size
        self.num_frames = 0
        self.shapes = set()

    def __call__(self, frames):
        self.num_frames += len(frames)
        self.shapes.add(frames.shape[1:])
        return [self.find(frame) for frame in frames]

    @staticmethod
    def find(frame):
        red = (frame[..., 0] > 200) & (frame[..., 1] < 60)
        if not red.any():
            return []
        ys, xs = np.nonzero(red)
        x1, y1, x2, y2 = float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
        points = tuple((x1 + px * (x2 - x1), y1 + py * (y2 - y1)) for px, py in ((0.3, 0.4),) * 5)
        return [FaceBox(x1, y1, x2, y2, 0.9, points)]


def scene(seed, height=90, width=120):
    """A still background: large blocks without red."""
    blocks = np.random.default_rng(seed).integers(0, 200, (height // 10, width // 10, 3), np.uint8)
    blocks[..., 0] = blocks[..., 0] // 2
    return blocks.repeat(10, axis=0).repeat(10, axis=1)


def video(num_frames=37, seed=0, visible=lambda t: True, speed=1.5):
    """A red square, side 20, that moves to the right over a still background."""
    frames = np.repeat(scene(seed)[None], num_frames, axis=0)
    for t, frame in enumerate(frames):
        if visible(t):
            x = round(20 + speed * t)
            frame[30:50, x : x + 20] = (255, 0, 0)
    return frames


def in_chunks(frames, size, start=0):
    return [(start + i, frames[i : i + size]) for i in range(0, len(frames), size)]


def extract(chunks, detector=None, settings=SETTINGS):
    extractor = FaceExtractor(detector or SquareDetector(), settings)
    return list(extractor.run(chunks)), extractor


def frames_of(chunks, track):
    return [c.start_frame + i for c in chunks if c.track == track for i in range(len(c.scores))]


def test_a_face_is_followed_on_every_frame_and_its_crop_shows_it_in_the_middle():
    chunks, extractor = extract(in_chunks(video(), 16))
    assert frames_of(chunks, 0) == list(range(37))
    assert extractor.num_frames == 37
    for chunk in chunks:
        assert chunk.crops(SETTINGS.crop).shape == (len(chunk.scores), 32, 32, 3)
        assert chunk.crops(SETTINGS.crop).dtype == np.uint8
        assert chunk.landmarks.shape == (len(chunk.scores), 5, 2)
        for i, box in enumerate(chunk.boxes_xyxy):
            x = 20 + 1.5 * (chunk.start_frame + i)
            assert box.tolist() == pytest.approx([x, 30, x + 20, 50], abs=0.6)
            assert (chunk.crops(SETTINGS.crop)[i, 10:22, 10:22, 0] > 230).all()
            assert (chunk.crops(SETTINGS.crop)[i, :4, :, 0] < 150).all()


def test_the_result_does_not_depend_on_the_chunks_or_on_the_detector_s_batches():
    noisy = video(61, visible=lambda t: t % 20 != 0)
    noisy[30:] = video(31, seed=5)
    expected, extractor = extract(in_chunks(noisy, 16))
    assert len(extractor.tracks) > 1
    for size, batch_size in ((1, 1), (7, 1), (61, 1), (16, 4), (7, 100)):
        found, other = extract(in_chunks(noisy, size), SquareDetector(batch_size))
        assert other.tracks == extractor.tracks
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert (a.track, a.start_frame) == (b.track, b.start_frame)
            np.testing.assert_array_equal(a.crops(SETTINGS.crop), b.crops(SETTINGS.crop))
            for name in ("boxes_xyxy", "landmarks", "scores"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_only_key_frames_are_looked_at():
    detector = SquareDetector()
    extract(in_chunks(video(37), 16), detector)
    assert detector.num_frames == 9  # 0, 5, ... 35 and the last


def test_an_extractor_can_be_used_for_one_video_after_another():
    extractor = FaceExtractor(SquareDetector(), SETTINGS)
    first = list(extractor.run(in_chunks(video(20), 8)))
    tracks = extractor.tracks
    list(extractor.run(in_chunks(video(9, seed=3), 8)))
    again = list(extractor.run(in_chunks(video(20), 8)))
    assert extractor.tracks == tracks
    assert extractor.num_frames == 20
    assert [c.crops(SETTINGS.crop).tobytes() for c in again] == [c.crops(SETTINGS.crop).tobytes() for c in first]


def test_a_cut_ends_the_track_though_the_next_face_is_in_the_same_place():
    frames = np.concatenate([video(23, seed=0, speed=0), video(14, seed=1, speed=0)])
    detector = SquareDetector()
    chunks, extractor = extract(in_chunks(frames, 16), detector)
    assert [(t.first_frame, t.last_frame) for t in extractor.tracks] == [(0, 22), (23, 36)]
    assert frames_of(chunks, 0) == list(range(23))
    assert frames_of(chunks, 1) == list(range(23, 37))
    # 0 5 10 15 20 and 22, the last before the cut; 23 28 33 and 36
    assert detector.num_frames == 10


def test_a_gap_in_the_frames_is_not_filled_in_and_the_track_goes_on_behind_it():
    frames = video(20, speed=0)
    chunks, extractor = extract([*in_chunks(frames[:8], 5), *in_chunks(frames[8:], 5, start=500)])
    (track,) = extractor.tracks
    assert frames_of(chunks, 0) == [*range(8), *range(500, 512)]
    assert (track.first_frame, track.last_frame, track.num_frames) == (0, 511, 20)


def test_another_scene_behind_a_gap_is_another_track():
    _, extractor = extract([(0, video(8, speed=0)), (100, video(8, seed=1, speed=0))])
    assert len(extractor.tracks) == 2


def test_a_face_that_comes_late_or_is_away_for_long_has_no_made_up_frames():
    chunks, extractor = extract(in_chunks(video(60, speed=0, visible=lambda t: 12 <= t < 22 or t >= 43), 16))
    assert [(t.first_frame, t.last_frame) for t in extractor.tracks] == [(15, 20), (45, 59)]
    assert frames_of(chunks, 0) == list(range(15, 21))


def test_no_face_gives_no_chunk_and_no_track():
    chunks, extractor = extract(in_chunks(video(30, visible=lambda t: False), 7))
    assert chunks == []
    assert extractor.tracks == []
    assert extractor.num_frames == 30


@pytest.mark.parametrize("num_frames", [0, 1, 2])
def test_the_shortest_videos_are_no_special_case(num_frames):
    chunks, extractor = extract(in_chunks(video(num_frames), 16))
    assert frames_of(chunks, 0) == list(range(num_frames))
    assert len(confirmed(extractor.tracks)) == min(num_frames, 1)


def test_frames_that_go_back_are_refused():
    with pytest.raises(ValueError, match="got 4 after 9"):
        extract([(0, video(10)), (4, video(10))])


def test_memory_does_not_grow_with_the_video():
    """Frames that are no longer needed are let go: counted by the chunks still alive."""
    import gc
    import weakref

    alive = weakref.WeakSet()
    most = 0

    class Frames(np.ndarray):
        pass

    def chunks():
        nonlocal most
        still = video(5, speed=0)
        for start in range(0, 1500, 5):
            chunk = still.copy().view(Frames)
            alive.add(_Handle(chunk))
            gc.collect(0)
            most = max(most, len(alive))
            yield start, chunk
            del chunk

    class _Handle:
        """Lives as long as the chunk does."""

        def __init__(self, chunk):
            chunk.handle = self

    for _ in FaceExtractor(SquareDetector(), SETTINGS).run(chunks()):
        pass
    assert most <= 6


def test_frames_are_shrunk_for_the_detector_and_boxes_are_in_pixels_of_the_frames():
    frames = video(6, speed=0).repeat(4, axis=1).repeat(4, axis=2)
    detector = SquareDetector()
    settings = ExtractionSettings(crop=Square(size=32), detection_side=240)
    chunks, _ = extract(in_chunks(frames, 6), detector, settings)
    assert detector.shapes == {(180, 240, 3)}
    assert chunks[0].boxes_xyxy[0].tolist() == pytest.approx([80, 120, 160, 200], abs=3)


def test_a_frame_that_is_small_enough_is_given_to_the_detector_as_it_is():
    frame = scene(0)
    assert shrink(frame, 120) is frame


@pytest.mark.parametrize(
    "option", [{"detection_side": 0}, {"key_frame_stride": 0}, {"max_missed": -1}, {"smoothing": 2}, {"whole_every": 0}]
)
def test_settings_out_of_range_are_refused_by_name(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        ExtractionSettings(**option)


def test_mtcnn_and_the_extractor_together_crop_a_drawn_face(face_frames):
    frames, centres, _ = face_frames
    extractor = FaceExtractor(mtcnn(), ExtractionSettings(key_frame_stride=1))
    chunks = list(extractor.run([(0, frames)]))
    assert main_track(extractor.tracks) == 0
    boxes = np.concatenate([chunk.boxes_xyxy for chunk in chunks])
    assert np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - centres).max() < 13


# --- shot cuts ---


def cuts(frames):
    detector = ShotCutDetector()
    return [t for t, frame in enumerate(frames) if detector.is_cut(frame)]


def test_a_hard_cut_is_found_at_its_frame():
    assert cuts(np.concatenate([video(12), video(12, seed=1), video(12, seed=2)])) == [12, 24]


def test_footage_that_is_all_motion_is_not_cut_to_pieces():
    wide = scene(0, 90, 480)
    pan = np.stack([wide[:, 4 * t : 4 * t + 120] for t in range(60)])
    assert cuts(pan) in ([], [1])  # how restless it is, is not known at once


def test_a_flash_and_a_fade_are_no_cuts():
    still = scene(0).astype(int)
    flash = np.stack([np.clip(still + (60 if t == 10 else 0), 0, 255).astype(np.uint8) for t in range(20)])
    assert cuts(flash) == []
    fade = np.stack([(still * (1 - t / 20)).astype(np.uint8) for t in range(20)])
    assert cuts(fade) == []


def test_a_caption_that_appears_is_no_cut():
    frames = video(20)
    frames[10:, 65:, :] = 255
    assert cuts(frames) == []
