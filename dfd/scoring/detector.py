"""Detector that is loaded once and scores any number of videos."""

import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dfd.base.errors import ConfigError
from dfd.base.machine import num_cores
from dfd.base.types import FloatArray, FrameArray, Label, Moment, Status, TrackScore, Verdict, VideoScore
from dfd.faces.crop import Crop
from dfd.faces.found import Found
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard
from dfd.models.files.checkpoint import refuse_mixed_clips
from dfd.models.starter import checkpoint_path
from dfd.process.failure import Failure
from dfd.process.pool import Again, WorkerPool
from dfd.scoring.aggregation import AGGREGATIONS, DEFAULT_AGGREGATION, Aggregation, uncertain_band, verdict
from dfd.scoring.explain import explain_clip
from dfd.scoring.look.workers import look_settings, numbered_windows_task, start_worker, worker_pool
from dfd.scoring.runtimes.folding import fold_batchnorm as fold_into_convolutions
from dfd.scoring.runtimes.load import load_runtime
from dfd.scoring.runtimes.runtime import OnnxRuntime, Runtime, TorchRuntime
from dfd.scoring.video import MAX_SHOWN_FACES, Piece, _joined, _Video

Progress = Callable[[Path, float], None]
"""Told of a video and the share of it, 0..1, that has been looked at."""

DESCRIBED = (
    *("clip_len", "clip_stride", "image_size", "temperature", "crop"),
    *("calibration", "metrics", "data", "versions"),
)


OF_THE_END = ("num_faces", "num_frames", "num_windows", "num_windows_possible", "duration_seconds")
"""Facts of a score that the last piece of a video brings."""


class Detector:
    """A trained detector, ready to score videos. Its worker processes start with the first video and stay for the next.

    A context manager, or :meth:`close` it; one that is forgotten stops its workers too. Not for several threads.

    Args:
        runtime: what computes probabilities; :func:`dfd.scoring.runtimes.load.load_runtime` makes one from a file.
        card: what the checkpoint says about it.
        name: what the rows of its scores call it.
        model: the network, for heat maps and for a description; an ONNX file has none that could be looked into.
        face_detector: name and options, as :func:`dfd.faces.detect.build_detector` takes them; None: the one that the
            detector was trained with.
        crop: what is cut out of a frame; None: as the detector was trained.
        aggregation: from windows to faces and to the video: a name in :data:`dfd.scoring.aggregation.AGGREGATIONS`, or
            a function of that kind.
        threshold: a video is called fake from this probability on; None: the checkpoint's.
        uncertain_margin: half the width of the band of the verdict ``uncertain``; see
            :func:`dfd.scoring.aggregation.uncertain_band`.
        moments_per_face: windows that are kept to be shown, the most suspicious of each face; 0: none.
        heatmaps: explain these windows: see :mod:`dfd.scoring.explain`.
        boxes: look for faces in every frame and give their boxes along, for
            :func:`dfd.predictions.annotate.video.annotate_video`.
        batch_size: clips of one video through the network at once; None: 8 on a CPU, 16 on a GPU. Fewer take less
            memory and more time: an LSTM's weights are read anew for every batch.
        num_workers: processes that decode and find faces; None: one per core.
        deadline_seconds: a video that takes longer is given up as ``timeout``.
        stall_seconds: so is one that comes no further for so long.
        pool: processes that :func:`dfd.scoring.look.workers.worker_pool` made, and that may have been started, and even
            have begun the first videos, while the detector was loaded; it takes them over.
        for_comparison: accept a model whose scores mean something only within their batch; see
            :func:`dfd.models.temporal.lstm_over_batch`.
        windows: which clips are scored, such as ``max_windows``: options of
            :class:`~dfd.faces.found.WindowSettings`.

    Raises:
        ConfigError, TypeError, ValueError: an option is unknown or out of range.
        CheckpointError: the checkpoint says things that are unknown here.
    """

    def __init__(
        self,
        runtime: Runtime,
        card: DetectorCard,
        *,
        name: str,
        model: ClipClassifier | None = None,
        face_detector: Mapping[str, Any] | None = None,
        crop: Crop | None = None,
        aggregation: str | Aggregation = DEFAULT_AGGREGATION,
        threshold: float | None = None,
        uncertain_margin: float = 0.1,
        moments_per_face: int = 3,
        heatmaps: bool = True,
        boxes: bool = False,
        batch_size: int | None = None,
        num_workers: int | None = None,
        deadline_seconds: float = 3600.0,
        stall_seconds: float = 300.0,
        pool: WorkerPool | None = None,
        for_comparison: bool = False,
        **windows: Any,
    ) -> None:
        if model is not None and not for_comparison:
            refuse_mixed_clips(model, name)
        counts = {"batch_size": batch_size, "num_workers": num_workers}
        for option, value in {**counts, "deadline_seconds": deadline_seconds, "stall_seconds": stall_seconds}.items():
            if value is not None and not value > 0:
                raise ValueError(f"{option} must be above 0, got {value}")
        if moments_per_face < 0:
            raise ValueError(f"moments_per_face must not be negative, got {moments_per_face}")
        if isinstance(aggregation, str) and aggregation not in AGGREGATIONS:
            raise ConfigError(f"aggregation={aggregation} is not one of {', '.join(AGGREGATIONS)}")
        self.runtime = runtime
        self.model = model
        self.num_parameters = None if model is None else sum(p.numel() for p in model.parameters())
        self.card = card
        self.name = name
        self.face_detector, self.extraction, self.windows = look_settings(
            card, name=name, face_detector=face_detector, crop=crop, every_frame=boxes, **windows
        )
        self.aggregation = AGGREGATIONS[aggregation] if isinstance(aggregation, str) else aggregation
        self.threshold = card.threshold if threshold is None else threshold
        self.uncertain_margin = uncertain_margin
        self.uncertain_band = uncertain_band(self.threshold, uncertain_margin)
        self.moments_per_face = moments_per_face
        self.heatmaps = heatmaps and model is not None
        self.batch_size = batch_size or (8 if runtime.device_type == "cpu" else 16)
        self.num_workers = num_workers or num_cores()
        self.deadline_seconds, self.stall_seconds = deadline_seconds, stall_seconds
        self._is_scoring = False
        self._pool: WorkerPool | None = None
        self._at_end: weakref.finalize[..., Detector] | None = None
        if pool is not None:
            self._take_over(pool)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        runtime: str = "auto",
        device: str = "auto",
        num_videos: int | None = None,
        fold_batchnorm: bool = False,
        **options: Any,
    ) -> Self:
        """The detector in a ``.safetensors``, ``.ckpt`` or ``.onnx`` file; no code in the file is ever run.

        Args:
            checkpoint: the file, or ``starter`` for the small one that comes with dfd.
            runtime: ``auto``, ``torch`` or ``onnx``; see :func:`dfd.scoring.runtimes.load.load_runtime`.
            device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
            num_videos: that are to be scored, for ``runtime=auto``: see :func:`dfd.scoring.runtimes.load.load_runtime`.
            fold_batchnorm: put the backbone's batch normalisation into its convolutions: the same scores, sooner,
                from a ``model`` whose weights are no longer those of the file.
            options: those of the class.

        Raises:
            CheckpointError: the file is missing, damaged, or of another program.
            ConfigError: there is no such runtime or device here.
        """
        loaded, card, name, model = load_runtime(
            checkpoint_path(checkpoint), runtime=runtime, device=device, num_videos=num_videos
        )
        detector = cls(loaded, card, name=name, model=model, **options)
        if fold_batchnorm and model is not None and not isinstance(loaded, OnnxRuntime):
            fold_into_convolutions(model.backbone.network)
        return detector

    @classmethod
    def of(cls, model: ClipClassifier, card: DetectorCard, *, name: str, device: str = "auto", **options: Any) -> Self:
        """A detector of a network that is at hand, with a card for it."""
        return cls(TorchRuntime(model, card, device), card, name=name, model=model, **options)

    def describe(self) -> dict[str, Any]:
        """Description of the detector for reports, as plain values."""
        card = self.card
        parts = {part: node for part in ("backbone", "temporal") if (node := card.model.get(part))}
        return {
            "name": self.name,
            **{part: str(node.get("name") or node["_target_"].rpartition(".")[2]) for part, node in parts.items()},
            "runtime": type(self.runtime).__name__,
            "num_parameters": self.num_parameters,
            **{name: getattr(card, name) for name in DESCRIBED},
            "threshold": self.threshold,
            "uncertain_margin": self.uncertain_margin,
            "uncertain_band": list(self.uncertain_band),
            "aggregation": getattr(self.aggregation, "__name__", repr(self.aggregation)),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker processes. The next video starts them again."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._at_end is not None:
            self._at_end.detach()

    def score(self, path: str | Path, *, on_progress: Progress | None = None) -> VideoScore:
        """Score one video. A video that cannot be scored gets a status and a message, not an exception."""
        (score,) = self.score_many([path], on_progress=on_progress)
        return score

    def score_many(self, paths: Iterable[str | Path], *, on_progress: Progress | None = None) -> Iterator[VideoScore]:
        """Score videos as they come out of the workers, in no particular order; one score for each path.

        Memory does not grow with the number of videos, and with their length by a line for each window only.

        Raises:
            RuntimeError: this detector is at work on other videos, whose scores have not all been taken.
        """
        files = [Path(path) for path in paths]
        if not files:
            return
        if self._is_scoring:
            remedy = "take all of their scores first, or load a second Detector"
            raise RuntimeError(f"this Detector is scoring other videos; {remedy}")
        self._is_scoring = True
        try:
            yield from self._score_all(files, on_progress)
        finally:
            self._is_scoring = False

    def _score_all(self, files: list[Path], on_progress: Progress | None) -> Iterator[VideoScore]:
        videos: dict[int, _Video] = {}
        for (key, path), item in self._workers(len(files)).stream(numbered_windows_task, enumerate(files)):
            video = videos.setdefault(key, _Video(path))
            if isinstance(item, Again):
                videos[key] = _Video(path)
            elif isinstance(item, float):
                if on_progress is not None:
                    on_progress(path, item)
            elif isinstance(item, Failure):
                yield self._failed(videos.pop(key), item)
            elif item is None:
                yield self._finished(videos.pop(key))
            else:
                self._take(video, item)

    def score_windows(self, path: str | Path, found: Iterable[Found | Failure]) -> VideoScore:
        """The score of what :func:`dfd.scoring.look.stream.stream_windows` found in a video, wherever that was run.

        A failure ends it: the score has its status and message, and no verdict.
        """
        video = _Video(Path(path))
        for item in found:
            if isinstance(item, Failure):
                return self._failed(video, item)
            if not isinstance(item, float):
                self._take(video, item)
        return self._finished(video)

    def _take(self, video: _Video, item: Piece) -> None:
        """Keep what was found in a video, and score its windows once they fill a batch.

        A batch is of one video: its probabilities differ in the last digits by how many clips it has, and so would a
        video's by what else is scored beside it, or by where a run was stopped.
        """
        video.take(item)
        if len(video.waiting) >= self.batch_size:
            self._look(video)

    def _workers(self, num_tasks: int) -> WorkerPool:
        """The pool, with no more processes than there is work for, and no fewer than it had."""
        wanted = min(self.num_workers, num_tasks)
        if self._pool is not None and self._pool.num_workers < wanted:
            self.close()
        if self._pool is None:
            seconds: dict[str, Any] = {"deadline_seconds": self.deadline_seconds, "stall_seconds": self.stall_seconds}
            return self._take_over(worker_pool(wanted, batch_size=self.batch_size, **seconds))
        return self._pool

    def _take_over(self, pool: WorkerPool) -> WorkerPool:
        pool.prepare(start_worker, self.face_detector, self.extraction, self.windows)
        self._pool = pool
        self._at_end = weakref.finalize(self, pool.close)
        return pool

    def _look(self, video: _Video) -> None:
        """Give every waiting window of a video its probability, and leave none waiting."""
        began = time.perf_counter()
        probs = self.prob_fake([window.crops for window in video.waiting])
        each = (time.perf_counter() - began) / max(1, len(video.waiting))
        for window, prob in zip(video.waiting, probs, strict=True):
            video.add(window, prob, seconds=each, num_kept=self.moments_per_face, aggregation=self.aggregation)
        video.waiting.clear()

    def _failed(self, video: _Video, failure: Failure) -> VideoScore:
        facts: dict[str, Any] = {"model": self.name, "file": video.file, "thumbnail": video.thumbnail}
        seconds = time.perf_counter() - video.began
        return VideoScore(str(video.path), failure.status, message=failure.message, seconds=seconds, **facts)

    def _finished(self, video: _Video) -> VideoScore:
        self._look(video)
        end = video.end
        assert end is not None, "a worker ends every video that it does not fail on"
        if not np.isfinite([window.prob_fake for scored in video.tracks.values() for window in scored]).all():
            message = "the detector gave no number: its weights are not finite; train again with a lower learning rate"
            return self._failed(video, Failure(Status.ERROR, message))
        order = sorted(video.tracks)
        by_track, prob_fake = self.aggregation([[w.prob_fake for w in video.tracks[track]] for track in order])
        tracks = tuple(
            TrackScore(track, prob, self._verdict(prob), tuple(video.tracks[track]))
            for track, prob in zip(order, by_track, strict=True)
        )
        began = time.perf_counter()
        moments = tuple(self._moments(video, tracks))
        explaining = time.perf_counter() - began
        label = Label.FAKE if prob_fake >= self.threshold else Label.REAL
        return VideoScore(
            path=str(video.path),
            status=Status.PARTIAL if end.partial else Status.OK,
            verdict=self._verdict(prob_fake),
            label=label,
            prob_fake=prob_fake,
            confidence=prob_fake if label is Label.FAKE else 1 - prob_fake,
            **{name: getattr(end, name) for name in OF_THE_END},
            seconds=time.perf_counter() - video.began,
            seconds_by_stage={**end.seconds_by_stage, "network": video.network_seconds, "explain": explaining},
            model=self.name,
            message="; ".join(part for part in (end.partial, end.message) if part),
            file=video.file,
            tracks=tracks,
            thumbnail=video.thumbnail,
            moments=moments,
            boxes={track: _joined(pieces) for track, pieces in video.boxes.items()},
        )

    def _verdict(self, prob_fake: float) -> Verdict:
        return verdict(prob_fake, threshold=self.threshold, margin=self.uncertain_margin)

    def _moments(self, video: _Video, tracks: Iterable[TrackScore]) -> Iterator[Moment]:
        """The most suspicious windows of the most suspicious faces, both in falling order."""
        for track in sorted(tracks, key=lambda track: -track.prob_fake)[:MAX_SHOWN_FACES]:
            for kept in video.kept.get(track.track, []):
                crops, when = kept.window.crops, kept.window.frame_seconds
                frame, heatmap = self._explain(crops)
                yield Moment(track.track, kept.place, when[frame], kept.prob_fake, crops[frame], heatmap)

    def _explain(self, crops: FrameArray) -> tuple[int, FloatArray | None]:
        """The frame of a clip that is shown, and why; without heat maps, its middle."""
        if self.model is None or not self.heatmaps:
            return len(crops) // 2, None
        why = explain_clip(self.model, torch.from_numpy(crops).permute(0, 3, 1, 2))
        return why.frame, why.heatmap

    def prob_fake(self, clips: Iterable[FrameArray]) -> list[float]:
        """The probability of FAKE of each clip (T, S, S, 3), calibrated if the checkpoint holds a temperature."""
        probs: list[float] = []
        waiting = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
        for first in range(0, len(waiting), self.batch_size):
            probs += self.prob_fake_batch(torch.stack(waiting[first : first + self.batch_size]))
        return probs

    def log_odds_batch(self, frames_BTCHW: Tensor) -> list[float]:
        """The log-odds of FAKE of each clip as the network gives them, without any temperature.

        Of a file without a network, as far as its probabilities tell: within 16 of 0, where they are not yet 0 or 1.
        """
        if self.model is not None:
            device = next(self.model.parameters()).device
            with torch.inference_mode():
                logits_BK = self.model(frames_BTCHW.to(device)).double()
            odds: list[float] = (logits_BK[:, Label.FAKE] - logits_BK[:, Label.REAL]).tolist()
            return odds
        probs = np.clip(self.prob_fake_batch(frames_BTCHW), 1e-7, 1 - 1e-7)
        odds = ((self.card.temperature or 1.0) * np.log(probs / (1 - probs))).tolist()
        return odds

    def prob_fake_batch(self, frames_BTCHW: Tensor) -> list[float]:
        """The probability of FAKE of each clip of a batch, (B, T, C, H, W) uint8."""
        return self.runtime.prob_fake(frames_BTCHW)
