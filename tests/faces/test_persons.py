"""One person's appearances are joined across cuts where a face recognition network is sure, and nowhere else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dfd.base.errors import ConfigError
from dfd.config.compose import predict_config
from dfd.faces.detect import build_detector
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import WindowsEnd, WindowSettings
from dfd.faces.tracks.appearances import Sightings
from dfd.faces.tracks.persons import Persons
from dfd.faces.tracks.track import TrackSummary
from dfd.scoring.look.stream import stream_windows
from dfd.scoring.options import detector_options
from dfd.video.encode import write_video

POINTS = np.array([(88.0, 92), (132, 92), (110, 110), (92, 134), (128, 134)], np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose vector is the face itself, as 4 x 4 pixels."""
    pool = helper.make_node("AveragePool", ["face"], ["small"], kernel_shape=[28, 28], strides=[28, 28])
    flat = helper.make_node("Flatten", ["small"], ["vector"])
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 48])
    model = helper.make_model(
        helper.make_graph([pool, flat], "tiny", [face], [vector]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    path = tmp_path_factory.mktemp("network") / "tiny.onnx"
    onnx.save(model, path)
    return path


def face_of(person: int) -> np.ndarray:
    """A frame that a face fills; its looks are the person's."""
    looks = np.random.default_rng(person).integers(0, 2, (5, 5, 3)).astype(np.uint8) * 255
    return looks.repeat(44, 0).repeat(44, 1)


def chain(track: int, *, begins: int, shot: int) -> list[TrackSummary]:
    return [TrackSummary(track, begins, begins + 49, 50, 5, 5, 0.99, 1000.0, shot)]


def joined(network: Path, persons: list[tuple[int, ...]], *, begins: list[int] | None = None) -> list[list[int]]:
    """Tracks that are joined; of each the person that it shows in each of its looks is given."""
    found = Persons(network)
    for track, looks in enumerate(persons):
        for person in looks:
            found.add(track, face_of(person), POINTS)
    places = begins or [50 * track for track in range(len(persons))]
    chains = [chain(track, begins=start, shot=start // 50) for track, start in enumerate(places)]
    return [[track.track for track in one] for one in found.joined(chains)]


def test_one_person_in_several_shots_is_one_appearance(network: Path) -> None:
    assert joined(network, [(1, 1), (2, 2), (1, 1), (2, 2), (1, 1)]) == [[0, 2, 4], [1, 3]]


def test_faces_that_are_seen_together_are_two_persons(network: Path) -> None:
    assert joined(network, [(1, 1), (1, 1)], begins=[0, 20]) == [[0], [1]]


def test_a_track_that_shows_different_faces_is_joined_to_none(network: Path) -> None:
    assert joined(network, [(1, 1), (1, 2), (1, 1)]) == [[0, 2], [1]]


def test_joined_appearances_are_numbered_without_holes_and_count_their_shots(network: Path) -> None:
    persons = Persons(network)
    for track, person in enumerate((1, 2, 1)):
        persons.add(track, face_of(person), POINTS)
    tracks = [one for track in range(3) for one in chain(track, begins=50 * track, shot=track)]
    found = Sightings().appearances(tracks, fps=25.0, persons=persons)
    assert [(one.number, one.tracks, one.shot, one.num_shots) for one in found] == [(0, (0, 2), 0, 2), (1, (1,), 1, 1)]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in which the place around a face changes, and the face does not."""
    one, other = (face_of(place)[::2, ::2][:96, :96].copy() for place in (7, 8))
    for frame in (one, other):
        frame[30:66, 30:66] = face_of(1)[::6, ::6][:36, :36]
    path = tmp_path_factory.mktemp("cut") / "cut.mp4"
    write_video(path, np.stack([one] * 20 + [other] * 20), fps=25)
    return path


@pytest.mark.parametrize("is_told", [False, True])
def test_a_video_with_a_cut_has_one_appearance_only_with_a_network(network: Path, cut: Path, is_told: bool) -> None:
    settings = WindowSettings(clip_len=1, embedding=str(network) if is_told else None)
    found = stream_windows(
        cut, build_detector("fixed_box", x1=0.3125, y1=0.3125, x2=0.6875, y2=0.6875), ExtractionSettings(), settings
    )
    (end,) = (piece for piece in found if isinstance(piece, WindowsEnd))
    assert [one.num_shots for one in end.appearances] == ([2] if is_told else [1, 1])


def test_what_is_no_network_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ConfigError, match=r"text\.onnx: OpenCV cannot read it as an ONNX network"):
        Persons(tmp_path / "text.onnx")
    with pytest.raises(ConfigError, match=r"tracks\.embedding: gone\.onnx: no such file"):
        detector_options(predict_config("starter", ["tracks.embedding=gone.onnx"]))
    with pytest.raises(ValueError, match="least_cosine must be above 0 and at most 1, got 2"):
        WindowSettings(clip_len=1, least_cosine=2.0)
