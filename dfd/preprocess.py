"""``python -m dfd.preprocess``: videos to a store of face-only clips. ``--help`` shows how."""

from omegaconf import DictConfig

from dfd.config.check import check
from dfd.config.entry import entry_point
from dfd.config.schemas import PreprocessConfig


@entry_point("preprocess")
def main(cfg: DictConfig) -> None:
    """Make or complete a clip store."""
    config = check(cfg, PreprocessConfig)
    from dfd.commands.preprocess import preprocess  # once the options are known to be good: it imports the libraries

    preprocess(config)


if __name__ == "__main__":
    main()
