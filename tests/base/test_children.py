"""A child process ends with the process that started it, and imports from where that one does."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dfd.base.machine import python_command

PARENT = """
import subprocess
from dfd.base.machine import python_command
command = python_command("import time; print(1, flush=True); time.sleep(600)")
child = subprocess.Popen(command, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1.5)
    assert psutil.pid_exists(child), "it ends with its parent, and not before"
    parent.kill()
    parent.communicate()
    ends = time.monotonic() + 20
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_a_child_has_its_arguments_and_imports_nothing_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    command = python_command("import dfd; print(sys.argv[1:])", "a b", "c")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "['a b', 'c']\n"
