"""A stranger's run folder, scores or store: what it holds costs little, and nothing crosses its folder's border."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from dfd.base.errors import DfdError, StoreError
from dfd.base.files import partial_of, take_lock
from dfd.base.types import Status, VideoScore
from dfd.base.untrusted import parse_json, read_yaml, refuse_large
from dfd.commands.report import main
from dfd.data.store.records import VideoRecord
from dfd.data.store.tables import read_index
from dfd.predictions.rows import PredictionsError, json_of, read_scores
from dfd.predictions.writer import PredictionWriter
from dfd.report.studies import study  # noqa: F401 - what it imports takes its time

SECRET = "the secret of another folder"


def yaml_bomb() -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


DEEP = "[" * 50_000 + "]" * 50_000
BETWEEN = "[" * 900 + "]" * 900  # Python reads it, and who walks it is out of stack

RUN_FILES = {
    "aliases": ("config.yaml", yaml_bomb()),
    "an alias in itself": ("config.yaml", "a: &a\n  b: *a\n"),
    "a merge": ("config.yaml", "a: &a {x: 1}\nb:\n  <<: *a\n"),
    "deep YAML": ("config.yaml", "a: " + "[" * 5000),
    "YAML that can be read and not walked": ("config.yaml", "a: " + "[" * 100 + "]" * 100),
    "large YAML": ("config.yaml", "a: [" + "x," * 500_000 + "]"),
    "an object in YAML": ("config.yaml", "a: !!python/object/apply:os.system ['true']"),
    "digits in YAML": ("config.yaml", "a: " + "9" * 100_000),
    "not YAML": ("config.yaml", "a: b: c: {"),
    "deep JSON": ("summary.json", '{"name": ' + DEEP + "}"),
    "JSON that can be read and not walked": ("summary.json", '{"data": ' + BETWEEN + "}"),
    "digits in JSON": ("summary.json", '{"num_epochs": ' + "9" * 100_000 + "}"),
    "deep metrics": ("test/metrics.json", DEEP),
}


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    began = time.process_time()
    assert main(arguments) == 1
    assert time.process_time() - began < 5
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert len(said) < 1000
    return said


@pytest.mark.parametrize("how", RUN_FILES)
def test_a_run_folder_that_holds_a_bomb_is_refused_in_a_sentence(tmp_path, capsys, how):
    name, text = RUN_FILES[how]
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert str(tmp_path / name) in refusal([str(tmp_path)], capsys)


@pytest.mark.parametrize(
    "name", ["config.yaml", "summary.json", "metrics.csv", "test/predictions.csv", "test/metrics.json"]
)
def test_a_run_folder_shows_no_file_of_another_folder(tmp_path, capsys, name):
    run, secret = tmp_path / "run", tmp_path / "secret"
    (run / "test").mkdir(parents=True)
    (run / "summary.json").write_text("{}")
    secret.write_text(json.dumps({"name": SECRET}))
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    assert "leads out of its folder" in refusal([str(run)], capsys)


def scores_in(folder: Path, name: str = "a.mp4") -> Path:
    with PredictionWriter(folder, model="m@1") as writer:
        writer.write(VideoScore(name, Status.NO_FACE, model="m@1"))
    return folder


@pytest.mark.parametrize("text", [DEEP, '{"schema_version": 2, "tracks": ' + BETWEEN + "}"])
def test_deep_scores_are_refused_by_the_report_and_by_whoever_goes_on_with_them(tmp_path, capsys, text):
    folder = scores_in(tmp_path / "scores")
    (folder / "predictions.jsonl").write_text(text + "\n" + text + "\n")
    assert "line 1 is damaged" in refusal([str(folder)], capsys)
    with pytest.raises(PredictionsError, match="line 1 is damaged"):
        scores_in(folder)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("path", ["a.mp4"]),
        ("status", None),
        ("message", 3),
        ("prob_fake", "0.5"),
        ("file", "a.mp4"),
        ("settings", None),
        ("seconds", {}),
    ],
)
def test_scores_of_a_wrong_kind_are_refused_by_whoever_goes_on_with_them(tmp_path, name, odd):
    folder = scores_in(tmp_path / "scores")
    value = json.loads((folder / "predictions.jsonl").read_text())
    (folder / "predictions.jsonl").write_text(json.dumps(value | {name: odd}) + "\n")
    with pytest.raises(PredictionsError, match=rf"line 1, of .*: {name} must be"):
        scores_in(folder, "b.mp4")


def test_deep_settings_of_a_run_are_refused(tmp_path, capsys):
    folder = scores_in(tmp_path / "scores")
    (folder / "run.json").write_text('{"schema_version": 2, "model": ' + BETWEEN + "}")
    assert "run.json" in refusal([str(folder)], capsys)


@pytest.mark.parametrize("name", ["evidence", "evidence/0123456789abcdef", "evidence/0123456789abcdef/thumbnail.jpg"])
def test_merging_takes_nothing_that_a_link_leads_to(tmp_path, capsys, name):
    private = tmp_path / "private"
    (private / "0123456789abcdef").mkdir(parents=True)
    for place in ("id_rsa", "thumbnail.jpg", "0123456789abcdef/thumbnail.jpg"):
        (private / place).write_text(SECRET)
    folders = [scores_in(tmp_path / "1"), scores_in(tmp_path / "2", "b.mp4")]
    place = folders[0] / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(private / "thumbnail.jpg" if place.suffix else private)
    output = tmp_path / "merged"
    main([*map(str, folders), "--output", str(output)])
    assert not [path for path in output.rglob("*") if path.is_file() and SECRET in path.read_text(errors="replace")]
    assert (private / "id_rsa").read_text() == SECRET


def test_merging_writes_into_no_folder_that_a_link_leads_to(tmp_path):
    folders = [scores_in(tmp_path / "1"), scores_in(tmp_path / "2", "b.mp4")]
    (folders[0] / "evidence" / "x").mkdir(parents=True)
    (folders[0] / "evidence" / "x" / "thumbnail.jpg").write_text("picture")
    other, output = tmp_path / "other", tmp_path / "merged"
    other.mkdir()
    output.mkdir()
    (output / "evidence").symlink_to(other)
    assert main([*map(str, folders), "--output", str(output)]) == 0
    assert (output / "evidence" / "x" / "thumbnail.jpg").read_text() == "picture"
    assert not list(other.iterdir())


@pytest.mark.parametrize("is_partial", [False, True])
def test_a_report_overwrites_no_file_that_a_link_leads_to(tmp_path, is_partial):
    folder, victim = scores_in(tmp_path / "scores"), tmp_path / "victim"
    victim.write_text(SECRET)
    path = folder / "report.html"
    (partial_of(path) if is_partial else path).symlink_to(victim)
    assert main([str(folder)]) == 0
    assert victim.read_text() == SECRET
    assert not (folder / "report.html").is_symlink()


@pytest.mark.parametrize("name", ["predictions.jsonl", "predictions.csv"])
@pytest.mark.parametrize("is_partial", [False, True])
def test_going_on_with_scores_overwrites_no_file_that_a_link_leads_to(tmp_path, name, is_partial):
    folder, victim = scores_in(tmp_path / "scores"), tmp_path / "victim"
    path = partial_of(folder / name) if is_partial else folder / name
    victim.write_bytes(path.read_bytes() if path.exists() else b"")
    before = victim.read_bytes()
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    scores_in(folder, "b.mp4")
    assert victim.read_bytes() == before
    assert set(read_scores(folder)) == {"a.mp4", "b.mp4"}


@pytest.mark.parametrize("name", [".lock", "evidence", "annotated"])
def test_a_lock_or_pictures_that_are_a_link_are_refused_and_their_target_is_left(tmp_path, name):
    folder, victim = scores_in(tmp_path / "scores"), tmp_path / "victim"
    victim.write_text(SECRET)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    with pytest.raises(PredictionsError, match=f"{name} in it is a link"):
        scores_in(folder)
    assert victim.read_text() == SECRET


def test_a_lock_keeps_what_is_in_its_file(tmp_path):
    (tmp_path / "lock").write_text("x")
    take_lock(tmp_path / "lock").close()
    assert (tmp_path / "lock").read_text() == "x"


def linked(store: Path, how: str, other: Path) -> None:
    index = store / "index.csv"
    text = index.read_text()
    first = text.splitlines()[1].split(",")[2]
    if how == "above":
        text = text.replace(first, "../other/0.mp4")
    elif how == "above, from within":
        text = text.replace(first, f"{Path(first).parts[0]}/../../other/0.mp4")
    elif how == "absolute":
        text = text.replace(first, str(other / "0.mp4"))
    elif how == "linked clip":
        (store / first).unlink()
        (store / first).symlink_to(other / "0.mp4")
    elif how == "linked folder":
        folder = (store / first).parent
        shutil.rmtree(folder)
        folder.symlink_to(other)
    index.write_text(text)


@pytest.mark.parametrize("how", ["above", "above, from within", "absolute", "linked clip", "linked folder"])
def test_an_index_reads_no_clip_of_another_folder(tmp_path, tiny_store, how):
    store, other = tmp_path / "store", tmp_path / "other"
    shutil.copytree(tiny_store, store)
    other.mkdir()
    (other / "0.mp4").write_text(SECRET)
    read_index(store)
    linked(store, how, other)
    with pytest.raises(StoreError, match=r"index\.csv: .* 1 of its clips lie outside of the store|lie outside"):
        read_index(store)


def test_a_store_may_be_reached_by_a_link_itself(tmp_path, tiny_store):
    (tmp_path / "store").symlink_to(tiny_store)
    assert len(read_index(tmp_path / "store"))


@pytest.mark.parametrize("text", [DEEP, BETWEEN, '{"a": ' * 200 + "1" + "}" * 200])
def test_a_deep_record_is_refused(text):
    with pytest.raises(ValueError, match=r"nested|not a record"):
        VideoRecord.from_json(text)


def test_yaml_of_ours_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text("a:\n  b: [1, 2.5, null, x]\nc: '*text'\n")
    assert read_yaml(tmp_path / "config.yaml") == {"a": {"b": [1, 2.5, None, "x"]}, "c": "*text"}


def test_json_of_ours_is_within_the_bounds():
    assert parse_json(json.dumps(json_of(VideoScore("a.mp4", Status.NO_FACE))))
    refuse_large([0] * 1_000_000)


def test_the_bomb_of_the_field_is_refused(tmp_path, shared_field, capsys):
    shutil.copy(shared_field / "bombs" / "yaml_bomb_config.yaml", tmp_path / "config.yaml")
    os.chmod(tmp_path / "config.yaml", 0o600)
    assert "it has aliases" in refusal([str(tmp_path)], capsys)


def test_every_refusal_here_is_an_error_of_dfd():
    assert issubclass(PredictionsError, DfdError)
