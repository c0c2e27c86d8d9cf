"""Temporary folders: gone with their owner, or with the next process if the owner was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dfd.base import scratch
from dfd.base.files import written_whole
from dfd.base.scratch import ScratchFolder
from dfd.process.pool import WorkerPool

OWNER = (
    "from dfd.base.scratch import ScratchFolder\nfolder = ScratchFolder()\nprint(folder.path, flush=True)\ninput()\n"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def test_a_folder_goes_with_its_owner(temporary: Path) -> None:
    folder = ScratchFolder()
    assert folder.path.parent == temporary
    assert folder.path.stat().st_mode & 0o777 == 0o700
    del folder
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(temporary: Path) -> None:
    killed, living = (
        subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    folders = [Path(process.stdout.readline().strip()) for process in (killed, living)]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (temporary / "dfd-run-of-another-kind").touch()
    (temporary / "another").mkdir()
    ours = ScratchFolder()
    assert [folder.exists() for folder in folders] == [False, True]
    assert ours.path.exists()
    assert (temporary / "another").exists()
    living.communicate("\n")
    assert not folders[1].exists()


def test_a_folder_that_has_no_lock_yet_is_left_for_a_while(temporary: Path) -> None:
    for name, age in (("dfd-run-new", 0), ("dfd-run-old", 2 * scratch._NEW_SECONDS)):
        (temporary / name).mkdir()
        os.utime(temporary / name, (time.time() - age, time.time() - age))
    ScratchFolder()
    assert [path.name for path in temporary.iterdir()] == ["dfd-run-new"]


def double(number: int) -> int:
    return 2 * number


def test_workers_leave_nothing_in_the_temporary_folder(temporary: Path) -> None:
    with WorkerPool(num_workers=1, deadline_seconds=60) as pool:
        assert sorted(result for _, result in pool.map(double, [1, 2])) == [2, 4]
        assert [path.name[:8] for path in temporary.iterdir()] == ["dfd-run-"]
    assert not list(temporary.iterdir())


def test_what_a_killed_process_was_writing_is_removed_by_the_next_and_what_a_living_one_writes_is_not(
    temporary: Path,
) -> None:
    writer = (
        "import sys\nfrom pathlib import Path\nfrom dfd.base.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as path:\n    path.write_text('half')\n    print(path, flush=True)\n"
        "    input()\n"
    )
    target = temporary / "detector [1].onnx"
    killed, living = (
        subprocess.Popen(
            [sys.executable, "-c", writer, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )
    halves = [Path(process.stdout.readline().rstrip("\n")) for process in (killed, living)]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with written_whole(target) as path:
        path.write_text("whole")
    assert target.read_text() == "whole"
    assert [half.exists() for half in halves] == [False, True]
    living.communicate("\n")
    assert list(temporary.iterdir()) == [target]
