"""``python -m dfd.data.audit STORE``: who is in which split, and whether anyone, or a copy of a video, is in two."""

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from dfd.base.errors import DfdError, SplitLeak
from dfd.base.types import Label
from dfd.config.cli.catalogue import Arguments
from dfd.data.leaks.find import ContentFindings, find_leaks
from dfd.data.splits.people import SPLITS, UNUSED, audit, overlap, shared_sources
from dfd.data.store.plan import SplitPlan, read_split_plan
from dfd.data.store.records import COPIES_NAME, IndexVideo
from dfd.data.store.tables import index_videos, read_index

DESCRIPTION = """Say who is in which split of a clip store, and whether a person, a source or a copy of a video is in
two; it ends with status 1 if any is."""
NUM_EXAMPLES = 5
MAX_PAIRS = 20


def report(store: str | Path) -> str:
    """How the store was divided, a table of its splits, and what each two of them share.

    Raises:
        StoreError: there is no usable store.
    """
    videos = index_videos(read_index(store))
    plan = read_split_plan(store)
    made = f"fractions {list(plan.fractions)}, seed {plan.seed}" if plan else "of a store that does not say how"
    lines = [f"split={_mode(plan)} ({made})", ""]
    lines += [f"{'split':<8}{'videos':>8}{'real':>8}{'fake':>8}{'sources':>9}  data sets"]
    for split in (*SPLITS, UNUSED, ""):
        here = [video for video in videos if video.split == split]
        if not here and split not in SPLITS:
            continue
        num_real = sum(video.label is Label.REAL for video in here)
        num_sources = len({source_id for video in here for source_id in video.source_ids})
        datasets = ", ".join(sorted({video.dataset for video in here}))
        counts = f"{len(here):>8}{num_real:>8}{len(here) - num_real:>8}{num_sources:>9}"
        lines.append(f"{split or '(none)':<8}{counts}  {datasets}")
    return "\n".join([*lines, "", *_overlaps(videos)])


def _overlaps(videos: Sequence[IndexVideo]) -> list[str]:
    """A line for each pair of splits."""
    found = overlap(videos)
    lines = []
    for first, second in combinations(SPLITS, 2):
        numbers = found[f"{first}-{second}"]
        shared = sorted(shared_sources(videos, first, second))
        if not shared:
            lines.append(f"{first} and {second}: no source id in common")
            continue
        total = len({video.video_id for video in videos if video.split == second})
        examples = ", ".join(shared[:NUM_EXAMPLES]) + (", ..." if len(shared) > NUM_EXAMPLES else "")
        lines.append(
            f"{first} and {second}: {len(shared)} source ids in common ({examples}); {numbers['num_videos']} of the "
            f"{total} videos of {second} ({numbers['num_videos'] / total:.0%}) have a source that is in {first}"
        )
    return lines


def _copies(findings: ContentFindings) -> list[str]:
    """A line for each pair of videos that show the same, those that fail the audit apart."""
    lines = []
    for what, found in (
        ("equal videos under two labels", findings.contradictions),
        ("copies in two splits", findings.leaks),
        ("copies on one side, or of one source", findings.others),
    ):
        lines.append(f"{what}: {len(found) or 'none'}")
        lines += [f"  {line}" for line in found[:MAX_PAIRS]]
        lines += [f"  and {len(found) - MAX_PAIRS} more, in {COPIES_NAME}"] if len(found) > MAX_PAIRS else []
    return lines + ([f"not checked: {findings.caveat}"] if findings.caveat else [])


def _mode(plan: SplitPlan | None) -> str:
    return (plan or SplitPlan()).mode


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if no source id and no video is in two splits, nor a copy, 1 if any is, wanted or not, or without a store."""
    parser = Arguments("audit", description=DESCRIPTION, examples=["dfd audit stores/mine"])
    parser.add_argument("store", help="folder of a clip store")
    store = Path(parser.parse_args(arguments).store).expanduser()
    try:
        print(report(store))
        videos = index_videos(read_index(store))
        findings = find_leaks(store, videos)
        print("\n".join(["", *_copies(findings)]))
        audit(videos)
        findings.check(store)
    except DfdError as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, SplitLeak) and (mode := _mode(read_split_plan(store))) != "source":
            note = f"This overlap is what split={mode} brings: scores on this store are better than on new people."
            print(note, file=sys.stderr)
        return 1
    known = "no source id and no video is in two splits"
    print(f"{known}, as far as could be checked" if findings.num_unknown else f"{known}, nor is a copy of one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
