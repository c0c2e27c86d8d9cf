"""Layouts of data sets as their owners ship them: one function each lists the videos as rows of a manifest."""

from collections.abc import Callable

from dfd.data.sources.folder import folder
from dfd.data.sources.listing import LeftOut, Listing
from dfd.data.sources.public.celebdf import celebdf
from dfd.data.sources.public.dfdc import dfdc
from dfd.data.sources.public.ffpp import ffpp
from dfd.data.sources.public.sequences import df40, wilddeepfake
from dfd.data.sources.public.spoken import avdeepfake1m, deepspeak, fakeavceleb
from dfd.data.sources.public.swaps import deeperforensics, dfdcp, ffiw, kodf
from dfd.data.sources.stills import stills

SOURCES: dict[str, Callable[..., Listing]] = {
    "folder": folder,
    "ffpp": ffpp,
    "dfdc": dfdc,
    "dfdcp": dfdcp,
    "celebdf": celebdf,
    "df40": df40,
    "fakeavceleb": fakeavceleb,
    "deeperforensics": deeperforensics,
    "ffiw": ffiw,
    "wilddeepfake": wilddeepfake,
    "deepspeak": deepspeak,
    "avdeepfake1m": avdeepfake1m,
    "kodf": kodf,
    "stills": stills,
}
"""Source functions by the name that ``source=`` takes."""

__all__ = [
    "SOURCES",
    "LeftOut",
    "Listing",
    "avdeepfake1m",
    "celebdf",
    "deeperforensics",
    "deepspeak",
    "df40",
    "dfdc",
    "dfdcp",
    "fakeavceleb",
    "ffiw",
    "ffpp",
    "folder",
    "kodf",
    "stills",
    "wilddeepfake",
]
