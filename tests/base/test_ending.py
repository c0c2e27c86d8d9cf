"""The end of a program that does not take apart what it imported."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
from dfd.base.machine import end_at_once

class Torn:
    def __del__(self):
        sys.__stderr__.write("torn down\\n")

torn = Torn()

def main():
    atexit.register(print, "hook")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("said", end=" ")
    {end}

end_at_once(main)
"""


def ended(end: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(end=end)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("end", "status"), [("return None", 0), ("return 3", 3)])
def test_threads_hooks_and_output_are_waited_for_and_nothing_else(end: str, status: int) -> None:
    assert ended(end) == (status, "said thread\nhook\n", "")


@pytest.mark.parametrize(("end", "status", "said"), [("sys.exit(4)", 4, ""), ("raise KeyError('x')", 1, "KeyError")])
def test_a_main_that_raises_ends_as_usual(end: str, status: int, said: str) -> None:
    code, out, error = ended(end)
    assert (code, out) == (status, "said thread\nhook\n")
    assert said in error
    assert "torn down" in error


def test_a_closed_output_is_no_success() -> None:
    code = "from dfd.base.machine import end_at_once\nend_at_once(lambda: print('x' * 100_000))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"BrokenPipe" in error
