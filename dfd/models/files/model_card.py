"""Writes the model card, the description in Markdown of a detector's file.

It states only what the card in the file holds, and calls everything else unknown. The card may come from a stranger, so
all of its values are escaped.
"""

from pathlib import Path

from dfd.base.types import Label
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import caveat_of, why_no_verdict
from dfd.models.files.markdown import (
    UNKNOWN,
    _code,
    _mapping,
    _plain,
    _table,
    escaped,
)
from dfd.models.files.measured import data_section, input_section, metrics_section, scope_section, verdict_section
from dfd.models.files.onnx import INPUT_NAME, OUTPUT_NAME
from dfd.models.pretrained import INCEPTION_V3_WEIGHTS, RESNEXT50_WEIGHTS

_ORIGIN = {
    **{"title": "Published as", "home": "Its authors' code", "licence_code": "Licence of that code"},
    **{"training_data": "Trained on", "citation": "Publication", "verified": "Verified by dfd"},
}
MAX_CAVEAT = 2000
"""Maximum length of the caveat and of the reason for giving no verdict, in characters."""
_INITIAL_WEIGHTS_LICENCES = {"resnext50": RESNEXT50_WEIGHTS.licence, "inception_v3": INCEPTION_V3_WEIGHTS.licence}


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
        ("Training data", data_section(card)),
        ("Metrics", metrics_section(card)),
        ("Scope", scope_section(card)),
        ("From score to verdict", verdict_section(card)),
        ("Input", input_section(card)),
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
    lines.append(f"> **To be known beside its scores.** {escaped(caveat_of(card), at_most=MAX_CAVEAT)}")
    if why := why_no_verdict(card, Path(file).stem):
        lines.append(f"> **It gives no verdict**, only a score\\: {escaped(why, at_most=MAX_CAVEAT)}.")
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
    if card.plugins:
        names = ", ".join(map(escaped, card.plugins))
        lines.append(f"- It is made with code that is not part of dfd, and needs the plug-ins {names}.")
    if _network_part(card, "temporal") == "mean":
        lines.append("- It is blind to the order of frames: it averages over them.")
    return "\n".join(lines)


def _licence(card: DetectorCard, licence: str | None) -> str:
    lines = ["- Code (dfd): Apache-2.0."]
    lines += [f"- {words}: {escaped(card.origin[name])}" for name, words in _ORIGIN.items() if card.origin.get(name)]
    if licence:
        return "\n".join([*lines, f"- Weights: {escaped(licence)}"])
    lines.append(
        "- Weights: no licence was named. They inherit the terms of the data that they were trained on (see above)."
    )
    backbone = _mapping(card.model, "backbone")
    name = _network_part(card, "backbone")
    for ancestor in card.lineage:
        terms = ancestor.get("licence_weights", "unknown")
        called = ancestor.get("name") or ancestor.get("detector", UNKNOWN)
        lines.append(
            f"- It was fine-tuned from the detector {escaped(called)}, whose terms are inherited: {escaped(terms)}."
        )
    if card.lineage:
        return "\n".join(lines)
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
