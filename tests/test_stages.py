"""One stage that works ahead of the next."""

import threading

import pytest

from dfd.stages import ahead


def test_the_next_item_is_made_while_one_is_in_use_and_no_more():
    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    coming = ahead(items())
    assert next(coming) == 0
    assert made[1].wait(10), "the second is made while the first is in use"
    assert not made[2].wait(0.2), "and the third is not: memory would grow"
    assert list(coming) == [1, 2, 3]


def test_an_error_comes_behind_the_items_before_it():
    def items():
        yield 1
        raise KeyError("damaged")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(KeyError, match="damaged"):
        next(coming)


def test_closing_waits_for_the_item_in_the_making():
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def items():
        yield 1
        begun.set()
        may_end.wait(10)
        ended.set()
        yield 2

    coming = ahead(items())
    next(coming)
    assert begun.wait(10)
    threading.Timer(0.1, may_end.set).start()
    coming.close()
    assert ended.is_set(), "whoever closes a reader after this closes it under nobody's hands"
