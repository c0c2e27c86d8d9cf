"""Ctrl-C ends a training even if Python has dropped its exception."""

import os
import signal

import pytest

from dfd.training.callbacks import Interruption


class _Dropping:
    """Its destructor is where the signal arrives, so that Python prints the exception and goes on."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def _train(interruption: Interruption, done: list[int]) -> None:
    with interruption.watching():
        for batch in range(3):
            interruption.on_train_batch_start()
            done.append(batch)
            if batch == 1:
                _Dropping()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_was_dropped_is_raised_at_the_next_batch() -> None:
    before, done = signal.getsignal(signal.SIGINT), list[int]()
    with pytest.raises(KeyboardInterrupt):
        _train(Interruption(), done)
    assert done == [0, 1]
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_was_dropped_after_the_last_batch_is_raised_at_the_end() -> None:
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt), interruption.watching():
        _Dropping()


def test_a_training_whose_interruptions_are_ignored_is_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption().watching():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
