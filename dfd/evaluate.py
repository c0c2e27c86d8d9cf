"""``python -m dfd.evaluate``: measure a detector on labelled videos: predictions.csv, metrics.json and figures."""

from omegaconf import DictConfig, OmegaConf

from dfd.config.entry import door


def no_store(cfg: DictConfig) -> None:
    """Need no ``data.store`` where ``stores`` or ``manifest`` name the videos, and no checkpoint beside ``scores``."""
    elsewhere = cfg.get("suite") == "cross_dataset" or cfg.get("manifest") is not None
    if elsewhere and OmegaConf.is_missing(cfg.data, "store"):
        cfg.data.store = ""
    if cfg.get("scores") is not None and OmegaConf.is_missing(cfg, "checkpoint"):
        cfg.checkpoint = ""


main = door("evaluate", complete=no_store)

if __name__ == "__main__":
    main()
