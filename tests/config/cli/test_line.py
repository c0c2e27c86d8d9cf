"""Words of a command line: what is typed arrives as it is named, and Hydra's words are left as they are."""

import contextlib
import os
import shlex
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dfd.config.check import check
from dfd.config.cli.catalogue import UsageError
from dfd.config.cli.line import read_line
from dfd.config.folders import CONFIG_DIR
from dfd.config.schemas import SCHEMAS, PredictConfig, inputs_of
from dfd.predictions.inputs import find_inputs

PARSER = OverridesParser.create()
NAMES = (
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.text(st.sampled_from("abc é'\"=(),[]{}$#*?~\\!&;|<>:%-\n\t.0"), min_size=1, max_size=12).map(str.encode),
        st.sampled_from(
            [b"${x}", b"null", b"???", b"a=b", b"checkpoint=x", b"~", b"-m", b"--help", b"1e3", b"[a]", b"'"]
        ),
    )
    .map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"|"))
    .filter(lambda name: name not in (b".", b".."))
)


def overrides(command: str, *words: str) -> list[str]:
    return read_line(command, words, SCHEMAS[command]).overrides


def config_of(*words: str) -> PredictConfig:
    """What predict makes of its words: by Hydra's grammar, OmegaConf and the check."""
    values = {parsed.key_or_group: parsed.value() for parsed in PARSER.parse_overrides(overrides("predict", *words))}
    return check(OmegaConf.create({**defaults(), "checkpoint": "c", **values}), PredictConfig)


@cache
def defaults() -> dict[str, Any]:
    """Options of predict that are not on the command line."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return OmegaConf.to_container(compose("predict"))  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.booleans())
@example([b"bad\xff name.mp4", b"\\${x}\\"], False)
def test_a_file_arrives_as_it_is_named(names: list[bytes], after_dashes: bool) -> None:
    texts = [os.fsdecode(name) for name in names]
    if any(text.startswith("-") for text in texts):
        after_dashes = True
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for text in texts:
            Path(text).touch()
        config = config_of(*(["--"] if after_dashes else []), *texts)
        assert [os.fspath(path) for path in find_inputs(inputs_of(config.input))] == texts


@settings(max_examples=40, deadline=None)
@given(NAMES, st.sampled_from(["--output={}", "--output {}"]))
def test_a_text_that_is_given_to_an_option_arrives_as_it_is_typed(name: bytes, form: str) -> None:
    text = os.fsdecode(name)
    if text in ("null", "???") or (form.endswith(" {}") and text.startswith("--")):
        return
    words = [f"--output={text}"] if "=" in form else ["--output", text]
    assert config_of(*words, "--input", "x").output == text


@pytest.mark.parametrize(
    ("typed", "hydra"),
    [
        ("predict clip --max-windows null --annotate", ["max_windows=null", "annotate=true", "input='clip'"]),
        (
            "predict --no-report --limits.max-width=9 --max-height 8",
            ["report=false", "limits.max_width=9", "limits.max_height=8"],
        ),
        ("predict --input a --input b", ["input=['a','b']"]),
        (
            "predict --face-detector yunet --face-detector.threshold .5",
            ["face_detector=yunet", "face_detector.threshold=.5"],
        ),
        ("predict --annotate false clip", ["annotate=false", "input='clip'"]),
        ("train folder backbone=timm", ["backbone=timm", "data.store='folder'", "data=clips"]),
        ("train folder experiment=modern", ["experiment=modern", "data.store='folder'"]),
        ("train --backbone timm --backbone.name a.b_c", ["backbone=timm", "backbone.name='a.b_c'"]),
        ("train --lr 1e-4 --tags a,b --seed null", ["optimizer.lr=1e-4", "tags=[a,b]", "seed=null"]),
        ("train --hydra.run.dir out/x", ["hydra.run.dir=out/x"]),
        ("train logger=null data/augmentation=null", ["~logger"]),
        ("train --scheduler null", ["~scheduler"]),
        ("preprocess folder --store s", ["store='s'", "root='folder'", "source=folder"]),
        ("preprocess folder --source ffpp", ["source=ffpp", "root='folder'"]),
        ("preprocess clip", ["manifest='clip'"]),
        ("evaluate starter folder", ["checkpoint='starter'", "data.store='folder'"]),
        ("export clip --format onnx", ["format='onnx'", "checkpoint='clip'"]),
    ],
)
def test_what_is_typed_is_said_in_hydras_words(typed: str, hydra: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "clip").touch()
    command, *words = typed.split()
    with contextlib.chdir(tmp_path):
        assert overrides(command, *words) == hydra


@pytest.mark.parametrize(
    "words",
    [
        "backbone=resnext50 data.store=a/b 'tags=[a, b]' +x.y=1 ~scheduler ++trainer.z=2 optimizer.lr=1e-3,1e-4",
        "'optimizer.lr=tag(log, interval(1e-6, 1e-3))' hydra/launcher=joblib 'x={a: 1}' seed=range(0,3)",
    ],
)
def test_hydras_words_are_left_as_they_are(words: str) -> None:
    assert read_line("train", ["-m", *shlex.split(words)]).words == ["--multirun", *shlex.split(words)]


@pytest.mark.parametrize(
    ("typed", "flags"),
    [
        ("--cfg job --resolve", ["--cfg=job", "--resolve"]),
        ("-c all -p hydra", ["--cfg=all", "--package=hydra"]),
        ("-m --config-dir folder seed=1", ["--multirun", "--config-dir=folder"]),
        ("--info=defaults -cn mine", ["--info=defaults", "--config-name=mine"]),
    ],
)
def test_hydras_flags_stay_hydras(typed: str, flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "-m").touch()
    with contextlib.chdir(tmp_path):
        assert read_line("train", typed.split()).flags == flags


def test_a_pattern_that_the_shell_left_is_expanded_and_one_of_no_file_is_refused(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4", "c.txt", "[1].mp4"):
        (tmp_path / name).touch()
    with contextlib.chdir(tmp_path):
        assert overrides("predict", "?.mp4") == ["input=['a.mp4','b.mp4']"]
        assert overrides("predict", "[1].mp4") == ["input='[1].mp4'"]
        assert overrides("predict", "--checkpoint", "[starter, a.mp4]") == ["checkpoint=['starter','a.mp4']"]
        with pytest.raises(UsageError, match=r"\*\.mkv: no file or folder has such a name"):
            overrides("predict", "*.mkv")


def test_a_folder_of_own_options_is_known(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\n# Mine.\nseed: 3\n")
    line = read_line("train", ["--config-dir", str(tmp_path), "--experiment", "mine"])
    assert line.overrides == ["experiment=mine"]
    assert line.folders[-1] == tmp_path


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("predict clip checkpoint starter", "if the option is meant, write --checkpoint VALUE"),
        ("predict clip input=other", "given by input= too"),
        ("predict --max-faces", "--max-faces needs a value: a whole number"),
        ("predict --no-output", "write --output null"),
        ("train resnext50", "write backbone=resnext50"),
        ("train nothing", "there is no clip store of this name"),
        ("train --name x", "write --backbone.name or --logger.wandb.name"),
        ("train --cfg jb", "did you mean --cfg job?"),
        ("evaluate starter other.ckpt", "evaluate takes one checkpoint and one clip store"),
        ("predict -max-faces 3", "did you mean --max-faces?"),
    ],
)
def test_a_word_that_is_not_understood_is_named(typed: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "clip").touch()
    command, *words = typed.split()
    with contextlib.chdir(tmp_path), pytest.raises(UsageError) as refused:
        overrides(command, *words)
    assert said in str(refused.value)
