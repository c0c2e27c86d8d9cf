"""Measurement of a detector's scope: how well it tells each kind of fake from real videos that did not train it."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dfd.base.errors import ConfigError, StoreError
from dfd.base.files import file_sha256
from dfd.base.types import Label
from dfd.data.copies.compare import Seen, find_copies
from dfd.data.splits.people import SPLITS
from dfd.data.store.folders import read_records
from dfd.data.store.records import INDEX_NAME, VideoRecord
from dfd.data.store.tables import read_index
from dfd.metrics.videos import bootstrap_intervals, video_metrics
from dfd.models.files.card import DetectorCard
from dfd.models.files.scope import KINDS, MIN_FAKES, OfKind, Scope, in_words

COLUMN = "kind"
"""Column of a manifest that names the kind of a fake; a store keeps it in the records of its videos."""
USED_IN_TRAINING = SPLITS[:2]
"""Splits that made a detector: one trained it, the other chose its epoch and threshold."""

logger = logging.getLogger(__name__)


def measured_scope(table: pd.DataFrame, *, threshold: float, data: Mapping[str, Any]) -> Scope:
    """Scope that a table of scored videos shows.

    Args:
        table: a row per video with ``prob_fake``, ``label`` (0 or 1) and ``kind``; without a score (nan), or fake and
            of no kind in ``KINDS``, a video counts for nothing.
        threshold: probability from which a video is called fake.
        data: on which videos, for the card.

    Raises:
        StoreError: when there are no real videos, or no fakes of a known kind.
    """
    scored = table[table["prob_fake"].notna()]
    real = scored[scored["label"] == Label.REAL]
    fake = scored[(scored["label"] == Label.FAKE) & scored[COLUMN].isin([*KINDS])]
    if real.empty or fake.empty:
        counts = f"{len(real)} real videos and {len(fake)} fakes of a known kind"
        raise StoreError(
            f"the scope needs real videos and fakes with a score, and there are {counts}; the manifest's column "
            f"{COLUMN!r} names the kind of each fake: {', '.join(KINDS)}"
        )
    kinds = {}
    for kind in KINDS:
        both = pd.concat([real, fake[fake[COLUMN] == kind]])
        if len(both) == len(real):
            continue
        found = video_metrics(both["prob_fake"], both["label"], threshold=threshold)
        interval = bootstrap_intervals(both["prob_fake"], both["label"], ["auc"])["auc"]
        auc, share = found["auc"], found["recall"]
        if auc is None or interval is None or share is None:
            continue
        kinds[kind] = OfKind(auc, interval, len(both) - len(real), len(real), share)
    alarms = float((real["prob_fake"] >= threshold).mean())
    return Scope(kinds, alarms, threshold, data)


def with_kinds(table: pd.DataFrame, store: Path) -> pd.DataFrame:
    """Table of scored videos with the column ``kind``, from the records of their store; empty where it is not known.

    Warns of fakes of another kind, which no scope has.
    """
    kinds = {record.video_id: record.extra.get(COLUMN, "").strip() for record in read_records(store)}
    table = table.assign(**{COLUMN: table["video_id"].map(kinds).fillna("")})
    fakes = table.loc[table["label"] == Label.FAKE, COLUMN]
    others = Counter(kind or "(none)" for kind in fakes if kind not in KINDS)
    if others:
        listed = ", ".join(f"{number} of {kind}" for kind, number in sorted(others.items()))
        logger.warning("fakes of kinds that a scope does not have are left out: %s", listed)
    return table


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """Scored videos that did not make a detector: the rows that are left, and how these were told to be foreign."""

    table: pd.DataFrame
    num_left_out: int
    checked: str


def foreign_videos(table: pd.DataFrame, store: Path, split: str, card: DetectorCard, trained_on: str | None) -> Foreign:
    """Leave out the videos of a scored table that made the detector: by person or source, by file, and by content.

    Args:
        table: scored videos of ``store``.
        store: the store that was evaluated.
        split: split of it that was evaluated.
        card: of the detector.
        trained_on: folder of the store that the detector was trained on; None: the one that its card names.

    Raises:
        ConfigError: when the split made the detector, or the store of its training is needed and not there.
    """
    trained = card.data.get("index_sha256")
    if trained is None:
        return Foreign(table, 0, "not checked: the card does not say which videos it was trained on")
    if trained == file_sha256(store / INDEX_NAME):
        if split in USED_IN_TRAINING:
            raise ConfigError(
                f"split={split}: these videos trained the detector or chose its epoch; take split=test or another store"
            )
        return Foreign(table, 0, "the test split of the store of the training, which shares no person, source or copy")
    folder = Path(trained_on or str(card.data.get("store", ""))).expanduser()
    if not (folder / INDEX_NAME).is_file() or file_sha256(folder / INDEX_NAME) != trained:
        state = "is not the store that the detector was trained on" if trained_on else "is not there, or was changed"
        raise ConfigError(
            f"{folder or 'the store of the training'} {state}, so videos that trained the detector would not be "
            "noticed; name that store: trained_on=DIR"
        )
    index = read_index(folder)
    used = set(index.loc[index["split"].isin(USED_IN_TRAINING), "video_id"])
    known = shared_videos(read_records(store), [one for one in read_records(folder) if one.video_id in used])
    kept = table[~table["video_id"].isin(known)]
    return Foreign(kept, len(table) - len(kept), "no person, source or copy of the training's store")


def shared_videos(here: list[VideoRecord], there: list[VideoRecord]) -> set[str]:
    """Ids of the videos of one store that share a source id, a file or its content with a video of another."""
    sources = {source for record in there for source in record.source_ids}
    shared = {record.video_id for record in here if sources.intersection(record.source_ids)}
    # Ids of two stores may be equal, so they are marked.
    seen = [
        Seen(f"{side}{record.video_id}", record.sha256, record.fingerprint)
        for side, records in (("0", here), ("1", there))
        for record in records
        if record.fingerprint is not None and record.sha256
    ]
    for copy in find_copies(seen):
        pair = sorted((copy.video_id, copy.copy_id))
        if pair[0][0] != pair[1][0]:
            shared.add(pair[0][1:])
    return shared


def scope_lines(scope: Scope) -> list[str]:
    """Lines of text on a scope, for the terminal."""
    lines = []
    for name, one in scope.kinds.items():
        low, high = one.interval
        few = "" if min(one.num_fake, one.num_real) >= MIN_FAKES else f", fewer than {MIN_FAKES} of a label"
        shown = "shown" if one.is_shown else "not shown"
        found = "–" if one.found is None else f"{one.found:.0%}"
        counts = f"{one.num_fake} fake, {one.num_real} real{few}"
        lines.append(f"{KINDS[name]}: AUC {one.auc:.3f} [{low:.3f}, {high:.3f}], {found} found; {counts}: {shown}")
    if scope.unmeasured:
        lines.append(f"not measured: {in_words(scope.unmeasured)}")
    if scope.false_alarms is not None:
        lines.append(f"false alarms: {scope.false_alarms:.0%} of the real videos")
    lines.append("a low score is told as no sign found" if scope.may_say_real else "it never calls a video real")
    return lines
