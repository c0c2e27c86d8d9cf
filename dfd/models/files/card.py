"""The card of a detector: what a checkpoint says about its weights. Read without torch, where it can be."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from safetensors import SafetensorError, safe_open

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.names import plugins
from dfd.base.types import CARD_KEY, LABEL_NAMES, Amount, Prob
from dfd.base.untrusted import option_problems, parse_json, refuse_other_than_plain, shown
from dfd.models.files.scope import Scope

FORMAT_VERSION = 1

# A card may come from a stranger, and what it says is built and computed. Today's have 5,000 characters.
MAX_CARD_BYTES = 2**20
MAX_VALUES = 20_000
MAX_NETWORKS = 16
Length = Annotated[int, (1, 1024)]
"""Pixels or frames."""
MAX_CLIP_PIXELS = 2**25
"""Pixels in all frames of a clip: 128 frames of 512 px, 1024 of 181 px. A batch of eight has 0.8 GB."""


def library_versions() -> dict[str, str]:
    """Versions of dfd and of the libraries that decide what a network computes."""
    return {name: version(name) for name in ("dfd", "torch", "torchvision", "timm", "lightning")}


@dataclass(frozen=True)
class DetectorCard:
    """What a checkpoint says about its weights, in plain values only.

    Attributes:
        model: the config that :func:`~dfd.models.classifier.build_model` takes.
        image_size: side of the crops it was trained on, in pixels.
        clip_len: frames per clip.
        clip_stride: frames from one frame of a clip to the next.
        label_order: names of the logits.
        crop: how the crops were made: extraction settings, the detector's name and options.
        data: what it was trained on: a summary and the manifest's hash.
        metrics: on the validation split, when the weights were saved.
        temperature: divides the logits before the softmax; None if not calibrated.
        threshold: a video is called fake from this probability on.
        test: the result on videos that chose nothing, at video level: which split and store, how many videos, the
            metrics and their 95 % intervals. Empty: it was not tested, or was changed since.
        calibration: how ``temperature`` and ``threshold`` were found: on how many videos, what it changed. Empty: not.
        scoring: how its authors score a video, where that is not dfd's way: ``aggregation`` (a name), ``max_windows``.
        scope: for which kinds of fakes it was shown to work; see :class:`dfd.models.files.scope.Scope`. Empty: not
            measured.
        caveat: what must be said beside its scores; empty: what :func:`dfd.models.files.caveat.caveat_of` makes of
            ``data`` and ``test``.
        no_verdict: reason why its scores come without a verdict; empty: there is none.
        lineage: detectors that its weights began from, the nearest first: name, hash, which parts were taken, on what
            it had been trained. Empty: it was not fine-tuned.
        plugins: packages of the user's own code that its parts come from; loading asks the user for them.
        origin: of an adopted detector: who published it, its licences and training sets, the figures.
        versions: of the libraries.
        format_version: of this card.
    """

    model: dict[str, Any]
    image_size: Length
    clip_len: Length
    clip_stride: Annotated[int, (1, 1000)] = 1
    label_order: tuple[str, ...] = LABEL_NAMES
    crop: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    temperature: Amount | None = None
    threshold: Prob = 0.5
    calibration: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    scoring: dict[str, Any] = field(default_factory=dict)
    scope: dict[str, Any] = field(default_factory=dict)
    caveat: str = ""
    no_verdict: str = ""
    lineage: list[dict[str, Any]] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=library_versions)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for item in fields(self):
            try:
                value = getattr(self, item.name)
                refuse_other_than_plain(value, max_values=MAX_VALUES, max_characters=MAX_CARD_BYTES)
            except ValueError as error:
                raise CheckpointError(f"its card is wrong: {item.name}: {error}") from error
        if self.format_version != FORMAT_VERSION:
            raise CheckpointError(
                f"its card has format {shown(self.format_version)}, this dfd reads {FORMAT_VERSION}; "
                "use the dfd that wrote it, or a newer one"
            )
        problems = option_problems(DetectorCard, {item.name: getattr(self, item.name) for item in fields(self)})
        if not problems and self.clip_len * self.image_size**2 > MAX_CLIP_PIXELS:
            problems.append(
                f"a clip of {self.clip_len} frames of {self.image_size} px has more than {MAX_CLIP_PIXELS} pixels"
            )
        problems += list(self._wrong_parts())
        if self.label_order != LABEL_NAMES:
            problems.append(f"label_order must be {LABEL_NAMES}, got {shown(self.label_order)}")
        problems += option_problems(_scoring_options, self.scoring) if isinstance(self.scoring, dict) else []
        if self.temperature == 0:
            problems.append("temperature must be above 0 or None, got 0")
        if problems:
            raise CheckpointError(f"its card is wrong: {'; '.join(problems)}")

    @classmethod
    def from_dict(cls, values: object) -> "DetectorCard":
        """The card in ``values``, checked.

        Raises:
            CheckpointError: a value is missing, of a wrong type, or of a newer format.
        """
        if not isinstance(values, Mapping) or len(values) > MAX_VALUES:
            raise CheckpointError(f"its card is not a mapping of a few names but {type(values).__name__}")
        known = {f.name for f in fields(cls)}
        version_found = values.get("format_version")
        if version_found == FORMAT_VERSION and not (
            set(values) <= known and {"model", "image_size", "clip_len", "label_order"} <= set(values)
        ):
            odd = shown(sorted(map(str, set(values) ^ known)))
            raise CheckpointError(f"its card is wrong: missing or unknown: {odd}")
        arguments = {name: value for name, value in values.items() if name in known}
        if version_found != FORMAT_VERSION:  # other fields may mean something else; only say which version it is
            arguments = {"model": {}, "image_size": 1, "clip_len": 1, "format_version": version_found}
        order = arguments.get("label_order")
        if isinstance(order, list | tuple):
            arguments["label_order"] = tuple(order)
        return cls(**arguments)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers: fit for JSON and for ``weights_only=True``."""
        values = {**asdict(self), "label_order": list(self.label_order)}
        # Older versions know no such keys.
        for name in ("test", "scoring", "scope", "caveat", "no_verdict", "lineage", "plugins", "origin"):
            if not values[name]:
                del values[name]
        return values

    def _wrong_parts(self) -> Iterator[str]:
        """What is wrong with the network's parts, as far as whoever shows a card relies on it."""
        model: Any = self.model
        try:
            Scope.of(self.scope)
        except ValueError as error:
            yield str(error)
        for part in ("backbone", "temporal", "head"):
            if not isinstance(model, dict) or part not in model:
                continue
            node = model[part]
            if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
                yield f"model.{part} must be a mapping with a _target_, got {shown(node)}"
            elif not isinstance(node.get("name", ""), str):
                yield f"model.{part}.name must be text, got {shown(node['name'])}"


def _scoring_options(*, aggregation: str = "", max_windows: Annotated[int, (1, 10_000)] | None = None) -> None:
    """Keys and values that ``scoring`` may have."""


def parse_card(text: str) -> DetectorCard:
    """The card that a ``.safetensors`` or ``.onnx`` holds as JSON.

    Raises:
        CheckpointError: it is no card, or says what cannot be.
        ValueError: it is not JSON, or larger than a card.
    """
    if len(text) > MAX_CARD_BYTES:
        raise ValueError(f"its card is longer than {MAX_CARD_BYTES} characters")
    return DetectorCard.from_dict(parse_json(text, finite=True))


def refuse_without_plugins(card: DetectorCard) -> None:
    """Refuse a card whose plug-ins have not been named; none is imported because a card asks for it.

    Raises:
        ConfigError: a plug-in is missing; the message says how to name it.
    """
    if absent := plugins.missing(card.plugins):
        names = ", ".join(name[:80] if name[:80].replace(".", "_").isidentifier() else shown(name) for name in absent)
        several = "the plug-ins" if len(absent) > 1 else "the plug-in"
        raise ConfigError(
            f"needs {several} {names}: add plugins=[{names}] if you trust the code (in Python: "
            "dfd.use_plugins, before loading)"
        )


def plugins_of(model: Mapping[str, Any], crop: Mapping[str, Any], scoring: Mapping[str, Any]) -> list[str]:
    """Plug-ins that the parts of a card come from, for its ``plugins``."""
    parts = [node.get("_target_") for node in model.values() if isinstance(node, Mapping)]
    detector = crop.get("face_detector")
    parts += [detector.get("name") if isinstance(detector, Mapping) else None, scoring.get("aggregation")]
    return plugins.needed_by(parts)


def num_networks(card: DetectorCard | None) -> int:
    """Number of networks of the detector that a card is of; 1 but for an adopted ensemble, or without a card."""
    number = card.origin.get("num_networks", 1) if card else 1
    return number if isinstance(number, int) and 1 <= number <= MAX_NETWORKS else 1


def refuse_part(card: DetectorCard, name: str) -> None:
    """Refuse one network of an ensemble where a whole detector is needed.

    Raises:
        CheckpointError: when the card is of an ensemble.
    """
    if (number := num_networks(card)) > 1:
        raise CheckpointError(
            f"{name}: is one of {number} networks that make a detector together; dfd predict scores with all of them, "
            "and nothing else takes it yet"
        )


def read_card(path: Path) -> DetectorCard | None:
    """The card in the header of a ``.safetensors``, without its weights; None where there is none to be had.

    What is wrong with such a file is for :func:`dfd.models.files.checkpoint.load_checkpoint` to say.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return parse_card(file.metadata()[CARD_KEY])
    except (SafetensorError, CheckpointError, OSError, ValueError, LookupError, TypeError):
        return None
