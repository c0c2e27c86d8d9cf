"""Scope of a detector: for which kinds of fakes it was shown to work, and what its verdicts may say because of that."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dfd.base.types import Count, Prob, Verdict
from dfd.base.untrusted import decode

KINDS = {
    "face_swap": "face swaps",
    "lip_sync": "lip-syncs",
    "reenactment": "reenactments",
    "talking_head": "talking heads",
    "generated": "generated people",
}
"""Kinds of fakes by their names in a manifest's column ``kind``, and in words."""

MIN_FAKES = 5
"""Smallest number of fakes of a kind, and of real videos, from which an interval can show anything."""
CHANCE = 0.5
"""Video AUC of guessing; a kind is shown only where the whole interval lies above it."""
MIN_FOUND = 0.5
"""Share of a kind's fakes above the threshold below which a low score says nothing about that kind."""


@dataclass(frozen=True, slots=True)
class OfKind:
    """Result on the fakes of one kind against all real videos.

    ``interval`` is the 95 % bootstrap interval of ``auc``; ``found`` the share of the fakes at the threshold or above,
    None where that threshold was changed since.
    """

    auc: Prob
    interval: tuple[Prob, Prob]
    num_fake: Count
    num_real: Count
    found: Prob | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it tells these fakes from real videos better than chance."""
        return min(self.num_fake, self.num_real) >= MIN_FAKES and self.interval[0] > CHANCE

    @property
    def is_seldom_missed(self) -> bool:
        """Whether a score below the threshold says anything about this kind."""
        return self.is_shown and self.found is not None and self.found >= MIN_FOUND


@dataclass(frozen=True, slots=True)
class Scope:
    """Kinds of fakes that a detector was measured on.

    Attributes:
        kinds: result by kind, with the names of ``KINDS``.
        false_alarms: share of the real videos at the threshold or above; None if not known.
        threshold: at which ``found`` and ``false_alarms`` were counted.
        data: on which videos: store, split, data sets, number of videos left out and why.

    Raises:
        ValueError: when a kind is unknown.
    """

    kinds: Mapping[str, OfKind] = field(default_factory=dict)
    false_alarms: Prob | None = None
    threshold: Prob | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise ValueError(f"there is no kind {unknown[0]!r}, only {', '.join(KINDS)}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Scope":
        """Read the scope of a card; the empty one if it has none.

        Raises:
            ValueError: when a value is missing or cannot be.
        """
        return decode(cls, values, "scope")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card."""
        values = asdict(self)
        for one in values["kinds"].values():
            one["interval"] = list(one["interval"])
        return values

    def at(self, threshold: float) -> "Scope":
        """Scope of the same detector with another threshold, at which no share of fakes was counted."""
        return self if threshold == self.threshold else self.without_shares()

    def without_shares(self) -> "Scope":
        """Scope of the same detector with scores of another scale, where no share of fakes is known."""
        kinds = {name: replace(one, found=None) for name, one in self.kinds.items()}
        return replace(self, kinds=kinds, false_alarms=None, threshold=None)

    @property
    def shown(self) -> list[str]:
        """Kinds that it was shown to tell from real videos, in the order of ``KINDS``."""
        return [name for name in KINDS if name in self.kinds and self.kinds[name].is_shown]

    @property
    def missed(self) -> list[str]:
        """Kinds about which a low score says nothing."""
        return [name for name in KINDS if name not in self.kinds or not self.kinds[name].is_seldom_missed]

    @property
    def unmeasured(self) -> list[str]:
        """Kinds that were not measured."""
        return [name for name in KINDS if name not in self.kinds]

    @property
    def may_say_real(self) -> bool:
        """Whether a low score is more than ``uncertain``: only where no kind would be missed."""
        return not self.missed

    def told(self, verdict: Verdict) -> Verdict:
        """Verdict within this scope: ``uncertain`` in place of ``real`` where some kind would be missed."""
        return Verdict.UNCERTAIN if verdict is Verdict.REAL and not self.may_say_real else verdict


DISAGREE = "the detectors disagree"
"""Remark on a video of which several detectors say contrary things."""


def common_scope(scopes: Sequence[Scope]) -> Scope:
    """Scope of a score that several detectors make together, for which none was measured.

    A kind counts with the least of its results, and only where all of them have one.
    """
    common = set(KINDS).intersection(*(scope.kinds for scope in scopes))
    kinds = {kind: min((scope.kinds[kind] for scope in scopes), key=lambda one: one.interval[0]) for kind in common}
    found = {kind: [scope.kinds[kind].found for scope in scopes] for kind in common}
    least = {kind: min((-1.0 if one is None else one) for one in found[kind]) for kind in common}
    return Scope({k: replace(one, found=None if least[k] < 0 else least[k]) for k, one in kinds.items()})


def in_words(kinds: Sequence[str]) -> str:
    """List kinds in words.

    >>> in_words(["face_swap"]), in_words(["face_swap", "lip_sync", "generated"])
    ('face swaps', 'face swaps, lip-syncs and generated people')
    """
    words = [KINDS[kind] for kind in kinds]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


SIGNS, NOTHING = "signs of ", "nothing found"
"""Beginnings of the remarks on what a score says within the scope of its detector."""


def remark(scope: Scope, call: Verdict, *, trace: str) -> str:
    """Remark beside a verdict: the kinds of fakes that signs stand for, or that a low score says nothing about.

    Empty where the verdict itself says all: for scores near the threshold, and for a fake if nothing was measured.

    Args:
        scope: the detector's.
        call: side of the threshold on which the score lies, whatever the scope: ``real`` for a low score.
        trace: what the detector finds signs of.

    >>> kinds = {"face_swap": OfKind(0.9, (0.7, 1.0), 8, 20, 0.75)}
    >>> remark(Scope(kinds), Verdict.FAKE, trace="blending")
    'signs of blending found, as face swaps leave them'
    >>> remark(Scope(kinds), Verdict.REAL, trace="blending")
    'nothing found, but it would miss lip-syncs, reenactments, talking heads and generated people'
    >>> remark(Scope(), Verdict.REAL, trace="blending")
    'nothing found, but on which kinds of fakes it works was not measured'
    """
    if call is Verdict.REAL and scope.missed:
        missed = f"it would miss {in_words(scope.missed)}" if scope.kinds else UNMEASURED
        return f"{NOTHING}, but {missed}"
    if call is not Verdict.FAKE or not scope.kinds:
        return ""
    if not scope.shown:
        return f"{SIGNS}{trace} found, though on no kind of fake it was shown to do better than chance"
    return f"{SIGNS}{trace} found, as {in_words(scope.shown)} leave them"


UNMEASURED = "on which kinds of fakes it works was not measured"


def with_remark(message: str, remark: str) -> str:
    """Message of a score with this remark on its scope in place of an earlier one.

    >>> with_remark("2 faces; nothing found, but it would miss lip-syncs", "")
    '2 faces'
    """
    parts = [part for part in message.split("; ") if part and not part.startswith((SIGNS, NOTHING))]
    return "; ".join([*parts, remark] if remark else parts)


def scope_remark(message: str) -> str:
    """Remark on its scope in the message of a score; empty if there is none."""
    return next((part for part in message.split("; ") if part.startswith((SIGNS, NOTHING))), "")


def words_of(verdict: Verdict, message: str) -> str:
    """Words of a verdict, given the message of its score.

    >>> words_of(Verdict.UNCERTAIN, "nothing found, but it would miss lip-syncs"), words_of(Verdict.UNCERTAIN, "")
    ('nothing found', 'cannot tell')
    """
    return scope_remark(message).partition(",")[0] or verdict.words


def words_of_part(told: Verdict, call: Verdict, message: str) -> str:
    """Words of a verdict on a face or moment, given the message of its video's score.

    >>> words_of_part(Verdict.UNCERTAIN, Verdict.REAL, ""), words_of_part(Verdict.FAKE, Verdict.FAKE, "")
    ('nothing found', 'signs of a fake')

    Args:
        told: verdict within the detector's scope.
        call: side of the threshold on which the score lies, whatever the scope.
        message: of the video's score; it names the kinds of fakes that signs stand for.
    """
    if told is Verdict.UNCERTAIN and call is Verdict.REAL:
        return NOTHING
    is_named = told is Verdict.FAKE and scope_remark(message).startswith(SIGNS)
    return words_of(told, message if is_named else "")


def scope_sentences(scope: Scope) -> str:
    """Scope in sentences, for the caveat: what was shown with its figures, what was not, and what was not measured."""
    if not scope.kinds:
        return f"{UNMEASURED[0].upper()}{UNMEASURED[1:]}, so it never calls a video real."
    parts = [f"Shown to work on {_figures(scope, scope.shown)}." if scope.shown else "It was shown to work on no kind."]
    if weak := [name for name in KINDS if name in scope.kinds and name not in scope.shown]:
        parts.append(f"Not shown to work on {_figures(scope, weak)}.")
    if scope.unmeasured:
        parts.append(f"Not measured: {in_words(scope.unmeasured)}.")
    if scope.false_alarms is not None:
        parts.append(f"It calls {scope.false_alarms:.0%} of the real videos fake.")
    if not scope.may_say_real:
        parts.append("It never calls a video real.")
    return " ".join(parts)


def _figures(scope: Scope, kinds: Sequence[str]) -> str:
    def one(name: str) -> str:
        result = scope.kinds[name]
        low, high = result.interval
        found = "" if result.found is None else f", {result.found:.0%} found"
        counted = f"{result.num_fake} fake, {result.num_real} real"
        return f"{KINDS[name]} (video AUC {result.auc:.2f}, {low:.2f} to {high:.2f}; {counted}{found})"

    return ", ".join(map(one, kinds))


def trace_of(data: Mapping[str, Any]) -> str:
    """Name of what a detector looks for: ``blending`` if it learnt from blends alone, else ``a fake``."""
    return "blending" if data.get("blend") else "a fake"
