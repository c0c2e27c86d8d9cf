"""Runtimes: frames in, probabilities out, by torch, onnxruntime or an exported program."""

import logging
import re
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.machine import num_cores, python_command
from dfd.base.types import Label
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.models.files.onnx import INPUT_NAME, OUTPUT_NAME, OnnxFile, optional_module, read_onnx
from dfd.scoring.runtimes.folding import fold_batchnorm
from dfd.scoring.runtimes.packing import is_mostly_linear, pack_convolutions, pack_linear
from dfd.scoring.runtimes.reduced import Bf16Linear, Int8Linear, has_bf16, has_int8

logger = logging.getLogger(__name__)

CPU_PIXELS_AT_ONCE = 20 * 112 * 112
"""Pixels per pass of the backbone: ResNeXt50 is as fast with 20 frames of 112 px as with 80, in 200 MB less."""


PRECISIONS = ("auto", "float32", "bf16", "int8")

MAX_DIFFERENCE = 1e-4
"""Between the probabilities of one detector in two forms; float32 sums in another order differ by some 1e-6."""


class Runtime(Protocol):
    """A detector that is loaded, on a device of ``device_type`` (``cpu`` or ``cuda``)."""

    device_type: str

    def prob_fake(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip of uint8 RGB crops, calibrated if the card has a temperature."""
        ...


class TorchRuntime:
    """The network itself, on ``device``, in evaluation mode.

    Args:
        model: the network.
        card: what its checkpoint says about it.
        device: where it computes.
        precision: of the backbone, see :func:`pick_precision`; the last layers always compute in 32 bits.
    """

    def __init__(
        self, model: ClipClassifier, card: DetectorCard, device: torch.device | str, *, precision: str = "float32"
    ) -> None:
        self.device = pick_device(device) if isinstance(device, str) else device
        self.device_type = self.device.type
        self.precision = pick_precision(precision, self.device)
        self.model = model.to(self.device).eval()
        self.temperature = card.temperature or 1.0
        self.export: Export | None = None
        """For the next run; this one does not change what it computes with."""
        if self.precision == "int8":
            if not is_mostly_linear(self.model.backbone):
                raise ConfigError(
                    "precision=int8 is for vision transformers, whose work is in linear layers; the network of this "
                    "detector has few or none; use precision=float32"
                )
            self.tune()  # the scores are those of the rounded weights, whoever asks

    def tune(self) -> None:
        """Rearrange the backbone for speed: the same scores, from a model whose weights are no longer the file's."""
        fold_batchnorm(self.model.backbone.network)
        if self.device_type != "cpu" or (self.precision == "bf16" and not has_bf16()):
            return
        if self.precision == "float32":
            pack_convolutions(self.model.backbone.network)
        else:
            pack_linear(self.model.backbone, Int8Linear if self.precision == "int8" else Bf16Linear)
        pack_linear(self.model)  # the last layers too, which would keep the file mapped

    @torch.inference_mode()
    def prob_fake(self, frames_BTCHW: Tensor, seconds_BT: Tensor | None = None) -> list[float]:
        """The probability of FAKE of each clip; some networks need the time of each frame."""
        pixels = frames_BTCHW.shape[-2] * frames_BTCHW.shape[-1]
        at_once = max(2, CPU_PIXELS_AT_ONCE // pixels) if self.device_type == "cpu" else None
        with torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            features_BTD = self.model.features(frames_BTCHW.to(self.device), at_once=at_once, seconds_BT=seconds_BT)
        logits_BK = self.model.head(features_BTD.float()).float() / self.temperature
        probs: list[float] = logits_BK.softmax(dim=-1)[:, Label.FAKE].double().tolist()
        return probs


class OnnxRuntime:
    """A ``.onnx`` file of dfd's, or its content, in onnxruntime.

    Args:
        source: the file, its content, or what :func:`dfd.models.files.onnx.read_onnx` gave of it; refused unless it has
            a card and only ONNX's own operators.
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
        source = Path(source) if isinstance(source, str) else source
        file = source if isinstance(source, OnnxFile) else read_onnx(source)
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
            _export_command(checkpoint), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._told
        )
        weakref.finalize(self, _give_up, self.process, self._told)

    def wait(self) -> str | None:
        """Wait for the end; returns the reason of a failure, or None if the export is kept."""
        if not self.process.wait():
            return None
        self._told.seek(0)
        lines = self._told.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.returncode}"


def _give_up(process: subprocess.Popen[bytes], told: IO[bytes]) -> None:
    process.terminate()  # nothing if it has ended
    told.close()


def _export_command(checkpoint: Path) -> list[str]:
    code = "from dfd.scoring.runtimes.exporting import keep_export; keep_export(sys.argv[1])"
    return python_command(code, str(checkpoint))


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


def pick_precision(name: str, device: torch.device) -> str:
    """Number format of a network's products: ``float32``, ``bf16`` (16 bits) or ``int8`` (8 bits, linear layers alone).

    ``auto`` is bf16 on a GPU that computes in it, and float32 elsewhere.

    Raises:
        ConfigError: there is no such format, or the device does not compute in it.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"precision={name} is not one of {', '.join(PRECISIONS)}")
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bf16" and not has_bf16:
        raise ConfigError(f"precision=bf16: {device} does not compute in it; use precision=float32")
    if name == "int8" and not (device.type == "cpu" and has_int8()):
        where = "this CPU has none (VNNI)" if device.type == "cpu" else f"they are used on CPUs alone, not on {device}"
        raise ConfigError(f"precision=int8 needs instructions for 8-bit products, and {where}; use precision=bf16")
    if name == "auto":
        return "bf16" if device.type == "cuda" and has_bf16 else "float32"
    return name


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


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    """Providers that onnxruntime may use, the preferred one first."""
    cuda_is_there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and not cuda_is_there):
        return ["CPUExecutionProvider"]
    if not re.fullmatch(r"auto|cuda(:\d+)?", device):
        raise ConfigError(f"device={device}: not a device for runtime=onnx; try auto, cpu or cuda")
    if not cuda_is_there:
        raise ConfigError(f"device={device}: this onnxruntime has no CUDA; use device=cpu, or install onnxruntime-gpu")
    return [("CUDAExecutionProvider", {"device_id": device.partition(":")[2] or "0"}), "CPUExecutionProvider"]


def log_odds(probs: Sequence[float], *, temperature: float) -> list[float]:
    """Log-odds before the division by a temperature that calibrated probabilities had, within 16 of 0 times it.

    >>> [round(value, 6) for value in log_odds([0.5, 0.75], temperature=2.0)]
    [0.0, 2.197225]
    """
    cut = [min(max(prob, 1e-7), 1 - 1e-7) for prob in probs]
    return [temperature * log(prob / (1 - prob)) for prob in cut]
