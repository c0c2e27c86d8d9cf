"""Layouts of data sets as their owners ship them: one function each lists the videos as rows of a manifest."""

from collections.abc import Callable

from dfd.data.sources.celebdf import celebdf
from dfd.data.sources.dfdc import dfdc
from dfd.data.sources.ffpp import ffpp
from dfd.data.sources.folder import folder
from dfd.data.sources.listing import LeftOut, Listing
from dfd.data.sources.stills import stills

SOURCES: dict[str, Callable[..., Listing]] = {
    "folder": folder,
    "ffpp": ffpp,
    "dfdc": dfdc,
    "celebdf": celebdf,
    "stills": stills,
}
"""Source functions by the name that ``source=`` takes."""

__all__ = ["SOURCES", "LeftOut", "Listing", "celebdf", "dfdc", "ffpp", "folder", "stills"]
