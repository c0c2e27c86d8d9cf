"""Data sets as their owners ship them: each function here lists one layout's videos as a manifest's rows."""

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
"""By the name that ``source=`` takes."""

__all__ = ["SOURCES", "LeftOut", "Listing", "celebdf", "dfdc", "ffpp", "folder", "stills"]
