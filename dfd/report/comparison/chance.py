"""Section of a report that says which differences may be chance."""

from collections.abc import Sequence

from dfd.report.comparison.conclusions import SIGNIFICANT
from dfd.report.comparison.pairs import COMPARED, Difference, Pair
from dfd.report.page.document import Cell, Section, Table
from dfd.report.page.formatting import DASH, number, p_value

MAX_PAIRS = 15
"""Number of pairs on the page, smallest p first."""


def chance_section(pairs: Sequence[Pair]) -> Section | None:
    """Section that tests every pair of configurations for chance, over videos and over seeds."""
    if not pairs:
        return None
    tables = [mcnemar_table(pairs)]
    if differing_pairs := [pair for pair in pairs if pair.differences]:
        tables.append(seeds_table(differing_pairs))
    return Section("Is the difference chance?", tables)


def seeds_table(pairs: Sequence[Pair]) -> Table:
    """Table of differences between runs of the same seed, with paired t tests."""

    def cells(found: Difference | None) -> list[Cell | str]:
        if found is None:
            return [DASH] * 3
        shown = Cell(f"{found.spread.mean:+.3f}", f"± {found.spread.deviation or 0.0:.3f}")
        return [shown, *(DASH if p is None else p_value(p) for p in (found.p_value, found.adjusted))]

    rows = [
        [pair.a.name, pair.b.name, str(pair.num_seeds), *(c for m in COMPARED for c in cells(pair.differences.get(m)))]
        for pair in pairs
    ]
    heads = [head for shown in ("accuracy", "AUC") for head in (f"{shown}: first less second", "p", "p after Holm")]
    return Table(
        "table_seeds",
        "Differences in test results between runs of the same seed",
        ["first", "second", "seeds of both", *heads],
        rows,
        [
            "Mean and standard deviation of the differences between runs of the same seed, with a paired t test of "
            "whether the mean is 0. The test is about training again with other seeds, on these videos. Few seeds can "
            "show only large differences; if all differences are equal (–), the test is not defined.",
        ],
        max_shown=MAX_PAIRS,
        num_labels=2,
    )


def mcnemar_table(pairs: Sequence[Pair]) -> Table:
    """Table of McNemar tests between configurations on the same videos."""
    with_seeds = any(pair.num_seeds > 1 for pair in pairs)
    rows = []
    for pair in sorted(pairs, key=lambda pair: pair.test.p_value if pair.test else 1.0):
        names = [pair.a.name, pair.b.name, *([str(pair.num_seeds)] if with_seeds else [])]
        if pair.test is None or pair.adjusted is None:
            rows.append([*names, "0", *[DASH] * 6])
            continue
        right = f"{number(pair.accuracy_a)} / {number(pair.accuracy_b)}"
        p_values = [p_value(pair.test.p_value), p_value(pair.adjusted)]
        cells = [str(pair.num_common), right, str(pair.test.b), str(pair.test.c), *p_values]
        rows.append([*names, *cells, "yes" if pair.adjusted < SIGNIFICANT else "no"])
    head = ["first", "second", *(["seeds of both"] if with_seeds else []), "common videos"]
    head += ["accuracy on these", "b: only first right", "c: only second right"]
    name = "McNemar's exact test between two runs on the same videos"
    by_seeds = []
    if with_seeds:
        name = "McNemar's exact test on the same videos, between runs of the same seed"
        by_seeds = [
            "Only runs of the same seed are compared; b and c are sums over the seeds. Since all seeds judge the same "
            "videos, each video counts once in the test: the signs of the videos' sums are randomised (the exact "
            "randomisation test, which for one seed is McNemar's). The test is about other videos, with these trained "
            "models."
        ]
    several = f"Holm's method accounts for making {len(pairs)} comparisons at once. " if len(pairs) > 1 else ""
    return Table(
        "table_mcnemar",
        name,
        [*head, "p", "p after Holm", f"p < {SIGNIFICANT:g}"],
        rows,
        [
            "Videos that both models get right, or both wrong, do not distinguish them; the test asks whether b and c "
            f'differ more than coin tosses would. {several}"No" does not mean that the models are equally good, but '
            "that these videos cannot show a difference.",
            *by_seeds,
        ],
        max_shown=MAX_PAIRS,
        num_labels=2,
    )
