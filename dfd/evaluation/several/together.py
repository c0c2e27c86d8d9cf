"""The detectors of several runs on one store, measured together as the run of an ensemble."""

from collections.abc import Sequence
from pathlib import Path

from dfd.base.files import write_json
from dfd.base.untrusted import read_yaml
from dfd.evaluation.members import load_members
from dfd.evaluation.several.ensembles import calibrated_cards, save_ensemble
from dfd.evaluation.splits import data_of_split, evaluate_split


def measure(files: Sequence[Path], *, rule: str, folder: Path) -> None:
    """Calibrate the detectors of runs together on val, test them, and leave what a run leaves: detector, summary, test.

    Args:
        files: ``detector.safetensors`` of each run, beside its ``config.yaml``; the first one's data are measured.
        rule: rule that makes one score of theirs, see :func:`dfd.metrics.formulas.combined`.
        folder: folder of the ensemble.

    Raises:
        ConfigError: when the detectors' clips are not alike, or there are too many of them.
        StoreError: when the store cannot be read.
    """
    config = read_yaml(files[0].parent / "config.yaml")
    options = {**config["data"], "methods": None, "num_eval_clips": config["test_windows"]}
    ensemble = load_members(files, rule=rule)
    data = data_of_split(options, ensemble.card, "val")
    folder.mkdir(parents=True, exist_ok=True)
    save_ensemble(folder / "detector.safetensors", ensemble, calibrated_cards(ensemble, data, "val"))
    whole = load_members([folder / "detector.safetensors"])
    data.setup("test")
    threshold = whole.card.threshold
    evaluate_split(whole, data, "test", folder / "test", threshold=threshold, checkpoint="detector.safetensors")
    summary = {
        "name": f"{rule} of {len(files)} detectors",
        "data": data.summary(),
        "num_parameters": sum(one.num_parameters or 0 for one in ensemble.detectors),
        "versions": whole.card.versions,
    }
    write_json(folder / "summary.json", summary)
