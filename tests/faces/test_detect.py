import hashlib
import inspect
import io
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dfd.base.errors import ConfigError, WeightsMissing
from dfd.faces import detect
from dfd.faces.detect import DETECTORS, RETINAFACE_WEIGHTS, YUNET_WEIGHTS, build_detector, fixed_box, mtcnn, yunet
from dfd.faces.detectors.cascade import load_networks
from dfd.faces.detectors.cascade_on_gpu import load_networks_on
from dfd.faces.detectors.mtcnn import WEIGHTS
from dfd.faces.detectors.region import Region
from dfd.faces.detectors.retinaface import RetinaFace, load_weights, prior_boxes

CONF = Path(__file__).resolve().parents[2] / "conf" / "face_detector"


def as_array(faces):
    return np.array([[f.x1, f.y1, f.x2, f.y2, f.score, *np.ravel(f.landmarks)] for f in faces]).reshape(-1, 15)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), np.uint8)


# --- every detector ---


@pytest.mark.parametrize("name", DETECTORS)
def test_the_yaml_of_a_detector_names_its_function_and_every_option_with_its_default(name):
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert config.pop("_target_") == f"dfd.faces.detect.{name}"
    assert config == {key: p.default for key, p in inspect.signature(DETECTORS[name]).parameters.items()}


def test_there_is_a_yaml_for_each_detector_and_no_other():
    assert {path.stem for path in CONF.glob("*.yaml")} == set(DETECTORS)


def test_an_unknown_detector_or_option_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'mtcnn'"):
        build_detector("mtcn")
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        build_detector("mtcnn", treshold=0.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mtcnn(threshold=1.2), "threshold must be between 0 and 1, got 1.2"),
        (lambda: mtcnn(min_face_fraction=0), "min_face_fraction"),
        (lambda: mtcnn(device="gpu9"), "not a device"),
        (lambda: fixed_box(x1=0.5, x2=0.5), "fixed_box needs"),
        (lambda: detect.retinaface(batch_size=0), "batch_size"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_importing_the_detectors_imports_none_of_their_packages():
    code = "import sys, dfd.faces.extract;print([m for m in ('torch', 'cv2', 'retinaface') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- MTCNN ---


def test_mtcnn_on_a_cpu_imports_no_torch():
    code = "import sys; from dfd.faces.detect import mtcnn; mtcnn(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_networks_of_mtcnn_give_in_numpy_what_they_give_in_torch():
    pixels = np.random.default_rng(0).uniform(-1, 1, (40, 48, 48, 3)).astype(np.float32)
    both = zip(load_networks(WEIGHTS), load_networks_on("cpu", WEIGHTS), strict=True)
    for (numpy, torchs), batch in zip(both, (pixels[:1, :, :31], pixels[:, :24, :24], pixels), strict=True):
        for ours, theirs in zip(numpy(batch), torchs(batch), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def detector():
    return mtcnn()


def test_mtcnn_finds_the_drawn_face_and_its_landmarks(detector, face_frames):
    frames, centres, size = face_frames
    for (face,), (x, y) in zip(detector(frames), centres, strict=True):
        assert face.score > 0.9
        assert abs((face.x1 + face.x2) / 2 - x) < 0.1 * size
        assert abs((face.y1 + face.y2) / 2 - y) < 0.1 * size
        (left_x, left_y), (right_x, right_y), (nose_x, nose_y), (mouth_x, mouth_y), _ = face.landmarks
        assert left_x < nose_x < right_x
        assert max(left_y, right_y) < nose_y < mouth_y
        assert (left_x, left_y) == pytest.approx((x - 0.15 * size, y - 0.09 * size), abs=0.06 * size)
        assert mouth_x < nose_x


# What facenet-pytorch 2.6.0 finds in the drawn frames, then in the same at half the resolution, by
# MTCNN(keep_all=True, min_face_size=24, thresholds=[0.6, 0.7, 0.7], select_largest=False): corners, score, landmarks.
FACES_OF_FACENET_PYTORCH = """
106.517 56.800 195.092 180.519 0.996 131.545 107.114 170.856 107.160 151.711 132.655 135.088 154.692 166.905 154.576
117.988 62.897 204.001 184.038 0.992 141.182 108.171 180.303 107.798 161.276 133.929 144.702 156.547 177.384 156.211
126.828 61.092 217.092 185.150 0.999 153.005 112.872 192.739 113.251 172.562 139.697 155.845 160.138 188.705 160.124
106.697 55.512 197.409 180.296 1.000 132.987 107.809 172.840 107.632 152.899 135.310 135.993 155.712 168.480 155.549
116.250 57.687 207.034 181.815 0.999 142.361 108.880 181.805 109.118 162.582 135.132 145.943 156.439 177.425 156.663
126.949 61.111 217.880 185.004 1.000 153.335 113.239 193.231 113.584 173.078 140.428 156.700 160.759 188.970 160.745
"""


def test_mtcnn_equals_the_package_its_weights_come_from(face_frames):
    frames = np.concatenate([face_frames[0], face_frames[0][:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)])
    found = mtcnn(threshold=0.7, min_face_fraction=0.1)(frames)
    assert [len(faces) for faces in found] == [1] * 6
    expected = np.loadtxt(io.StringIO(FACES_OF_FACENET_PYTORCH))
    np.testing.assert_allclose(np.concatenate([as_array(faces) for faces in found]), expected, rtol=0, atol=0.01)


def test_the_weights_of_mtcnn_are_the_ones_that_were_converted_from_facenet_pytorch():
    expected = "6c6251ecb19069e627d9dbd646eb6ed08663423ef7ed3168e2ddc5f3604a1e03"
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == expected


def test_mtcnn_finds_the_same_in_a_frame_whatever_else_is_in_the_batch(detector, face_frames):
    frames = face_frames[0]
    together = detector(frames)
    assert [detector(frame[None])[0] for frame in frames] == together
    assert detector(frames[::-1]) == together[::-1]


def test_mtcnn_finds_in_parts_of_a_frame_what_it_finds_there_in_the_whole(detector, face_frames):
    frame = face_frames[0][1]
    (whole,) = detector(frame[None])
    around = [Region(64, 32, 256, 224, smallest=50.0), Region(0, 0, 32, 240), Region(256, 224, 320, 240)]
    assert as_array(detector.within(frame, around)) == pytest.approx(as_array(whole), abs=1e-3)
    assert detector.within(frame, around[1:]) == []


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (2, 16, 16, 3), (1, 5, 9, 3), (0, 64, 64, 3)])
def test_mtcnn_finds_no_face_where_there_is_none(detector, shape):
    assert detector(np.full(shape, 128, np.uint8)) == [[] for _ in range(shape[0])]


def test_mtcnn_takes_rgb_and_not_bgr(detector, face_frames):
    """Its score of one picture is known to fall when red and blue are swapped."""
    frames = face_frames[0]
    swapped = detector(np.ascontiguousarray(frames[..., ::-1]))
    assert [faces[0].score if faces else 0 for faces in swapped] != [faces[0].score for faces in detector(frames)]


# --- fixed box ---


def test_the_fixed_box_is_the_same_fraction_of_any_frame():
    (faces,) = fixed_box(x1=0.25, y1=0.1, x2=0.75, y2=0.9)(np.zeros((1, 100, 200, 3), np.uint8))
    (face,) = faces
    assert (face.x1, face.y1, face.x2, face.y2, face.score) == pytest.approx((50, 10, 150, 90, 1))
    assert all(face.x1 < x < face.x2 and face.y1 < y < face.y2 for x, y in face.landmarks)


# --- YuNet ---


def test_yunet_without_weights_says_where_they_are_and_which_option_takes_them(tmp_path):
    with pytest.raises(WeightsMissing) as raised:
        yunet(weights=str(tmp_path / "none.onnx"))
    for part in ("none.onnx", YUNET_WEIGHTS.url, YUNET_WEIGHTS.sha256, "face_detector.weights=FILE"):
        assert part in str(raised.value)


def test_yunet_refuses_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(WeightsMissing, match=r"bad\.onnx: OpenCV cannot read it"):
        yunet(weights=str(path))


def test_yunet_finds_the_drawn_face_where_mtcnn_does(shared_weights, detector, face_frames):
    frames = face_frames[0]
    found = yunet(weights=str(shared_weights / "face_detection_yunet.onnx"))(frames)
    for (ours,), (theirs,) in zip(found, detector(frames), strict=True):
        assert as_array([ours])[0, :4] == pytest.approx(as_array([theirs])[0, :4], abs=13)
        assert as_array([ours])[0, 5:] == pytest.approx(as_array([theirs])[0, 5:], abs=13)  # same order of the points


def test_yunet_finds_in_parts_of_a_frame_what_it_finds_there_in_the_whole(shared_weights, face_frames):
    frame, found = face_frames[0][1], yunet(weights=str(shared_weights / "face_detection_yunet.onnx"))
    (whole,) = found(frame[None])
    around = [Region(32, 0, 288, 240), Region(0, 0, 32, 240)]
    assert as_array(found.within(frame, around)) == pytest.approx(as_array(whole), abs=3)
    assert found.within(frame, around[1:]) == []


def test_yunet_follows_a_change_of_frame_size(shared_weights, face_frames):
    frames = face_frames[0]
    detector = yunet(weights=str(shared_weights / "face_detection_yunet.onnx"))
    before = detector(frames)
    assert [len(faces) for faces in detector(frames[:, 20:220, 31:300])] == [1, 1, 1]
    assert detector(np.zeros((1, 33, 17, 3), np.uint8)) == [[]]
    assert detector(frames) == before


# --- RetinaFace ---


@pytest.fixture(scope="module")
def package_model():
    """The package's own model with seeded random weights, scaled so that its boxes and scores are of a sane size."""
    import os

    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks the network for a newer version on import
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from retinaface.predict_single import Model

        torch.manual_seed(0)
        model = Model(max_size=128, device="cpu")
    model.eval()
    frames = np.random.default_rng(1).integers(0, 256, (1, 96, 128, 3), np.uint8)
    with torch.no_grad():
        outputs = model.model(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 128 - 1)
    # Sizes are exponentials of what the box head says: kept small, they stay within a few frames' width, where float32
    # has the digits that 0.01 px needs.
    heads = ((model.model.BboxHead, 4), (model.model.ClassHead, 1), (model.model.LandmarkHead, 1))
    for (parts, divisor), output in zip(heads, outputs, strict=True):
        for part in parts:
            part.conv1x1.weight.data /= divisor * output.std()
    return model


def test_retinaface_equals_the_package_on_the_same_weights(package_model):
    frames = np.random.default_rng(2).integers(0, 256, (3, 96, 128, 3), np.uint8)
    threshold = 0.7
    ours = RetinaFace(
        package_model.model.state_dict(), threshold=threshold, nms_threshold=0.4, batch_size=2, device="cpu"
    )(frames)
    for frame, faces in zip(frames, ours, strict=True):
        theirs = package_model.predict_jsons(frame, confidence_threshold=threshold, nms_threshold=0.4)
        assert len(faces) == len(theirs) > 5
        found = as_array(faces)
        for face in theirs:
            distance = np.abs(found[:, :4] - face["bbox"]).max(axis=1)
            nearest = distance.argmin()
            assert distance[nearest] < 0.01  # half of it is the package's rounding
            assert np.abs(found[nearest, 5:] - np.ravel(face["landmarks"])).max() < 0.01
            assert abs(found[nearest, 4] - face["score"]) < 0.01


def test_retinaface_finds_nothing_where_the_package_says_minus_one(package_model, noise):
    assert package_model.predict_jsons(noise[0], confidence_threshold=1.0)[0]["score"] == -1
    detector = RetinaFace(
        package_model.model.state_dict(), threshold=1.0, nms_threshold=0.4, batch_size=8, device="cpu"
    )
    assert detector(noise) == [[], []]


@pytest.mark.parametrize("size", [(96, 128), (33, 57), (360, 640)])
def test_the_priors_equal_the_package_s(size):
    from retinaface.prior_box import priorbox

    expected = priorbox([[16, 32], [64, 128], [256, 512]], [8, 16, 32], clip=False, image_size=size)
    np.testing.assert_array_equal(prior_boxes(*size), expected.numpy())


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_are_read_from_a_checkpoint_and_from_a_zip_around_one(tmp_path, wrapped):
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3)}, buffer)
    path = tmp_path / "weights.zip"
    if wrapped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights.pth", buffer.getvalue())
    else:
        path.write_bytes(buffer.getvalue())
    assert load_weights(path)["a"].tolist() == [0, 1, 2]


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_weights_that_would_run_code_are_refused(tmp_path):
    torch.save({"a": RunsCode(tmp_path / "marker")}, tmp_path / "bad.zip")
    with pytest.raises(WeightsMissing, match="read safely"):
        load_weights(tmp_path / "bad.zip")
    assert not (tmp_path / "marker").exists()


def test_weights_of_another_network_are_refused_and_retinaface_warns_of_nothing(tmp_path, recwarn):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsMissing, match="do not fit"):
        detect.retinaface(weights=str(tmp_path / "other.pth"))
    assert [str(w.message) for w in recwarn if "pretrained" in str(w.message)] == []
    torch.save(torch.zeros(1), tmp_path / "tensor.pth")
    with pytest.raises(WeightsMissing, match="not a state dict"):
        detect.retinaface(weights=str(tmp_path / "tensor.pth"))


def test_retinaface_says_how_its_package_is_installed_before_it_fetches_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "retinaface.network", None)  # as if it were not there
    with pytest.raises(ConfigError, match=r"pip install --no-deps retinaface-pytorch==0\.0\.8"):
        detect.retinaface(weights=str(tmp_path / "none.zip"))


def test_retinaface_needs_nothing_of_its_package_s_requirements_but_torch():
    code = "import sys; sys.modules.update(dict.fromkeys(['albumentations', 'pandas', 'lightning']));"
    code += "from dfd.faces.detectors.retinaface import network_class; print(network_class().__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "RetinaFace\n"


def test_retinaface_names_its_release_when_the_weights_are_not_there(tmp_path):
    with pytest.raises(WeightsMissing, match="f168fae3c") as raised:
        detect.retinaface(weights=str(tmp_path / "none.zip"))
    assert RETINAFACE_WEIGHTS.url in str(raised.value)
