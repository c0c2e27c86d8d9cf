"""Report page of one scored video: the result as a web page shows it, as a self-contained file."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from dfd import __version__
from dfd.base.files import write_text
from dfd.predictions.layout import JSONL_NAME
from dfd.report.page.document import rendered
from dfd.report.page.policy import page_policy
from dfd.report.videos.fragment import read_result
from dfd.report.videos.page import PAGE_NAME, TITLE, write_videos_report

STYLES = ("css/video.css", "videos.css", "css/result.css")


def write_scored_report(
    folders: Sequence[Path], output: Path, *, title: str | None = None, changes: Mapping[str, float] | None = None
) -> Path:
    """Write ``report.html`` on scored videos: of one video its result, of several (or under a title) a table and all.

    Args:
        folders: output folders of predict.py.
        output: output folder; see :func:`dfd.report.videos.page.write_videos_report`.
        title: title of the page; None: a name for what it shows.
        changes: other settings of verdicts, as :func:`dfd.report.videos.page.write_videos_report` takes them.

    Raises:
        ReportError: as for :func:`dfd.report.videos.page.write_videos_report`.
    """
    is_one = title is None and len(folders) == 1 and _num_lines(folders[0]) == 1
    if is_one and not changes:
        output.mkdir(parents=True, exist_ok=True)
        return write_text(output / PAGE_NAME, render_result_page(folders[0]), errors="replace")
    page = write_videos_report(folders, output, title=title or TITLE, changes=changes)
    return write_result_page(output) if is_one else page


def _num_lines(folder: Path) -> int:
    with (folder / JSONL_NAME).open("rb") as file:
        return sum(1 for _ in file)


def write_result_page(folder: Path) -> Path:
    """Write ``report.html`` on the only video scored in ``folder``, with all that its web page shows.

    Args:
        folder: output folder of predict.py, with the scores, ``run.json`` and the pictures of one video.

    Returns:
        Path of report.html, a self-contained file.

    Raises:
        ReportError: the scores are missing or damaged, or are not those of exactly one video.
    """
    return write_text(folder / PAGE_NAME, render_result_page(folder), errors="replace")


def render_result_page(folder: Path) -> str:
    """Render the page as HTML; its policy allows only its own script and loads nothing. See :func:`write_result_page`.

    Raises:
        ReportError: the scores are missing or damaged, or are not those of exactly one video.
    """
    result = read_result(folder)
    templates = files("dfd.report").joinpath("templates")
    style = "".join(templates.joinpath(name).read_text("utf-8") for name in STYLES)
    script = templates.joinpath("result.js").read_text("utf-8")
    return rendered(
        "result_page.html.j2",
        result=result,
        fragment=Markup(rendered("result.html.j2", result=result)),
        policy=page_policy(style=style, script=script),
        # Style and script are files of this package and contain no text from videos.
        style=Markup(style),
        script=Markup(script),
        version=__version__,
    )
