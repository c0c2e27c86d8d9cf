"""Command ``python -m dfd.report DIR…``: compare training runs, or show scored videos."""

import sys

from dfd.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
