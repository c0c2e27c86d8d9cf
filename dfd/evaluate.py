"""``python -m dfd.evaluate``: measure a detector on labelled videos: predictions.csv, metrics.json and figures."""

from omegaconf import DictConfig

from dfd.config.check import check
from dfd.config.entry import entry_point
from dfd.config.schemas import EvaluateConfig


@entry_point("evaluate")
def main(cfg: DictConfig) -> None:
    """Measure a detector on one split of a clip store, or in a suite."""
    if cfg.get("suite") == "cross_dataset":
        cfg.data.store = ""  # each of `stores` in turn
    config = check(cfg, EvaluateConfig)
    from dfd.commands.evaluate import evaluate  # once the options are known to be good: it imports the libraries

    evaluate(config)


if __name__ == "__main__":
    main()
