"""Writes the model card, the description in Markdown of a detector's file.

It states only what the card in the file holds, and calls everything else unknown. The card may come from a stranger, so
all of its values are escaped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfd.base.types import Label
from dfd.models.files.card import DetectorCard
from dfd.models.files.markdown import (
    UNKNOWN,
    _code,
    _counts,
    _flat,
    _mapping,
    _plain,
    _range,
    _table,
    _value,
    escaped,
)
from dfd.models.files.onnx import INPUT_NAME, OUTPUT_NAME
from dfd.models.pretrained import INCEPTION_V3_WEIGHTS, RESNEXT50_WEIGHTS

_INITIAL_WEIGHTS_LICENCES = {"resnext50": RESNEXT50_WEIGHTS.licence, "inception_v3": INCEPTION_V3_WEIGHTS.licence}
_IDENTITIES = {
    "index_sha256": "SHA-256 of the store's index",
    "manifest_sha256": "SHA-256 of the manifest",
    "videos_sha256": "SHA-256 of the list of videos and splits",
}


def model_card(card: DetectorCard, *, file: str, sha256: str, licence: str | None = None) -> str:
    """Model card in Markdown, to write beside an exported detector.

    Args:
        card: the detector's card.
        file: name of the detector's file.
        sha256: hash of its bytes.
        licence: licence of the weights as stated by their owner; None if unstated.
    """
    sections = [
        _head(card, file),
        ("How to use it", _use(card, file)),
        ("What it is for, and what not", _purpose(card)),
        ("Training data", _data(card)),
        ("Metrics", _metrics(card)),
        ("From score to verdict", _verdict(card)),
        ("Input", _input(card)),
        ("Limits", _limits(card)),
        ("Licence", _licence(card, licence)),
        ("File and versions", _versions(card, file, sha256)),
    ]
    parts = [sections[0], *(f"## {title}\n\n{text}" for title, text in sections[1:])]
    return "\n\n".join(str(part) for part in parts) + "\n"


def _head(card: DetectorCard, file: str) -> str:
    lines = [
        f"# {escaped(Path(file).stem)}: a detector of face deepfakes in video",
        f"A network ({_network(card)}) that gives the probability that the face in a clip of {card.clip_len} frames "
        "was forged. Made with dfd.",
    ]
    if card.data.get("is_demo"):
        lines.append(
            "> **Trained on drawn demonstration videos.** It shows that the software works. Its scores say nothing "
            "about real deepfakes: do not use it on them."
        )
    return "\n\n".join(lines)


def _use(card: DetectorCard, file: str) -> str:
    name = "".join(sign for sign in file if sign.isprintable() and sign != "`")
    suffix = Path(file).suffix
    if suffix == ".pt2":
        return "\n\n".join(
            [
                "With torch alone. Open such a file only if you trust its source; a detector in safetensors format "
                "cannot run code.",
                _code(
                    "import torch",
                    f"detector = torch.export.load({name!r}).module()",
                    f"prob_fake = detector({INPUT_NAME})[:, {int(Label.FAKE)}]",
                ),
                _frames(card),
            ]
        )
    parts = [
        "With dfd, on videos (faces are found and cropped as in training):",
        _code(f"python predict.py checkpoint={name} input=FILE_OR_FOLDER"),
        _code(
            "from dfd.scoring.detector import Detector",
            f"score = Detector.load({name!r}).score('clip.mp4')",
            "print(score.label, score.prob_fake)",
        ),
    ]
    if suffix == ".onnx":
        parts += [
            "Without dfd, on crops:",
            _code(
                "import onnxruntime",
                f"session = onnxruntime.InferenceSession({name!r})",
                f"(prob,) = session.run([{OUTPUT_NAME!r}], {{{INPUT_NAME!r}: {INPUT_NAME}}})",
                f"prob_fake = prob[:, {int(Label.FAKE)}]",
            ),
            _frames(card),
        ]
    return "\n\n".join(parts)


def _frames(card: DetectorCard) -> str:
    longest = _mapping(card.model, "temporal").get("max_len")
    return (
        f"`{INPUT_NAME}` are uint8 of the shape (clips, frames, 3, {card.image_size}, {card.image_size}), RGB; the "
        f"number of clips may vary, and that of frames {f'up to {escaped(longest)}' if longest else 'too'}. "
        "Resizing, normalisation and temperature are included."
    )


def _purpose(card: DetectorCard) -> str:
    return "\n".join(
        [
            "- For: finding videos that deserve a closer look, and research on detection.",
            "- Not for: deciding about a person or a video without further evidence; telling who made it; faces in "
            "still pictures, bodies, voices, or pictures made wholly by a generator, unless the training data below "
            "has them.",
            "- It judges faces only. A video without a face has no score, which does not make it real.",
        ]
    )


def _data(card: DetectorCard) -> str:
    data = card.data
    if not data:
        return "Unknown: the card says nothing about it."
    parts = [f"Clip store: {_value(data, 'store')}."]
    splits = {name: part for name, part in _mapping(data, "splits").items() if isinstance(part, Mapping)}
    if splits:
        rows = [
            [
                escaped(name),
                _value(part, "num_videos"),
                *(_value(_mapping(part, "labels"), str(label)) for label in Label),
                _counts(_mapping(part, "datasets")),
                _counts(_mapping(part, "methods")),
            ]
            for name, part in splits.items()
        ]
        heads = ["split", "videos", *(str(label) for label in Label), "data sets (videos)", "methods (videos)"]
        parts.append(_table(heads, rows))
    else:
        parts.append("How many videos and of what kind: unknown.")
    if data.get("blend"):
        parts.append(
            "It was trained on the real videos, and on fakes made from them by blending (Shiohara and Yamasaki, CVPR "
            "2022); numbers on splits of this store are on such fakes, too."
        )
    parts.append(_apartness(_mapping(data, "split")))
    known = [f"- {words}: `{_plain(data[key])}`" for key, words in _IDENTITIES.items() if data.get(key)]
    parts.append("\n".join(known) if known else "Hash of the manifest or index: unknown.")
    return "\n\n".join(parts)


def _apartness(split: Mapping[str, Any]) -> str:
    """Sentence on whether a person or source is in two splits."""
    if not split:
        return "How the splits were made, and whether they share people or sources: unknown."
    shared = [
        f"{escaped(pair)} share {_value(numbers, 'num_source_ids')} people or sources"
        for pair, numbers in _mapping(split, "overlap").items()
        if isinstance(numbers, Mapping) and numbers.get("num_source_ids")
    ]
    mode = f"Split by `split={_plain(split.get('mode', UNKNOWN))}`"
    if shared:
        return f"{mode}: **{'; '.join(shared)}**, so its metrics are better than on new people."
    if not split.get("overlap"):
        return f"{mode}; whether the splits share people or sources: unknown."
    return f"{mode}; no person or source that the manifest names is in two of them."


def _metrics(card: DetectorCard) -> str:
    if not card.metrics:
        return _test(card) or "Unknown: the card holds none."
    val = _mapping(_mapping(card.data, "splits"), "val")
    labels = _mapping(val, "labels")
    counted = ", ".join(f"{_value(labels, str(label))} {label}" for label in Label)
    return "\n\n".join(
        [
            f"On the validation split ({_value(val, 'num_videos')} videos: {counted}), when the weights were saved. "
            "The epoch was chosen on it, so expect lower values on other videos. Fake is the positive class."
            + ("" if card.test else " The card holds no result of a test."),
            _table(["metric", "value"], [[escaped(name), f"{value:.4g}"] for name, value in card.metrics.items()]),
            *([_test(card)] if card.test else []),
        ]
    )


def _test(card: DetectorCard) -> str:
    """Result on a test split that influenced no choice; empty if there is none."""
    test = card.test
    if not test:
        return ""
    intervals = _mapping(test, "intervals")
    rows = [
        [escaped(name), _flat(value), _range(intervals.get(name))] for name, value in _mapping(test, "metrics").items()
    ]
    unscored = test.get("num_unscored")
    lost = f" {escaped(unscored)} more have no score and count neither as right nor as wrong." if unscored else ""
    return "\n\n".join(
        [
            f"On the {_value(test, 'split')} split of the store {_value(test, 'store')}, which chose nothing, per "
            f"{_value(test, 'level')}: {_value(test, 'num_real')} real and {_value(test, 'num_fake')} fake ones, each "
            f"scored by up to {_value(test, 'windows_per_track')} clips of a face, and called fake from a probability "
            f"of {_flat(test.get('threshold', UNKNOWN))} on.{lost} Index of that store: "
            f"`{_plain(test.get('index_sha256') or UNKNOWN)}`.",
            _table(["metric", "value", "95 % interval"], rows),
        ]
    )


def _verdict(card: DetectorCard) -> str:
    order = ", ".join(f"{int(label)} is {label}" for label in Label)
    temperature = (
        "1, not calibrated: a score of 0.9 need not be right nine times in ten"
        if card.temperature is None
        else f"{card.temperature:.4g}, by which the logits are divided before the softmax"
    )
    lines = [
        f"- Order of the two probabilities: {order}; the softmax of two logits.",
        f"- Temperature: {temperature}.",
        f"- Threshold: {card.threshold:.4g}; from this probability of {Label.FAKE} on, a video is called fake.",
        "- A video's probability is the mean over a face's windows, and the maximum over its faces, unless other "
        "options are given.",
    ]
    if card.calibration:
        lines += [f"- Calibration, {escaped(name)}: {_flat(value)}" for name, value in card.calibration.items()]
    else:
        lines.append("- How temperature and threshold were found: unknown; the card does not say.")
    return "\n".join(lines)


def _input(card: DetectorCard) -> str:
    extraction = _mapping(card.crop, "extraction")
    # Version 0.1 knew the square crop only, and wrote its options beside the others.
    crop = _mapping(extraction, "crop") or {"kind": "square", "margin_fraction": extraction.get("margin_fraction")}
    options = ", ".join(
        f"{escaped(key)} {UNKNOWN if value is None else _flat(value)}"
        for key, value in crop.items()
        if key not in ("kind", "size")
    )
    detector = _mapping(card.crop, "face_detector")
    others = ", ".join(
        f"{escaped(key)} {_flat(Path(str(value)).name if key == 'weights' and value else value)}"
        for key, value in detector.items()
        if key != "name"
    )
    return "\n".join(
        [
            f"- Square RGB pictures, uint8, {card.image_size} x {card.image_size} px.",
            f"- Clips of {card.clip_len} frames, {card.clip_stride} apart.",
            f"- Crop: {escaped(crop.get('kind', UNKNOWN))}{f' ({options})' if options else ''}.",
            f"- Face detector: {_value(detector, 'name')}{f' ({others})' if others else ''}.",
        ]
    )


def _limits(card: DetectorCard) -> str:
    lines = [
        "- A detector knows the forgeries it was trained on. The video AUC of open models falls by about half on "
        "deepfakes from the wild ([Deepfake-Eval-2024](https://arxiv.org/abs/2503.02857)).",
        "- Across data sets: an Xception trained on FaceForensics++ has a frame AUC of 0.964 there and of 0.737 on "
        "Celeb-DF v2 ([DeepfakeBench](https://github.com/SCLBD/DeepfakeBench)).",
        "- Compression: that network's AUC is 0.138 lower on the strongly compressed (c40) FaceForensics++ "
        "(the same source).",
        "- These are figures of others' detectors. How well this one works on data of another origin is unknown until "
        "it is measured: `python -m dfd.evaluate`.",
        "- How well it works for people of different age, sex or skin colour: unknown; the card does not say.",
    ]
    if _network_part(card, "temporal") == "mean":
        lines.append("- It is blind to the order of frames: it averages over them.")
    return "\n".join(lines)


def _licence(card: DetectorCard, licence: str | None) -> str:
    lines = ["- Code (dfd): Apache-2.0."]
    if licence:
        return "\n".join([*lines, f"- Weights: {escaped(licence)}"])
    lines.append(
        "- Weights: no licence was named. They inherit the terms of the data that they were trained on (see above)."
    )
    backbone = _mapping(card.model, "backbone")
    name = _network_part(card, "backbone")
    if backbone.get("weights"):
        lines.append("- Training began from a file of weights, whose terms are inherited, too: unknown.")
    elif backbone.get("pretrained"):
        terms = _INITIAL_WEIGHTS_LICENCES.get(name, "unknown here; the page of that model says them")
        lines.append(
            f"- Training began from published weights ({escaped(name)}), whose terms are inherited, too: {terms}."
        )
    elif "pretrained" in backbone:
        lines.append("- Training began from random weights.")
    else:
        lines.append("- What weights training began from: unknown.")
    return "\n".join(lines)


def _versions(card: DetectorCard, file: str, sha256: str) -> str:
    rows = [["file", escaped(file)], ["SHA-256 of the file", f"`{_plain(sha256)}`"]]
    rows += [[escaped(name), escaped(version)] for name, version in card.versions.items()]
    return _table(["", ""], rows) + "\n\nThe versions are those that the detector was trained with."


def _network(card: DetectorCard) -> str:
    backbone, temporal = (escaped(_network_part(card, part)) for part in ("backbone", "temporal"))
    return f"{backbone} on each frame, {temporal} over time"


def _network_part(card: DetectorCard, part: str) -> str:
    """Name of the option, or of timm's model."""
    node = _mapping(card.model, part)
    return str(node.get("name") or str(node.get("_target_", UNKNOWN)).rpartition(".")[2])
