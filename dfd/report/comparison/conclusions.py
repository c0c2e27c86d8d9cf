"""Conclusions and warnings of a report in words, which claim no more than the test videos show."""

from collections.abc import Iterable, Iterator, Sequence

from dfd.report.comparison.pairs import Difference, Pair
from dfd.report.comparison.repetitions import Configuration
from dfd.report.comparison.results import Leak, Result, is_fold, leaks, overlap, videos_tested
from dfd.report.page.formatting import listed, number, p_words

FEW_VIDEOS = 100
SIGNIFICANT = 0.05
# Warnings about one run or several, with the words that differ in NUMBERS.
NUMBERS = {
    "was": ("was", "were"),
    "has": ("has", "have"),
    "is_a_model": ("is a model", "are models"),
    "its": ("its", "their"),
    "it_is": ("it is", "they are"),
}
IS_DEMO = "{was} trained and tested on the drawn demonstration set, which says nothing about real deepfakes."
NO_SOURCES = (
    "used videos of which no two share a source id, so it is not known whether people are on one side of the split."
)
COMPARISON_ONLY = "{is_a_model} for comparison only: {its} score of a video depends on the other videos of the batch."
FEW_TESTED = "{was} tested on fewer than {few} videos: the intervals are wide and small differences mean nothing."
ONE_LABEL = "{was} tested on videos of one label only: AUC and balanced accuracy are not defined."
NO_SCORES = "{has} no scores of test videos: shown with dashes."
NO_SUMMARY = "{has} no summary.json: {it_is} still running or {was} stopped. Missing results are shown as dashes."


def summary(configurations: Sequence[Configuration], pairs: Sequence[Pair]) -> list[str]:
    """Conclusions in plain words, which claim no more than the test videos show."""
    tested = [found for found in configurations if found.is_tested]
    if not tested:
        return ["None of the runs has scored test videos yet, so there are no conclusions."]
    if len(tested) == 1:
        return [_one_result(tested[0]), *_against_guessing(tested)]
    ranked = [result for result in tested if result.is_fair] or tested
    if len(ranked) == 1:
        lines = [f"Only one of these runs can be judged by its test. {_one_result(ranked[0])}"]
    else:
        lines = [*_best_by(ranked, "auc", "AUC"), *_best_by(ranked, "accuracy", "accuracy"), *_best_two(ranked, pairs)]
        if len(ranked) > 2:
            several = "configurations" if any(found.is_repeated for found in ranked) else "runs"
            lines.append(
                f"The best of {len(ranked)} {several} was chosen by the test, so its result is slightly too good: an "
                "unbiased accuracy would need a new test set."
            )
    if len(ranked) < len(tested):
        unranked = [result.name for result in tested if result not in ranked]
        lines.append(f"Not ranked, for the reasons given below: {listed(unranked)}.")
    gains = [(leak, gain) for leak in leaks(configurations) if (gain := leak.gain("auc")) is not None]
    return [*lines, *_against_guessing(ranked), *(_leak_line(leak, gain) for leak, gain in gains)]


def _one_result(result: Configuration) -> str:
    parts = []
    for metric, shown in (("accuracy", "an accuracy"), ("auc", "an AUC")):
        value, _ = result.estimate(metric)
        if value is not None:
            parts.append(f"{shown} of {value:.3f} ({result.words(metric)})")
    baseline = result.overall.get("majority_baseline")
    return (
        f"{result.name} reaches {' and '.join(parts)} on {_count_words(result)}; "
        f"always giving the more frequent answer would be right for {number(baseline)}."
    )


def _best_by(ranked: Sequence[Configuration], metric: str, shown: str) -> list[str]:
    values = {index: value for index, r in enumerate(ranked) if (value := r.estimate(metric)[0]) is not None}
    if not values:
        return []
    highest = max(values.values())
    best = [ranked[index] for index, value in values.items() if value == highest]
    if len(best) > 1:
        return [f"The highest test {shown}, {highest:.3f}, is shared by {listed([result.name for result in best])}."]
    mean = "mean " if any(found.is_repeated for found in ranked) else ""
    return [
        f"{best[0].name} has the highest {mean}test {shown}: {highest:.3f} ({best[0].words(metric)}), "
        f"on {_count_words(best[0])}."
    ]


def _best_two(ranked: Sequence[Configuration], pairs: Sequence[Pair]) -> list[str]:
    """Result of the tests over videos and seeds for the two configurations with the highest accuracy."""
    first, second = sorted(ranked, key=lambda result: -(result.estimate("accuracy")[0] or 0))[:2]
    pair = next(pair for pair in pairs if {pair.a, pair.b} == {first, second})
    if pair.test is None or pair.adjusted is None or pair.accuracy_a is None or pair.accuracy_b is None:
        missing = "test video" if pair.num_seeds else "seed"
        return [f"{first.name} and {second.name}, the two best by accuracy, share no {missing} and cannot be tested."]
    ahead, behind = (pair.a, pair.b) if pair.accuracy_a >= pair.accuracy_b else (pair.b, pair.a)
    accuracies = sorted([pair.accuracy_a, pair.accuracy_b], reverse=True)
    holm = " after Holm" if len(pairs) > 1 else ""
    p_value = f"McNemar's test, p {p_words(pair.adjusted)}{holm}"
    both = f"{pair.num_common} test videos of both"
    if pair.num_seeds > 1:
        both += f", over the {pair.num_seeds} seeds of both"
        p_value = f"over the videos, p {p_words(pair.adjusted)}{holm}"
    start = f"On the {both}, {ahead.name} is right"
    if accuracies[0] == accuracies[1]:
        return [f"{start} as often as {behind.name}: {number(accuracies[0])} ({p_value})."]
    start += f" on {100 * accuracies[0]:.1f} % and {behind.name} on {100 * accuracies[1]:.1f} %"
    if found := pair.differences.get("accuracy"):
        return [f"{start}: {_over_both(pair, pair.adjusted, found, p_value, holm)}"]
    if pair.adjusted < SIGNIFICANT:
        return [f"{start}: more than chance would explain ({p_value})."]
    return [f"{start}, which may be chance ({p_value}): these videos do not tell which of the two is better."]


def _over_both(pair: Pair, over_videos: float, found: Difference, p_value: str, holm: str) -> str:
    """Whether a difference in accuracy is more than chance in the choice of videos and of seeds."""
    tests = f"{p_value}; all seeds differ by the same amount, for which the t test is not defined"
    if found.adjusted is not None:
        tests = f"{p_value}; paired by seed, t test, p {p_words(found.adjusted)}{holm}"
    by_videos, by_seeds = over_videos < SIGNIFICANT, found.adjusted is None or found.adjusted < SIGNIFICANT
    if by_videos and by_seeds:
        return f"more than the choice of videos and of seeds would explain ({tests})."
    if by_videos:
        return f"more than the choice of videos would explain, but it may be chance in the seeds ({tests})."
    if by_seeds:
        return f"consistent over the seeds, but it may be chance in these videos ({tests})."
    return f"which may be chance ({tests}): this does not tell which of the two is better."


def _against_guessing(results: Iterable[Result]) -> list[str]:
    found: dict[str, list[str]] = {
        "worse than guessing: the AUC's interval lies below 0.5.": [],
        "not shown to be better than guessing: the AUC's interval reaches down to 0.5.": [],
        "not shown to be better than guessing: the AUC is no higher than 0.5.": [],
    }
    worse, unproven, without = found.values()
    for result in results:
        value, interval = result.estimate("auc")
        if interval and interval[0] <= 0.5:
            (worse if interval[1] < 0.5 else unproven).append(result.name)
        elif not interval and value is not None and value <= 0.5:
            without.append(result.name)
    return [f"{listed(names)} {'is' if len(names) == 1 else 'are'} {words}" for words, names in found.items() if names]


def _leak_line(leak: Leak, gain: float) -> str:
    (dealt, _), (apart, _) = leak.dealt.estimate("auc"), leak.apart.estimate("auc")
    split = "the split is by source" if leak.knows_no_source else "people are kept apart"
    line = (
        f"{leak.label}: AUC {number(dealt)} when videos are split one by one, {number(apart)} when {split}; "
        f"the difference of {gain:+.3f} ({leak.run_words})"
    )
    if leak.knows_no_source:
        return f"{line} says nothing about people: no source ids are known, so neither split keeps people apart."
    # An AUC of 1 has no interval; then the accuracies are compared.
    for metric, shown in (("auc", "intervals"), ("accuracy", "accuracies' intervals")):
        dealt_ends, apart_ends = leak.dealt.intervals.get(metric), leak.apart.intervals.get(metric)
        if dealt_ends is None or apart_ends is None:
            continue
        if dealt_ends[0] > apart_ends[1]:
            return f"{line} is caused by the split: the {shown} do not overlap."
        if apart_ends[0] > dealt_ends[1]:
            return f"{line} has the unexpected sign: the {shown} do not overlap."
        return f"{line} may be chance: the {shown} overlap."
    return f"{line} may be chance: there are no intervals of both to compare."


def warnings(results: Sequence[Result], pairs: Sequence[Pair], configurations: Sequence[Configuration]) -> list[str]:
    """Warnings about the runs, their data and their tests."""
    lines = []

    def who(found: Sequence[str]) -> str:
        sound = [result.name for result in results if not result.run.failure]
        if set(found) == set(sound) and len(sound) > 1:
            return "All runs" if len(sound) == len(results) else "All runs that did not fail"
        shown = list(found)
        for one in configurations:  # one name stands for all runs of a configuration
            of_it = [result.name for result in one.results if not result.run.failure]
            if one.is_repeated and of_it and set(of_it) <= set(shown):
                shown[shown.index(of_it[0])] = one.name
                shown = [name for name in shown if name not in of_it]
        return listed(shown)

    def about(sentence: str, found: Sequence[Result]) -> None:
        if found:
            words = {word: one if len(found) == 1 else many for word, (one, many) in NUMBERS.items()}
            lines.append(f"{who([result.name for result in found])} {sentence.format(**words, few=FEW_VIDEOS)}")

    tested = [result for result in results if result.is_tested]
    about(IS_DEMO, [r for r in results if r.run.data("is_demo")])
    lines += [f"{r.name} failed and is not counted: {r.run.failure}" for r in results if r.run.failure]
    lines += [f"{result.name}: {note}" for result in results for note in result.run.notes]
    lines += list(_seed_lines(configurations))
    lines += [f"{who(names)}: {line}" for names, line in _overlap_lines(results)]
    about(NO_SOURCES, [r for r in results if r.run.knows_no_source])
    about(COMPARISON_ONLY, [r for r in results if r.run.summary.get("comparison_only")])
    about(FEW_TESTED, [r for r in tested if r.num_scored < FEW_VIDEOS])
    about(ONE_LABEL, [r for r in tested if r.overall.get("auc") is None])
    sets = [videos_tested(result) for result in tested]
    if len(set(sets)) > 1 and not all(is_fold(result.run.split_mode) for result in tested):
        common = len(frozenset.intersection(*sets))
        counts = listed([f"{len(videos)} ({result.name})" for result, videos in zip(tested, sets, strict=True)])
        lines.append(
            f"The runs were not tested on the same videos: {counts}; {common} are common to all. Their results are not "
            "directly comparable; McNemar's test uses the common videos of each pair."
        )
    unscored: dict[tuple[int, int], list[str]] = {}
    for result in tested:
        if number_lost := int(result.overall.get("num_unscored") or 0):
            unscored.setdefault((number_lost, len(videos_tested(result))), []).append(result.name)
    lines += [
        f"{who(found)}: {lost} of {total} test videos have no score (no face was found, or they could not be read) "
        "and count neither as right nor as wrong."
        for (lost, total), found in unscored.items()
    ]
    lines += [
        f"{pair.num_contradicting} videos are real for {pair.a.name} and fake for {pair.b.name}, or vice versa; they "
        "are left out of the comparison. The runs' stores contradict each other."
        for pair in pairs
        if pair.num_contradicting
    ]
    about(NO_SCORES, [r for r in results if r.run.summary and not r.is_tested and not r.run.failure])
    about(NO_SUMMARY, [r for r in results if not r.run.summary and not r.run.failure])
    return lines


def _seed_lines(configurations: Sequence[Configuration]) -> Iterator[str]:
    """Warnings about means over missing or different numbers of seeds."""
    for found in configurations:
        if found.is_repeated and found.failed:
            yield (
                f"{found.name}: {len(found.failed)} of its {len(found.results)} seeds failed. Its results are those of "
                "the others, which may be too good, so it is not ranked."
            )
        elif found.is_repeated and len(found.tested) < len(found.results):
            yield f"{found.name}: only {found.counted()} seeds have been tested; its results are those of these."
    counts = {found.name: len(found.tested) for found in configurations if found.is_tested}
    if len(set(counts.values())) > 1:
        shown = listed([f"{count} ({name})" for name, count in counts.items()])
        yield f"The configurations were tested with different numbers of seeds: {shown}. Means of few are less certain."


def _overlap_lines(results: Sequence[Result]) -> Iterator[tuple[list[str], str]]:
    """Sentences about overlapping splits, each with the names of the runs that it applies to."""
    consequences = {
        "train-test": "so the test results are too good",
        "val-test": "so people in the test helped to choose the epoch",
        "train-val": "so the validation results, which chose the epoch, are too good",
    }
    found: dict[str, list[str]] = {}  # the runs of each sentence
    for result in results:
        for pair, counts in overlap(result.run).items():
            first, _, second = pair.partition("-")
            total = result.run.data("splits", second, "num_videos")
            share = f"{counts.get('num_videos', 'some')} of {'the' if total is None else total} videos of {second}"
            line = (
                f"{share} show people or sources that are in {first} too (split: {result.run.split_mode}), "
                f"{consequences.get(pair, 'so the two are not separate')}."
            )
            found.setdefault(line, []).append(result.name)
    yield from ((names, line) for line, names in found.items())


def _count_words(result: Result) -> str:
    return f"{result.num_scored} test videos ({result.overall['num_real']} real, {result.overall['num_fake']} fake)"
