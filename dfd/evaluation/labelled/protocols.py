"""Protocols of published tables: whether an evaluation was of the videos that they are about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.base.words import nearest
from dfd.data.splits.people import SOURCE


@dataclass(frozen=True, slots=True)
class Protocol:
    """Test videos of a data set, as its owners list them.

    Attributes:
        dataset: name of the data set in a manifest.
        num_real: number of real videos.
        fakes: number of fakes of each method; the method ``""`` stands for all fakes together.
        source: publication, and the list that is meant.
    """

    dataset: str
    num_real: int
    fakes: Mapping[str, int]
    source: str


PROTOCOLS = {
    "ffpp": Protocol(
        "ffpp",
        140,
        dict.fromkeys(("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"), 140),
        "Rössler et al. (ICCV 2019), test.json: 70 pairs of videos, each method in both directions",
    ),
    "celebdf": Protocol(
        "celebdf", 178, {"": 340}, "Li et al. (CVPR 2020), Celeb-DF v2, List_of_testing_videos.txt: 518 videos"
    ),
    "dfdc": Protocol("dfdc", 2500, {"": 2500}, "Dolhansky et al. (2020), the labelled test set: 5000 videos"),
}
"""Protocols by the name that ``protocol=`` takes."""


def protocol_named(name: str) -> Protocol:
    """Protocol of a name.

    Raises:
        ConfigError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        close = nearest(name, PROTOCOLS)
        meant = f"did you mean {close}? " if close else ""
        raise ConfigError(f"protocol={name}: {meant}there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def checked_protocol(name: str, table: pd.DataFrame, *, split_mode: str | None) -> tuple[dict[str, Any], list[str]]:
    """Compare the evaluated videos with those of a protocol.

    >>> rows = [("celebdf", 0, "")] * 178 + [("celebdf", 1, "Celeb-synthesis")] * 339
    >>> table = pd.DataFrame(rows, columns=["dataset", "label", "method"]).assign(prob_fake=0.5)
    >>> checked_protocol("celebdf", table, split_mode="official")[1]
    ['protocol celebdf: 339 of 340 fake videos are here; the figures are not those of the protocol']

    Args:
        name: a name of :data:`PROTOCOLS`.
        table: the evaluated videos, with ``dataset``, ``label``, ``method`` and ``prob_fake``.
        split_mode: how the store was divided; None if the videos are no store's.

    Returns:
        Facts for the record, and sentences on what differs; none if these are the protocol's videos.

    Raises:
        ConfigError: there is no such protocol, no video of its data set, or the split is not the owners'.
    """
    protocol = protocol_named(name)
    videos = table[table["dataset"] == protocol.dataset]
    if videos.empty:
        raise ConfigError(
            f"protocol={name}: no video is of the data set {protocol.dataset!r}; there are "
            f"{', '.join(sorted(map(str, table['dataset'].unique())))}"
        )
    if split_mode not in (None, "official"):
        raise ConfigError(
            f"protocol={name}: this store was divided by split={split_mode}, so test is not the owners' list; make a "
            f"store with split=official (dfd preprocess; its default is {SOURCE})"
        )
    fakes = videos[videos["label"] == Label.FAKE]
    counts = [("real", int((videos["label"] == Label.REAL).sum()), protocol.num_real)]
    for method, expected in protocol.fakes.items():
        here = fakes if not method else fakes[fakes["method"] == method]
        counts.append((f"{method} fake".strip(), len(here), expected))
    said = [f"{here} of {expected} {what} videos are here" for what, here, expected in counts if here != expected]
    if "" not in protocol.fakes and (others := sorted(set(fakes["method"]) - set(protocol.fakes))):
        said.append(f"fakes of {', '.join(others)} are no part of it")
    if len(videos) < len(table):
        said.append(f"{len(table) - len(videos)} videos are of other data sets")
    if unscored := int(videos["prob_fake"].isna().sum()):
        said.append(f"{unscored} videos have no score and are left out")
    facts = {"name": name, "source": protocol.source, "is_complete": not said}
    return facts, [f"protocol {name}: {'; '.join(said)}; the figures are not those of the protocol"] if said else []
