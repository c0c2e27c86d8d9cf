"""``python -m dfd.export``: write a detector as one file to share, with a model card beside it."""

from omegaconf import DictConfig

from dfd.config.check import check
from dfd.config.entry import entry_point
from dfd.config.schemas import ExportConfig


@entry_point("export")
def main(cfg: DictConfig) -> None:
    """Export a detector."""
    config = check(cfg, ExportConfig)
    from dfd.commands.export import export  # once the options are known to be good: it imports the libraries

    export(config)


if __name__ == "__main__":
    main()
