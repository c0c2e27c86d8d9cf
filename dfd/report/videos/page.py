"""Report page of scored videos: a self-contained ``report.html`` that newsrooms or moderators can pass on.

It shows the results and their limits and, for every video, the file, the faces over time and the moments that suggest
FAKE. It needs no other file, loads nothing and sends nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path, PurePath

from markupsafe import Markup

from dfd.base.files import write_text
from dfd.report.page.document import rendered
from dfd.report.page.policy import page_policy
from dfd.report.page.wording import SHAPES, STATUS_WORDS, counted, names_below_common_folder, training_words, visible
from dfd.report.videos.pictures import picture_sizes
from dfd.report.videos.scored import RunFacts, Scored, ScoredVideo, read_scored, refuse_to_replace, write_merged
from dfd.report.videos.timeline import Scale
from dfd.report.videos.views import Facts, VideoView, view
from dfd.report.videos.warnings import NO_PROOF, found_warnings
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
    tallies: Sequence[Tally]
    summary: Sequence[str]
    warnings: Sequence[str]
    key_facts: Facts
    about: Facts
    scale: Scale
    videos: Sequence[VideoView]
    with_verdict: Sequence[VideoView]
    """Videos with a verdict and a section."""
    without_verdict: Sequence[VideoView]
    num_without_section: int
    links_annotated: bool = False
    """Whether the page will lie beside the annotated videos."""


def write_videos_report(
    folders: Sequence[Path], output: Path, *, title: str = TITLE, warnings: Sequence[str] = ()
) -> Path:
    """Write ``report.html`` on the videos scored in ``folders`` to ``output``.

    Args:
        folders: output folders of predict.py, such as those of shards. The scores and pictures of several folders are
            also merged into ``output``.
        output: output folder, created if missing; may be the only input folder.
        title: title of the page.
        warnings: sentences shown before the warnings about the scores.

    Returns:
        Path of report.html, a self-contained file.

    Raises:
        ReportError: scores are missing or damaged, two folders do not match, or a video is in two of them.
    """
    scored = read_scored(folders)
    if len(scored.folders) > 1:
        refuse_to_replace(scored.folders, output)
    is_beside = [folder.resolve() for folder in scored.folders] == [output.resolve()]
    text = render(videos_page(scored, title=title, warnings=warnings, links_annotated=is_beside))
    output.mkdir(parents=True, exist_ok=True)
    if len(scored.folders) > 1:
        write_merged(scored, output)
    return write_text(output / PAGE_NAME, text, errors="replace")


def render(page: VideosPage) -> str:
    """Render the page as HTML; its policy allows only its own script and loads nothing."""
    templates = files("dfd.report").joinpath("templates")
    style = "".join(templates.joinpath(name).read_text("utf-8") for name in ("css/video.css", "videos.css"))
    script = templates.joinpath("videos.js").read_text("utf-8")
    # Style and script are files of this package and contain no text from videos.
    policy = page_policy(style=style, script=script)
    return rendered("videos.html.j2", page=page, policy=policy, style=Markup(style), script=Markup(script))


def videos_page(
    scored: Scored, *, title: str = TITLE, warnings: Sequence[str] = (), links_annotated: bool = False
) -> VideosPage:
    """Collect the data of the page of scored videos; ``links_annotated``: it will lie in their folder."""
    run, videos = scored.run, scored.videos
    scale = Scale(run.threshold, run.band) if run else Scale()
    sizes = picture_sizes(len(videos))
    num_windows = sum(len(track.windows) for video in videos for track in video.score.tracks)
    names = names_below_common_folder([video.score.path for video in videos])
    in_numbers = num_windows <= MAX_WINDOWS_IN_NUMBERS
    views = [
        view(video, name, scale=scale, sizes=sizes, is_detailed=index < MAX_DETAILED, in_numbers=in_numbers)
        for index, (video, name) in enumerate(zip(videos, names, strict=True))
    ]
    return VideosPage(
        title=visible(title),
        subtitle=_subtitle(scored),
        tallies=tallies(videos),
        summary=[NO_PROOF],
        warnings=[*map(visible, warnings), *found_warnings(scored)],
        key_facts=_key_facts(scored),
        about=list(_about(scored)),
        scale=scale,
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
    return " to ".join(dict.fromkeys((_minute(times[0]), _minute(times[-1]))))


def _minute(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return visible(text)
    zone = when.strftime("%Z") or "local time"
    return f"{when.day} {when:%B %Y, %H:%M} {zone}"


def tallies(videos: Sequence[ScoredVideo]) -> list[Tally]:
    """Numbers of videos by verdict, and of those without one by reason."""
    verdicts = Counter(str(video.score.verdict) for video in videos if video.has_verdict)
    statuses = Counter(video.score.status for video in videos)
    found = [Tally(name, SHAPES[name], name, verdicts[name]) for name in ("fake", "uncertain", "real")]
    failed = {status: words for status, words in STATUS_WORDS.items() if statuses[status] and not status.has_faces}
    reasons = [f"{statuses[status]:,} {words}" for status, words in failed.items()]
    without = sum(not video.has_verdict for video in videos)
    return [*found, Tally("none", SHAPES["none"], "no verdict", without, ", ".join(reasons))]


def _key_facts(scored: Scored) -> Facts:
    run = scored.run
    facts = [("Detector", visible(scored.model) if scored.model else "not known")]
    if run and run.threshold is not None:
        facts.append(("Fake from", f"a probability of {run.threshold:.3g} on"))
        if run.band is not None and run.band[0] < run.band[1]:
            facts.append(("Uncertain", f"from {run.band[0]:.3g} to {run.band[1]:.3g}"))
    facts.append(("Trained on", training_words(run.of_model("data")) if run else "not known"))
    if run and run.model:
        calibrated = "no" if run.temperature is None else f"yes, temperature {run.temperature:.3g}"
        facts.append(("Calibrated", calibrated))
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
        for group in ("calibration", "metrics", "versions"):
            yield from _flat(group, run.model.get(group))
    yield from _flat("settings", scored.settings)
    if len(scored.folders) > 1:
        yield "merged from", ", ".join(visible(folder.name) for folder in scored.folders)


def _flat(group: str, values: object) -> Iterator[tuple[str, str]]:
    yield from ((visible(f"{group}.{key}"), visible(shown(value))) for key, value in flat(values).items())
