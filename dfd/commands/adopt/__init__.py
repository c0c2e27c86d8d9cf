"""``python -m dfd.adopt NAME file=PATH``: make a detector of dfd of weights that others have published."""

import sys
from collections.abc import Callable, Sequence

from dfd.base.errors import DfdError, disk_sentence
from dfd.config.cli.catalogue import Arguments

DESCRIPTION = """Make a detector of a file that others have published, with a card that says where it comes from, its
terms and its limits; afterwards checkpoint=NAME uses it. Without a name: list what can be adopted."""
EXAMPLES = ("dfd adopt gend-clip-l14", "dfd adopt", "dfd adopt mesonet-meso4-df file=Meso4_DF.h5")


def main(words: Sequence[str] | None = None) -> int:
    """0 if a detector was adopted or the list was shown, 1 if not; says why."""
    parser = Arguments("adopt", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("name", metavar="NAME", nargs="?", help="of a published detector; without it: list them")
    parser.add_argument(
        "--file", metavar="PATH", action="append", default=[], help="its published file, or one of several; a folder"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="file to write; default: a place where checkpoint=NAME finds it"
    )
    chosen = parser.parse_args(words)

    def work() -> None:
        from dfd.commands.adopt.detector import adopt, show_list  # torch, which --help does not wait for

        if chosen.name is None:
            show_list()
        else:
            adopt(chosen.name, chosen.file, chosen.output)

    return status_of(work)


def status_of(work: Callable[[], None]) -> int:
    """Exit status of a command's work; an error of dfd, or of a disk, is said in a sentence."""
    try:
        work()
    except (DfdError, OSError) as error:
        said = disk_sentence(error) if isinstance(error, OSError) else str(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
