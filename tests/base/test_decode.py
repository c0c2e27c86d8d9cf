"""Records: what one writes the other reads, also of an older or newer version, and what is wrong is named."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from dfd.base.errors import ReportError
from dfd.base.types import Count, Label, Prob, Status
from dfd.base.untrusted import decode
from dfd.data.store.plan import SplitPlan, read_split_plan, write_split_plan
from dfd.models.files.card import DetectorCard
from dfd.runs.records import JobRecord, Outcome, StudyRecord


@dataclass(frozen=True)
class Part:
    prob: Prob
    box: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Whole:
    label: Label
    parts: tuple[Part, ...]
    status: Status = Status.OK
    kind: Literal["a", "b"] = "a"
    number: Count | None = None
    extra: Mapping[str, Any] | None = None


GOOD = {"label": "fake", "parts": [{"prob": 1, "box": [1, 2]}], "number": 3, "extra": {"x": [1]}}


def test_a_plain_value_becomes_the_types_that_it_is_to_be() -> None:
    found = decode(Whole, GOOD)
    assert found == Whole(Label.FAKE, (Part(1.0, (1.0, 2.0)),), number=3, extra={"x": [1]})
    assert type(found.parts[0].prob) is float


def test_what_an_older_version_lacks_has_its_default_and_what_a_newer_one_adds_is_ignored() -> None:
    assert decode(Whole, {"label": "real", "parts": [], "later": 1}) == Whole(Label.REAL, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 1}, "label must be one of real, fake, got 1"),
        ({"status": "fine"}, "status must be one of ok, partial, no_face, "),
        ({"parts": [{}]}, r"parts\[0\] lacks prob"),
        ({"parts": [{"prob": 1.5}]}, r"parts\[0\].prob must be a finite number in 0..1, got 1.5"),
        ({"parts": [{"prob": float("nan")}]}, r"parts\[0\].prob must be a finite number, got nan"),
        ({"parts": [{"prob": 0.5, "box": [1]}]}, r"parts\[0\].box must be a list of 2, got \[1\]"),
        ({"parts": [{"prob": 0.5, "box": [1, "2"]}]}, r"parts\[0\].box\[1\] must be a finite number, got '2'"),
        ({"parts": {}}, "parts must be a list, got {}"),
        ({"number": True}, "number must be a whole number, got True"),
        ({"number": -1}, "number must be a whole number of at least 0, got -1"),
        ({"number": 10**400}, "number must be a whole number, got 1000"),
        ({"kind": "c"}, "kind must be 'a' or 'b', got 'c'"),
        ({"extra": [1]}, r"extra must be names and values, got \[1\]"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_what_is_expected_and_what_was_found(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decode(Whole, GOOD | change)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_record_is_names_and_values(value: object) -> None:
    with pytest.raises(ValueError, match="must be names and values"):
        decode(Whole, value)


RECORDS = [
    JobRecord(Outcome.PRUNED, ["seed=1", "temporal=gru"], "2026-01-02 03:04:05", 12.5, 0.75, "worse than others"),
    StudyRecord("backbones", "backbones night", "val/auc", ["backbone"], ["optimizer.lr"]),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_of_a_study_comes_back_and_a_damaged_one_is_named(tmp_path: Path, record: Any) -> None:
    assert type(record).read(tmp_path) is None
    record.write(tmp_path)
    assert type(record).read(tmp_path) == record
    (path,) = tmp_path.iterdir()
    name = next(iter(asdict(record)))
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: 7}))
    with pytest.raises(ReportError, match=rf"{path.name}: cannot be read \({name} must be .*, got 7\)"):
        type(record).read(tmp_path)


def test_the_plan_of_a_store_comes_back(tmp_path: Path) -> None:
    plan = SplitPlan("official", (0.5, 0.25, 0.25), 7)
    write_split_plan(tmp_path, plan)
    assert read_split_plan(tmp_path) == plan


def test_a_card_comes_back_from_json() -> None:
    card = DetectorCard({"backbone": {"_target_": "x"}}, 64, 4, temperature=1.5, metrics={"auc": 0.9}, test={"n": 1})
    assert DetectorCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
