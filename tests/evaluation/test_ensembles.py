"""Several networks as one detector on a store: their rule, their calibration and their files."""

from dataclasses import replace
from pathlib import Path

import pytest

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.types import Verdict
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.members import Members, load_measured
from dfd.evaluation.splits import scored_videos
from dfd.metrics.formulas import combined
from dfd.models.classifier import build_model
from dfd.models.files.checkpoint import load_checkpoint, load_model, save_safetensors
from dfd.scoring.detector import Detector
from dfd.scoring.panel import load_any
from tests.commands.test_commands import run
from tests.conftest import TINY_MODEL


@pytest.fixture(scope="module")
def data(tiny_store: Path) -> ClipDataModule:
    data = ClipDataModule(tiny_store, clip_len=4, num_workers=0, num_eval_clips=2)
    data.setup("test")
    return data


@pytest.fixture(scope="module")
def files(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three detectors of random weights, the first as ``tiny_checkpoint``."""
    import torch

    folder, (_, card) = tmp_path_factory.mktemp("members"), load_model(tiny_checkpoint)
    made = [tiny_checkpoint]
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = build_model(TINY_MODEL)
        made.append(folder / f"member{seed}.safetensors")
        save_safetensors(made[-1], model, card)
    return made


@pytest.mark.parametrize("rule", ["mean", "vote", "log_odds"])
def test_equal_members_score_as_one_of_them(data: ClipDataModule, tiny_checkpoint: Path, rule: str) -> None:
    alone = scored_videos(Detector.load(tiny_checkpoint, device="cpu"), data, "test")
    four = scored_videos(load_measured([tiny_checkpoint] * 4, rule=rule, device="cpu"), data, "test")
    assert list(four["video_id"]) == list(alone["video_id"])
    assert four["prob_fake"].tolist() == pytest.approx(alone["prob_fake"].tolist(), abs=1e-9)


@pytest.mark.parametrize("rule", ["mean", "vote", "log_odds"])
def test_a_videos_score_is_made_of_the_members_by_the_rule(data: ClipDataModule, files: list[Path], rule: str) -> None:
    each = [scored_videos(Detector.load(path, device="cpu"), data, "test")["prob_fake"] for path in files]
    together = scored_videos(load_measured(files, rule=rule, device="cpu"), data, "test")
    assert together["prob_fake"].tolist() == pytest.approx([combined(row, rule) for row in zip(*each, strict=True)])
    alone = [scored_videos(load_measured([file], device="cpu"), data, "test")["window_probs"] for file in files]
    first = [combined([video[0][0] for video in videos], rule) for videos in zip(*alone, strict=True)]
    assert [video[0][0] for video in together["window_probs"]] == pytest.approx(first)
    assert len(set(each[0])) > 1


def test_the_vote_of_three_is_on_the_side_of_two_of_them() -> None:
    for probs in ([0.1, 0.6, 0.7], [0.4, 0.3, 0.9], [0.5, 0.5, 0.1]):
        assert (combined(probs, "vote") >= 0.5) == (sum(prob >= 0.5 for prob in probs) >= 2)


def test_members_whose_clips_differ_are_refused(files: list[Path], tmp_path: Path) -> None:
    model, card = load_model(files[1])
    save_safetensors(tmp_path / "longer.safetensors", model, replace(card, clip_len=8))
    with pytest.raises(ConfigError, match=r"takes 4 frames .* 8 .*measure them one by one"):
        load_measured([files[0], tmp_path / "longer.safetensors"], device="cpu")


@pytest.mark.parametrize(
    ("number", "rule", "message"), [(2, "loudest", "combine=loudest is not one of"), (1, "vote", "for several")]
)
def test_a_rule_that_does_not_fit_is_refused(files: list[Path], number: int, rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_measured(files[:number], rule=rule, device="cpu")


@pytest.fixture(scope="module")
def ensemble(files: list[Path], tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The calibrated vote of three detectors, as the command writes it."""
    folder = tmp_path_factory.mktemp("ensemble")
    given = f"[{','.join(map(str, files))}]"
    words = [f"checkpoint={given}", "combine=vote", f"data.store={tiny_store}", "data.num_workers=0", "device=cpu"]
    run("dfd.calibrate", *words, "split=train", f"output={folder}/ours.safetensors", f"hydra.run.dir={folder}/run")
    return folder / "ours.safetensors"


def test_a_calibrated_ensemble_has_a_file_and_a_temperature_for_each_network_and_one_threshold(ensemble: Path) -> None:
    names = ["ours.safetensors", "ours.2.safetensors", "ours.3.safetensors"]
    cards = [load_checkpoint(ensemble.with_name(name))[0] for name in names]
    assert all(card.temperature for card in cards)
    assert len({card.threshold for card in cards}) == 1
    assert all(card.scoring == {"num_networks": 3, "combine": "vote"} for card in cards)
    assert all(card.calibration["before"] != card.calibration["after"] for card in cards)


def test_predict_scores_with_a_calibrated_ensemble_and_gives_verdicts(ensemble: Path, tiny_videos: Path) -> None:
    clip = tiny_videos.parent / "00.mp4"
    with load_any([ensemble], device="cpu", num_workers=1) as whole:
        score = whole.score(clip)
        assert len(whole.detectors) == 3
        assert whole.gives_verdicts
    each = []
    for path in [ensemble, ensemble.with_name("ours.2.safetensors"), ensemble.with_name("ours.3.safetensors")]:
        with Detector.load(path, device="cpu", num_workers=1, is_part=True) as one:
            each.append(one.score(clip).prob_fake)
    assert score.prob_fake == pytest.approx(sorted(each)[1])
    assert score.label is not None
    assert score.verdict in Verdict


def test_evaluate_takes_an_ensemble_and_a_list(
    ensemble: Path, files: list[Path], tiny_store: Path, tmp_path: Path
) -> None:
    words = [f"data.store={tiny_store}", "data.num_workers=0", "device=cpu"]
    run("dfd.evaluate", f"checkpoint={ensemble}", *words, f"output={tmp_path}/one")
    run("dfd.evaluate", f"checkpoint=[{files[0]},{files[1]}]", "combine=mean", *words, f"output={tmp_path}/list")
    for name in ("one", "list"):
        assert (tmp_path / name / "predictions.csv").is_file()


def test_an_ensemble_is_not_exported_and_the_sentence_says_what_takes_it(ensemble: Path, tmp_path: Path) -> None:
    done = run("dfd.export", f"checkpoint={ensemble}", f"output={tmp_path}", check=False)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="predict, evaluate and calibrate take"):
        Detector.load(ensemble, device="cpu")


def test_members_of_runs_on_single_methods_are_measured_on_all_methods(files: list[Path]) -> None:
    detectors = [Detector.load(path, device="cpu") for path in files[:2]]
    chosen = {"split": None, "methods": ["a"]}
    detectors[0].card = replace(detectors[0].card, data={"selection": chosen})
    assert Members(detectors, "mean").card.data["selection"] == {"split": None}
