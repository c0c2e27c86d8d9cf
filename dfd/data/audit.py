"""``python -m dfd.data.audit STORE``: who is in which split, and whether anyone is in two."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dfd.data.splits import SPLITS, audit
from dfd.data.store import index_videos, read_index
from dfd.errors import DfdError
from dfd.types import Label


def report(store: str | Path) -> str:
    """A table of the splits, after checking them.

    Raises:
        StoreError: there is no usable store.
        SplitLeak: a source id or a video is in two splits.
    """
    videos = index_videos(read_index(store))
    audit(videos)
    lines = [f"{'split':<8}{'videos':>8}{'real':>8}{'fake':>8}{'sources':>9}  data sets"]
    for split in (*SPLITS, ""):
        here = [video for video in videos if video.split == split]
        if not here and not split:
            continue
        num_real = sum(video.label is Label.REAL for video in here)
        num_sources = len({source_id for video in here for source_id in video.source_ids})
        datasets = ", ".join(sorted({video.dataset for video in here}))
        counts = f"{len(here):>8}{num_real:>8}{len(here) - num_real:>8}{num_sources:>9}"
        lines.append(f"{split or '(none)':<8}{counts}  {datasets}")
    lines.append("no source id and no video is in two splits")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the splits are sound, 1 if not or if there is no store."""
    parser = argparse.ArgumentParser(prog="python -m dfd.data.audit", description=__doc__)
    parser.add_argument("store", help="folder of a clip store; store=DIR, as the other commands write it, works too")
    store = parser.parse_args(arguments).store.removeprefix("store=")
    try:
        print(report(store))
    except DfdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
