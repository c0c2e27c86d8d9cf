"""Check of the device that a detector's networks run on."""

import torch

from dfd.base.errors import ConfigError


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or see.

    Raises:
        ConfigError: the message names it and another one.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ConfigError(f"face_detector.device={device}: not a device that torch knows; try cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"face_detector.device={device}: torch sees no GPU here; use face_detector.device=cpu")
