"""What computes a detector's scores: torch, or onnxruntime. Frames in, probabilities out."""

import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.nn import functional as F

from dfd.card import DetectorCard, library_versions
from dfd.checkpoint import load_model, weights_sha256
from dfd.errors import CheckpointError, ConfigError
from dfd.files import written_whole
from dfd.formats import INPUT_NAME, OPSET, OUTPUT_NAME, OnnxFile, optional_module, read_onnx, to_onnx
from dfd.models.classifier import ClipClassifier
from dfd.onnx_trial import seconds_for_one_clip
from dfd.types import Label
from dfd.weights import cache_folder
from dfd.workers import num_cores

logger = logging.getLogger(__name__)

RUNTIMES = ("auto", "torch", "onnx")
WORTH_EXPORTING = 32
"""Videos from which on ``runtime=auto`` has an export made on a CPU. An export costs what it saves on some ten of them
with ResNeXt50, on some fifty with a small network."""
CPU_FRAMES_AT_ONCE = 20
"""Through the backbone: ResNeXt50 is as fast with 20 frames as with 80, and takes 200 MB less. With 10 it takes 1.2 of
the time: its weights are put in another order for each part."""
WORTH_WAITING = 200
"""Number of videos from which on ``runtime=auto`` waits for the export; with fewer, another process makes it beside."""
MAX_DIFFERENCE = 1e-4
"""Between the probabilities of one detector in two forms; float32 sums in another order differ by some 1e-6."""


class Runtime(Protocol):
    """A detector that is loaded, on a device of ``device_type`` (``cpu`` or ``cuda``)."""

    device_type: str

    def prob_fake(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip of uint8 RGB crops, calibrated if the card has a temperature."""
        ...


class TorchRuntime:
    """The network itself, on ``device``, in evaluation mode."""

    def __init__(self, model: ClipClassifier, card: DetectorCard, device: torch.device | str) -> None:
        self.device = pick_device(device) if isinstance(device, str) else device
        self.device_type = self.device.type
        self.model = model.to(self.device).eval()
        self.temperature = card.temperature or 1.0
        self.export: Export | None = None
        """For the next run; this one does not change what it computes with."""

    @torch.inference_mode()
    def prob_fake(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip."""
        at_once = CPU_FRAMES_AT_ONCE if self.device_type == "cpu" else None
        features_BTD = self.model.features(frames_BTCHW.to(self.device), at_once=at_once)
        logits_BK = self.model.head(features_BTD).float() / self.temperature
        probs: list[float] = logits_BK.softmax(dim=-1)[:, Label.FAKE].double().tolist()
        return probs


class OnnxRuntime:
    """A ``.onnx`` file of dfd's, or its content, in onnxruntime.

    Args:
        source: the file, its content, or what :func:`dfd.formats.read_onnx` gave of it; refused unless it has a card
            and only ONNX's own operators.
        card: what the caller takes it for; None: whatever it is.
        num_threads: of one operator; None: one per core that this process may use.
        seconds_per_clip: what a trial took; a batch that takes 20 times as long and a minute is given up. None: no
            batch is.
        device: ``cpu``, ``cuda`` or ``cuda:1``; ``auto`` takes a GPU if this onnxruntime can use one.

    Raises:
        CheckpointError: the file is missing, damaged, not ours, or has another card than ``card``.
        ConfigError: onnxruntime is not installed, or has no such device.
    """

    def __init__(
        self,
        source: Path | str | bytes | OnnxFile,
        card: DetectorCard | None = None,
        num_threads: int | None = None,
        *,
        device: str = "cpu",
        seconds_per_clip: float | None = None,
    ) -> None:
        file = (
            source if isinstance(source, OnnxFile) else read_onnx(Path(source) if isinstance(source, str) else source)
        )
        name = "the ONNX model" if isinstance(source, bytes) else file.name
        self._seconds_per_clip = seconds_per_clip
        if card is not None and card.to_dict() != file.card.to_dict():
            raise CheckpointError(f"{name}: its card is not that of the detector it is taken for; export it again")
        self.card = file.card
        self.weights_sha256 = file.weights_sha256
        onnxruntime = optional_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or num_cores()
        options.log_severity_level = 3  # errors; what it warns of is its own choice of kernels
        # Threads that wait for the next operator by spinning would take the cores from the workers that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        state = onnxruntime.capi.onnxruntime_pybind11_state
        self._broken = tuple(
            getattr(state, name)
            for name in ("Fail", "EPFail", "InvalidGraph", "InvalidArgument", "NotImplemented", "RuntimeException")
        )
        self._name = name
        providers = _providers(onnxruntime, device)
        try:
            # Of the bytes that were checked: a file could have been exchanged since.
            self.session: Any = onnxruntime.InferenceSession(file.content, options, providers=providers)
            # It would keep them, as large as the weights, for a second try with other providers; here none is wanted.
            self.session.disable_fallback()
            self.session._model_bytes = None
        except self._broken as error:
            first = str(error).splitlines()[0][:300]
            raise CheckpointError(f"{name}: onnxruntime {onnxruntime.__version__} cannot run it ({first})") from error
        if "CUDAExecutionProvider" not in self.session.get_providers() and device.startswith("cuda"):
            raise ConfigError(f"device={device}: onnxruntime cannot load CUDA's libraries here; use device=cpu")
        self.device_type = "cuda" if "CUDAExecutionProvider" in self.session.get_providers() else "cpu"

    def prob_fake(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip.

        Raises:
            TypeError: the frames are not uint8.
            ValueError: they are not ``(B, T, 3, S, S)`` with the card's ``image_size``.
            CheckpointError: the file does not do what its card says.
        """
        if frames_BTCHW.dtype != torch.uint8:
            raise TypeError(f"frames must be uint8 (0..255), got {frames_BTCHW.dtype}")
        side = self.card.image_size
        if frames_BTCHW.ndim != 5 or frames_BTCHW.shape[1] == 0 or tuple(frames_BTCHW.shape[2:]) != (3, side, side):
            raise ValueError(f"clips must be (B, T, 3, {side}, {side}), T >= 1; got {tuple(frames_BTCHW.shape)}")
        try:
            (prob_BK,) = self._run({INPUT_NAME: frames_BTCHW.cpu().contiguous().numpy()})
        except self._broken as error:
            raise CheckpointError(f"{self._name}: cannot be run ({str(error).splitlines()[0][:300]})") from error
        is_two_each = prob_BK.shape == (len(frames_BTCHW), len(Label))
        if not is_two_each or ((prob_BK < 0) | (prob_BK > 1 + MAX_DIFFERENCE)).any():
            raise CheckpointError(f"{self._name}: does not give two probabilities for each clip; export it again")
        probs: list[float] = prob_BK[:, Label.FAKE].astype(float).tolist()
        return probs

    def _run(self, given: dict[str, Any]) -> Any:
        """Its outputs; a run that comes to its deadline ends with the operator that it is at."""
        if self._seconds_per_clip is None:
            return self.session.run([OUTPUT_NAME], given)
        options = optional_module("onnxruntime").RunOptions()
        deadline = 60 + 20 * self._seconds_per_clip * len(given[INPUT_NAME])
        watch = threading.Timer(deadline, setattr, (options, "terminate", True))
        watch.daemon = True
        watch.start()
        try:
            return self.session.run([OUTPUT_NAME], given, options)
        finally:
            watch.cancel()


class Export:
    """A process that exports a checkpoint to dfd's cache. It is given up with this object, or when the program ends."""

    def __init__(self, checkpoint: Path) -> None:
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            _export_command(checkpoint), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._told
        )
        weakref.finalize(self, _give_up, self.process, self._told)

    def wait(self) -> str | None:
        """Why it failed, or None if the export is kept."""
        if not self.process.wait():
            return None
        self._told.seek(0)
        lines = self._told.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.returncode}"


def _give_up(process: subprocess.Popen[bytes], told: IO[bytes]) -> None:
    process.terminate()  # nothing if it has ended
    if process.stdin is not None:
        process.stdin.close()
    told.close()


def _export_command(checkpoint: Path) -> list[str]:
    """With this process's own places to import from, and not the working folder."""
    code = "import sys; sys.path[:] = sys.argv[2:]; from dfd.runtimes import keep_export; keep_export(sys.argv[1])"
    places = [*filter(None, sys.path), str(Path(__file__).resolve().parents[1])]
    return [sys.executable, "-P", "-c", code, str(checkpoint), *places]


def keep_export(checkpoint: str) -> None:
    """Export a checkpoint to dfd's cache, as a process of its own; it ends when its standard input does.

    Raises:
        CheckpointError: it cannot be expressed in ONNX, or kept.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that no half of a file is left
    threading.Thread(target=_end_with_input, daemon=True).start()
    model, card = load_model(checkpoint)
    digest = weights_sha256(model.state_dict())
    kept_onnx(model, card, digest, device="cpu")
    if not os.path.isfile(path := _kept_path(card, digest)):
        raise CheckpointError(
            f"the export cannot be kept as {path}; set XDG_CACHE_HOME to a folder that can be written"
        )


def _end_with_input() -> None:
    """Whoever wanted the export may have been killed; the pipe that is left behind tells it."""
    while os.read(0, 1):  # not by sys.stdin, whose lock would be held when this process ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class ProgramRuntime:
    """A program of ``torch.export``, on the CPU."""

    device_type = "cpu"

    def __init__(self, program: ExportedProgram) -> None:
        self.module = program.module()

    @torch.inference_mode()
    def prob_fake(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip."""
        probs: list[float] = self.module(frames_BTCHW)[:, Label.FAKE].double().tolist()
        return probs


def load_runtime(
    checkpoint: Path, *, runtime: str = "auto", device: str = "auto", num_videos: int | None = None
) -> tuple[Runtime, DetectorCard, str, ClipClassifier | None]:
    """What scores with a checkpoint, its card, its name (``stem@hash``, of the weights) and its network.

    A ``.onnx`` has no network to look into: None. ``runtime=onnx`` with another checkpoint exports it, which takes some
    15 seconds, and keeps the export in dfd's cache. ``auto`` is onnx for a ``.onnx``; for others, on a CPU, where
    ``num_videos`` are to be scored, it is onnx if the export is there or they are worth waiting for it; else torch.
    It is one of the two for the whole run, so that copies of a file get one score.

    Raises:
        CheckpointError: the file is missing, damaged, of another program, or cannot be exported.
        ConfigError: there is no such runtime or device, or it does not run such files.
    """
    checkpoint = Path(checkpoint)
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime={runtime} is not one of {', '.join(RUNTIMES)}")
    if checkpoint.suffix == ".onnx":
        if runtime == "torch":
            raise ConfigError(
                f"{checkpoint}: torch does not run ONNX files; use runtime=onnx, or the .safetensors it was made from"
            )
        file = read_onnx(checkpoint)
        optional_module("onnxruntime")
        seconds = seconds_for_one_clip(
            file.content,
            name=str(checkpoint),
            num_frames=file.card.clip_len,
            side=file.card.image_size,
            num_threads=num_cores(),
        )
        session = OnnxRuntime(file, device=device, seconds_per_clip=seconds)
        return session, session.card, _name(checkpoint, session.weights_sha256), None
    if checkpoint.suffix == ".pt2":
        raise CheckpointError(
            f"{checkpoint}: a program of torch.export is for use without dfd; give the .safetensors it was made from"
        )
    model, card = load_model(checkpoint)
    digest = weights_sha256(model.state_dict())
    name = _name(checkpoint, digest)
    if runtime == "onnx":
        return kept_onnx(model, card, digest, device=device), card, name, model
    if runtime == "auto" and num_videos is not None and not model.mixes_clips and _onnx_is_faster(device):
        # Not Path.is_file, which raises where a folder on the way may not be entered.
        if os.path.isfile(_kept_path(card, digest)):
            try:
                return kept_onnx(model, card, digest, device="cpu"), card, name, model
            except CheckpointError as error:
                logger.info("scoring with torch: %s", error)
        elif num_videos >= WORTH_EXPORTING:
            export = Export(checkpoint)
            if num_videos >= WORTH_WAITING:
                logger.info("exporting the detector for onnxruntime, once: about 15 seconds, then scoring begins")
                if exported := _exported(export, card, digest):
                    return exported, card, name, model
            else:
                logger.info("torch scores these videos; for the next run the detector is exported for onnxruntime")
                torch_runtime = TorchRuntime(model, card, device)
                torch_runtime.export = export
                return torch_runtime, card, name, model
    return TorchRuntime(model, card, device), card, name, model


def _exported(export: Export, card: DetectorCard, digest: str) -> OnnxRuntime | None:
    """What an export has kept, when it has; None, and a line in the log, if it failed."""
    failure = export.wait()
    try:
        if failure is None:
            return _load_kept(_kept_path(card, digest), card, digest, device="cpu")
    except CheckpointError as error:
        failure = str(error)
    logger.info("scoring with torch, as the export for onnxruntime failed: %s", failure)
    return None


def kept_onnx(model: ClipClassifier, card: DetectorCard, digest: str, *, device: str) -> OnnxRuntime:
    """The detector in onnxruntime, from dfd's cache; exported, checked and put there if it is not in it.

    ``digest`` is :func:`dfd.checkpoint.weights_sha256` of the model.

    Raises:
        CheckpointError: it cannot be expressed in ONNX, or differs by more than ``MAX_DIFFERENCE``.
        ConfigError: the extra ``onnx`` is not installed.
    """
    path = _kept_path(card, digest)
    if os.path.isfile(path):
        try:
            return _load_kept(path, card, digest, device=device)
        except CheckpointError as error:
            logger.info("%s is made anew: %s", path, error)
    logger.info("exporting the detector for onnxruntime, once: about 15 seconds; kept as %s", path)
    content, _ = checked_onnx(model, card)
    try:
        with written_whole(path) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        logger.warning("the export cannot be kept, and the next run makes it again: %s", error)
    return OnnxRuntime(content, card, device=device)


def _load_kept(path: Path, card: DetectorCard, digest: str, *, device: str) -> OnnxRuntime:
    session = OnnxRuntime(path, card, device=device)
    if session.weights_sha256 != digest:
        raise CheckpointError(f"{path}: is the export of other weights")
    return session


def _kept_path(card: DetectorCard, digest: str) -> Path:
    """By all that the export depends on."""
    facts = [digest, card.to_dict(), library_versions(), OPSET]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "onnx" / f"{key[:32]}.onnx"


def _onnx_is_faster(device: str) -> bool:
    return pick_device(device).type == "cpu" and all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


def checked_onnx(model: ClipClassifier, card: DetectorCard) -> tuple[bytes, float]:
    """The content of a ``.onnx`` file that gives the network's probabilities, and by how much it differs at most.

    Raises:
        CheckpointError: it cannot be expressed in ONNX, or differs by more than ``MAX_DIFFERENCE``.
        ConfigError: the extra ``onnx`` is not installed.
    """
    content = to_onnx(model, card)
    difference = largest_difference(TorchRuntime(model, card, "cpu"), OnnxRuntime(content, card), card)
    refuse_difference(difference, "ONNX")
    return content, difference


def largest_difference(reference: Runtime, other: Runtime, card: DetectorCard) -> float:
    """Between the two's probabilities on random clips: one frame and more than ``clip_len``, one clip and several."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch, time in _shapes(card):
        frames_BTCHW = _random_clips(batch, time, card.image_size, generator)
        probs = [torch.tensor(runtime.prob_fake(frames_BTCHW)) for runtime in (reference, other)]
        differences.append((probs[0] - probs[1]).abs().max())
    return float(torch.stack(differences).max())  # nan if one is: that is no agreement


def refuse_difference(difference: float, form: str) -> None:
    """Raises:
    CheckpointError: the difference is above ``MAX_DIFFERENCE``, or not a number.
    """
    if not difference <= MAX_DIFFERENCE:
        raise CheckpointError(
            f"the detector's probabilities as {form} differ from torch's by up to {difference:.3g}, more than "
            f"{MAX_DIFFERENCE:g}; nothing was written. Use format=safetensors"
        )


def pick_device(name: str) -> torch.device:
    """``auto`` is a CUDA device if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name}: not a device that torch knows; try auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: torch sees no GPU here; use device=cpu")
    return device


def _name(checkpoint: Path, digest: str) -> str:
    return f"{checkpoint.stem}@{digest[:12]}"


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    """What onnxruntime may compute with, the first it can use."""
    cuda_is_there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and not cuda_is_there):
        return ["CPUExecutionProvider"]
    if not re.fullmatch(r"auto|cuda(:\d+)?", device):
        raise ConfigError(f"device={device}: not a device for runtime=onnx; try auto, cpu or cuda")
    if not cuda_is_there:
        raise ConfigError(
            f"device={device}: this onnxruntime has no CUDA; use device=cpu, or install onnxruntime-gpu in its place"
        )
    return [("CUDAExecutionProvider", {"device_id": device.partition(":")[2] or "0"}), "CPUExecutionProvider"]


def _shapes(card: DetectorCard) -> list[tuple[int, int]]:
    """Clips and frames to compare on; a transformer's positions end at its ``max_len``."""
    longest = card.model.get("temporal", {}).get("max_len") or card.clip_len + 3
    times = {1: 1, 2: card.clip_len, 3: 2}  # by the number of clips
    shapes = [*times.items(), (1, card.clip_len + 3)]
    return sorted({(batch, min(time, longest)) for batch, time in shapes})


def _random_clips(batch: int, time: int, side: int, generator: torch.Generator) -> Tensor:
    """Coarse patches under noise, each clip with a contrast of its own: noise alone looks alike to a network."""
    patches = F.interpolate(torch.rand(batch * time, 3, 7, 7, generator=generator), (side, side))
    pictures = patches.reshape(batch, time, 3, side, side)
    noise = torch.rand(pictures.shape, generator=generator)
    contrast = torch.rand(batch, 1, 1, 1, 1, generator=generator)
    clips: Tensor = 255 * (contrast * pictures + (1 - contrast) * noise)
    return clips.to(torch.uint8)
