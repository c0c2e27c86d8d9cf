"""Several detectors that score the same videos: decoded and searched for faces once, cropped for each of them."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dfd.base.errors import ConfigError
from dfd.base.types import DetectorScore, TrackScore, Verdict, VideoScore
from dfd.faces.found import FaceWindow, View, WindowsEnd
from dfd.metrics.formulas import combined
from dfd.models.files.card import num_networks, read_card
from dfd.models.files.scope import DISAGREE, common_scope, with_remark
from dfd.models.published.names import members
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.scoring.aggregation import NO_VERDICT, Judge, uncertain_band
from dfd.scoring.detector import Detector
from dfd.scoring.engine import Engine
from dfd.scoring.look.workers import looks_of
from dfd.scoring.video.state import Piece


@dataclass(slots=True)
class _Videos:
    """One video, as each of the detectors sees it."""

    path: Path
    by_detector: list[Any]


class _Several(Engine[_Videos]):
    """Detectors that score the same videos. Face detector, tracking and decoding are those of the first one.

    Each detector has its own crop and clips; detectors with the same crop share it. None has processes of its own.
    """

    def __init__(
        self, detectors: Sequence["Detector | Ensemble"], *, name: str, pool: WorkerPool | None = None
    ) -> None:
        self.detectors = list(detectors)
        self.name = name
        self.title: str = detectors[0].title
        first: Any = self.detectors[0]  # of either kind
        self.face_detector, self.extraction, self.windows = first.face_detector, first.extraction, first.windows
        self.card = first.card
        self.uncertain_margin = first.uncertain_margin
        self.caveat: str = " ".join(dict.fromkeys(detector.caveat for detector in self.detectors if detector.caveat))
        views = [View(detector.extraction.crop, detector.windows) for detector in self.detectors]
        different = list(dict.fromkeys(views))
        self._view = [different.index(view) for view in views]
        super().__init__(
            looks_of([(one.face_detector, one.extraction, one.windows) for one in self.detectors]),
            batch_size=max(detector.batch_size for detector in self.detectors),
            num_workers=first.num_workers,
            deadline_seconds=first.deadline_seconds,
            stall_seconds=first.stall_seconds,
            pool=pool,
        )

    def describe(self) -> dict[str, Any]:
        """What a report says of the detectors, as plain values: the first one's facts, and those of each."""
        described = [detector.describe() for detector in self.detectors]
        facts: dict[str, Any] = {name: getattr(self, name) for name in ("name", "title", "threshold", "caveat")}
        reasons = dict.fromkeys(str(one["no_verdict"]) for one in described if one["no_verdict"])
        facts["no_verdict"] = "" if self.gives_verdicts else "; ".join(reasons)
        facts["uncertain_band"] = list(uncertain_band(self.threshold, self.uncertain_margin))
        return {**described[0], **facts, "detectors": described}

    @property
    @abstractmethod
    def gives_verdicts(self) -> bool:
        """Whether a score comes with a verdict."""

    @property
    @abstractmethod
    def judge(self) -> Judge:
        """Rule by which scores become verdicts."""

    @property
    def threshold(self) -> float:
        """Score from which a video is called fake."""
        return self.judge.threshold

    def begin(self, path: Path) -> _Videos:
        """Begin a video."""
        return _Videos(path, [detector.begin(path) for detector in self.detectors])

    def take(self, video: _Videos, item: Piece) -> None:
        """Hand what was found in a video to the detectors that it is for."""
        view = item.view if isinstance(item, FaceWindow | WindowsEnd) else None
        for number, detector in enumerate(self.detectors):
            if view in (None, self._view[number]):
                detector.take(video.by_detector[number], item)

    def share(self, video: _Videos, looked: float) -> float:
        """Share of the work on a video that is done, 0..1: the mean of the detectors' shares."""
        each = zip(self.detectors, video.by_detector, strict=True)
        return fmean(detector.share(seen, looked) for detector, seen in each)

    def failed(self, video: _Videos, failure: Failure) -> VideoScore:
        """Score of a video that cannot be scored: its status and message."""
        return replace(self.detectors[0].failed(video.by_detector[0], failure), model=self.name)


class Panel(_Several):
    """Scores videos with several detectors at once.

    The combined score is the mean of the log-odds of the detectors that give verdicts, which are the calibrated ones;
    where none is, the first one's score stands, without a verdict. Faces, windows and moments of a score are the first
    detector's; ``detectors`` holds what each of them found.

    Args:
        detectors: what scores; the face detector is that of the first.
        weights: of the detectors in the combined score; None: equal ones.
        pool: processes to take over; see :class:`dfd.scoring.detector.Detector`.

    Raises:
        ConfigError: there is no detector, two are the same, or the weights do not fit.
    """

    def __init__(
        self,
        detectors: Sequence["Detector | Ensemble"],
        *,
        weights: Sequence[float] | None = None,
        pool: WorkerPool | None = None,
    ) -> None:
        names = [detector.name for detector in detectors]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"checkpoint: name each detector once, got {', '.join(names) or 'none'}")
        if weights is not None and (len(weights) != len(names) or min(weights) < 0 or sum(weights) <= 0):
            raise ConfigError(f"votes: give one number of 0 or more for each of the {len(names)} detectors")
        self.weights = list(weights) if weights is not None else [1.0] * len(names)
        super().__init__(detectors, name=" + ".join(names), pool=pool)
        self.title = " + ".join(detector.title for detector in detectors)
        self.parts = names

    def finished(self, video: _Videos) -> VideoScore:
        """Score of a video of which everything was taken."""
        scores = [detector.finished(seen) for detector, seen in zip(self.detectors, video.by_detector, strict=True)]
        each = tuple(
            DetectorScore(
                model=score.model,
                status=score.status,
                prob_fake=score.prob_fake,
                verdict=score.verdict if detector.gives_verdicts else None,
                num_windows=score.num_windows,
                tracks=score.tracks,
                message=score.message,
                alike=score.alike,
            )
            for detector, score in zip(self.detectors, scores, strict=True)
        )
        first = next((score for score in scores if score.status.has_faces), scores[0])
        whole = replace(first, model=self.name, detectors=each, seconds_by_stage=_summed(scores), alike=None)
        if whole.caveat:
            whole = replace(whole, caveat=self.caveat)
        known = [(number, score.prob_fake) for number, score in enumerate(scores) if score.prob_fake is not None]
        voting = [(number, prob) for number, prob in known if self._votes(number)]
        if not voting:
            return whole
        prob_fake = self._combined([prob for _, prob in voting], [number for number, _ in voting])
        judge = self._judge([number for number, _ in voting])
        label, confidence = judge.side(prob_fake)
        calls = {self.detectors[number].judge.call(prob) for number, prob in voting} - {Verdict.UNCERTAIN}
        disagree = DISAGREE if len(calls) > 1 else ""
        # The combined score has a verdict, even if the first detector, whose remarks these are, gives none.
        message = whole.message.partition(NO_VERDICT)[0].removesuffix("; ")
        return replace(
            whole,
            prob_fake=prob_fake,
            verdict=judge.verdict(prob_fake),
            label=label,
            confidence=confidence,
            message="; ".join(part for part in (with_remark(message, judge.remark(prob_fake)), disagree) if part),
        )

    @property
    def gives_verdicts(self) -> bool:
        """Whether a score comes with a verdict: if one of the detectors that vote gives any."""
        return any(map(self._votes, range(len(self.detectors))))

    @property
    def judge(self) -> Judge:
        """Rule of the combined score."""
        return self._judge([number for number in range(len(self.detectors)) if self._votes(number)] or [0])

    def _judge(self, numbers: Sequence[int]) -> Judge:
        """Rule of a score that these detectors make: the thresholds are combined as the scores are."""
        each: list[Judge] = [self.detectors[number].judge for number in numbers]
        scopes = [one.scope for one in each if one.scope is not None]
        threshold = self._combined([one.threshold for one in each], numbers)
        why = "" if self.gives_verdicts else each[0].no_verdict
        return Judge(threshold, self.uncertain_margin, common_scope(scopes) if scopes else None, "a fake", why)

    def _votes(self, number: int) -> bool:
        return self.detectors[number].gives_verdicts and self.weights[number] > 0

    def _combined(self, probs: Sequence[float], numbers: Sequence[int] | None = None) -> float:
        """Mean of the log-odds of ``probs``, which are of the detectors with these numbers, as a probability."""
        weights = self.weights if numbers is None else [self.weights[number] for number in numbers]
        return combined(probs, "log_odds", weights=weights)


class Ensemble(_Several):
    """One detector that is made of several networks: a video's score is made of theirs by the rule of its card.

    It gives a verdict if each of its networks does. Heat maps and moments are the first network's.
    """

    @property
    def gives_verdicts(self) -> bool:
        """Whether a score comes with a verdict: once it was calibrated (``dfd calibrate``)."""
        return all(detector.gives_verdicts for detector in self.detectors)

    @property
    def judge(self) -> Judge:
        """Rule of its networks, whose threshold decides nothing without a calibration."""
        return self.detectors[0].judge

    @property
    def rule(self) -> str:
        """Rule that makes one score of those of the networks; published ensembles take the mean."""
        return str(self.card.scoring.get("combine") or "mean")

    def finished(self, video: _Videos) -> VideoScore:
        """Score of a video of which everything was taken."""
        scores = [detector.finished(seen) for detector, seen in zip(self.detectors, video.by_detector, strict=True)]
        first = next((score for score in scores if not score.status.has_faces), scores[0])
        if not first.status.has_faces:
            return replace(first, model=self.name)
        prob_fake = combined([score.prob_fake for score in scores if score.prob_fake is not None], self.rule)
        tracks = tuple(_one_track(found, self.rule) for found in zip(*(score.tracks for score in scores), strict=True))
        label, confidence = self.judge.side(prob_fake)
        said = self.judge.verdict(prob_fake)
        whole = replace(first, model=self.name, prob_fake=prob_fake, verdict=said, label=label, confidence=confidence)
        seconds = _summed(scores)
        return replace(whole, alike=None, caveat=self.caveat, tracks=tracks, seconds_by_stage=seconds)


def _one_track(found: Sequence[TrackScore], rule: str) -> TrackScore:
    """One track of what several networks make of it."""
    windows = tuple(
        replace(same[0], prob_fake=combined([window.prob_fake for window in same], rule))
        for same in zip(*(track.windows for track in found), strict=True)
    )
    return replace(found[0], prob_fake=combined([track.prob_fake for track in found], rule), windows=windows)


def _summed(scores: Sequence[VideoScore]) -> dict[str, float]:
    """Seconds by stage: shared stages once, those of the networks together."""
    own = ("network", "explain")
    together = {stage: sum(score.seconds_by_stage.get(stage, 0.0) for score in scores) for stage in own}
    return {**scores[0].seconds_by_stage, **together}


def load_panel(
    files: Sequence[Path], *, weights: Sequence[float] | None = None, pool: WorkerPool | None = None, **options: Any
) -> Panel | Ensemble:
    """Load several detectors, or one that is made of several networks.

    Args:
        files: one for each detector; of an ensemble, that of its first network.
        weights: of the detectors in the combined score; None: equal ones.
        pool: processes to take over.
        options: of :meth:`dfd.scoring.detector.Detector.load`, for each of them.

    Raises:
        CheckpointError: a file is missing, damaged, or of another program.
        ConfigError: two detectors are the same, the weights do not fit, or ``stop_early`` is set.
    """
    if options.get("stop_early") is not None:
        raise ConfigError("stop_early settles the verdict of one network; several vote here: set stop_early=null")
    loaded: list[Detector | Ensemble] = []
    for path in files:
        files_of_one = members(path, num_networks(read_card(path)))
        networks: list[Detector] = []
        for one in files_of_one:
            # Only the first network's heat maps are shown.
            drawn = {} if not loaded and not networks else {"heatmaps": False}
            networks.append(Detector.load(one, is_part=len(files_of_one) > 1, **{**options, **drawn}))
        loaded.append(networks[0] if len(networks) == 1 else Ensemble(networks, name=networks[0].name))
    if len(loaded) == 1 and isinstance(loaded[0], Ensemble):
        if pool is not None:
            loaded[0].take_over(pool)
        return loaded[0]
    return Panel(loaded, weights=weights, pool=pool)


def load_any(
    files: Sequence[Path], *, weights: Sequence[float] | None = None, pool: WorkerPool | None = None, **options: Any
) -> Detector | Panel | Ensemble:
    """Load one detector, or several; arguments and errors as for :func:`load_panel`."""
    if len(files) == 1 and num_networks(read_card(files[0])) == 1:
        return Detector.load(files[0], pool=pool, **options)
    return load_panel(files, weights=weights, pool=pool, **options)
