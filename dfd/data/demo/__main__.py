"""Draw the videos of the demonstration: ``dfd demo DIR``."""

from collections.abc import Sequence
from pathlib import Path

from dfd.base.errors import DfdError
from dfd.base.progress import progress_bar
from dfd.config.cli.catalogue import Arguments
from dfd.data.demo.videos import NOTICE, OnProgress, make_demo_inbox, make_demo_videos


def main(arguments: Sequence[str] | None = None) -> None:
    """Make both folders of the demonstration, with a progress bar, and say where they are."""
    parser = Arguments(
        "demo", description=f"Make the demonstration videos. {NOTICE}", examples=["dfd demo outputs/demo"]
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="DIR/videos and DIR/inbox are made")
    parser.add_argument("--seed", type=int, default=0, help="other people for another seed (default: %(default)s)")
    options = parser.parse_args(arguments)
    with progress_bar() as progress:

        def bar(description: str) -> OnProgress:
            task = progress.add_task(description, total=None, note="")
            return lambda done, total: progress.update(task, completed=done, total=total)

        try:
            manifest = make_demo_videos(
                options.folder / "videos", seed=options.seed, on_progress=bar("drawing videos to train on")
            )
            inbox = make_demo_inbox(
                options.folder / "inbox", seed=options.seed, on_progress=bar("drawing a folder to score")
            )
        except (DfdError, ValueError) as error:
            parser.exit(1, f"error: {error}\n")
    print(NOTICE)
    print(f"to train on: {manifest}")
    print(f"to score:    {inbox}")


if __name__ == "__main__":
    main()
