"""``python -m dfd.evaluate``: measure a detector on labelled videos: predictions.csv, metrics.json and figures."""

from omegaconf import DictConfig, OmegaConf

from dfd.config.entry import door


def no_store(cfg: DictConfig) -> None:
    """Need no ``data.store`` where ``stores`` names several, which are measured in turn."""
    if cfg.get("suite") == "cross_dataset" and OmegaConf.is_missing(cfg.data, "store"):
        cfg.data.store = ""


main = door("evaluate", complete=no_store)

if __name__ == "__main__":
    main()
