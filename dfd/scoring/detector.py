"""Detector that is loaded once and scores any number of videos."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from dfd.base.types import FrameArray, Label, Status, VideoScore
from dfd.faces.crop import Crop
from dfd.faces.found import Found
from dfd.metrics.alike import alike, check_prevalence, labelled_in
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard, refuse_part
from dfd.models.files.caveat import caveat_of
from dfd.models.files.checkpoint import refuse_mixed_clips
from dfd.models.starter import checkpoint_path, title_of
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.scoring import aggregation as rules
from dfd.scoring.aggregation import Aggregation, uncertain_band
from dfd.scoring.engine import Engine
from dfd.scoring.look.workers import look_settings, looks_of
from dfd.scoring.runtimes.load import load_runtime
from dfd.scoring.runtimes.runtime import Runtime, TorchRuntime, log_odds
from dfd.scoring.video.batches import Batches, Waiting, look
from dfd.scoring.video.state import Piece, _Video, judge_of, moments_of, now
from dfd.scoring.video.stopping import EarlyStop


class Detector(Engine[_Video]):
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
            a function of that kind; None: that of :func:`~dfd.scoring.aggregation.aggregation_of`.
        threshold: a video is called fake from this probability on; None: the checkpoint's.
        uncertain_margin: half the width of the band of the verdict ``uncertain``; see
            :func:`dfd.scoring.aggregation.uncertain_band`.
        prevalence: assumed share of fakes among the videos, for :attr:`~dfd.base.types.VideoScore.alike`; None: that
            among the labelled videos that the detector was calibrated on.
        moments_per_face: windows that are kept to be shown, the most suspicious of each face; 0: none.
        heatmaps: explain these windows: see :mod:`dfd.scoring.explain`.
        boxes: look for faces in every frame and give their boxes along, for
            :func:`dfd.predictions.annotate.video.annotate_video`.
        batch_size: clips through the network at once; None: see :meth:`Batches.size`. Fewer take
            less memory and more time: an LSTM's weights are read anew for every batch.
        across_videos: fill batches with clips of several videos; None: on a GPU only. See :class:`Batches`.
        stop_early: leave out windows that would change the verdict with this probability at most; None: score all.
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
        aggregation: str | Aggregation | None = None,
        threshold: float | None = None,
        uncertain_margin: float = 0.1,
        prevalence: float | None = None,
        moments_per_face: int = 3,
        heatmaps: bool = True,
        boxes: bool = False,
        batch_size: int | None = None,
        across_videos: bool | None = None,
        stop_early: float | None = None,
        num_workers: int | None = None,
        deadline_seconds: float = 3600.0,
        stall_seconds: float = 300.0,
        pool: WorkerPool | None = None,
        for_comparison: bool = False,
        **windows: Any,
    ) -> None:
        if model is not None and not for_comparison:
            refuse_mixed_clips(model, name)
        if moments_per_face < 0:
            raise ValueError(f"moments_per_face must not be negative, got {moments_per_face}")
        aggregation = aggregation or rules.aggregation_of(card.scoring, card.calibration)
        self.runtime = runtime
        self.model = model
        self.num_parameters = None if model is None else sum(p.numel() for p in model.parameters())
        self.card = card
        self.name, self.title = name, name.rpartition("@")[0] or name
        windows |= {"every_frame": boxes, "frames": moments_per_face > 0}
        self.face_detector, self.extraction, self.windows = look_settings(
            card, name=name, face_detector=face_detector, crop=crop, **windows
        )
        self.aggregation = rules.aggregation_named(aggregation) if isinstance(aggregation, str) else aggregation
        self.threshold = card.threshold if threshold is None else threshold
        self.uncertain_margin, self.uncertain_band = uncertain_margin, uncertain_band(self.threshold, uncertain_margin)
        self.moments_per_face = moments_per_face
        self.heatmaps = heatmaps and model is not None and model.backbone.is_differentiable
        self._batches = Batches(runtime.device_type != "cpu" if across_videos is None else across_videos)
        self.judge = judge_of(card, name, threshold=self.threshold, margin=uncertain_margin)
        self._early = None if stop_early is None else EarlyStop(stop_early, self.aggregation, self.judge.call)
        self.no_verdict = self.judge.no_verdict
        self.caveat, self.prevalence = caveat_of(card), check_prevalence(prevalence)
        self.aggregation_name = rules.name_of(aggregation)
        self._labelled = labelled_in(card.calibration, aggregation=self.aggregation_name)
        super().__init__(
            looks_of([(self.face_detector, self.extraction, self.windows)]),
            batch_size=Batches.size(batch_size, runtime.device_type, self.num_parameters),
            num_workers=num_workers,
            deadline_seconds=deadline_seconds,
            stall_seconds=stall_seconds,
            pool=pool,
        )

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        runtime: str = "auto",
        device: str = "auto",
        num_videos: int | None = None,
        precision: str = "auto",
        tuned: bool = False,
        is_part: bool = False,
        **options: Any,
    ) -> Self:
        """The detector in a ``.safetensors``, ``.ckpt`` or ``.onnx`` file; no code in the file is ever run.

        Args:
            checkpoint: the file, or ``starter`` for the small one that comes with dfd.
            runtime: ``auto``, ``torch`` or ``onnx``; see :func:`dfd.scoring.runtimes.load.load_runtime`.
            device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
            num_videos: that are to be scored, for ``runtime=auto``: see :func:`dfd.scoring.runtimes.load.load_runtime`.
            precision: number format of products; see :func:`dfd.scoring.runtimes.runtime.pick_precision`.
            tuned: rearrange the network for speed: the same scores, from a ``model`` without the weights of the file.
            is_part: accept one network of an ensemble; see :class:`dfd.scoring.panel.Ensemble`.
            options: those of the class.

        Raises:
            CheckpointError: the file is missing, damaged, or of another program.
            ConfigError: there is no such runtime or device here.
        """
        given: dict[str, Any] = {"runtime": runtime, "device": device, "num_videos": num_videos, "precision": precision}
        loaded, card, name, model = load_runtime(checkpoint_path(checkpoint), **given)
        if not is_part:
            refuse_part(card, str(checkpoint))
        detector = cls(loaded, card, name=name, model=model, **options)
        detector.title = title_of(checkpoint)
        if tuned and isinstance(loaded, TorchRuntime):
            loaded.tune()
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
            "precision": getattr(self.runtime, "precision", "float32"),
            "num_parameters": self.num_parameters,
            **card.described(),
            **{name: getattr(self, name) for name in ("title", "caveat", "no_verdict", "prevalence", "threshold")},
            "uncertain_margin": self.uncertain_margin,
            "uncertain_band": list(self.uncertain_band),
            "aggregation": self.aggregation_name,
        }

    def score_windows(self, path: str | Path, found: Iterable[Found | Failure]) -> VideoScore:
        """The score of what :func:`dfd.scoring.look.stream.stream_windows` found in a video, wherever that was run.

        A failure ends it: the score has its status and message, and no verdict.
        """
        video = _Video(Path(path))
        for item in found:
            if isinstance(item, Failure):
                return self.failed(video, item)
            if not isinstance(item, float):
                self.take(video, item)
        list(self.settle(video))
        return self.finished(video)

    def begin(self, path: Path) -> _Video:
        """Begin a video."""
        return _Video(path)

    def take(self, video: _Video, item: Piece) -> None:
        """Keep what was found in a video, and score its windows once they fill a batch: see :class:`Batches`."""
        video.take(item)
        if self._early is None or not self._early.holds(video):
            self._look(self._batches.full(video, self.batch_size))

    def _look(self, waiting: Sequence[Waiting]) -> list[float]:
        """Give windows their probability."""
        return look(waiting, self.prob_fake, num_kept=self.moments_per_face, aggregation=self.aggregation)

    def settle(self, video: _Video) -> Iterator[float]:
        """Score windows that waited for the last of them; see :mod:`dfd.scoring.video.stopping`."""
        if self._early is not None:
            yield from self._early.run(video, lambda part: self._look([(video, one) for one in part]), self.batch_size)

    def share(self, video: _Video, looked: float) -> float:
        """Share of the work on a video that is done, 0..1; see :meth:`dfd.scoring.video.state._Video.share`."""
        return video.share(looked)

    def failed(self, video: _Video, failure: Failure) -> VideoScore:
        """Score of a video that cannot be scored: its status and message."""
        video.waiting.clear()  # a shared batch need not compute them
        seen: dict[str, Any] = {"model": self.name, "file": video.file, "thumbnail": video.thumbnail}
        seen |= {"seconds": time.perf_counter() - video.began, "scored_at": now(), "message": failure.message}
        return VideoScore(str(video.path), failure.status, **seen)

    def finished(self, video: _Video) -> VideoScore:
        """Score of a video of which everything was taken."""
        self._look(self._batches.rest(video, self.batch_size))
        end = video.end
        assert end is not None, "a worker ends every video that it does not fail on"
        if failure := video.no_score(self.model):
            return self.failed(video, failure)
        tracks, kept, prob_fake = video.aggregated(self.aggregation, self.judge.verdict)
        began = time.perf_counter()
        model = self.model if self.heatmaps else None
        moments = tuple(moments_of(tracks, kept, number=self.moments_per_face, model=model))
        explaining = time.perf_counter() - began
        label, confidence = self.judge.side(prob_fake)
        return VideoScore(
            path=str(video.path),
            status=Status.PARTIAL if end.partial else Status.OK,
            verdict=self.judge.verdict(prob_fake),
            label=label,
            prob_fake=prob_fake,
            confidence=confidence,
            **video.end_facts(),
            seconds=time.perf_counter() - video.began,
            seconds_by_stage={**end.seconds_by_stage, "network": video.network_seconds, "explain": explaining},
            model=self.name,
            message="; ".join(filter(None, (end.partial, end.message, video.remark, self.judge.remark(prob_fake)))),
            alike=alike(prob_fake, self._labelled, prevalence=self.prevalence) if self._labelled else None,
            caveat=self.caveat,
            scored_at=now(),
            file=video.file,
            tracks=tracks,
            thumbnail=video.thumbnail,
            moments=moments,
            boxes=video.boxes_by_number(),
        )

    @property
    def gives_verdicts(self) -> bool:
        """Whether a score comes with a verdict."""
        return not self.no_verdict

    def prob_fake(self, clips: Iterable[FrameArray], seconds: Iterable[Sequence[float]] | None = None) -> list[float]:
        """The calibrated probability of FAKE of each clip (T, S, S, 3); some need the ``seconds`` of its frames."""
        probs: list[float] = []
        waiting = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
        times = None if seconds is None else torch.tensor([*seconds], dtype=torch.float64)
        for part in (slice(first, first + self.batch_size) for first in range(0, len(waiting), self.batch_size)):
            probs += self.prob_fake_batch(torch.stack(waiting[part]), None if times is None else times[part])
        return probs

    def log_odds_batch(self, frames_BTCHW: Tensor, seconds_BT: Tensor | None = None) -> list[float]:
        """The log-odds of FAKE of each clip as the network gives them, without any temperature.

        Of a file without a network, as far as its probabilities tell: within 16 of 0, where they are not yet 0 or 1.
        """
        if self.model is not None:
            with torch.inference_mode():
                logits_BK = self.model(frames_BTCHW.to(self.model.mean.device), seconds_BT).double()
            odds: list[float] = (logits_BK[:, Label.FAKE] - logits_BK[:, Label.REAL]).tolist()
            return odds
        return log_odds(self.prob_fake_batch(frames_BTCHW), temperature=self.card.temperature or 1.0)

    def prob_fake_batch(self, frames_BTCHW: Tensor, seconds_BT: Tensor | None = None) -> list[float]:
        """The probability of FAKE of each clip of a batch, (B, T, C, H, W) uint8."""
        if isinstance(self.runtime, TorchRuntime):
            return self.runtime.prob_fake(frames_BTCHW, seconds_BT)
        return self.runtime.prob_fake(frames_BTCHW)
