"""``python train.py``: fit on train, choose the epoch and calibrate on val, test once. ``--help`` shows how."""

from omegaconf import DictConfig

from dfd.config.check import check
from dfd.config.entry import current_job, entry_point
from dfd.config.schemas import TrainConfig


@entry_point("train")
def main(cfg: DictConfig) -> float | None:
    """Train one detector; returns the validation metric that a sweep optimises."""
    config = check(cfg, TrainConfig)
    from dfd.commands.train import train  # once the options are known to be good: it imports the libraries

    return train(config, current_job(cfg))


if __name__ == "__main__":
    main()
