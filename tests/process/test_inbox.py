"""What workers send arrives, and closing never waits for anybody."""

import os
import pickle
import sys
import threading
import time
from multiprocessing.connection import Client

import pytest

from dfd.process.inbox import Inbox, Item


def close_within(inbox, seconds):
    closing = threading.Thread(target=inbox.close, daemon=True)
    closing.start()
    closing.join(seconds)
    return not closing.is_alive()


def listens(address):
    try:
        Client(address).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("milliseconds", [0, 1, 10, 40, 60, 100])
def test_closing_does_not_wait_after_a_worker_was_killed_while_it_connected(milliseconds):
    """predict.py hung at its end, now and then."""
    inbox = Inbox(4)
    address, _ = inbox.address()
    Client(address).close()
    time.sleep(milliseconds / 1000)
    assert close_within(inbox, 10)
    assert not listens(address)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX sockets")
def test_closing_does_not_wait_for_a_worker_that_never_answers():
    inbox = Inbox(4)
    address, _ = inbox.address()
    with Client(address):
        assert close_within(inbox, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
def test_closing_does_not_wait_where_too_many_are_connecting():
    inbox = Inbox(4)
    address, _ = inbox.address()
    silent = [threading.Thread(target=listens, args=(address,), daemon=True) for _ in range(80)]
    with Client(address):  # holds the thread that accepts
        for thread in silent:
            thread.start()
        time.sleep(0.5)
        assert close_within(inbox, 10)


def test_an_inbox_that_nobody_wrote_to_is_closed_and_can_be_closed_again():
    assert close_within(Inbox(4), 10)
    inbox = Inbox(4)
    inbox.address()
    assert close_within(inbox, 10)
    assert close_within(inbox, 10)


def test_what_does_not_know_the_key_is_not_read():
    inbox = Inbox(4)
    address, key = inbox.address()
    with pytest.raises(Exception, match="digest"), Client(address, authkey=os.urandom(32)) as stranger:
        stranger.send_bytes(b"7")
    with Client(address, authkey=key) as worker:
        worker.send_bytes(b"3")
        worker.send_bytes(pickle.dumps(Item("seen")))
        worker.send_bytes(pickle.dumps(None))
        assert [inbox.take() for _ in range(2)] == [(3, Item("seen")), (3, None)]
    assert inbox.take() == (-1, None)
    assert close_within(inbox, 10)
