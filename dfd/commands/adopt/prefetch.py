"""``dfd weights prefetch EXPERIMENT``: fetch the weights that a training begins from, where there is a network."""

import sys
from collections.abc import Sequence

from dfd.commands.adopt import status_of
from dfd.config.cli.catalogue import Arguments

DESCRIPTION = """Fetch the initial weights of a training into this user's cache, as a node that trains may have no
network. Give the words of the training: an experiment's name, and options that choose other weights."""
EXAMPLES = (
    "dfd weights prefetch modern",
    "dfd weights prefetch backbone=resnext50",
    "dfd weights prefetch backbone=timm backbone.name=vit_small_patch14_dinov2",
)


def main(words: Sequence[str] | None = None) -> int:
    """0 if the weights are there, 1 if not; says why."""
    given = [*(sys.argv[1:] if words is None else words)]
    parser = Arguments("weights", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("action", choices=("prefetch",), help="fetch them into the cache")
    parser.add_argument("words", metavar="EXPERIMENT|OPTION=VALUE", nargs="*", help="what is going to be trained")
    # Options are Hydra's, whose form the parser would change.
    parser.parse_args([word for word in given if "=" not in word or word.startswith("-")])
    overrides = [word if "=" in word else f"experiment={word}" for word in given[1:]]
    if not overrides:
        parser.error("the following arguments are required: EXPERIMENT|OPTION=VALUE")
    return status_of(lambda: prefetch(overrides))


def prefetch(overrides: Sequence[str]) -> None:
    """Fetch what the backbone of a training with these options begins from, and say whether it is there.

    Raises:
        ConfigError: an option is unknown or missing.
        WeightsMissing: the weights cannot be had.
    """
    from dfd.config.build import build  # Hydra and torch, which --help does not wait for
    from dfd.config.compose import training_options

    options = training_options("backbone", overrides)
    build(options)
    name = options.get("name", str(options["_target_"]).rpartition(".")[2])
    if options.get("weights"):
        print(f"{name}: begins from {options['weights']}, which is here")
    elif options.get("pretrained"):
        print(f"{name}: its weights are in the cache; a training of this user finds them without a network")
    else:
        print(f"{name}: begins from random weights; there is nothing to fetch")


if __name__ == "__main__":
    sys.exit(main())
