"""Files written completely or not at all, and locks."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dfd.base.files import file_sha256, partial_of, take_lock, write_json, write_table, write_text, written_whole


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "0.mp4"
    with written_whole(path) as partial:
        partial.write_bytes(b"whole")
        assert not path.exists()
        assert partial.suffix == ".mp4"
    assert path.read_bytes() == b"whole"
    assert os.listdir(path.parent) == ["0.mp4"]


def test_after_an_error_the_earlier_file_is_as_it_was(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "earlier")
    with pytest.raises(UnicodeEncodeError), written_whole(path) as partial:
        partial.write_text("half \udcff", encoding="utf-8")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_is_readable_for_those_whom_the_user_lets_read(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert write_text(tmp_path / "a.txt", "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    assert write_text(tmp_path / ("n" * 251 + ".txt"), "x").read_text() == "x"


def test_threads_write_one_file_at_once_and_it_is_one_of_theirs(tmp_path: Path) -> None:
    path, texts = tmp_path / "a.txt", [str(number) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_link_under_the_temporary_name_is_removed_and_not_followed(tmp_path: Path) -> None:
    victim, path = write_text(tmp_path / "victim", "secret"), tmp_path / "a.txt"
    partial_of(path).symlink_to(victim)
    write_text(path, "x")
    assert (victim.read_text(), path.read_text()) == ("secret", "x")


def test_rows_of_a_table_may_be_mappings_or_cells(tmp_path: Path) -> None:
    found = write_table(tmp_path / "a.csv", [{"b": 2, "a": 1}, [3, "x,y"]], ["a", "b"])
    assert found.read_bytes() == b'a,b\r\n1,2\r\n3,"x,y"\r\n'


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_sha256(write_text(tmp_path / "a", "abc")) == known


HOLDER = """
import sys
from pathlib import Path
from dfd.base.files import take_lock
lock = take_lock(Path(sys.argv[1]))
print(lock is not None, flush=True)
input()
"""


def test_a_lock_is_held_by_one_process_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert take_lock(path) is None
    threading.Timer(0.2, holder.kill).start()
    waited = take_lock(path, wait=True)
    assert waited is not None
    assert take_lock(path, strict=True) is None
    waited.close()
    holder.communicate()


@pytest.mark.parametrize("fails", ["no module", "no locks in this file system"])
def test_without_locks_everybody_gets_the_file_and_nobody_where_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    if fails == "no module":
        monkeypatch.setattr("dfd.base.files.fcntl", None)
    else:
        monkeypatch.setattr("dfd.base.files.fcntl.flock", refuse)
    first, second = take_lock(tmp_path / "lock"), take_lock(tmp_path / "lock")
    assert first is not None
    assert second is not None
    assert take_lock(tmp_path / "lock", strict=True) is None
    first.close()
    second.close()
