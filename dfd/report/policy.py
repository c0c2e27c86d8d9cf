"""The content security policy of ``report.html``: what its page may do, for the page itself and for who serves it."""

import base64
import hashlib
import html
import re

from dfd.errors import ReportError

# The page's own head comes before all that videos could have written into it.
META = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def page_policy(*, style: str, script: str) -> str:
    """The policy of a page that has this style and this script, runs no other, and loads nothing."""
    return (
        f"default-src 'none'; img-src data:; style-src {_source_hash(style)}; script-src {_source_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def report_policy(page: str) -> str:
    """The policy that a ``report.html`` names for itself, for a server to send as ``Content-Security-Policy``.

    >>> report_policy('<head><meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;">')
    "default-src 'none'"

    Args:
        page: the text of the file; its first 2,000 characters are enough.

    Raises:
        ReportError: it names none, so it is no report of scored videos.
    """
    found = META.search(page.partition("<title>")[0])
    if found is None:
        raise ReportError("this page names no content security policy; give a report.html of scored videos")
    return html.unescape(found[1])


def _source_hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"
