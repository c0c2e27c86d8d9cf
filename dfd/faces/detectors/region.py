"""Part of a picture in which a detector is to look for faces."""

from collections.abc import Iterable
from typing import NamedTuple


class Region(NamedTuple):
    """Rectangle in pixels, whose right and bottom edges lie outside; faces smaller than ``smallest`` need not be found.

    ``smallest`` is the shorter side of a face's box in pixels; a detector may find smaller ones.
    """

    left: int
    top: int
    right: int
    bottom: int
    smallest: float = 0.0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.right - self.left) * (self.bottom - self.top)

    def clipped(self, width: int, height: int) -> "Region":
        """The part of it that lies in a picture of this size."""
        left, top = max(0, self.left), max(0, self.top)
        return Region(left, top, min(width, self.right), min(height, self.bottom), self.smallest)

    def overlaps(self, other: "Region") -> bool:
        """Whether the two share a pixel."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def joined(self, other: "Region") -> "Region":
        """Smallest region around both, for the faces of both."""
        return Region(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
            min(self.smallest, other.smallest),
        )


def disjoint(regions: Iterable[Region]) -> list[Region]:
    """Join regions that overlap until none do.

    >>> disjoint([Region(0, 0, 9, 9, 5), Region(20, 0, 30, 9, 4), Region(8, 0, 12, 4, 6)])
    [Region(left=20, top=0, right=30, bottom=9, smallest=4), Region(left=0, top=0, right=12, bottom=9, smallest=5)]
    """
    apart: list[Region] = []
    for region in regions:
        while touching := [other for other in apart if other.overlaps(region)]:
            for other in touching:
                apart.remove(other)
                region = region.joined(other)
        apart.append(region)
    return apart
