"""``report.html`` of scored videos: one file that a newsroom or a moderator can hand on.

It has what was found, how much that is worth, and for every video the file, the faces over time and the moments that
speak for FAKE. It needs no other file, loads nothing and sends nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from dfd.aggregation import one_sided_warning
from dfd.files import partial_of
from dfd.report.evidence import picture_sizes
from dfd.report.policy import page_policy
from dfd.report.runs import flatten, show_setting
from dfd.report.scored import RunFacts, Scored, ScoredVideo, read_scored, refuse_to_replace, write_merged
from dfd.report.timeline import Scale
from dfd.report.video_views import Facts, VideoView, is_capped, looked_at, view
from dfd.report.wording import ORDER, SHAPES, STATUS_WORDS, counted, names_below_common_folder, training_words, visible
from dfd.types import Status

TITLE = "Scored videos"
PAGE_NAME = "report.html"
MAX_DETAILED = 2000
"""So many videos have a section of their own, most suspicious first; all are in the table."""
MAX_WINDOWS_IN_NUMBERS = 4000
"""With more windows than this on the page their numbers are not written out; predictions.jsonl has them."""

NOT_LOOKED_AT = "Sound, bodies and backgrounds are not looked at."
NO_PROOF = (
    "A score is a reason to look closer, not a proof. It says how much a face resembles the forgeries that this "
    f"detector was trained on. “Real” means only that it found nothing of these. {NOT_LOOKED_AT}"
)
IS_DEMO = "This detector was trained on drawn demonstration videos: its scores say nothing about real deepfakes."
NOT_CALIBRATED = (
    "The detector is not calibrated: its probabilities put videos in order, but 0.9 does not mean that nine of ten "
    "such videos are fake."
)
NO_RUN = (
    "There is no run.json beside the scores, so the detector's threshold, calibration and training data are not known "
    "here; the timelines are drawn without a threshold."
)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many videos got a verdict, or none."""

    verdict: str
    shape: str
    word: str
    number: int
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class VideosPage:
    """All that the template shows."""

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
    """Those of them that have a section."""
    without_verdict: Sequence[VideoView]
    num_without_section: int


def write_videos_report(
    folders: Sequence[Path], output: Path, *, title: str = TITLE, warnings: Sequence[str] = ()
) -> Path:
    """Write ``report.html`` on the videos scored in ``folders`` to ``output``.

    Args:
        folders: output folders of predict.py, such as those of shards. Of several, the scores and their pictures are
            written to ``output`` too, as one folder.
        output: made if it is not there; for one folder it may be that folder.
        title: over the page.
        warnings: sentences to be put before those that the scores themselves give reason to.

    Returns:
        The path of report.html, one file that needs no other.

    Raises:
        ReportError: a folder has no scores or damaged ones, two do not fit together, or a video is in two of them.
    """
    scored = read_scored(folders)
    if len(scored.folders) > 1:
        refuse_to_replace(scored.folders, output)
    text = render(videos_page(scored, title=title, warnings=warnings))
    output.mkdir(parents=True, exist_ok=True)
    if len(scored.folders) > 1:
        write_merged(scored, output)
    path = output / PAGE_NAME
    partial = partial_of(path)
    partial.write_text(text, encoding="utf-8", errors="replace")
    return partial.replace(path)


def render(page: VideosPage) -> str:
    """The page as HTML. Its policy lets no script run but the page's own, and nothing be loaded."""
    templates = files("dfd").joinpath("templates")
    style = "".join(templates.joinpath(name).read_text("utf-8") for name in ("css/video.css", "videos.css"))
    script = templates.joinpath("videos.js").read_text("utf-8")
    # The two are files of this package: no name or message of a video is in them.
    return template("videos.html.j2").render(
        page=page,
        policy=page_policy(style=style, script=script),
        style=Markup(style),
        script=Markup(script),
        order=ORDER,
    )


def template(name: str) -> Template:
    """One of this package's templates. What is put into it is escaped; what it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("dfd", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["shapes"] = SHAPES
    return environment.get_template(name)


def videos_page(scored: Scored, *, title: str = TITLE, warnings: Sequence[str] = ()) -> VideosPage:
    """What there is to say of scored videos."""
    run, videos = scored.run, scored.videos
    scale = Scale(run.threshold, run.band) if run else Scale()
    sizes = picture_sizes(len(videos))
    num_windows = sum(len(track.windows) for video in videos for track in video.score.tracks)
    names = names_below_common_folder([video.score.path for video in videos])
    views = [
        view(
            video,
            name,
            scale=scale,
            sizes=sizes,
            is_detailed=index < MAX_DETAILED,
            in_numbers=num_windows <= MAX_WINDOWS_IN_NUMBERS,
        )
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
    """The day and minute that scoring began at; of several folders the first and the last; empty if not known."""
    times = sorted(run.started for run in runs if run.started)
    if not times:
        return ""
    first, last = _minute(times[0]), _minute(times[-1])
    return first if first == last else f"{first} to {last}"


def _minute(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return visible(text)
    zone = when.strftime("%Z") or "local time"
    return f"{when.day} {when:%B %Y, %H:%M} {zone}"


def tallies(videos: Sequence[ScoredVideo]) -> list[Tally]:
    """Videos by verdict, and those without one by reason."""
    verdicts = Counter(str(video.score.verdict) for video in videos if video.has_verdict)
    statuses = Counter(video.score.status for video in videos)
    found = [Tally(name, SHAPES[name], name, verdicts[name]) for name in ("fake", "uncertain", "real")]
    reasons = [
        f"{statuses[status]:,} {words}"
        for status, words in STATUS_WORDS.items()
        if statuses[status] and not status.has_faces
    ]
    without = sum(not video.has_verdict for video in videos)
    return [*found, Tally("none", SHAPES["none"], "no verdict", without, ", ".join(reasons))]


def found_warnings(scored: Scored) -> Iterator[str]:
    """What should be known before anyone acts on these scores."""
    run, videos = scored.run, scored.videos
    if run is None:
        yield NO_RUN
    else:
        if run.of_model("data", "is_demo"):
            yield IS_DEMO
        if run.model and run.temperature is None:
            yield NOT_CALIBRATED
    if one_sided := _one_sided(videos):
        yield one_sided
    capped = [video for video in videos if is_capped(video)]
    if capped:
        least = min(capped, key=lambda video: video.score.num_windows / video.score.num_windows_possible)
        name = visible(PurePath(least.score.path).name)
        least_words = f"{name} the least: " if len(capped) > 1 else ""
        yield (
            f"{_of_all(len(capped), videos)} {'was' if len(capped) == 1 else 'were'} looked at in part only "
            f"({least_words}{looked_at(least)}). A forgery between these windows goes unseen; a larger max_windows "
            "looks at more."
        )
    if partial := sum(video.score.status is Status.PARTIAL for video in videos):
        yield f"{_of_all(partial, videos)} {_be(partial)} damaged: what could be read was scored."
    if without := sum(not video.has_verdict for video in videos):
        yield f"{_of_all(without, videos)} {_be(without)} without a verdict. That does not make {_them(without)} real."
    versions = sorted({run.dfd for run in scored.runs if run.dfd})
    if len(versions) > 1:
        yield f"The folders were scored with different versions of dfd: {', '.join(map(visible, versions))}."


def _of_all(number: int, videos: Sequence[ScoredVideo]) -> str:
    return "This video" if len(videos) == 1 else counted(number, "video")


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def _one_sided(videos: Sequence[ScoredVideo]) -> str | None:
    return one_sided_warning(Counter(str(video.score.verdict) for video in videos if video.has_verdict))


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
    """All that run.json says of the detector and the settings, in plain lines."""
    run = scored.run
    if run is not None:
        if run.dfd:
            yield "dfd", visible(run.dfd)
        shown = ("file", "weights_sha256", "backbone", "temporal", "num_parameters", "clip_len", "clip_stride")
        for key in (*shown, "image_size", "threshold", "temperature", "uncertain_margin", "aggregation"):
            if run.model.get(key) is not None:
                yield key, _plain(run.model[key])
        data = {key: run.of_model("data", key) for key in ("store", "manifest_sha256", "index_sha256")}
        data["split"] = run.of_model("data", "split", "mode")
        yield from ((f"data.{key}", _plain(value)) for key, value in data.items() if value is not None)
        for group in ("calibration", "metrics", "versions"):
            yield from _flat(group, run.model.get(group))
    yield from _flat("settings", scored.settings)
    if len(scored.folders) > 1:
        yield "merged from", ", ".join(visible(folder.name) for folder in scored.folders)


def _flat(group: str, values: Any) -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        yield from ((visible(f"{group}.{key}"), _plain(value)) for key, value in flatten(values).items())


def _plain(value: Any) -> str:
    return visible(show_setting(value) if value is None or isinstance(value, str | int | float) else str(value))
