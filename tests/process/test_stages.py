"""One stage that works ahead of the next."""

import threading

import pytest

from dfd.process.stages import ahead


@pytest.mark.parametrize("depth", [1, 2])
def test_the_next_items_are_made_while_one_is_in_use_and_no_more(depth):
    made = [threading.Event() for _ in range(5)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    coming = ahead(items(), depth)
    assert next(coming) == 0
    assert made[depth].wait(10), "it is made while the first is in use"
    assert not made[depth + 1].wait(0.2), "and the one after it is not: memory would grow"
    assert list(coming) == [1, 2, 3, 4]


@pytest.mark.parametrize("depth", [1, 3])
def test_an_error_comes_behind_the_items_before_it(depth):
    def items():
        yield 1
        raise KeyError("damaged")

    coming = ahead(items(), depth)
    assert next(coming) == 1
    with pytest.raises(KeyError, match="damaged"):
        next(coming)


@pytest.mark.parametrize("depth", [1, 3])
def test_closing_waits_for_the_item_in_the_making_alone(depth):
    begun, may_end, ended, went_on = (threading.Event() for _ in range(4))

    def items():
        yield 1
        begun.set()
        may_end.wait(10)
        ended.set()
        yield 2
        went_on.set()
        yield 3

    coming = ahead(items(), depth)
    next(coming)
    assert begun.wait(10)
    threading.Timer(0.1, may_end.set).start()
    coming.close()
    assert ended.is_set(), "whoever closes a reader after this closes it under nobody's hands"
    assert not went_on.is_set(), "what nobody asks for any more is not made"
