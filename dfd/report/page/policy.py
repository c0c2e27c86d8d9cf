"""Content security policy of ``report.html``, for the page itself and for servers of it."""

import base64
import hashlib
import html
import re

from dfd.base.errors import ReportError

# The page's own head precedes all content that comes from videos.
META = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def page_policy(*, style: str, script: str) -> str:
    """Policy that allows only this style and this script, and loads nothing."""
    return (
        f"default-src 'none'; img-src data:; style-src {_source_hash(style)}; script-src {_source_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def report_policy(page: str) -> str:
    """Policy that a ``report.html`` declares, for a server to send as ``Content-Security-Policy``.

    >>> report_policy('<head><meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;">')
    "default-src 'none'"

    Args:
        page: text of the file, of which the first 2,000 characters are enough.

    Raises:
        ReportError: the page declares no policy, so it is not a report of scored videos.
    """
    found = META.search(page.partition("<title>")[0])
    if found is None:
        raise ReportError("this page declares no content security policy; give a report.html of scored videos")
    return html.unescape(found[1])


def _source_hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"
