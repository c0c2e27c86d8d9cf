"""Scoring: load a detector once, give it videos, get a :class:`~dfd.types.VideoScore` for each, whatever the video is.

Decoding, face detection and cropping run in worker processes with a deadline, by the same code that prepared the
training clips; the network runs here, on windows of all faces of a video at once.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dfd.aggregation import verdict
from dfd.checkpoint import DetectorCard, load_model, refuse_mixed_clips, weights_sha256
from dfd.errors import CheckpointError, ConfigError
from dfd.faces.extract import ExtractionSettings
from dfd.faces.windows import FaceWindows, WindowSettings, start_worker, windows_task
from dfd.models.classifier import ClipClassifier
from dfd.types import FrameArray, Label, Status, TrackScore, VideoScore, WindowScore
from dfd.video.decode import VideoLimits
from dfd.workers import Failure, WorkerPool, num_cores


class Detector:
    """A trained detector, ready to score videos.

    Args:
        model: the network, in evaluation mode.
        card: what the checkpoint says about it.
        name: what the rows of its scores call it.
        device: ``auto`` takes a GPU if there is one.
        face_detector: name and options, as :func:`dfd.faces.detect.build_detector` takes them; None: the one that the
            detector was trained with.
        max_windows, max_faces, limits, max_decode_side: see :class:`WindowSettings`.
        batch_size: clips through the network at once.
        num_workers: processes that decode and find faces; None: one per core.
        deadline_seconds: a video that takes longer is given up as ``timeout``.
        for_comparison: accept a model whose scores mean something only within their batch; see
            :func:`dfd.models.temporal.lstm_over_batch`.
    """

    def __init__(
        self,
        model: ClipClassifier,
        card: DetectorCard,
        *,
        name: str,
        device: str = "auto",
        face_detector: Mapping[str, Any] | None = None,
        max_windows: int = 16,
        max_faces: int = 8,
        limits: VideoLimits | None = None,
        max_decode_side: int | None = 1920,
        batch_size: int = 8,
        num_workers: int | None = None,
        deadline_seconds: float = 600.0,
        for_comparison: bool = False,
    ) -> None:
        if not for_comparison:
            refuse_mixed_clips(model, name)
        for option, value in {
            "batch_size": batch_size,
            "num_workers": num_workers,
            "deadline": deadline_seconds,
        }.items():
            if value is not None and not value > 0:
                raise ValueError(f"{option} must be above 0, got {value}")
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.card = card
        self.name = name
        self.face_detector = dict(face_detector or card.crop.get("face_detector") or {"name": "mtcnn"})
        self.batch_size = batch_size
        self.num_workers = num_workers or num_cores()
        self.deadline_seconds = deadline_seconds
        try:
            self.extraction = ExtractionSettings(**card.crop.get("extraction", {}))
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{name}: its card says how faces were cropped in a way unknown here: {error}"
            ) from error
        self.windows = WindowSettings(
            clip_len=card.clip_len,
            clip_stride=card.clip_stride,
            max_windows=max_windows,
            max_faces=max_faces,
            max_decode_side=max_decode_side,
            limits=limits or VideoLimits(),
        )

    @classmethod
    def load(cls, checkpoint: str | Path, **options: Any) -> Self:
        """The detector in a ``.safetensors`` or ``.ckpt`` file; no code in the file is ever run.

        Raises:
            CheckpointError: the file is missing, damaged, or of another program.
        """
        model, card = load_model(checkpoint)
        digest = weights_sha256(model.state_dict())[:12]
        return cls(model, card, name=f"{Path(checkpoint).stem}@{digest}", **options)

    def score(self, path: str | Path) -> VideoScore:
        """Score one video. A video that cannot be scored gets a status and a message, not an exception."""
        (score,) = self.score_many([path])
        return score

    def score_many(self, paths: Iterable[str | Path]) -> Iterator[VideoScore]:
        """Score videos as they come out of the workers, in no particular order; one score for each path."""
        files = [Path(path) for path in paths]
        if not files:
            return
        with WorkerPool(
            num_workers=min(self.num_workers, len(files)),
            deadline_seconds=self.deadline_seconds,
            initializer=start_worker,
            initargs=(self.face_detector, self.extraction, self.windows),
        ) as pool:
            for path, result in pool.map(windows_task, files):
                if isinstance(result, Failure):
                    yield VideoScore(str(path), result.status, model=self.name, message=result.message)
                else:
                    yield self._score(path, *result)

    def _score(self, path: Path, found: FaceWindows, seconds: float) -> VideoScore:
        began = time.perf_counter()
        probs = self.prob_fake([window.crops for window in found.windows])
        if not np.isfinite(probs).all():
            message = "the detector gave no number: its weights are not finite; train again with a lower learning rate"
            return VideoScore(str(path), Status.ERROR, model=self.name, message=message)
        tracks = []
        for track in sorted({window.track for window in found.windows}):
            scored = tuple(
                WindowScore(window.start_seconds, window.end_seconds, prob, window.box)
                for window, prob in zip(found.windows, probs, strict=True)
                if window.track == track
            )
            prob = float(np.mean([window.prob_fake for window in scored]))
            tracks.append(TrackScore(track, prob, verdict(prob, threshold=self.card.threshold), scored))
        prob_fake = max(track.prob_fake for track in tracks)
        label = Label.FAKE if prob_fake >= self.card.threshold else Label.REAL
        return VideoScore(
            path=str(path),
            status=Status.PARTIAL if found.partial else Status.OK,
            verdict=verdict(prob_fake, threshold=self.card.threshold),
            label=label,
            prob_fake=prob_fake,
            confidence=prob_fake if label is Label.FAKE else 1 - prob_fake,
            num_faces=found.num_faces,
            num_frames=found.num_frames,
            duration_seconds=found.duration_seconds,
            seconds=seconds + time.perf_counter() - began,
            model=self.name,
            message="; ".join(part for part in (found.partial, found.message) if part),
            tracks=tuple(tracks),
        )

    def prob_fake(self, clips: Iterable[FrameArray]) -> list[float]:
        """The probability of FAKE of each clip (T, S, S, 3), calibrated if the checkpoint holds a temperature."""
        probs: list[float] = []
        waiting = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
        for first in range(0, len(waiting), self.batch_size):
            probs += self.prob_fake_batch(torch.stack(waiting[first : first + self.batch_size]))
        return probs

    @torch.inference_mode()
    def prob_fake_batch(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip of a batch, (B, T, C, H, W) uint8."""
        logits = self.model(frames_BTCHW.to(self.device)).float() / (self.card.temperature or 1.0)
        probs: list[float] = logits.softmax(dim=-1)[:, Label.FAKE].double().tolist()
        return probs


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
