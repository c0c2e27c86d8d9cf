"""Report page of scored videos: a self-contained ``report.html`` that newsrooms or moderators can pass on.

It shows the results and their limits and, for every video, the file, the faces over time and the moments that suggest
FAKE. It needs no other file, loads nothing and sends nothing.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from dfd.base.files import write_text
from dfd.report.page.document import rendered
from dfd.report.page.policy import page_policy
from dfd.report.page.wording import shortened
from dfd.report.videos.anew import with_verdicts_anew
from dfd.report.videos.content import TITLE, VideosPage, videos_page
from dfd.report.videos.fragment import result_of
from dfd.report.videos.scored import Scored, read_scored, refuse_to_replace, write_merged

PAGE_NAME = "report.html"


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
    text = render(videos_page(scored, title=title, warnings=warnings), scored)
    output.mkdir(parents=True, exist_ok=True)
    if is_new:
        write_merged(scored, output)
    return write_text(output / PAGE_NAME, text, errors="replace")


def render(page: VideosPage, scored: Scored) -> str:
    """Render the page as HTML; its policy allows only its own script and loads nothing.

    A single video has the page that the web shows of it, without a table.
    """
    names = ["css/video.css", "videos.css"]
    result = result_of(page, scored) if len(page.videos) == 1 else None
    if result:
        names.append("css/result.css")
    templates = files("dfd.report").joinpath("templates")
    style = "".join(templates.joinpath(name).read_text("utf-8") for name in names) + _print_head(page)
    script = templates.joinpath("videos.js").read_text("utf-8")
    # The style's only text from outside is the escaped head; the script is a file of this package.
    policy = page_policy(style=style, script=script)
    values = {"page": page, "policy": policy, "style": Markup(style), "script": Markup(script)}
    return rendered("one.html.j2", **values, result=result) if result else rendered("videos.html.j2", **values)


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
