"""Copies of public data sets on Kaggle whose folders differ from those of the owners."""

import re
from collections.abc import Mapping
from pathlib import Path

from dfd.base.types import Label
from dfd.data.sources.declared import Facts, Part, list_declared
from dfd.data.sources.listing import Draft, Listing, contents

_TARGET, _PAIR = "(?P<target>[0-9]{3})", "(?P<target>[0-9]{3})_(?P<donor>[0-9]{3})"
_ACTOR, _SCENE = "(?P<target>[0-9]{2})", r"(?P<scene>\w+)"
FFPP_MIXED = (
    Part(rf"real/{_TARGET}\.mp4", "000.mp4", Label.REAL, people=("ffpp:{target}",), key="{target}"),
    Part(rf"fake/{_PAIR}\.mp4", "000_003.mp4", Label.FAKE, people=("ffpp:{target}", "ffpp:{donor}"), key="{target}"),
    Part(
        rf"real/{_ACTOR}__{_SCENE}\.mp4",
        "01__exit_phone_room.mp4",
        Label.REAL,
        people=("dfd:{target}",),
        key="{target}__{scene}",
        dataset="dfd",
    ),
    Part(
        rf"fake/{_ACTOR}_(?P<donor>[0-9]{{2}})__{_SCENE}__[A-Z0-9]+\.mp4",
        "01_02__exit_phone_room__YVGY8LOK.mp4",
        Label.FAKE,
        people=("dfd:{target}", "dfd:{donor}"),
        method="DeepFakeDetection",
        key="{target}__{scene}",
        dataset="dfd",
    ),
)


def is_ffpp_mixed(root: Path) -> bool:
    """Whether ``root`` holds ``real`` and ``fake`` with videos named as in FaceForensics++.

    https://www.kaggle.com/datasets/hungle3401/faceforensics: 200 videos each, of all methods and of DeepFakeDetection.
    """
    folders = {folder.name.lower(): folder for folder in contents(root)[0]}
    if not folders.keys() >= {"real", "fake"}:
        return False
    named = [part.path.split("/") for part in FFPP_MIXED]
    return any(
        re.fullmatch(pattern, path.name, re.IGNORECASE | re.ASCII)
        for folder, pattern in named
        for path in contents(folders[folder])[1]
    )


def list_ffpp_mixed(draft: Draft, official: Mapping[frozenset[str], str] | None) -> Listing:
    """List that copy: the names tell people, but not the method of a fake of FaceForensics++.

    Raises:
        ManifestError: a file occurs twice.
    """

    def facts(_: str, known: Facts) -> Facts:
        people = frozenset(known[role] for role in ("target", "donor") if role in known)
        return known | {"split": (official or {}).get(people, "")}

    return list_declared(
        draft, FFPP_MIXED, dataset="ffpp", passed_over=r"((dataset/)?splits/)?(train|val|test)\.json", facts=facts
    )
