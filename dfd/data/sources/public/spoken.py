"""Sources of talking faces whose sound may be fake, too: ``fakeavceleb``, ``avdeepfake1m`` and ``deepspeak``."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources.declared import Facts, Part, begin, list_declared, read_rows
from dfd.data.sources.listing import NUM_EXAMPLES, Listing, read_json

VOXCELEB = ("voxceleb2:{person}", "voxceleb2:{donor}", "voxceleb2:{second}")
FAKEAVCELEB_TABLE = "meta_data.csv"
_PERSON = r"(?P<race>[\w() -]+)/(?P<sex>men|women)/(?P<person>id[0-9]+)"
_FAKEAVCELEB: dict[str, Any] = {
    "people": VOXCELEB,
    "method": "{method}",
    "key": "{race}/{sex}/{person}/{clip}",
    "extra": {"race": "{race}", "sex": "{sex}"},
}
FAKEAVCELEB = (
    Part(rf"RealVideo-RealAudio/{_PERSON}/(?P<clip>[0-9]+)\.mp4", "00109.mp4", Label.REAL, **_FAKEAVCELEB),
    Part(
        rf"FakeVideo-(Real|Fake)Audio/{_PERSON}/(?P<clip>[0-9]+)(_(?P<rest>[\w.-]+))?\.mp4",
        "00109_id00166_wavtolip.mp4",
        Label.FAKE,
        **_FAKEAVCELEB,
    ),
    Part(
        rf"RealVideo-FakeAudio/{_PERSON}/(?P<clip>[0-9]+)(_[\w.-]+)?\.mp4",
        "00109_fake.mp4",
        Label.FAKE,
        audio_only=True,
    ),
)


def fakeavceleb(root: str | Path) -> Listing:
    """List FakeAVCeleb (Khalid et al., 2021) in ``root``, which holds ``RealVideo-RealAudio`` and the like.

    ``RealVideo-FakeAudio`` is left out: its picture is that of the real video. The people are named as in VoxCeleb2,
    from which the videos come, so that nobody is on two sides with another data set made of it. The person in the
    video is that of the folder; the face's donors and the method are in ``meta_data.csv``, and as far as possible in
    the file name. ``extra`` has ``race`` and ``sex``. There is no official split.

    Raises:
        ManifestError: ``root`` is not this data set, ``meta_data.csv`` is damaged, or a file occurs twice.
    """
    draft = begin(root, "fakeavceleb")
    rows = read_rows(draft.root / FAKEAVCELEB_TABLE, "source", "target1", "target2", "method", "type", "path")
    if not rows:
        draft.warn(f"{FAKEAVCELEB_TABLE} is missing, so methods and donors are known from file names only")
    table = {(row["type"].lower(), row["source"], row["path"].lower()): row for row in rows}

    def facts(name: str, known: Facts) -> Facts:
        path = PurePosixPath(name)
        row = table.get((path.parts[0].lower(), known["person"], path.name.lower()), {})
        rest = known.get("rest", "")
        people = [row.get("target1", ""), row.get("target2", ""), *re.findall("id[0-9]{5}", rest)]
        donors = [each for each in dict.fromkeys(people) if each.startswith("id") and each != known["person"]]
        said = re.findall("faceswap|fsgan|wavtolip|wav2lip", rest.lower())
        more = {"method": row.get("method", "") or "-".join(said)}
        return known | more | dict(zip(("donor", "second"), donors, strict=False))

    return list_declared(draft, FAKEAVCELEB, dataset="fakeavceleb", passed_over=r"meta_data\.csv", facts=facts)


_SPLIT = "(?P<split>train|val)"
_AV: dict[str, Any] = {
    "label": None,
    "method": "{method}",
    "key": "{split}/{original}",
    "extra": {"fake_segments": "{fake_segments}", "modify_type": "{modify_type}"},
}
AVDEEPFAKE1M = (
    # The plus-plus release has a folder for each corpus that it is made of, the first release only VoxCeleb2.
    *(
        Part(
            rf"{_SPLIT}/{corpus}(?P<person>id[0-9]+)/.+/.+/.+\.mp4", "fake_video_fake_audio.mp4", people=VOXCELEB, **_AV
        )
        for corpus in ("", "vox_celeb_2/")
    ),
    Part(rf"{_SPLIT}/lrs3/(?P<person>.+)/.+/.+\.mp4", "real.mp4", people=("lrs3:{person}",), **_AV),
    Part(
        rf"{_SPLIT}/silent_videos/(?P<person>subject_[0-9]+).*/.+\.mp4",
        "real.mp4",
        people=("avdeepfake1m:{person}",),
        **_AV,
    ),
)


def avdeepfake1m(root: str | Path) -> Listing:
    """List AV-Deepfake1M (Cai et al., 2024) or AV-Deepfake1M++ (2025) in ``root``.

    ``root`` holds ``train`` and ``val`` with ``train_metadata.json`` and ``val_metadata.json``, which say what was
    altered, and when: ``extra["fake_segments"]``, in seconds, of the picture where the entry tells it apart. Videos of
    which only the sound was altered are left out. The labels of ``test`` are not published, so it is not read.
    People are named after the corpus that a video comes from; those of LRS3 are known only by the talk.

    Raises:
        ManifestError: ``root`` is not this data set, its metadata is missing or damaged, or a file occurs twice.
    """
    draft = begin(root, "avdeepfake1m")
    listed: dict[str, Mapping[str, Any]] = {}
    for split in ("train", "val"):
        path = draft.root / f"{split}_metadata.json"
        if not path.is_file():
            if (draft.root / split).is_dir():
                draft.problems.append(f"{split}/ has videos, and {path.name}, which tells what is fake, is missing")
            continue
        entries = read_json(path)
        wrong = [each for each in entries if not _is_av_entry(each)] if isinstance(entries, list) else [entries]
        if wrong or not entries:
            form = (
                '[{"file": "id00012/.../real.mp4", "original": null, "modify_type": "real", "fake_segments": []}, ...]'
            )
            raise ManifestError(path, [f"these entries are not of the form {form}:", *map(repr, wrong[:NUM_EXAMPLES])])
        if (draft.root / split).is_dir():
            listed |= {f"{split}/{entry['file']}".lower(): entry for entry in entries}
    if not listed and not draft.problems:
        raise draft.not_this("there are no videos with their train_metadata.json or val_metadata.json")

    def facts(name: str, known: Facts) -> Facts | str:
        entry = listed.get(name.lower())
        if entry is None:
            return f"{known['split']}_metadata.json does not list it"
        kind = str(entry["modify_type"])
        is_real = kind == "real"
        spans = entry.get("visual_fake_segments") or entry.get("fake_segments") or []
        return known | {
            "label": "real" if is_real else "fake",
            "audio_only": "yes" if kind == "audio_modified" else "",
            "modify_type": kind,
            "method": str(entry.get("video_model") or kind),
            "original": str(entry["file"] if is_real else entry.get("original") or ""),
            "fake_segments": "" if is_real else segments(spans),
        }

    expected = [f"{name.partition('/')[0]}/{entry['file']}" for name, entry in listed.items()]
    over = r"(train|val)_metadata(\.json|/)|test_files\.txt|test/|(train|val)/.*\.(json|wav)"
    return list_declared(draft, AVDEEPFAKE1M, dataset="avdeepfake1m", passed_over=over, facts=facts, expected=expected)


def segments(spans: Sequence[Sequence[float]]) -> str:
    """The column ``fake_segments``: start and end of each span in seconds, to a thousandth, in order.

    Spans that overlap or touch become one, and those without length are left out, as its reader wants.

    >>> segments([[61, 62.5], [0.48, 1.1200001], [1, 1.5], [7, 7]])
    '0.48-1.5;61-62.5'
    """
    joined: list[list[float]] = []
    for start, end in sorted([round(float(second), 3) for second in span] for span in spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(end, joined[-1][1])
        elif start < end:
            joined.append([start, end])
    return ";".join("-".join(f"{second:.3f}".rstrip("0").rstrip(".") for second in span) for span in joined)


def _is_av_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("file"), str)
        and isinstance(entry.get("modify_type"), str)
        and all(
            isinstance(spans, list) and all(_is_span(span) for span in spans)
            for spans in (entry.get("fake_segments") or [], entry.get("visual_fake_segments") or [])
        )
    )


def _is_span(span: Any) -> bool:
    numbers = isinstance(span, list) and len(span) == 2 and all(isinstance(each, int | float) for each in span)
    return numbers and 0 <= span[0] <= span[1]


DEEPSPEAK_TABLES = ("annotations-real.csv", "annotations-fake.csv", "annotations-split-def.csv")
DEEPSPEAK = tuple(
    Part(
        "/".join([*[".+"] * depth, r"(?P<stem>.+)\.mp4"]),
        "87-0.mp4",
        None,
        people=("deepspeak:{person}", "deepspeak:{donor}"),
        method="{engine}",
        key="{original}",
        extra={"kind": "{kind}"},
    )
    for depth in range(5)
)


def deepspeak(root: str | Path) -> Listing:
    """List DeepSpeak 1.1 or 2.0 (Barrington et al., 2024) in ``root``, which holds ``annotations-real.csv`` and others.

    Videos may lie in any folder up to four levels deep, as their archives unpack; the annotations name them. Both
    people of a fake, its engine and the recording that was altered come from ``annotations-fake.csv``, and the owners'
    split of the people from ``annotations-split-def.csv``; a fake has a split only if both of its people are in it.

    Raises:
        ManifestError: ``root`` has no annotations, they are damaged, or a file occurs twice.
    """
    draft = begin(root, "deepspeak")
    real, fake, people = (draft.root / name for name in DEEPSPEAK_TABLES)
    reals = read_rows(real, "video-file", "identity")
    fakes = read_rows(fake, "video-file", "engine", "identity-source", "identity-target", "recording-target")
    if not reals and not fakes:
        raise draft.not_this(f"there are no annotations ({real.name}, {fake.name}), which tell the labels")
    sides = {row["identity"]: row["split"].lower() for row in read_rows(people, "identity", "split")}
    if not sides:
        draft.warn(f"{people.name} is missing, so its official split is not known; it comes with the data set")
    listed: dict[str, Facts] = {}
    for row in reals:
        listed[_stem(row)] = {
            "label": "real",
            "person": row["identity"],
            "original": _stem(row),
            "split": sides.get(row["identity"], ""),
        }
    for row in fakes:
        person, donor = row["identity-target"], row["identity-source"]
        split = {sides.get(each, "") for each in (person, donor)}
        listed[_stem(row)] = {
            "label": "fake",
            "person": person,
            "donor": donor,
            "original": f"{person}-{row['recording-target']}",
            "engine": row["engine"],
            "kind": row.get("kind", ""),
            "split": split.pop() if len(split) == 1 else "",
        }
    seen = set()

    def facts(name: str, known: Facts) -> Facts | str:
        stem = known["stem"].lower()
        seen.add(stem)
        return known | listed[stem] if stem in listed else "no annotation lists it"

    over = rf"{'|'.join(map(re.escape, DEEPSPEAK_TABLES))}|deepspeak_v[0-9_]+\.py|README\.md"
    listing = list_declared(draft, DEEPSPEAK, dataset="deepspeak", passed_over=over, facts=facts)
    draft.warn_of("annotated videos that are not here", (f"{stem}.mp4" for stem in listed.keys() - seen))
    return listing


def _stem(row: Mapping[str, str]) -> str:
    return row["video-file"].rpartition("/")[2].lower().removesuffix(".mp4")
