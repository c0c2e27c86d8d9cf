"""All published detectors that dfd can run, by name."""

from collections.abc import Mapping

from torch import Tensor

from dfd.base.errors import ConfigError
from dfd.base.words import nearest
from dfd.models.published.entry import Published
from dfd.models.published.families.capsule import CAPSULE
from dfd.models.published.families.deepfakebench import DEEPFAKEBENCH
from dfd.models.published.families.dfdc import DFDC
from dfd.models.published.families.effort import EFFORT
from dfd.models.published.families.gend import GEND
from dfd.models.published.families.icpr2020 import ICPR2020
from dfd.models.published.families.mesonet import MESONET
from dfd.models.published.families.sbi import SBI
from dfd.models.published.families.thesis import THESIS

PUBLISHED: dict[str, Published] = {
    entry.name: entry for entry in (*GEND, *DFDC, *EFFORT, *SBI, *DEEPFAKEBENCH, *ICPR2020, *MESONET, *CAPSULE, *THESIS)
}
"""Published detectors by the name under which they are adopted."""

INDEPENDENT_CHECK = (
    "Published figures do not carry over to other material: on 1,999 videos of mixed origin, the best of nine "
    "published detectors has a video AUC of 0.80, and SBI 0.68 (computed from the predictions in deepsafe-bench 1.0.0)."
)
"""What must be said beside every score of a published detector."""


def published(name: str) -> Published:
    """The published detector of this name.

    Raises:
        ConfigError: when there is none.
    """
    if name not in PUBLISHED:
        close = nearest(name, PUBLISHED)
        remedy = f"did you mean {close}?" if close else "dfd adopt lists them"
        raise ConfigError(f"{name}: there is no published detector of this name; {remedy}")
    return PUBLISHED[name]


def recognised(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the published detectors whose network these tensors may belong to."""
    return [entry.name for entry in PUBLISHED.values() if entry.is_of(tensors)]


def caveat(entry: Published) -> str:
    """What a person must know about a published detector's scores: training sets, published figures, a warning.

    >>> caveat(PUBLISHED["icpr2020-b4"]).split(". ")[0]
    'Trained on DFDC, whose terms allow research only; begun from ImageNet'
    """
    figures = "; ".join(
        f"{figure.data} {figure.value:.3g} ({figure.metric}, {figure.source})" for figure in entry.figures
    )
    parts = [
        entry.warning,
        f"Trained on {entry.training_data}.",
        f"Published: {figures}." if figures else "",
        INDEPENDENT_CHECK,
    ]
    return " ".join(part for part in parts if part)
