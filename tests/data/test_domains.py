"""Batches that hold one domain of fakes, and some people, out of the rest."""

from collections import Counter

import pandas as pd
import pytest

from dfd.base.errors import ConfigError, StoreError
from dfd.data.splits.domains import Domains, DomainSampler


def rows(*videos: tuple[str, str, str]) -> pd.DataFrame:
    """Rows of an index from (method, source ids, data set); no method means real."""
    columns = ["method", "source_ids", "dataset"]
    table = pd.DataFrame(videos, columns=columns)
    table["label"] = ["fake" if method else "real" for method in table["method"]]
    return table.assign(video_id=[f"v{number}" for number in range(len(table))], split="train", is_main=True)


MANY = rows(
    *[(method, f"{method}{person}", "made") for method in ("swap", "sync", "talk", "warp") for person in range(3)],
    *[("", f"swap{person}", "made") for person in range(3)],  # originals of one method only
    *[("", f"other{person}", "filmed") for person in range(6)],
)


def batches(table: pd.DataFrame, domains: Domains, batch_size: int, *, epochs: int = 20) -> list[list[int]]:
    sampler = DomainSampler(table, domains, batch_size=batch_size)
    found = []
    for _ in range(epochs):
        numbers = [number for number, _ in sampler]
        assert len(numbers) == len(sampler)
        found += [numbers[at : at + batch_size] for at in range(0, len(numbers), batch_size)]
    return found


def method_of(table: pd.DataFrame, number: int) -> str:
    return str(table["method"].iloc[number])


@pytest.mark.parametrize(("num_domains", "batch_size"), [(2, 8), (3, 6), (4, 16)])
def test_the_held_out_method_and_its_people_are_never_in_the_inner_step(num_domains: int, batch_size: int) -> None:
    held_out = set()
    for batch in batches(MANY, Domains(num_domains=num_domains), batch_size):
        last = batch_size - batch_size // num_domains
        inner, outer = batch[:last], batch[last:]
        name = method_of(MANY, outer[0])
        held_out.add(name)
        assert name not in {method_of(MANY, number) for number in inner}
        people = [{MANY["source_ids"].iloc[number] for number in part} for part in (inner, outer)]
        assert not people[0] & people[1]
    assert held_out == {"swap", "sync", "talk", "warp"}


def test_each_domain_has_equal_parts_of_a_batch_with_both_labels() -> None:
    for batch in batches(MANY, Domains(num_domains=4), 16):
        assert [MANY["label"].iloc[number] for number in batch] == ["fake", "real"] * 8
        assert set(Counter(method_of(MANY, number) for number in batch[::2]).values()) == {2}


def test_a_fake_is_paired_with_its_own_original_where_there_is_one() -> None:
    for batch in batches(MANY, Domains(num_domains=4), 16):
        for fake, real in zip(batch[::2], batch[1::2], strict=True):
            if method_of(MANY, fake) == "swap":
                assert MANY["source_ids"].iloc[fake] == MANY["source_ids"].iloc[real]


def test_batches_depend_on_the_seed_and_the_epoch_alone_and_processes_share_them() -> None:
    options = {"batch_size": 8, "seed": 3, "epoch": 5}
    domains = Domains(num_domains=4)
    whole = list(DomainSampler(MANY, domains, **options))
    again = DomainSampler(MANY, domains, **options)
    assert list(again) == whole
    assert list(again) != whole  # the next epoch
    again.set_epoch(5)
    assert list(again) == whole
    shares = [list(DomainSampler(MANY, domains, **options, rank=rank, num_processes=2)) for rank in (0, 1)]
    assert shares[0][:8] == whole[:8]
    assert shares[1][:8] == whole[8:16]


def test_what_cannot_be_held_out_is_refused_with_the_reason() -> None:
    with pytest.raises(StoreError, match=r"holds one method of fakes out .* has 1 \(swap\)"):
        DomainSampler(rows(("swap", "a", "x"), ("", "b", "x")), Domains(), batch_size=4)
    with pytest.raises(ConfigError, match=r"batch_size=6 is not divisible by 8"):
        DomainSampler(MANY, Domains(num_domains=4), batch_size=6)
    one_person = rows(("swap", "a", "x"), ("sync", "a", "x"), ("", "a", "x"), ("", "b", "x"))
    with pytest.raises(StoreError, match="no domain can be held out"):
        DomainSampler(one_person, Domains(), batch_size=4)
    for options in ({"by": "kind"}, {"num_domains": 1}):
        with pytest.raises(ConfigError, match="strategy"):
            Domains(**options)  # type: ignore[arg-type]


def test_a_method_that_shares_all_its_people_with_another_is_not_held_out_of_a_batch_with_that_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fakes = [("swap", "a", "x"), ("sync", "a", "x"), ("talk", "c", "x")]
    table = rows(*fakes, *[("", name, "x") for name in "abcd"])
    assert DomainSampler(table, Domains(num_domains=3), batch_size=6).held_out == ["talk"]
    assert "swap, sync cannot be held out" in caplog.text
    assert DomainSampler(table, Domains(num_domains=2), batch_size=4).held_out == ["swap", "sync", "talk"]
