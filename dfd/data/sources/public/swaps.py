"""Sources of face swaps and reenactments: ``dfdcp``, ``deeperforensics``, ``ffiw`` and ``kodf``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources.declared import Facts, Part, begin, list_declared, read_names
from dfd.data.sources.listing import NUM_EXAMPLES, Draft, Listing, read_json
from dfd.data.splits.people import SPLITS

DFDCP_LIST = "dataset.json"
DFDCP = (
    Part(
        r"original_videos/(?P<target>[0-9]+)/(?P<clip>(?P<person>[0-9]+)_\w+)\.mp4",
        "643049_A_001.mp4",
        Label.REAL,
        people=("dfdcp:{person}",),
        key="{clip}",
    ),
    # A fake is named after the person whose face was put in, followed by the name of the video that was altered.
    Part(
        r"(?P<method>method_[AB])/[0-9]+/\w+/(?P<donor>[0-9]+)_(?P<clip>(?P<person>[0-9]+)_\w+)\.mp4",
        "1255229_1260311_C_001.mp4",
        Label.FAKE,
        people=("dfdcp:{person}", "dfdcp:{donor}"),
        method="{method}",
        key="{clip}",
    ),
)


def dfdcp(root: str | Path) -> Listing:
    """List the preview of DFDC (Dolhansky et al., 2019) in ``root``, which holds ``dataset.json``.

    Both people of a fake are in its name. The owners' split, ``train`` or ``test``, is the ``set`` of
    ``dataset.json``; without that file there is none.

    Raises:
        ManifestError: ``root`` is not this data set, ``dataset.json`` is damaged or contradicts a folder, or a file
            occurs twice.
    """
    draft = begin(root, "dfdcp")
    sets = _dfdcp_sets(draft)
    listed = {name.lower(): split for name, split in sets.items()}

    def facts(name: str, known: Facts) -> Facts:
        return known | {"split": listed.get(name.lower(), "")}

    return list_declared(draft, DFDCP, dataset="dfdcp", passed_over=r"dataset\.json", facts=facts, expected=sets)


def _dfdcp_sets(draft: Draft) -> dict[str, str]:
    """Split of each video by its name; problems of the file are recorded."""
    path = draft.root / DFDCP_LIST
    if not path.is_file():
        draft.warn(f"{DFDCP_LIST} is missing, so its official split is not known; it comes with the data set")
        return {}
    value = read_json(path)
    form = '{"method_A/.../name.mp4": {"label": "real" or "fake", "set": "train" or "test"}, ...}'
    wrong = [each for each in value.items() if not _is_dfdcp_entry(*each)] if isinstance(value, dict) else [value]
    if wrong or not value:
        raise ManifestError(path, [f"these entries are not of the form {form}:", *map(repr, wrong[:NUM_EXAMPLES])])
    for name, entry in value.items():
        if (entry["label"].lower() == "real") != name.startswith("original_videos/"):
            draft.problems.append(f"{DFDCP_LIST}: {name} is {entry['label']}, which contradicts its folder")
    return {name: entry["set"] for name, entry in value.items()}


def _is_dfdcp_entry(name: str, entry: Any) -> bool:
    return (
        isinstance(entry, dict) and str(entry.get("label")).lower() in ("real", "fake") and entry.get("set") in SPLITS
    )


DEEPERFORENSICS = Part(
    r"manipulated_videos/(?P<method>\w+)/(?P<file>(?P<target>[0-9]{3})_(?P<actor>[MW][0-9]+)\.mp4)",
    "000_M101.mp4",
    Label.FAKE,
    people=("ffpp:{target}", "deeperforensics:{actor}"),
    method="{method}",
)
DEEPERFORENSICS_ACTORS = tuple(
    Part(f"source_videos/(?P<actor>[MW][0-9]+){folders}/.+\\.mp4", "M101_light_down_angry_camera_front.mp4", Label.REAL)
    for folders in ("", "/.+", "/.+/.+", "/.+/.+/.+")
)


def deeperforensics(root: str | Path, *, variants: Sequence[str] | None = None, actors: bool = False) -> Listing:
    """List DeeperForensics-1.0 (Jiang et al., CVPR 2020) in ``root``, which holds ``manipulated_videos``.

    A fake is named after a video of FaceForensics++, which was altered, and the actor whose face was put in. The real
    videos to train with are those of FaceForensics++, so its source ids are those of ``source=ffpp``, and both may be
    in one store. The owners' split comes from ``lists/splits``; the method is the variant's folder.

    Args:
        root: the data set's folder.
        variants: folders of ``manipulated_videos`` to take, such as ``[end_to_end]``; None takes all.
        actors: also take the actors' own videos as real, which the owners advise against.

    Raises:
        ManifestError: ``root`` is not this data set, a variant is missing, a video is in two of the owners' lists, or a
            file occurs twice.
    """
    draft = begin(root, "deeperforensics")
    wanted = None if variants is None else {variants} if isinstance(variants, str) else set(variants)
    for variant in sorted(wanted or ()):
        if not (draft.root / "manipulated_videos" / variant).is_dir():
            draft.problems.append(f"manipulated_videos/{variant} was requested but is missing")
    splits: dict[str, str] = {}
    for split in SPLITS:
        for line in read_names(draft.root / "lists" / "splits" / f"{split}.txt"):
            name = Path(line.replace("\\", "/")).stem.lower()
            if splits.setdefault(name, split) != split:
                draft.problems.append(f"lists/splits: {line} is in {splits[name]}.txt and in {split}.txt")
    if not splits:
        draft.warn("lists/splits is missing, so its official split is not known; it comes with the data set")
    parts = [DEEPERFORENSICS]
    if actors:
        # An actor's own videos are on the side of the fakes made of them.
        parts += [Part(p.path, p.example, p.label, people=("deeperforensics:{actor}",)) for p in DEEPERFORENSICS_ACTORS]

    def facts(name: str, known: Facts) -> Facts | str:
        if wanted is not None and known.get("method", "") not in wanted | {""}:
            return "not one of source.variants"
        return known | {"split": splits.get(Path(name).stem.lower(), "")}

    over = r"lists/|terms_of_use\.pdf|unzip\.sh" + ("" if actors else "|source_videos/")
    return list_declared(
        draft, parts, dataset="deeperforensics", passed_over=over, facts=facts, one_label_is_meant=not actors
    )


def _ffiw(folder: str, label: Label) -> Part:
    path = rf"{folder}/(?P<split>train|val|test)/(?P<clip>[\w-]+)\.mp4"
    return Part(path, "00000000.mp4", label, people=("ffiw:{split}:{clip}",))


FFIW = (_ffiw("source", Label.REAL), _ffiw("target", Label.FAKE))


def ffiw(root: str | Path) -> Listing:
    """List FFIW-10K (Zhou et al., CVPR 2021) in ``root``: real videos in ``source``, fakes in ``target``.

    The folders below them are the owners' split. Videos of one name are one source, since nothing else says who is in
    them. Of several faces in a video often only one is fake.

    Raises:
        ManifestError: ``root`` is not this data set, or a file occurs twice.
    """
    return list_declared(begin(root, "ffiw"), FFIW, dataset="ffiw", passed_over=r"target_mask/")


KODF_CODES = {"1": "dfl", "2": "dffs", "3": "fsgan", "4": "fo", "5": "audio-driven"}
"""Method by the number in the name of a fake, where the folder does not say it."""
_KODF_FAKE = r"(?P<target>[0-9a-z]+)_(?P<donor>[0-9a-z]+)_(?P<code>[0-9])_(?P<number>[0-9]+)\.mp4"
KODF = (
    *(
        Part(
            rf"original_videos/{folder}(?P<target>[0-9a-z]+)_[0-9]+\.mp4",
            "105028_001.mp4",
            Label.REAL,
            people=("kodf:{target}",),
        )
        for folder in ("", "[0-9a-z]+/")
    ),
    *(
        Part(
            rf"synthesized_videos/(?P<method>[\w-]+){folders}/{_KODF_FAKE}",
            "105028_105042_1_0001.mp4",
            Label.FAKE,
            people=("kodf:{target}", "kodf:{donor}"),
            method="{method}",
        )
        for folders in ("", "/[0-9a-z]+", "/[0-9]+/[0-9a-z]+")
    ),
    Part(
        rf"synthesized_videos/{_KODF_FAKE}",
        "105028_105042_1_0001.mp4",
        Label.FAKE,
        people=("kodf:{target}", "kodf:{donor}"),
        method="{by_code}",
    ),
)


def kodf(root: str | Path) -> Listing:
    """List KoDF (Kwon et al., ICCV 2021) in ``root``: ``original_videos`` and ``synthesized_videos``.

    A fake is named after the person who is shown and the one who lends the face or the motion; the folder is the
    method. There is no official split, and nothing says which video of a person was altered.

    Raises:
        ManifestError: ``root`` is not this data set, or a file occurs twice.
    """

    def facts(_: str, known: Facts) -> Facts:
        return known | {"by_code": KODF_CODES.get(known.get("code", ""), "")}

    return list_declared(begin(root, "kodf"), KODF, dataset="kodf", passed_over=r"\w*meta\w*(\.csv|/)", facts=facts)
