"""No person and no source video is ever on two sides; within that, the splits are as asked for."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dfd.base.errors import SplitError, SplitLeak
from dfd.base.types import Label
from dfd.data.sources.manifest import read_manifest
from dfd.data.sources.row import VideoRow
from dfd.data.splits.assign import assign_splits
from dfd.data.splits.people import UNUSED, audit, components, overlap


def row(number: int, *source_ids: str, label: Label | None = None, dataset: str = "d", split: str = "") -> VideoRow:
    label = Label(number % 2) if label is None else label
    return VideoRow(Path(f"/v/{number}"), f"{number}.mp4", label, dataset, source_ids=source_ids, split=split)


def people(num_people: int, videos_each: int = 2) -> list[VideoRow]:
    return [row(p * videos_each + v, f"person{p}") for p in range(num_people) for v in range(videos_each)]


def swaps(
    num_people: int, num_real: int, num_fake: int, *, dataset: str = "celebdf", others: int = 0, first: int = 0
) -> list[VideoRow]:
    """A data set whose people are all swapped with one another, and ``others`` real videos of nobody known."""
    generator = random.Random(0)

    def one(name: str, label: Label, *ids: str) -> VideoRow:
        return VideoRow(Path("/v") / name, name, label, dataset, source_ids=tuple(f"{dataset}:{i}" for i in ids))

    names = [f"id{first + person}" for person in range(num_people)]
    rows = [one(f"{names[n % num_people]}_{n}", Label.REAL, names[n % num_people]) for n in range(num_real)]
    rows += [one(f"youtube_{n}", Label.REAL, f"youtube:{n}") for n in range(others)]
    for n in range(num_fake):
        pair = generator.sample(names, 2)
        rows.append(one(f"{'_'.join(pair)}_{first}_{n}", Label.FAKE, *pair))
    return rows


@pytest.fixture(scope="module")
def celebdf() -> list[VideoRow]:
    """As Celeb-DF v2 is: 59 people in 590 real videos and 5639 fakes, and 300 real videos from YouTube."""
    return swaps(59, 590, 5639, others=300)


def with_splits(rows: list[VideoRow], splits: dict[str, str]) -> list[VideoRow]:
    return [replace(r, split=splits[r.video_id]) for r in rows]


def counts(rows: list[VideoRow], splits: dict[str, str]) -> Counter[tuple[str, str]]:
    return Counter((splits[r.video_id], str(r.label)) for r in rows)


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
            assert len({splits[r.video_id] for r in rows if source_id in r.source_ids} - {UNUSED}) <= 1
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
    assert "is on one side has 45 videos" in caplog.text


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


# Groups that are too large to stay whole


def test_people_who_are_all_swapped_with_one_another_are_in_three_splits_with_both_labels_and_the_loss_is_stated(
    celebdf: list[VideoRow], caplog: pytest.LogCaptureFixture
) -> None:
    splits = assign_splits(celebdf, fractions=(0.6, 0.1, 0.3))
    audit(with_splits(celebdf, splits))
    found = counts(celebdf, splits)
    assert shares([r for r in celebdf if r.label is Label.REAL], splits, Label.REAL) == pytest.approx([0.6, 0.1, 0.3])
    # 59 people divided 6 to 1 to 3, each with all others: by chance 46 % of the fakes keep both people on one side.
    num_unused = found[UNUSED, "fake"]
    assert found[UNUSED, "real"] == 0
    assert num_unused < 0.52 * 5639
    assert min(found[split, "fake"] for split in ("train", "val", "test")) >= 60
    assert f"in no split: {num_unused} of 6529 videos of celebdf" in caplog.text


def test_only_videos_of_people_on_two_sides_are_lost(celebdf: list[VideoRow]) -> None:
    splits = assign_splits(celebdf)
    side = {r.source_ids[0]: splits[r.video_id] for r in celebdf if len(r.source_ids) == 1}
    for r in celebdf:
        sides = {side[source_id] for source_id in r.source_ids}
        assert splits[r.video_id] == (sides.pop() if len(sides) == 1 else UNUSED)


def test_a_cut_does_not_depend_on_the_order_of_the_rows_and_does_on_the_seed() -> None:
    rows = swaps(20, 100, 400)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert assign_splits(rows, seed=3) == assign_splits(shuffled, seed=3)
    assert assign_splits(rows, seed=3) != assign_splits(rows, seed=4)


def test_a_cut_loses_nothing_of_other_data_sets() -> None:
    pairs = [
        VideoRow(Path("/v"), f"{a}_{b}", Label(a % 2), "ffpp", source_ids=tuple({f"f{a // 2}", f"f{b // 2}"}))
        for a in range(200)
        for b in (a, a ^ 2)
    ]
    rows = [*swaps(20, 100, 400), *pairs]
    splits = assign_splits(rows)
    assert {r.dataset for r in rows if splits[r.video_id] == UNUSED} == {"celebdf"}
    for label in Label:
        assert shares(pairs, splits, label) == pytest.approx([0.7, 0.15, 0.15], abs=0.03)


def test_groups_that_can_be_dealt_out_whole_lose_nothing() -> None:
    rows = [r for group in range(5) for r in swaps(8, 16, 40, first=8 * group)]
    splits = assign_splits(rows)
    assert UNUSED not in splits.values()
    assert {split for split, _ in counts(rows, splits)} == {"train", "val", "test"}


def test_a_group_that_hangs_on_one_person_stays_whole() -> None:
    # Each fake shows the same actor: whoever is on another side than the actor loses all fakes.
    rows = [row(2 * n, f"p{n}") for n in range(40)] + [row(2 * n + 1, f"p{n}", "actor") for n in range(40)]
    assert set(assign_splits(rows).values()) == {"train"}


def test_a_growing_store_keeps_its_cut_and_new_videos_follow_their_people(celebdf: list[VideoRow]) -> None:
    old, new = celebdf[::2], celebdf[1::2]
    frozen = assign_splits(old, seed=1)
    assert UNUSED in frozen.values()
    newcomer = [row(n, "celebdf:id99", dataset="celebdf", label=Label.REAL) for n in range(5)]
    newcomer += [row(100 + n, "celebdf:id99", f"celebdf:id{n}", dataset="celebdf", label=Label.FAKE) for n in range(20)]
    grown = assign_splits([*old, *new, *newcomer], seed=7, frozen=frozen)
    assert {k: v for k, v in grown.items() if k in frozen} == frozen
    rows = with_splits([*old, *new, *newcomer], grown)
    audit(rows)
    sides = {source_id: r.split for r in rows if r.split != UNUSED for source_id in r.source_ids}
    for r in rows[len(old) :]:
        assert r.split in (UNUSED, *(sides[source_id] for source_id in r.source_ids))
        if r.split == UNUSED:
            assert len({sides[source_id] for source_id in r.source_ids}) == 2
    assert len({r.split for r in rows if r.source_ids == ("celebdf:id99",)}) == 1


def test_a_group_that_outgrows_its_split_is_cut_around_the_people_that_have_a_side() -> None:
    old = swaps(4, 8, 12)
    frozen = assign_splits(old)
    assert len(set(frozen.values())) == 1
    rows = [*old, *swaps(30, 120, 600)[8:]]
    grown = assign_splits(rows, frozen=frozen)
    assert {k: v for k, v in grown.items() if k in frozen} == frozen
    audit(with_splits(rows, grown))
    assert (
        min(counts(rows, grown)[split, label] for split in ("train", "val", "test") for label in ("real", "fake")) > 0
    )


def test_a_frozen_assignment_of_used_videos_alone_is_repeated_in_silence(
    celebdf: list[VideoRow], caplog: pytest.LogCaptureFixture
) -> None:
    frozen = assign_splits(celebdf)
    caplog.clear()
    used = [r for r in celebdf if frozen[r.video_id] != UNUSED][::3]
    assert assign_splits(used, seed=9, frozen=frozen) == {r.video_id: frozen[r.video_id] for r in sorted_by_id(used)}
    assert not caplog.records


def sorted_by_id(rows: list[VideoRow]) -> list[VideoRow]:
    return sorted(rows, key=lambda r: r.video_id)


def test_a_given_split_that_contradicts_the_side_of_its_person_is_refused_in_a_cut_group_too() -> None:
    rows = swaps(20, 100, 400)
    frozen = assign_splits(rows)
    known = rows[0]
    other = next(split for split in ("train", "val") if split != frozen[known.video_id])
    late = row(1, *known.source_ids, split=other, dataset="celebdf")
    with pytest.raises(SplitLeak, match=f"both have source id '{known.source_ids[0]}'"):
        assign_splits([*rows, late], frozen=frozen)


# Official splits


def official_of(rows: list[VideoRow], share: float = 0.1) -> dict[str, str]:
    """As Celeb-DF's list is: train or test by video, with the same people in both."""
    return {r.video_id: "test" if random.Random(r.name).random() < share else "train" for r in rows}


def test_official_splits_are_kept_to_the_letter_though_people_overlap(
    celebdf: list[VideoRow], caplog: pytest.LogCaptureFixture
) -> None:
    official = official_of(celebdf)
    splits = assign_splits(celebdf, fractions=(0.6, 0.1, 0.3), mode="official", official=official)
    for r in celebdf:
        assert (splits[r.video_id] == "test") == (official[r.video_id] == "test")
    number = overlap(with_splits(celebdf, splits))["train-test"]["num_source_ids"]
    assert number > 40
    assert f"train and test share {number} source ids" in caplog.text


def test_val_is_carved_out_of_an_official_train_without_sharing_people(celebdf: list[VideoRow]) -> None:
    splits = assign_splits(celebdf, fractions=(0.6, 0.1, 0.3), mode="official", official=official_of(celebdf))
    rows = with_splits(celebdf, splits)
    audit([r for r in rows if r.split in ("train", "val")])
    real = Counter(r.split for r in rows if r.label is Label.REAL)
    assert real["val"] / (real["train"] + real["val"]) == pytest.approx(1 / 7, abs=0.01)
    assert counts(rows, splits)["val", "fake"] > 50


def test_the_owners_val_is_taken_where_there_is_one() -> None:
    rows = people(30)
    official = {r.video_id: ("train", "val", "test")[int(r.source_ids[0][6:]) % 3] for r in rows}
    assert assign_splits(rows, mode="official", official=official) == dict(sorted(official.items()))


def test_without_a_share_for_val_none_is_carved() -> None:
    rows = people(10)
    official = official_of(rows, 0.5)
    splits = assign_splits(rows, fractions=(0.7, 0.0, 0.3), mode="official", official=official)
    assert splits == dict(sorted(official.items()))


def test_a_data_set_without_an_official_split_is_refused_by_name() -> None:
    rows = [*people(5), *(row(100 + n, f"q{n}", dataset="e") for n in range(3))]
    official = {r.video_id: "train" for r in rows if r.dataset == "d"}
    with pytest.raises(SplitError, match=r"no video of e \(3 videos\) has an official split.*split=source"):
        assign_splits(rows, mode="official", official=official)
    with pytest.raises(SplitError, match=r"d \(10 videos\), e \(3 videos\)"):
        assign_splits(rows, mode="official")


def test_an_official_split_by_another_name_is_refused() -> None:
    with pytest.raises(SplitError, match="official_split 'valid', not train, val, test"):
        assign_splits([row(0, "a")], mode="official", official={row(0, "a").video_id: "valid"})


def test_videos_that_the_owners_do_not_mention_follow_their_people_or_are_in_no_split() -> None:
    rows = [row(n, f"p{n}") for n in range(6)]
    official = {r.video_id: split for r, split in zip(rows, ["train", "val", "test"] * 2, strict=True)}
    follows, torn, free = row(100, "p2"), row(101, "p0", "p1"), row(102, "new")
    between = row(103, "new too", "p0", "p2")
    splits = assign_splits([*rows, follows, torn, free, between], mode="official", official=official)
    assert splits[follows.video_id] == "test"
    assert splits[torn.video_id] == splits[between.video_id] == UNUSED
    assert splits[free.video_id] == "train"


def test_a_video_of_someone_whom_the_owners_have_on_two_sides_is_in_no_split() -> None:
    rows = [row(0, "a"), row(1, "a"), row(2, "b"), row(3, "b")]
    official = dict(zip([r.video_id for r in rows], ["train", "test", "val", "val"], strict=True))
    splits = assign_splits([*rows, row(4, "a")], mode="official", official=official)
    assert splits[row(4, "a").video_id] == UNUSED


def test_a_store_by_official_splits_grows(celebdf: list[VideoRow]) -> None:
    official = official_of(celebdf)
    old = celebdf[::2]
    frozen = assign_splits(old, mode="official", official=official)
    grown = assign_splits(celebdf, seed=5, frozen=frozen, mode="official", official=official)
    assert {k: v for k, v in grown.items() if k in frozen} == frozen
    rows = with_splits(celebdf, grown)
    audit([r for r in rows if r.split in ("train", "val")])
    assert all((r.split == "test") == (official[r.video_id] == "test") for r in rows)


def test_an_official_split_that_contradicts_the_frozen_or_the_given_one_is_refused() -> None:
    one = row(0, "a")
    with pytest.raises(SplitError, match="is test by the owners' list and assigned before: train"):
        assign_splits([one], mode="official", official={one.video_id: "test"}, frozen={one.video_id: "train"})
    with pytest.raises(SplitError, match="is test by the owners' list and given: val"):
        assign_splits([replace(one, split="val")], mode="official", official={one.video_id: "test"})


# Random videos, and what the splits share


def test_dealing_out_videos_one_by_one_leaks_says_so_and_is_refused_by_the_audit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = people(50, 4)
    splits = assign_splits(rows, mode="random_video")
    for label in Label:
        assert shares(rows, splits, label) == pytest.approx([0.7, 0.15, 0.15])
    assert "split=random_video has people or sources on two sides" in caplog.text
    with pytest.raises(SplitLeak):
        audit(with_splits(rows, splits))
    assert splits == assign_splits(rows[::-1], mode="random_video")
    assert splits != assign_splits(rows, mode="random_video", seed=1)


def test_a_store_of_videos_dealt_out_one_by_one_grows_to_the_same_shares() -> None:
    rows = people(50, 4)
    frozen = assign_splits(rows[:80], mode="random_video")
    grown = assign_splits(rows, mode="random_video", frozen=frozen, seed=3)
    assert {k: v for k, v in grown.items() if k in frozen} == frozen
    for label in Label:
        assert shares(rows, grown, label) == pytest.approx([0.7, 0.15, 0.15])


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode must be one of source, official, random_video, got 'random'"):
        assign_splits(people(3), mode="random")


def test_the_overlap_is_counted_by_ids_and_by_videos_of_the_later_split() -> None:
    rows = [
        row(0, "a", "b", split="train"),
        row(1, "a", split="train"),
        row(2, "b", "c", split="test"),
        row(3, "a", split="test"),
        row(4, "d", split="test"),
        row(5, "c", split="val"),
        row(6, "a", split=UNUSED),
        row(7, "c"),
    ]
    assert overlap(rows) == {
        "train-val": {"num_source_ids": 0, "num_videos": 0},
        "train-test": {"num_source_ids": 2, "num_videos": 2},
        "val-test": {"num_source_ids": 1, "num_videos": 1},
    }


def test_the_audit_does_not_look_at_unused_videos() -> None:
    audit([row(0, "a", split="train"), row(1, "a", "b", split=UNUSED), row(2, "b", split="test")])
