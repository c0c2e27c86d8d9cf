"""Whether statistics of a face against its own frame, and over time, tell what a renderer drew.

    python benchmarks/rendering.py STORE --kinds KINDS --work DIR [--blends STORE]

STORE has crops of 192 px with the default margin (dfd preprocess ... crop.size=192), and its videos' records the
column kind. Each clip of 24 consecutive frames is measured as it is and encoded again, by one platform or by two,
whether real or fake. A linear discriminant with shrinkage learns from both, and is tested on a generator, and on people
and sources, that it has not seen: for each generator that is left out, five folds by source hold out the real videos
and the fakes of their sources as well. Generators that share a base model are left out together.

The statistics of a face are compared with those of real video of the same quality: what real clips of that quality have
is subtracted (head.num_conditions of head=lda). The probe is the same procedure on the statistics of the quality alone
(benchmarks/probe.py). A score counts as the share of held-out real videos that it exceeds, so an AUC is the mean over
fakes. Intervals are 95 % bootstrap: generators are drawn, then their fakes; real videos by source.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
import pandas as pd
import torch
from _measure import parser, report, results_folder
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import minimize_scalar

from dfd.base.files import file_sha256
from dfd.base.types import FrameArray, Label, Status
from dfd.commands.export import shareable, write_detector
from dfd.data.augment.recode import recode
from dfd.data.clips.reader import read_frames_of
from dfd.data.splits.people import components
from dfd.data.store.folders import read_records, video_folder
from dfd.data.store.records import VideoRecord
from dfd.models.classifier import build_model
from dfd.models.files.card import DetectorCard
from dfd.models.files.model_card import model_card
from dfd.models.files.scope import KINDS, OfKind, Scope, scope_sentences
from dfd.models.networks.fitted import LdaHead
from dfd.signals.rendering.features import NUM_CONDITIONS, feature_names, rendering_features
from dfd.training.learning.fitting import fit_head

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

TITLE = "A rendering expert: statistics of a face against its own frame"
NUM_FRAMES = 24
SIDE = 128
AS_IS, AGAIN = "as it is", "encoded again"
SHARED_BASE = {"wan_s2v", "humo", "ovi", "infinitetalk", "stableavatar"}
"""Generators that are built on one base model."""
BASE = "five of one base model"
SHRINKAGE = 0.5
FOLDS = 5
SEEDS = 2
"""Divisions into folds, over which shares are averaged."""
RESAMPLES = 1000
ALARMS = 0.05
LICENCE = "CC-BY-NC-4.0"
CAVEAT = (
    "A detector of what a renderer drew as a whole, by the noise, detail and flicker of a face beside the rest of its "
    "own frame. It learned from 147 fakes of 39 generators and 159 real videos, and finds few of the fakes of "
    "generators that it has not seen, of which the following tells. A part of it is the look of the pages that show "
    "generators: against real videos of the fakes' own sources, the AUC of all kinds may be chance, and that of "
    "talking heads is lower."
)
NO_VERDICT = (
    "the rendering expert is too weak for verdicts: it misses most fakes of generators that it has not seen. For "
    "verdicts, adopt a published detector (dfd adopt lists all) or train one, and fit it to videos with known labels "
    "(dfd calibrate)"
)
GROUPS: dict[str, tuple[str, ...]] = {
    "detail and its fall by octave": ("octave_", "fall_"),
    "noise residual": ("flat_noise", "tail", "residual_", "noise_by"),
    "colour": ("detail_of", "colour_to", "red_with"),
    "texture": ("direction", "neighbours_"),
    "aligned changes, persistence of noise": (
        *("persistence", "change", "middle_change", "fine_change", "spread_of", "time_to", "roughness", "still"),
    ),
    "flicker": ("flicker", "sharpness_", "light_together"),
    "motion and lag": ("speed", "moves_", "lag_", "bending", "jerk", "steadiness"),
}
"""Statistics by the beginnings of their names."""


@dataclass(frozen=True)
class Videos:
    """Videos of a store: a row each with label, generator, kind and group of sources."""

    table: pd.DataFrame

    @property
    def is_fake(self) -> Mask:
        return np.asarray(self.table["label"] == Label.FAKE)

    def column(self, name: str) -> NDArray[np.str_]:
        return self.table[name].to_numpy(str)


@dataclass(frozen=True)
class Measured:
    """Statistics of clips (N, D), the last of which may be conditions; the place of each video, and the encoding."""

    values: Floats
    video: NDArray[np.int64]
    variant: NDArray[np.str_]
    num_conditions: int = NUM_CONDITIONS

    def of(self, columns: Sequence[int], *, given_quality: bool = True) -> "Measured":
        """Some of the statistics, and those of the quality as conditions where wanted."""
        number = NUM_CONDITIONS if given_quality else 0
        quality = range(self.values.shape[1] - number, self.values.shape[1])
        return Measured(self.values[:, [*columns, *quality]], self.video, self.variant, number)


def read_videos(store: Path, kinds: Path | None, *, limit: int | None) -> tuple[Videos, list[VideoRecord]]:
    """Videos of a store with a face; of several records of one file, one."""
    kind_of = {}
    if kinds is not None:
        given = pd.read_csv(kinds, dtype=str, keep_default_na=False)
        kind_of = {Path(path).stem: kind for path, kind in zip(given["path"], given["kind"], strict=True)}
    unique: dict[str, VideoRecord] = {}
    for record in sorted(read_records(store), key=lambda record: record.video_id):
        if record.status in (Status.OK, Status.PARTIAL) and record.tracks:
            unique.setdefault(f"{record.sha256}{record.method}", record)
    records = [*unique.values()]
    if limit is not None:
        by_label = [[one for one in records if one.label is label][:: max(1, len(records) // limit)] for label in Label]
        records = [one for some in by_label for one in some]
    group_of = {video: str(number) for number, videos in enumerate(components(records)) for video in videos}
    rows = [
        {
            "video_id": record.video_id,
            "label": record.label,
            "method": record.method,
            "generator": BASE if record.method in SHARED_BASE else record.method,
            "kind": record.extra.get("kind", "") or kind_of.get(Path(record.name).stem, ""),
            "group": group_of[record.video_id],
            "dataset": record.dataset,
        }
        for record in records
    ]
    return Videos(pd.DataFrame(rows)), records


def clips_of(store: Path, record: VideoRecord) -> list[FrameArray]:
    """Two clips of the main face, at a quarter and three quarters; one of a short video."""
    main = next((one for one in record.tracks if one.is_main), record.tracks[0])
    spare = main.num_frames - NUM_FRAMES
    starts = sorted({spare // 4, 3 * spare // 4}) if spare > 0 else [0]
    path = video_folder(store, record) / main.file
    return [read_frames_of(path, range(at, min(at + NUM_FRAMES, main.num_frames)), reader="pyav") for at in starts]


def scaled(frames: FrameArray, side: int) -> FrameArray:
    how = cv2.INTER_AREA if side < frames.shape[1] else cv2.INTER_LINEAR
    return np.stack([np.asarray(cv2.resize(one, (side, side), interpolation=how), np.uint8) for one in frames])


def encoded(frames: FrameArray, side: int, codec: str, crf: int) -> FrameArray:
    pictures = torch.from_numpy(scaled(frames, side)).permute(0, 3, 1, 2)
    return recode(pictures, codec=codec, crf=crf).permute(0, 2, 3, 1).numpy()


def encoded_again(frames: FrameArray, times: int, draw: np.random.Generator) -> FrameArray:
    """A clip after one platform (H.264), or after a second one of a smaller size (H.264 or HEVC)."""
    crf, side = int(draw.integers(20, 31)), int(draw.choice([128, 144, 160, 192]))
    frames = encoded(frames, side, "h264", crf)
    if times == 2:
        side, codec = int(draw.choice([112, 128, 144])), "hevc" if draw.random() < 0.4 else "h264"
        frames = encoded(frames, side, codec, int(draw.integers(22, 31)))
    return frames


def measured(store: Path, records: Sequence[VideoRecord], cache: Path) -> Measured:
    """Statistics of all clips; kept in a folder."""
    cache.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for place, record in enumerate(track(records, description="clips")):
        kept = cache / f"{record.video_id}.json"
        if not kept.is_file():
            rows = []
            clips = clips_of(store, record)
            for number, clip in enumerate(clips):
                draw = np.random.default_rng(10 * place + number)
                variants = {AS_IS: clip}
                for times in (1, 2) if len(clips) == 1 else (number + 1,):
                    variants[f"{AGAIN}, {times}"] = encoded_again(clip, times, draw)
                for name, frames in variants.items():
                    rows.append({"variant": name, "values": rendering_features(frames).tolist()})
            kept.write_text(json.dumps(rows))
        found += [{**row, "video": place} for row in json.loads(kept.read_text())]
    video, variant = np.array([row["video"] for row in found]), np.array([row["variant"] for row in found])
    return Measured(np.array([row["values"] for row in found], np.float64), video, variant)


def fitted(measured: Measured, chosen: Mask, is_fake: Mask, shrinkage: float) -> Callable[[Floats], Floats]:
    """Score of a discriminant that learned from the clips of the chosen videos, in deviations of its real clips."""
    rows = chosen[measured.video]
    values, label = measured.values[rows], is_fake[measured.video[rows]].astype(np.int64)
    head = LdaHead(values.shape[1], shrinkage=shrinkage, num_conditions=measured.num_conditions)
    fit_head(head, values, label)

    def score(asked: Floats) -> Floats:
        logits: Floats = head(torch.from_numpy(asked))[:, 1].numpy()
        return logits

    real = score(values[label == Label.REAL])
    middle, spread = float(real.mean()), float(real.std()) + 1e-9
    return lambda asked: (score(asked) - middle) / spread


def distance(measured: Measured, chosen: Mask, is_fake: Mask, shrinkage: float) -> Callable[[Floats], Floats]:
    """Mahalanobis distance to the real clips of the chosen videos: no fake is learned from."""
    values = measured.values[(chosen & ~is_fake)[measured.video]]
    middle, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    scaled_ND = (values - middle) / spread
    within = (1 - shrinkage) * np.cov(scaled_ND.T) + shrinkage * np.eye(scaled_ND.shape[1])
    inverse = np.linalg.inv(within)

    def score(asked: Floats) -> Floats:
        apart = (asked - middle) / spread
        return np.asarray(np.sqrt(np.einsum("nd,de,ne->n", apart, inverse, apart)))

    real = score(values)
    return lambda asked: (score(asked) - real.mean()) / (real.std() + 1e-9)


class Fit(Protocol):
    def __call__(
        self, measured: Measured, chosen: Mask, is_fake: Mask, shrinkage: float
    ) -> Callable[[Floats], Floats]: ...


def per_video(values: Floats, video: NDArray[np.int64], number: int) -> Floats:
    """Mean over the clips of each video; nan where there is none."""
    counts = np.bincount(video, minlength=number)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(video, values, number) / counts)


@dataclass(frozen=True)
class HeldOut:
    """Scores of videos by detectors that saw neither their generator nor their people and sources.

    Attributes:
        beats: share of divisions in which a fake scores above a real video, both held out, ``(V, V)``.
        scores: mean score of each video; of real ones, over the detectors without each generator.
    """

    beats: Floats
    scores: Floats


def held_out(
    measured: Measured,
    videos: Videos,
    *,
    test: str = AS_IS,
    kinds: Iterable[str] | None = None,
    seeds: int = SEEDS,
    shrinkage: float = SHRINKAGE,
    fit: Fit = fitted,
) -> HeldOut:
    """Score each fake by detectors without its generator, its people and its sources, and each real video likewise.

    Args:
        measured: statistics of clips.
        videos: the videos that they belong to.
        test: beginning of the name of the encodings that are tested; training has all of them.
        kinds: kinds of fakes that are learned from; None: all.
        seeds: divisions into folds.
        shrinkage: of the discriminant.
        fit: what learns.
    """
    is_fake, generator, group = videos.is_fake, videos.column("generator"), videos.column("group")
    number = len(videos.table)
    learnable = ~is_fake | (True if kinds is None else np.isin(videos.column("kind"), [*kinds]))
    asked = np.char.startswith(measured.variant, test)
    beats, totals, counts = np.zeros((number, number)), np.zeros(number), np.zeros(number)
    for seed in range(seeds):
        names = np.unique(group)
        fold_of = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
        fold = np.array([fold_of[name] for name in group])
        for left_out in np.unique(generator[is_fake]):
            here = is_fake & (generator == left_out)
            scores = np.full(number, np.nan)
            for part in range(FOLDS):
                score = fit(measured, (fold != part) & ~here & learnable, is_fake, shrinkage)
                rows = asked & ((fold == part) & (here | ~is_fake))[measured.video]
                if rows.any():
                    found = per_video(score(measured.values[rows]), measured.video[rows], number)
                    scores = np.where(np.isnan(found), scores, found)
            known = ~np.isnan(scores)
            totals[known] += scores[known]
            counts[known] += 1
            own, real = np.flatnonzero(here & known), np.flatnonzero(~is_fake & known)
            above = (scores[own][:, None] > scores[real]) + 0.5 * (scores[own][:, None] == scores[real])
            beats[np.ix_(own, real)] += above / seeds
    return HeldOut(beats, totals / np.maximum(counts, 1))


def auc(beats: Floats, videos: Videos, fakes: Mask, reals: Mask | None = None) -> tuple[float, float, float]:
    """Mean share and its interval: generators are drawn with their fakes, real videos by source."""
    own = np.flatnonzero(fakes & videos.is_fake)
    real = np.flatnonzero(~videos.is_fake if reals is None else reals & ~videos.is_fake)
    shares = beats[np.ix_(own, real)]
    draw = np.random.default_rng(0)
    generators, sources = _places(videos.column("generator")[own]), _places(videos.column("group")[real])
    found = []
    for _ in range(RESAMPLES):
        drawn = [generators[at] for at in draw.integers(0, len(generators), len(generators))]
        rows = np.concatenate([draw.choice(places, len(places)) for places in drawn])
        columns = np.concatenate([sources[at] for at in draw.integers(0, len(sources), len(sources))])
        found.append(shares[np.ix_(rows, columns)].mean())
    low, high = np.percentile(found, [2.5, 97.5])
    return float(shares.mean()), float(low), float(high)


def _places(names: NDArray[np.str_]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(names == name) for name in np.unique(names)]


def shown(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})"


Rows = list[list[str]]


def by_kind(rendering: Measured, videos: Videos, plain: HeldOut, again: HeldOut) -> tuple[Rows, Rows, dict[str, Any]]:
    """Rows of kinds and of generators: AUC as they are and encoded again, and that of the probe; rows of origins."""
    last = rendering.values.shape[1]
    evidence = rendering.of(range(last - NUM_CONDITIONS), given_quality=False)
    quality = rendering.of(range(last - NUM_CONDITIONS, last), given_quality=False)
    probed, alone = held_out(quality, videos), held_out(evidence, videos, seeds=1)
    nearest = held_out(evidence, videos, fit=distance, seeds=1)
    kind, generator = videos.column("kind"), videos.column("generator")
    named = [("all", videos.is_fake)]
    named += [(name, kind == name) for name in np.unique(kind[videos.is_fake])]
    named += [(name, generator == name) for name in np.unique(generator[videos.is_fake])]
    rows, values = [], {}
    for name, chosen in named:
        ways = {AS_IS: plain, AGAIN: again, "probe": probed, "quality not considered": alone, "distance": nearest}
        found = {way: auc(held.beats, videos, chosen) for way, held in ways.items()}
        fakes = chosen & videos.is_fake
        count = {"fakes": int(fakes.sum()), "generators": len(np.unique(generator[fakes]))}
        values[name] = {**count, **found}
        rows.append([name, *(str(value) for value in count.values()), *(shown(one) for one in found.values())])
    values["false alarms"] = false_alarms(plain, again, videos)
    of_origins, values["origins"] = against_origins(plain, probed, videos)
    return rows, of_origins, values


def false_alarms(plain: HeldOut, again: HeldOut, videos: Videos) -> dict[str, float]:
    """Shares of videos above the score that 5 % of the real videos that were encoded again reach."""
    real = ~videos.is_fake
    threshold = float(np.quantile(again.scores[real], 1 - ALARMS, method="higher"))
    shares = {"threshold": threshold}
    for name, held in (("as it is", plain), ("encoded again", again)):
        shares[f"real, {name}"] = float((held.scores[real] >= threshold).mean())
        shares[f"fake, {name}"] = float((held.scores[videos.is_fake] >= threshold).mean())
    return shares


def origins(videos: Videos) -> dict[str, Mask]:
    """Real videos that share a source with a fake, and the others."""
    group, is_fake = videos.column("group"), videos.is_fake
    own = np.isin(group, group[is_fake]) & ~is_fake
    return {"of the fakes' sources": own, "of other people": ~own & ~is_fake}


def against_origins(plain: HeldOut, probed: HeldOut, videos: Videos) -> tuple[Rows, dict[str, Any]]:
    """Rows of kinds: AUC, and that of the probe, against real videos of the fakes' sources and of other people."""
    kind = videos.column("kind")
    named = {"all": videos.is_fake, **{str(name): kind == name for name in np.unique(kind[videos.is_fake])}}
    rows, values = [], {}
    for name, fakes in named.items():
        found = {
            f"{way}, {origin}": auc(held.beats, videos, fakes, chosen)
            for origin, chosen in origins(videos).items()
            for way, held in (("statistics", plain), ("probe", probed))
        }
        values[name] = found
        rows.append([name, *(shown(one) for one in found.values())])
    values["real"] = {origin: int(chosen.sum()) for origin, chosen in origins(videos).items()}
    return rows, values


def without_groups(rendering: Measured, videos: Videos) -> tuple[Rows, dict[str, Any]]:
    """AUC of each group of statistics alone, and of all the others."""
    names = feature_names()[:-NUM_CONDITIONS]
    rows, values = [], {}
    for group, beginnings in GROUPS.items():
        own = [place for place, name in enumerate(names) if name.startswith(beginnings)]
        others = [place for place in range(len(names)) if place not in set(own)]
        found = [
            auc(held_out(rendering.of(some), videos, seeds=1).beats, videos, videos.is_fake) for some in (own, others)
        ]
        values[group] = {"statistics": len(own), "alone": found[0], "without": found[1]}
        rows.append([group, str(len(own)), *(shown(one) for one in found)])
    return rows, values


def across_kinds(rendering: Measured, videos: Videos) -> tuple[Rows, dict[str, Any]]:
    """AUC of each kind for a detector that learned from one kind alone."""
    kind = videos.column("kind")
    kinds = [str(name) for name in np.unique(kind[videos.is_fake])]
    rows, values = [], {}
    for trained in kinds:
        beats = held_out(rendering, videos, kinds=[trained], seeds=1).beats
        found = {tested: auc(beats, videos, kind == tested) for tested in kinds}
        values[trained] = found
        rows.append([trained, *(shown(one) for one in found.values())])
    return rows, values


def across_families(rendering: Measured, videos: Videos) -> tuple[Rows, dict[str, Any]]:
    """AUC of each family of pseudo-fakes for a detector that learned from one of them alone."""
    method = videos.column("method")
    families = [str(name) for name in np.unique(method[videos.is_fake])]
    number, rows, values = len(videos.table), [], {}
    is_fake, group = videos.is_fake, videos.column("group")
    names = np.unique(group)
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    fold = np.array([fold_of[name] for name in group])
    for trained in families:
        scores = np.full(number, np.nan)
        for part in range(FOLDS):
            score = fitted(rendering, (fold != part) & (~is_fake | (method == trained)), is_fake, SHRINKAGE)
            clips = (fold == part)[rendering.video] & np.char.startswith(rendering.variant, AS_IS)
            found = per_video(score(rendering.values[clips]), rendering.video[clips], number)
            scores = np.where(np.isnan(found), scores, found)
        beats = (scores[:, None] > scores).astype(float)
        own = {
            tested: auc(beats, Videos(videos.table.assign(generator=videos.table["group"])), method == tested)
            for tested in families
        }
        values[trained] = own
        rows.append([trained, *(shown(one) for one in own.values())])
    return rows, values


def scope_of(plain: HeldOut, videos: Videos, limit: float, threshold: float) -> Scope:
    """Scope on what a detector had not seen: generators, people and sources."""
    kind, is_fake = videos.column("kind"), videos.is_fake
    kinds = {}
    for name in KINDS:
        if (fakes := is_fake & (kind == name)).any():
            value, low, high = auc(plain.beats, videos, fakes)
            found = float((plain.scores[fakes] >= limit).mean())
            kinds[name] = OfKind(
                round(value, 2), (round(low, 2), round(high, 2)), int(fakes.sum()), int((~is_fake).sum()), found
            )
    alarms = float((plain.scores[~is_fake] >= limit).mean())
    data = {"videos": "those of its training, each by a detector without its generator, people and sources"}
    return Scope(kinds, alarms, threshold, data)


def export(
    path: Path, rendering: Measured, videos: Videos, records: Sequence[VideoRecord], plain: HeldOut, again: HeldOut
) -> None:
    """Write the detector that learned from all videos; calibration and scope are by those without each generator."""
    head = {"shrinkage": SHRINKAGE, "num_conditions": NUM_CONDITIONS}
    parts = {"backbone": {}, "temporal": {}, "head": head}
    functions = {"backbone": "backbones.rendering", "temporal": "temporal.mean", "head": "heads.lda"}
    model = build_model({part: {"_target_": f"dfd.models.{functions[part]}", **parts[part]} for part in parts})
    plane = cast(LdaHead, model.classify)
    label = videos.is_fake.astype(np.int64)
    fit_head(plane, rendering.values, label[rendering.video])
    odds = plane(torch.from_numpy(rendering.values))[:, 1].numpy()
    real = odds[label[rendering.video] == Label.REAL]
    # Scores of unseen videos, on the scale of this plane.
    unseen = real.mean() + real.std() * plain.scores
    sign = 1 - 2 * label
    temperature = float(
        minimize_scalar(lambda by: np.logaddexp(0, sign * unseen / by).mean(), bounds=(0.05, 20), method="bounded").x
    )
    limit = false_alarms(plain, again, videos)["threshold"]
    threshold = float(1 / (1 + np.exp(-(real.mean() + real.std() * limit) / temperature)))
    scope = scope_of(plain, videos, limit, threshold)
    first, counts = records[0], Counter(record.label for record in records)
    train = {
        "num_videos": len(records),
        "labels": {str(label): counts[label] for label in Label},
        "datasets": dict(Counter(record.dataset for record in records)),
        "methods": dict(Counter(record.method for record in records if record.method)),
    }
    card = DetectorCard(
        model=model.config,
        image_size=first.settings["faces"]["crop_size"],
        clip_len=NUM_FRAMES,
        crop={"extraction": first.settings["faces"], "face_detector": first.settings["face_detector"]},
        data={"splits": {"train": train}},
        temperature=temperature,
        threshold=threshold,
        calibration={
            "split": "left out",
            "num_real": counts[Label.REAL],
            "num_fake": counts[Label.FAKE],
            "note": "on scores by detectors without each video's generator, people and sources; the threshold is that "
            "which 5 % of the real videos reach after they were encoded again",
        },
        scope=scope.to_dict(),
        caveat=f"{CAVEAT} {scope_sentences(scope)}",
        no_verdict=NO_VERDICT,
    )
    write_detector(model, shareable(card), path, "safetensors")
    text = model_card(shareable(card), file=path.name, sha256=file_sha256(path), licence=LICENCE)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(f"{path.name} ({path.stat().st_size / 1e3:.0f} kB): {card.caveat}")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """The command."""
    options = parser(__doc__)
    options.add_argument("store", type=Path)
    options.add_argument("--kinds", type=Path, help="CSV with path and kind, where the store's records do not say it")
    options.add_argument("--blends", type=Path, help="store that dfd blend wrote from real videos alone")
    options.add_argument("--export", type=Path, help="write the detector that learned from all of them, and no table")
    options.add_argument("--work", type=Path, required=True, help="folder that keeps what was measured")
    arguments: argparse.Namespace = options.parse_args()
    torch.set_num_threads(arguments.threads)
    videos, records = read_videos(arguments.store, arguments.kinds, limit=40 if arguments.quick else None)
    rendering = measured(arguments.store, records, arguments.work / "clips")
    plain, again = held_out(rendering, videos), held_out(rendering, videos, test=AGAIN)
    if arguments.export:
        export(arguments.export, rendering, videos, records, plain, again)
        return
    kinds, of_origins, values = by_kind(rendering, videos, plain, again)
    groups, values["groups"] = without_groups(rendering, videos)
    across, values["across kinds"] = across_kinds(rendering, videos)
    names = [row[0] for row in across]
    ways = [f"{way}, real videos {origin}" for origin in origins(videos) for way in ("statistics", "probe")]
    parts = {
        "Against real videos of the fakes' sources, and of other people": (["", *ways], of_origins),
        "Groups of statistics, all kinds": (["group", "statistics", "alone", "all others"], groups),
        "Trained on one kind (rows), tested on another": (["trained on", *names], across),
    }
    if arguments.blends:
        made, of_them = read_videos(arguments.blends, None, limit=40 if arguments.quick else None)
        statistics_of_blends = measured(arguments.blends, of_them, arguments.work / "blends")
        families, values["across families"] = across_families(statistics_of_blends, made)
        columns = ["trained on", *(row[0] for row in families)]
        how = f"people apart ({int((~made.is_fake).sum())} real videos, a fake of each family)"
        parts[f"Families of pseudo-fakes: trained on one (rows), tested on another, {how}"] = (columns, families)
    ways = [AS_IS, AGAIN, "probe", "quality not considered", "distance to real video"]
    columns = ["", "fakes", "generators", *ways]
    alarms = {name: f"{value:.3f}" for name, value in values["false alarms"].items()}
    real = int((~videos.is_fake).sum())
    said = {"real videos": real, "at 5 % false alarms on real videos encoded again": alarms}
    report(arguments, "rendering", TITLE, columns, kinds, values, **said)
    more = "\n\n".join(table(title, *part) for title, part in parts.items())
    print(more)
    if (folder := results_folder(arguments)) is not None:
        with (folder / "rendering.md").open("a", encoding="utf-8") as file:
            file.write(f"\n{more}\n")


if __name__ == "__main__":
    main()
