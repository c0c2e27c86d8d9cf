"""``python predict.py``: score videos, or folders and lists of them. ``--help`` shows how."""

from omegaconf import DictConfig

from dfd.config.check import check
from dfd.config.entry import entry_point
from dfd.config.schemas import PredictConfig


@entry_point("predict")
def main(cfg: DictConfig) -> None:
    """Score videos with a trained detector."""
    config = check(cfg, PredictConfig)
    from dfd.commands.predict import predict  # once the options are known to be good: it imports the libraries

    predict(config)


if __name__ == "__main__":
    main()
