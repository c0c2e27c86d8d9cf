"""Cutting a group by its people: at its thin places, around those whose side is known."""

import random

from dfd.data.splits.cuts import Member, common_side, divide_sources

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def clique(name: str, num_people: int) -> list[Member]:
    people = [f"{name}{n}" for n in range(num_people)]
    real = [Member((person,), ("d", "real")) for person in people for _ in range(5)]
    return real + [Member((a, b), ("d", "fake")) for a in people for b in people if a != b]


def test_a_group_is_cut_where_it_is_thin() -> None:
    members = [*clique("a", 12), *clique("b", 4), *clique("c", 4)]
    members += [Member(("a0", "b0"), ("d", "fake")), Member(("b1", "c1"), ("d", "fake"))]
    sides = divide_sources(members, SHARES)
    assert {side: {name[0] for name in sides if sides[name] == side} for side in SHARES}["train"] == {"a"}
    assert sum(common_side(member.source_ids, sides) is None for member in members) == 2


def test_known_sides_stay() -> None:
    members = clique("a", 12)
    fixed = {"a3": "test", "a4": "val"}
    sides = divide_sources(members, SHARES, fixed=fixed)
    assert sides.items() >= fixed.items()
    assert set(sides.values()) == set(SHARES)
    assert divide_sources(members, SHARES, fixed=dict.fromkeys(sides, "val")) == dict.fromkeys(sides, "val")


def test_a_side_without_a_share_stays_empty() -> None:
    assert set(divide_sources(clique("a", 12), {"train": 0.8, "val": 0.2, "test": 0.0}).values()) == {"train", "val"}


def test_the_order_of_the_members_does_not_matter_and_the_seed_does() -> None:
    members = clique("a", 20)
    shuffled = random.Random(1).sample(members, len(members))
    assert divide_sources(members, SHARES, seed=1) == divide_sources(shuffled, SHARES, seed=1)
    assert divide_sources(members, SHARES, seed=1) != divide_sources(members, SHARES, seed=2)


def test_people_are_divided_by_how_many_videos_show_them_alone() -> None:
    members = [Member(("star",), ("d", "real"))] * 60 + [Member((f"p{n}",), ("d", "real")) for n in range(40)]
    members += [Member(("star", f"p{n}"), ("d", "real")) for n in range(2)]
    sides = divide_sources(members, SHARES)
    assert [name for name, side in sides.items() if side == "train" and name not in ("p0", "p1")] == ["star"]
