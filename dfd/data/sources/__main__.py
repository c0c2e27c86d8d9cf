"""List the data sets that can be read: ``dfd sources [NAME]``."""

import textwrap
from collections.abc import Sequence

from dfd.config.cli.catalogue import Arguments
from dfd.data.sources import SOURCES
from dfd.data.sources.catalogue import ABOUT
from dfd.data.sources.layout import LAYOUTS

DESCRIPTION = """List the data sets that dfd preprocess reads as their owners ship them: size, licence, where to ask for
them, and what their folder holds."""
WIDTH = 110


def main(words: Sequence[str] | None = None) -> None:
    """Print the facts about each data set, or about those that are named."""
    parser = Arguments("sources", description=DESCRIPTION, examples=["dfd sources fakeavceleb kodf", "dfd sources"])
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"some of {', '.join(SOURCES)} (default: all)")
    names = parser.parse_args(words).names
    for name in names:
        if name not in SOURCES:
            parser.error(f"argument NAME: invalid choice: {name!r} (choose from {', '.join(SOURCES)})")
    print("\n\n".join(described(name) for name in names or SOURCES))


def described(name: str) -> str:
    """Facts about a data set, one on a line.

    >>> print(described("folder"))
    folder: your own videos in real/ and fake/
      holds: real/ and fake/, or train/, val/ and test/ with these in each
    """
    about = ABOUT[name]
    lines = [f"{name}: {about.title}"]
    for fact, text in [("holds", LAYOUTS[name]), *about.lines()]:
        lines += textwrap.wrap(f"{fact}: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
