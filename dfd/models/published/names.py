"""Names of the published detectors, without what their networks need, and where an adopted one is kept."""

from pathlib import Path

from dfd.base.fetch import cache_folder

NAMES = (
    *("gend-clip-l14", "gend-pe-l", "gend-dinov3-l", "dfdc-b7", "effort", "sbi"),
    *("deepfakebench-xception", "deepfakebench-efficientnetb4", "icpr2020-b4"),
    *("mesonet-meso4-df", "mesonet-meso4-f2f", "mesonet-mesoinception-df", "mesonet-mesoinception-f2f"),
    *("capsule-deepfakes", "capsule-face2face-c0", "capsule-face2face-c23", "capsule-face2face-c40"),
    "thesis-upstream",
)
"""All names; :data:`dfd.models.published.table.PUBLISHED` holds what is known about each."""


def adopted_path(name: str) -> Path:
    """File of an adopted detector in dfd's cache; of an ensemble, that of its first network."""
    return cache_folder() / "detectors" / f"{name}.safetensors"


def members(first: Path, number: int) -> list[Path]:
    """Files of a detector made of so many networks, by that of the first: ``b7.safetensors``, ``b7.2.safetensors`` ...

    >>> [path.name for path in members(Path("b7.safetensors"), 3)]
    ['b7.safetensors', 'b7.2.safetensors', 'b7.3.safetensors']
    """
    return [first, *(first.with_suffix(f".{index}{first.suffix}") for index in range(2, number + 1))]
