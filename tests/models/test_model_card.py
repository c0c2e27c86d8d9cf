import re
from dataclasses import replace

import pytest

from dfd.metrics.operating import operating_points
from dfd.models.files.card import DetectorCard
from dfd.models.files.markdown import MAX_CHARACTERS, escaped
from dfd.models.files.model_card import model_card

HASH = "0123456789abcdef" * 4
SPLIT = {"num_videos": 12, "labels": {"real": 5, "fake": 7}, "datasets": {"ffpp": 12}, "methods": {"Face2Face": 7}}
DATA = {
    "store": "mine",
    "index_sha256": "ab" * 32,
    "manifest_sha256": "cd" * 32,
    "split": {"mode": "source", "overlap": {"train-val": {"num_source_ids": 0, "num_videos": 0}}},
    "splits": {"train": {**SPLIT, "num_videos": 60}, "val": SPLIT, "test": SPLIT},
}
MODEL = {
    "backbone": {"_target_": "dfd.models.backbones.resnext50", "pretrained": True, "weights": None},
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 2048},
    "dropout": 0.4,
}
CARD = DetectorCard(
    model=MODEL,
    image_size=112,
    clip_len=10,
    crop={"extraction": {"margin_fraction": 0.3}, "face_detector": {"name": "mtcnn", "threshold": 0.9}},
    data=DATA,
    metrics={"val/auc": 0.93217},
    temperature=1.5,
    threshold=0.42,
    calibration={"num_videos": 12, "ece": {"before": 0.12345, "after": 0.05}},
)
EMPTY = DetectorCard(model={}, image_size=112, clip_len=10, versions={})


def text_of(card: DetectorCard, file: str = "detector.safetensors", **options: str) -> str:
    return model_card(card, file=file, sha256=HASH, **options)


def test_a_card_with_a_test_shows_it_with_its_intervals_and_what_it_was_of():
    test = {
        **{"split": "test", "level": "video", "store": "mine", "num_real": 5, "num_fake": 7, "num_unscored": 2},
        **{"threshold": 0.42, "windows_per_track": 4, "index_sha256": "ab" * 32},
        "metrics": {"auc": 0.91234, "accuracy": 0.75},
        "intervals": {"auc": [0.8, 0.97]},
    }
    text = text_of(replace(CARD, test=test))
    assert "On the test split of the store mine, which chose nothing, per video: 5 real and 7 fake ones" in text
    assert "2 more have no score" in text
    assert "| auc | 0.9123 | 0.8 to 0.97 |" in text
    assert "| accuracy | 0.75 | – |" in text
    assert "no result of a test" not in text
    assert "| val/auc | 0.9322 |" in text
    assert "| auc | 0.9123" in text_of(replace(CARD, test=test, metrics={}))


def test_a_tested_detectors_card_says_what_its_alarms_are_worth():
    prob, label = [0.9, 0.8, 0.3, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0, 0]
    points = operating_points(prob, label, threshold=0.5, prevalence=0.01)
    listed = [{key: list(v) if isinstance(v, tuple) else v for key, v in point.items()} for point in points]
    text = text_of(replace(CARD, test={"operating_points": listed, "prevalence": 0.01, "metrics": {"auc": 0.8}}))
    assert "if the share of fakes among all videos is 0.01" in text
    assert re.search(r"\| its threshold \| 0\.5 \| 0\.6667 \(0\.09\d* to 0\.99\d*\) \| 0\.3333", text)
    assert "| false positive rate up to 0.001 | 0.8 |" in text


@pytest.mark.parametrize(
    "test",
    [
        {"metrics": 3, "intervals": [1], "operating_points": 3},
        {"intervals": {"auc": "x"}, "metrics": {"<b>": "|"}},
        {"operating_points": [4, {"max_fpr": "<b>", "tpr": ["<b>"], "threshold": "|"}], "prevalence": "<b>"},
    ],
)
def test_an_odd_test_of_a_strangers_card_is_shown_as_text(test):
    assert "<b>" not in text_of(replace(CARD, test=test))


@pytest.mark.parametrize(
    "part",
    [
        "resnext50 on each frame, lstm over time",
        "| train | 60 | 5 | 7 | ffpp 12 | Face2Face 7 |",
        "12 videos: 5 real, 7 fake",
        "| val/auc | 0.9322 |",
        "0 is real, 1 is fake",
        "Temperature: 1.5",
        "Threshold: 0.42",
        "ece: before 0.1235, after 0.05",
        "112 x 112 px",
        "Clips of 10 frames, 1 apart",
        r"Crop: square (margin\_fraction 0.3)",
        "mtcnn (threshold 0.9)",
        "https://arxiv.org/abs/2503.02857",
        "Code (dfd): Apache-2.0",
        f"`{'ab' * 32}`",
        f"`{'cd' * 32}`",
        f"`{HASH}`",
        "| torch | ",
    ],
)
def test_a_card_is_told_whole(part):
    assert part in text_of(CARD)


def test_what_a_card_does_not_hold_is_unknown_and_not_made_up():
    text = text_of(EMPTY)
    assert "unknown on each frame, unknown over time" in text
    for title, words in {
        "Training data": "Unknown: the card says nothing",
        "Metrics": "Unknown: the card holds none",
        "From score to verdict": "How temperature and threshold were found: unknown",
        "Input": r"Crop: square (margin\_fraction unknown)",
        "Licence": "What weights training began from: unknown",
    }.items():
        section = text.split(f"## {title}\n")[1].split("\n## ")[0]
        assert words in section
    assert "None" not in text
    assert "not calibrated" in text


def test_a_card_of_odd_values_is_told_all_the_same():
    odd = {"splits": {"train": 3, "val": {"labels": [1]}}, "split": "x", "store": None}
    assert "| val | unknown | unknown | unknown | – | – |" in text_of(replace(EMPTY, data=odd, crop={"extraction": 7}))


def test_a_detector_of_the_demonstration_says_so_first():
    text = text_of(replace(CARD, data={**DATA, "is_demo": True}))
    assert "drawn demonstration videos" in text.split("\n## ")[0]
    assert "demonstration" not in text_of(CARD)


def test_splits_that_share_people_are_told():
    split = {"mode": "random_video", "overlap": {"train-test": {"num_source_ids": 9, "num_videos": 20}}}
    assert "**train-test share 9 people or sources**" in text_of(replace(CARD, data={**DATA, "split": split}))
    assert "no person or source that the manifest names is in two of them" in text_of(CARD)
    unknown = text_of(replace(CARD, data={**DATA, "split": {"mode": "source"}}))
    assert "whether the splits share people or sources: unknown" in unknown


def test_weights_without_a_licence_inherit_that_of_their_data_and_of_imagenet():
    section = text_of(CARD).split("## Licence")[1]
    assert "no licence was named" in section
    assert "ImageNet, whose terms are for research" in section
    backbone = {**MODEL["backbone"], "pretrained": False}
    assert "began from random weights" in text_of(replace(CARD, model={**MODEL, "backbone": backbone}))
    given = text_of(CARD, licence="CC-BY-NC-4.0").split("## Licence")[1]
    assert "- Weights: CC-BY-NC-4.0" in given
    assert "no licence was named" not in given


@pytest.mark.parametrize(
    ("file", "there", "not_there"),
    [
        ("d.safetensors", "Detector.load('d.safetensors')", "onnxruntime"),
        ("d.onnx", "onnxruntime.InferenceSession('d.onnx')", "torch.export"),
        ("d.pt2", "torch.export.load('d.pt2')", "predict.py"),
    ],
)
def test_each_form_is_told_how_to_use_it(file, there, not_there):
    section = text_of(CARD, file).split("## How to use it")[1].split("\n## ")[0]
    assert there in section
    assert not_there not in section


def test_the_longest_clip_of_a_transformer_is_told():
    temporal = {"_target_": "dfd.models.temporal.transformer", "max_len": 256}
    assert "frames up to 256" in text_of(replace(CARD, model={**MODEL, "temporal": temporal}), "d.onnx")


HOSTILE = (
    "`x` <script>alert(1)</script> [a](http://evil) ![b](c) | d *e* _f_ <!-- \n\n# Title\n```\n\x1b[31m & @team $x$"
)


def test_a_strangers_card_cannot_write_into_the_page():
    card = replace(
        CARD,
        model={
            "backbone": {"_target_": HOSTILE, "name": HOSTILE, "pretrained": True},
            "temporal": {"_target_": HOSTILE, "max_len": HOSTILE},
        },
        data={
            "store": HOSTILE,
            "index_sha256": HOSTILE,
            "split": {"mode": HOSTILE, "overlap": {HOSTILE: {"num_source_ids": HOSTILE}}},
            "splits": {HOSTILE: {"num_videos": HOSTILE, "datasets": {HOSTILE: HOSTILE}, "methods": {HOSTILE: 1}}},
        },
        crop={"face_detector": {"name": HOSTILE, HOSTILE: HOSTILE}, "extraction": {"margin_fraction": HOSTILE}},
        metrics={HOSTILE: 1.0},
        calibration={HOSTILE: {HOSTILE: HOSTILE}},
        versions={HOSTILE: HOSTILE},
    )
    text = text_of(card, file="a`b|c\n# d.onnx", licence=HOSTILE)
    plain = text_of(CARD, file="x.onnx")
    assert not re.search(r"(?<!\\)<[a-z!/]", text)
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)\]\((?!https://(arxiv|github))", text)
    assert "http://" not in text
    titles = [[line for line in lines.splitlines() if line.startswith("## ")] for lines in (text, plain)]
    assert titles[0] == titles[1]
    assert len([line for line in text.splitlines() if line.startswith("# ")]) == 1
    assert text.count("```") == plain.count("```")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} <= {3, 7}


def test_a_long_value_is_cut():
    assert len(escaped("a" * 10_000)) == MAX_CHARACTERS + 1


def test_the_file_of_a_face_detector_is_named_without_its_folder():
    card = replace(CARD, crop={"face_detector": {"name": "yunet", "weights": "/home/me/yunet.onnx"}})
    assert "yunet (weights yunet.onnx)" in text_of(card)


def test_a_fine_tuned_detector_names_what_it_began_from_and_one_with_plug_ins_names_them():
    lineage = [{"detector": "best", "copied": ["backbone"]}, {"name": "gend-clip-l14", "licence_weights": "MIT tag"}]
    text = text_of(replace(CARD, lineage=lineage, plugins=["residual_lab"]))
    assert "fine-tuned from the detector best, whose terms are inherited: unknown" in text
    assert "fine-tuned from the detector gend-clip-l14, whose terms are inherited: MIT tag" in text
    assert "needs the plug-ins residual\\_lab" in text
