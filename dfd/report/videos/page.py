"""Report page of scored videos: a self-contained ``report.html`` that newsrooms or moderators can pass on.

It shows the results and their limits and, for every video, the file, the faces over time and the moments that suggest
FAKE. It needs no other file, loads nothing and sends nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from markupsafe import Markup

from dfd.base.files import write_text
from dfd.predictions.rows import models_in
from dfd.report.page.document import rendered
from dfd.report.page.policy import page_policy
from dfd.report.page.wording import (
    SAID,
    SHAPES,
    STATUS_WORDS,
    counted,
    minute,
    names_below_common_folder,
    shortened,
    training_words,
    visible,
)
from dfd.report.videos.anew import with_verdicts_anew
from dfd.report.videos.facts import full_name, known_detectors
from dfd.report.videos.pictures import picture_sizes
from dfd.report.videos.scored import RunFacts, Scored, ScoredVideo, read_scored, refuse_to_replace, write_merged
from dfd.report.videos.timeline import Scale
from dfd.report.videos.views import Facts, VideoView, view
from dfd.report.videos.warnings import NO_PROOF, caveats_of, found_warnings
from dfd.runs.settings import flat, shown

TITLE = "Scored videos"
PAGE_NAME = "report.html"
MAX_DETAILED = 2000
"""Number of videos with their own section, most suspicious first; all are in the table."""
MAX_WINDOWS_IN_NUMBERS = 4000
"""Number of windows on the page above which their values are not listed; predictions.jsonl has them."""


ABOUT_DETECTOR = (
    *("file", "weights_sha256", "backbone", "temporal", "num_parameters", "clip_len", "clip_stride", "image_size"),
    *("threshold", "temperature", "uncertain_margin", "aggregation"),
)
FACE_SCORES = {
    "share": "the share of its windows with a score of 0.5 or more; it may be higher than that of any window",
    "max_of_windows": "that of its most suspicious window",
    "confident": "the mean of its windows; of the sure ones alone, if they are many",
}
"""How windows become a face, by the name of the rule, where it is no mean over all of them."""
CALIBRATED_ON = ("split", "store", "num_real", "num_fake", "aggregation", "windows_per_track", "note")
"""Facts of a calibration that a report tells; its figures are not among them."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of videos with a verdict, or with none."""

    verdict: str
    shape: str
    word: str
    number: int
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class VideosPage:
    """Data of the page's template."""

    title: str
    subtitle: str
    when: str
    """Day and minute of the scoring; empty if not known."""
    tallies: Sequence[Tally]
    summary: Sequence[str]
    caveats: Sequence[str]
    """What must be said beside the detector's scores."""
    no_verdict: str
    """Reason why the detector gives no verdicts; empty if it gives them."""
    warnings: Sequence[str]
    key_facts: Facts
    about: Facts
    scale: Scale
    detectors: Mapping[str, str]
    """Several detectors, each of which has a column: names in the scores, and names for people."""
    videos: Sequence[VideoView]
    with_verdict: Sequence[VideoView]
    """Videos with a verdict and a section."""
    without_verdict: Sequence[VideoView]
    num_without_section: int
    links_annotated: bool = False
    """Whether the page will lie beside the annotated videos."""

    @property
    def has_segments(self) -> bool:
        """Whether a video has labelled segments."""
        return any(video.label and video.label.segments for video in self.videos)


def write_videos_report(
    folders: Sequence[Path],
    output: Path,
    *,
    title: str = TITLE,
    warnings: Sequence[str] = (),
    changes: Mapping[str, float] | None = None,
) -> Path:
    """Write ``report.html`` on the videos scored in ``folders`` to ``output``.

    Args:
        folders: output folders of predict.py, such as those of shards. The scores and pictures of several folders are
            also merged into ``output``.
        output: output folder, created if missing; may be the only input folder.
        title: title of the page.
        warnings: sentences shown before the warnings about the scores.
        changes: other settings of verdicts: ``threshold``, ``uncertain_margin``, ``prevalence``. With any, the scores
            with their new verdicts are written to ``output``, too, which is then another folder.

    Returns:
        Path of report.html, a self-contained file.

    Raises:
        ReportError: scores are missing or damaged, two folders do not match, or a video is in two of them.
    """
    scored = read_scored(folders)
    if changes:
        scored = with_verdicts_anew(scored, changes)
    is_new = bool(changes) or len(scored.folders) > 1
    if is_new:
        refuse_to_replace(scored.folders, output)
    is_beside = [folder.resolve() for folder in scored.folders] == [output.resolve()]
    text = render(videos_page(scored, title=title, warnings=warnings, links_annotated=is_beside))
    output.mkdir(parents=True, exist_ok=True)
    if is_new:
        write_merged(scored, output)
    return write_text(output / PAGE_NAME, text, errors="replace")


def render(page: VideosPage) -> str:
    """Render the page as HTML; its policy allows only its own script and loads nothing."""
    templates = files("dfd.report").joinpath("templates")
    style = "".join(templates.joinpath(name).read_text("utf-8") for name in ("css/video.css", "videos.css"))
    style += _print_head(page)
    script = templates.joinpath("videos.js").read_text("utf-8")
    # The style's only text from outside is the escaped head; the script is a file of this package.
    policy = page_policy(style=style, script=script)
    return rendered("videos.html.j2", page=page, policy=policy, style=Markup(style), script=Markup(script))


def _print_head(page: VideosPage) -> str:
    """Style that prints the title and the day of scoring at the head of each sheet, and its number at the foot."""
    name = f"{page.title}: {page.videos[0].file_name}" if len(page.videos) == 1 else page.title
    head, when = _css_text(shortened(name, 90)), _css_text(page.when)
    number = 'counter(page) " / " counter(pages)'
    return (
        f"@page {{ @top-left {{ content: {head}; font-size: 8pt; }} @top-right {{ content: {when}; font-size: 8pt; }} "
        f"@bottom-right {{ content: {number}; font-size: 8pt; }} }}\n"
    )


def _css_text(text: str) -> str:
    r"""A string of CSS in which everything but letters, digits and spaces of ASCII is escaped.

    >>> print(_css_text('a"</style>'))
    "a\22 \3c \2f style\3e "
    """
    shown = (sign if sign.isascii() and (sign.isalnum() or sign == " ") else f"\\{ord(sign):x} " for sign in text)
    return f'"{"".join(shown)}"'


def videos_page(
    scored: Scored, *, title: str = TITLE, warnings: Sequence[str] = (), links_annotated: bool = False
) -> VideosPage:
    """Collect the data of the page of scored videos; ``links_annotated``: it will lie in their folder."""
    run, videos = scored.run, scored.videos
    scale = Scale(run.threshold, run.band) if run and run.gives_verdicts else Scale()
    sizes = picture_sizes(len(videos))
    num_windows = sum(len(track.windows) for video in videos for track in video.score.tracks)
    names = names_below_common_folder([video.score.path for video in videos])
    in_numbers = num_windows <= MAX_WINDOWS_IN_NUMBERS
    several = models_in(video.value for video in videos)
    known = known_detectors(run.model if run else {}, several)
    given: dict[str, Any] = {"scale": scale, "known": known, "sizes": sizes, "in_numbers": in_numbers}
    views = [
        view(video, name, is_detailed=index < MAX_DETAILED, label=scored.labels.get(video.score.path), **given)
        for index, (video, name) in enumerate(zip(videos, names, strict=True))
    ]
    return VideosPage(
        title=visible(title),
        subtitle=_subtitle(scored),
        when=when_scored(scored.runs),
        tallies=tallies(videos, gives_verdicts=run is None or run.gives_verdicts),
        summary=[NO_PROOF],
        caveats=caveats_of(run.model) if run else [],
        no_verdict=visible(run.no_verdict) if run else "",
        warnings=[*map(visible, warnings), *found_warnings(scored)],
        key_facts=_key_facts(scored),
        about=list(_about(scored)),
        scale=scale,
        detectors={name: one.name for name, one in known.items()},
        videos=views,
        with_verdict=[one for one in views if one.is_detailed and one.verdict != "none"],
        without_verdict=[one for one in views if one.is_detailed and one.verdict == "none"],
        num_without_section=sum(not one.is_detailed for one in views),
        links_annotated=links_annotated,
    )


def _subtitle(scored: Scored) -> str:
    inputs = dict.fromkeys(visible(PurePath(run.input).name) for run in scored.runs if run.input)
    parts = [counted(len(scored.videos), "video")]
    if inputs:
        parts.append(f"from {', '.join(inputs)}")
    if when := when_scored(scored.runs):
        parts.append(f"scored {when}")
    return ", ".join(parts)


def when_scored(runs: Sequence[RunFacts]) -> str:
    """Day and minute at which scoring started, first and last for several folders; empty if not known."""
    times = sorted(run.started for run in runs if run.started)
    if not times:
        return ""
    return " to ".join(dict.fromkeys((minute(times[0]), minute(times[-1]))))


def tallies(videos: Sequence[ScoredVideo], *, gives_verdicts: bool = True) -> list[Tally]:
    """Numbers of videos by verdict, and of those without one by reason; of a detector without verdicts, of scores."""
    verdicts = Counter(str(video.score.verdict) for video in videos if video.has_verdict)
    statuses = Counter(video.score.status for video in videos)
    names = ("fake", "uncertain", "real")
    found = [Tally(name, SHAPES[name], SAID[name], verdicts[name]) for name in names]
    if not gives_verdicts:
        scores = Tally(
            "uncertain", SHAPES["uncertain"], SAID["uncertain"], verdicts["uncertain"], "a score, no verdict"
        )
        found = [scores]
    failed = {status: words for status, words in STATUS_WORDS.items() if statuses[status] and not status.has_faces}
    reasons = [f"{statuses[status]:,} {words}" for status, words in failed.items()]
    without = sum(not video.has_verdict for video in videos)
    return [*found, Tally("none", SHAPES["none"], "no verdict", without, ", ".join(reasons))]


def _key_facts(scored: Scored) -> Facts:
    run = scored.run
    facts = [("Detector", full_name(scored.run.model if scored.run else {}, scored.model))]
    if run and not run.gives_verdicts:
        facts.append(("Verdicts", "none, only scores"))
    elif run and run.threshold is not None:
        low, high = run.band or (run.threshold, run.threshold)
        facts.append(("Signs of a fake", f"from a score of {high:.3g} on"))
        if low < high:
            facts.append(("Cannot tell", f"from {low:.3g} to {high:.3g}"))
    if rule := FACE_SCORES.get(str(run.model.get("aggregation"))) if run else None:
        facts.append(("A face's score", rule))
    trained = training_words(run.of_model("data")) if run else "not known"
    if trained != "not known" or not (run and caveats_of(run.model)):  # the caveat says it of most others
        facts.append(("Trained on", trained))
    if run and run.model and run.gives_verdicts:
        facts.append(("Calibrated", "no" if run.temperature is None else "yes"))
    return facts


def _about(scored: Scored) -> Iterator[tuple[str, str]]:
    """Facts in run.json about the detector and the settings, as plain lines."""
    run = scored.run
    if run is not None:
        if run.dfd:
            yield "dfd", visible(run.dfd)
        facts = {key: run.model.get(key) for key in ABOUT_DETECTOR}
        facts |= {f"data.{key}": run.of_model("data", key) for key in ("store", "manifest_sha256", "index_sha256")}
        facts["data.split"] = run.of_model("data", "split", "mode")
        yield from ((key, visible(shown(value))) for key, value in facts.items() if value is not None)
        # Not the figures: those are of the training's own kind of videos. The model card has them, for experts.
        calibration = run.of_model("calibration")
        if isinstance(calibration, Mapping):
            told = {key: calibration[key] for key in CALIBRATED_ON if calibration.get(key) not in (None, "")}
            yield from _flat("calibration", told)
        yield from _flat("versions", run.model.get("versions"))
    yield from _flat("settings", scored.settings)
    if len(scored.folders) > 1:
        yield "merged from", ", ".join(visible(folder.name) for folder in scored.folders)


def _flat(group: str, values: object) -> Iterator[tuple[str, str]]:
    yield from ((visible(f"{group}.{key}"), visible(shown(value))) for key, value in flat(values).items())
