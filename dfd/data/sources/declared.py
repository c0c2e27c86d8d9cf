"""Lists a data set from a description of its folders and file names, instead of code for each."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources.layout import resembles
from dfd.data.sources.listing import Draft, Listing, contents, read_text
from dfd.data.sources.row import UNKNOWN, VideoRow
from dfd.video.still import pictures_of

Facts = dict[str, str]
"""Facts about a video by name: the named groups of its path, and those that a data set's own tables add."""

AUDIO_ONLY = "audio_only"
"""Reason for leaving out a fake whose picture was not altered."""


@dataclass(frozen=True, slots=True)
class Part:
    """Videos of one kind, and what their names say.

    ``path`` is a regular expression for each folder and for the file, separated by ``/`` and matched in any case.
    Named groups are facts, which the other fields use in braces: ``"celebdf:{donor}"``. A field that needs an unknown
    fact is empty.
    """

    path: str
    example: str
    """Name of a file or, for a sequence, of a folder."""
    label: Label | None
    """None: the fact ``label`` says it."""
    people: tuple[str, ...] = ()
    """Source ids; the first is that of the video that was altered. None known: the video is its own source."""
    method: str = UNKNOWN
    key: str = ""
    """Key under which a fake finds its original, the same for both."""
    split: str = "{split}"
    """The owners' split."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further columns by name."""
    audio_only: bool = False
    """Whether only the sound was altered, so that these are left out."""
    is_sequence: bool = False
    """Whether the path is that of a folder, whose pictures are the frames."""
    dataset: str = ""
    """Name of the data set if it differs from that of the other parts."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A part, the patterns of the folders and the file that remain, and the facts so far."""

    part: Part
    patterns: Sequence[re.Pattern[str]]
    known: Facts

    @property
    def is_last(self) -> bool:
        return len(self.patterns) == 1

    def into(self, name: str) -> "_Step | None":
        """The step after a file or folder of this name; None if it does not match."""
        match = self.patterns[0].fullmatch(name)
        if match is None:
            return None
        found = {group: text for group, text in match.groupdict().items() if text is not None}
        return _Step(self.part, self.patterns[1:], self.known | found)


def begin(root: str | Path, source: str) -> Draft:
    """Draft of a listing.

    Raises:
        ManifestError: ``root`` is not a folder, or looks like another data set.
    """
    draft = Draft(root, source)
    if resembles(draft.root) not in (None, source):
        raise draft.not_this("it is another data set")
    return draft


def list_declared(
    draft: Draft,
    parts: Sequence[Part],
    *,
    dataset: str,
    passed_over: str = "",
    facts: Callable[[str, Facts], Facts | str] | None = None,
    expected: Iterable[str] = (),
    one_label_is_meant: bool = False,
) -> Listing:
    """Take every video below the root that one of ``parts`` describes; everything else is left out by name.

    Args:
        draft: the listing so far, without videos.
        parts: the videos of the data set; the first that matches a path counts.
        dataset: its name in manifests and stores.
        passed_over: regular expression for the paths, relative to the root, of other files and folders of the data set,
            which are not mentioned; a folder's ends with ``/``.
        facts: function of a video's name and facts that returns its facts with those of the data set's own tables, or
            a clause that says why the video is left out. The fact ``audio_only`` leaves a video out.
        expected: names of videos that the owners list, reported where they are missing.
        one_label_is_meant: whether a data set of one label is as its owners made it.

    Raises:
        ManifestError: there is no video, one occurs twice, or problems were recorded before.
    """
    steps = [
        _Step(part, [re.compile(step, re.IGNORECASE | re.ASCII) for step in part.path.split("/")], {}) for part in parts
    ]
    found: list[tuple[Label, Part, Path, Facts]] = []
    first: dict[str, str] = {}
    for part, path, known in _walk(draft, draft.root, steps, re.compile(passed_over, re.IGNORECASE | re.ASCII)):
        name = draft.writable_name(path)
        if name is None:
            continue
        if (other := first.setdefault(name.lower(), name)) != name:
            draft.leave_out(name, "duplicate", f"{Path(other).name} is present as well")
            continue
        more = facts(name, known) if facts is not None else known
        if isinstance(more, str):
            draft.leave_out(name, "unlisted", more)
        elif part.audio_only or more.get("audio_only"):
            draft.leave_out(name, AUDIO_ONLY, "only its sound was altered, by its owners' account")
        else:
            found.append((Label.parse(more["label"]) if part.label is None else part.label, part, path, more))
    # Real videos come first, since a fake names its original only if that was taken.
    for label, part, path, known in sorted(found, key=lambda each: each[0]):
        name, key, of = draft.name(path), _filled(part.key, known).lower(), part.dataset or dataset
        extra = {column: text for column, form in part.extra.items() if (text := _filled(form, known))}
        if label is Label.FAKE and key:
            extra |= draft.original(name, key)
        if split := _filled(part.split, known):
            extra["official_split"] = split.lower()
        people = tuple(dict.fromkeys(text for form in part.people if (text := _filled(form, known))))
        method = (_filled(part.method, known) or UNKNOWN) if label is Label.FAKE else ""
        sources = people or (f"{of}:{name}",)
        draft.add(VideoRow(path.absolute(), name, label, of, method, sources, extra=extra), key or None)
    reported = first.keys() | {item.name.lower() for item in draft.left_out}
    for name in sorted(each for each in expected if each.lower() not in reported):
        draft.leave_out(name, "missing_file", "its owners list it, but it is missing")
    return draft.finish(one_label_is_meant=one_label_is_meant)


def _filled(form: str, known: Facts) -> str:
    """``form`` with the facts that it names; empty if one is unknown.

    >>> _filled("a:{id}", {"id": "3"}), _filled("a:{id}_{n}", {"id": "3", "n": ""})
    ('a:3', '')
    """
    wanted = re.findall(r"\{(\w+)\}", form)
    return form.format_map(known) if all(known.get(name) for name in wanted) else ""


def _walk(
    draft: Draft, folder: Path, steps: Sequence[_Step], passed_over: re.Pattern[str]
) -> Iterator[tuple[Part, Path, Facts]]:
    """Yield the videos of ``folder`` and below, each with its part and facts."""
    folders, files = contents(folder)
    last = [step for step in steps if step.is_last]
    for path in files:
        # A link that leads nowhere may have been a sequence's folder.
        matches = (step.into(path.name) for step in last if path.is_symlink() or not step.part.is_sequence)
        match = next((step for step in matches if step), None)
        if match is not None:
            yield match.part, path, match.known
        elif not passed_over.fullmatch(draft.name(path)):
            detail = f"not named like {last[0].part.example}" if last else "not a file of this data set"
            draft.leave_out_files([path], detail)
    for path in folders:
        inside = [entered for step in steps if (entered := step.into(path.name))]
        sequence = next((step for step in inside if not step.patterns and step.part.is_sequence), None)
        deeper = [step for step in inside if step.patterns]
        if sequence is not None and pictures_of(path):
            yield sequence.part, path, sequence.known
        elif deeper:
            yield from _walk(draft, path, deeper, passed_over)
        elif not passed_over.fullmatch(f"{draft.name(path)}/"):
            detail = "a folder without pictures" if sequence is not None else "not a folder of this data set"
            draft.leave_out_folders([path], detail)


def read_rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """Rows of a CSV file that came with a data set; empty without the file.

    Raises:
        ManifestError: it is no CSV or UTF-8 text, or lacks one of ``columns``.
    """
    if not path.is_file():
        return []
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [{key: (text or "").strip() for key, text in row.items() if key} for row in reader]
    except csv.Error as error:
        raise ManifestError(path, [f"it is damaged ({error}); get it from the data set's owners again"]) from error
    lacking = [name for name in columns if name not in (reader.fieldnames or ())]
    if lacking:
        raise ManifestError(path, [f"it has no column {', '.join(lacking)}; get it from the data set's owners again"])
    return rows


def read_names(path: Path) -> list[str]:
    """Lines of a list that came with a data set, without blank ones; empty without the file."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()] if path.is_file() else []
