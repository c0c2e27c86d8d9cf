"""``python -m dfd.calibrate``: fit a detector's temperature and threshold to labelled videos, such as your own."""

from omegaconf import DictConfig

from dfd.config.check import check
from dfd.config.entry import entry_point
from dfd.config.schemas import CalibrateConfig


@entry_point("calibrate")
def main(cfg: DictConfig) -> None:
    """Calibrate a detector on one split of a clip store."""
    config = check(cfg, CalibrateConfig)
    from dfd.commands.calibrate import calibrate  # once the options are known to be good: it imports the libraries

    calibrate(config)


if __name__ == "__main__":
    main()
