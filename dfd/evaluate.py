"""``python -m dfd.evaluate``: measure a detector on labelled videos: predictions.csv, metrics.json and figures."""

from omegaconf import DictConfig, OmegaConf

from dfd.config.check import check
from dfd.config.entry import entry_point
from dfd.config.schemas import EvaluateConfig


def no_store(cfg: DictConfig) -> None:
    """Need no ``data.store`` where ``stores`` names several, which are measured in turn."""
    if cfg.get("suite") == "cross_dataset" and OmegaConf.is_missing(cfg.data, "store"):
        cfg.data.store = ""


@entry_point("evaluate", complete=no_store)
def main(cfg: DictConfig) -> None:
    """Measure a detector on one split of a clip store, or in a suite."""
    config = check(cfg, EvaluateConfig)
    from dfd.commands.evaluate import evaluate  # once the options are known to be good: it imports the libraries

    evaluate(config)


if __name__ == "__main__":
    main()
