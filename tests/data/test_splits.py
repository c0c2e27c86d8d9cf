"""No person and no source video is ever on two sides; within that, the splits are as asked for."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dfd.data.manifest import VideoRow, read_manifest
from dfd.data.splits import assign_splits, audit, components
from dfd.errors import SplitLeak
from dfd.types import Label


def row(number: int, *source_ids: str, label: Label | None = None, dataset: str = "d", split: str = "") -> VideoRow:
    label = Label(number % 2) if label is None else label
    return VideoRow(Path(f"/v/{number}"), f"{number}.mp4", label, dataset, source_ids=source_ids, split=split)


def people(num_people: int, videos_each: int = 2) -> list[VideoRow]:
    return [row(p * videos_each + v, f"person{p}") for p in range(num_people) for v in range(videos_each)]


def shares(rows: list[VideoRow], splits: dict[str, str], label: Label) -> list[float]:
    counts = Counter(splits[r.video_id] for r in rows if r.label is label)
    return [counts[name] / counts.total() for name in ("train", "val", "test")]


def test_two_videos_of_one_person_are_never_split() -> None:
    generator = random.Random(0)
    for seed in range(20):
        ids = [f"p{i}" for i in range(25)]
        rows = [row(n, *generator.sample(ids, generator.choice([1, 1, 1, 2]))) for n in range(60)]
        splits = assign_splits(rows, seed=seed)
        for source_id in ids:
            assert len({splits[r.video_id] for r in rows if source_id in r.source_ids}) <= 1
        audit([replace(r, split=splits[r.video_id]) for r in rows])


def test_a_fake_joins_the_two_people_it_is_made_of() -> None:
    rows = [row(0, "a"), row(2, "b"), row(1, "a", "b"), row(4, "c")]
    groups = components(rows)
    assert sorted(map(len, groups)) == [1, 3]


def test_a_source_id_spelt_like_a_video_id_joins_nothing_by_accident() -> None:
    first = row(0, "a")
    assert len(components([first, row(1, first.video_id)])) == 2


def test_each_label_of_each_data_set_is_divided_as_asked() -> None:
    rows = people(100) + [
        replace(r, dataset="e", name=f"e{r.name}", source_ids=(f"e{r.source_ids[0]}",)) for r in people(40, 5)
    ]
    splits = assign_splits(rows, fractions=(0.6, 0.2, 0.2))
    for dataset in "de":
        part = [r for r in rows if r.dataset == dataset]
        for label in Label:
            assert shares(part, splits, label) == pytest.approx([0.6, 0.2, 0.2], abs=0.04)


def test_many_small_data_sets_do_not_all_go_to_train() -> None:
    rows = [row(n, f"p{n}", dataset=f"d{n // 2}") for n in range(60)]
    splits = assign_splits(rows)
    for label in Label:
        assert shares(rows, splits, label) == pytest.approx([0.7, 0.15, 0.15], abs=0.04)


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    rows = people(30)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert assign_splits(rows, seed=3) == assign_splits(shuffled, seed=3)
    assert assign_splits(rows, seed=3) != assign_splits(rows, seed=4)


def test_every_split_has_both_labels_where_that_is_possible() -> None:
    for num_people in range(3, 12):
        for seed in range(5):
            rows = people(num_people)
            splits = assign_splits(rows, seed=seed)
            found = {(splits[r.video_id], r.label) for r in rows}
            assert len(found) == 6, (num_people, seed)


def test_few_fakes_among_many_real_videos_still_reach_every_split() -> None:
    rows = [row(2 * n, f"p{n}") for n in range(40)] + [row(2 * n + 1, f"f{n}") for n in range(3)]
    splits = assign_splits(rows)
    assert {splits[r.video_id] for r in rows if r.label is Label.FAKE} == {"train", "val", "test"}


def test_one_large_group_goes_to_train_whole_and_a_warning_says_what_it_costs(caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(n, "shared") for n in range(45)] + [row(100 + n, f"p{n}") for n in range(5)]
    splits = assign_splits(rows)
    assert {splits[r.video_id] for r in rows[:45]} == {"train"}
    assert "largest group of shared sources has 45 videos" in caplog.text


def test_a_split_that_must_lack_a_label_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    assign_splits([row(n, "one person") for n in range(4)])
    assert "split 'val' has no fake video" in caplog.text
    assert "split 'test' has no real video" in caplog.text


def test_a_split_of_fraction_zero_stays_empty_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    splits = assign_splits(people(20), fractions=(0.8, 0.2, 0.0))
    assert Counter(splits.values()) == {"train": 32, "val": 8}
    assert not caplog.records


def test_given_splits_are_kept_and_pull_their_people_along() -> None:
    rows = people(20)
    rows[0] = replace(rows[0], split="test")
    splits = assign_splits(rows)
    assert splits[rows[0].video_id] == splits[rows[1].video_id] == "test"


def test_new_rows_join_the_side_of_their_person_and_old_rows_stay() -> None:
    old = people(20)
    frozen = assign_splits(old, seed=1)
    new = [row(1000 + n, f"person{n}") for n in range(20)] + [row(2000 + n, f"new{n}") for n in range(10)]
    grown = assign_splits([*new, *old], seed=7, frozen=frozen)
    assert {k: v for k, v in grown.items() if k in frozen} == frozen
    for number in range(20):
        assert grown[new[number].video_id] == frozen[old[2 * number].video_id]


def test_a_new_row_that_joins_two_frozen_sides_is_refused_by_name() -> None:
    old = people(20)
    frozen = assign_splits(old)
    train = next(r for r in old if frozen[r.video_id] == "train")
    test = next(r for r in old if frozen[r.video_id] == "test")
    bridge = row(1001, *train.source_ids, *test.source_ids)
    with pytest.raises(SplitLeak, match="assigned before: train") as caught:
        assign_splits([*old, bridge], frozen=frozen)
    assert "assigned before: test" in str(caught.value)


def test_a_given_split_that_contradicts_the_frozen_one_is_refused() -> None:
    one = row(0, "a", split="test")
    with pytest.raises(SplitLeak, match="was assigned to train before and is given as test now"):
        assign_splits([one], frozen={one.video_id: "train"})


def test_two_given_splits_of_one_person_are_refused_naming_both_videos() -> None:
    rows = [row(0, "a", split="train"), row(1, "a", split="val")]
    with pytest.raises(SplitLeak, match="both have source id 'a'") as caught:
        assign_splits(rows)
    assert all(repr(r.video_id) in str(caught.value) for r in rows)


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_fractions_that_are_none_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fractions must"):
        assign_splits(people(3), fractions=fractions)


def test_no_rows_have_no_splits() -> None:
    assert assign_splits([]) == {}


def test_the_audit_names_the_source_id_and_both_videos() -> None:
    rows = [row(0, "a", "b", split="train"), row(1, "b", split="test"), row(2, "c", split="val"), row(4, "c")]
    with pytest.raises(SplitLeak, match="source id 'b' is in train") as caught:
        audit(rows)
    assert all(repr(r.video_id) in str(caught.value) for r in rows[:2])
    assert "'c'" not in str(caught.value)
    audit(rows[1:])


def test_the_audit_finds_one_video_in_two_splits() -> None:
    with pytest.raises(SplitLeak, match="is in train"):
        audit([row(0, "a", split="train"), row(0, "b", split="val")])


def test_the_development_videos_have_both_labels_in_every_split(shared_data: Path) -> None:
    rows = read_manifest(shared_data / "dev" / "manifest.csv")
    for seed in range(5):
        splits = assign_splits(rows, seed=seed)
        counts = Counter((splits[r.video_id], r.label) for r in rows)
        assert min(counts[name, label] for name in ("val", "test") for label in Label) >= 2
