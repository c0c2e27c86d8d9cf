"""A command with train.py's configuration that trains nothing: for what studies and launchers do with its jobs.

Its seed says what happens: 7 fails, 13 is killed without a word, 17 is interrupted; any other is the result times 0.01.
"""

import os
import signal
import time

from omegaconf import DictConfig

from dfd.config.entry import entry_point


@entry_point("train")
def main(cfg: DictConfig) -> float:
    match cfg.seed:
        case 7:
            raise RuntimeError("out of luck")
        case 13:
            time.sleep(0.5)  # while another job is under way
            os.kill(os.getpid(), signal.SIGKILL)
        case 17:
            raise KeyboardInterrupt
    print(f"process {os.getpid()} GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    return cfg.seed * 0.01


if __name__ == "__main__":
    main()
