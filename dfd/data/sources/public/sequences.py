"""Sources whose videos are folders of pictures, cropped to the face: ``wilddeepfake`` and ``df40``."""

from pathlib import Path

from dfd.base.types import Label
from dfd.data.sources.declared import Facts, Part, begin, list_declared
from dfd.data.sources.listing import Listing

WILDDEEPFAKE = (
    Part(
        "(?P<kind>(?P<label>real|fake)_(?P<split>train|test))/(?P<shard>[0-9]+)/(real|fake)/.+",
        "0",
        None,
        people=("wilddeepfake:{kind}:{shard}",),
        is_sequence=True,
    ),
)


def wilddeepfake(root: str | Path) -> Listing:
    """List WildDeepfake (Zi et al., 2020) in ``root``, which holds ``real_train``, ``fake_test`` and so on, unpacked.

    Each folder of pictures is a video. The sequences of one archive share a source, as they come from one video or
    person as far as anyone says; people are not named. The owners' split is that of the folder.

    Raises:
        ManifestError: ``root`` is not this data set, or a folder occurs twice.
    """
    draft = begin(root, "wilddeepfake")
    listing = list_declared(draft, WILDDEEPFAKE, dataset="wilddeepfake")
    draft.warn("people are not named, so a person may be on both sides of the split, which makes scores too good")
    return listing


_ROOT = "(?P<half>DF40_train|DF40)/"
_METHOD = r"(?P<method>[\w.-]+)"
_FFPP = r"(?P<target>[0-9]{3})(_(?P<donor>[0-9]{3}))?"
_CELEB = r"(?P<target>id[0-9]+)_(?P<donor>id[0-9]+)_(?P<clip>[0-9]{4})"
_CELEB_DRIVEN = r"(?P<target>id[0-9]+)_(?P<clip>[0-9]{4})(_(?P<donor>id[0-9]+)_[0-9]{4})?"
_YOUTUBE = r"(?:youtube_)?(?P<clip>[0-9]{5})"
_NAMES = {
    "ff": ((_FFPP, ("ffpp:{target}", "ffpp:{donor}")),),
    "cdf": (
        (_CELEB, ("celebdf:{target}", "celebdf:{donor}")),
        (_CELEB_DRIVEN, ("celebdf:{target}", "celebdf:{donor}")),
        (_YOUTUBE, ("celebdf:youtube:{clip}",)),
    ),
}
DF40 = (
    *(
        Part(
            f"{top}{_METHOD}/{folders}{name}" + ("" if is_sequence else r"\.mp4"),
            "000_003" if is_sequence else "000_003.mp4",
            Label.FAKE,
            people=people,
            method="{method}",
            extra={"domain": domain},
            is_sequence=is_sequence,
        )
        for top in (_ROOT, "")
        for domain, names in _NAMES.items()
        for name, people in names
        for folders, is_sequence in (
            (f"{domain}/frames/", True),
            (f"{domain}/", True),
            (f"{domain}/videos/", False),
            (f"{domain}/", False),
            # The training half is of FaceForensics++ alone, and some methods lack the folder that says so.
            *([("frames/", True)] if domain == "ff" else []),
        )
    ),
    *(
        Part(
            f"{top}{_METHOD}/(?P<label>fake|real)/{folders}.+",
            "0001",
            None,
            method="{method}",
            is_sequence=True,
        )
        for top in (_ROOT, "")
        for folders in ("", "frames/")
    ),
)


def df40(root: str | Path) -> Listing:
    """List DF40 (Yan et al., NeurIPS 2024) in ``root``: ``DF40`` (test) and ``DF40_train``, or the methods of one.

    A method's folder holds ``ff`` and ``cdf``, made from FaceForensics++ and Celeb-DF, whose source ids are used, so
    that their real videos may be in the same store: DF40 ships none for these methods. Others hold ``fake`` and
    ``real``. Each folder of pictures is a video; single pictures are left out. The owners' split is ``train`` for
    ``DF40_train`` and ``test`` for ``DF40``, by the name of the folder.

    Raises:
        ManifestError: ``root`` is not this data set, or a folder occurs twice.
    """
    draft = begin(root, "df40")
    own = draft.root.resolve().name

    def facts(_: str, known: Facts) -> Facts:
        half = known.get("half", own).lower()
        return known | {"split": {"df40_train": "train", "df40": "test"}.get(half, "")}

    return list_declared(
        draft, DF40, dataset="df40", passed_over=r"(.*/)?landmarks/", facts=facts, one_label_is_meant=True
    )
