"""What a process that reads strangers' files may take, and what it may know."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfd.base.machine import limit_tasks, secret_names
from dfd.base.types import Status
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool

SECRETS = {
    "DFD_WEB_SECRET_KEY": "s",
    "DFD_WEB_DATABASE_URL": "postgres://dfd:x@db/dfd",
    "DFD_WEB_API_TOKENS": "t",
    "WANDB_API_KEY": "w",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "HF_TOKEN": "h",
    "GITHUB_TOKEN": "g",
    "MY_PASSWORD": "p",
    "BROKER": "amqp://me:word@host/",
}


def environment_of(_: int) -> tuple[dict[str, str], bytes]:
    return dict(os.environ), Path("/proc/self/environ").read_bytes()


def take(num_bytes: int) -> int:
    return int(np.ones(num_bytes, np.uint8)[-1])


def test_workers_inherit_no_secrets_and_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, "DFD_TEST_PLAIN": "kept"}.items():
        monkeypatch.setenv(name, value)
    with WorkerPool(num_workers=1, deadline_seconds=60) as pool:
        ((_, result),) = pool.map(environment_of, [0])
    assert not isinstance(result, Failure)
    seen, at_start = result
    assert not SECRETS.keys() & seen.keys()
    assert not any(name.encode() in at_start for name in SECRETS)
    assert seen["DFD_TEST_PLAIN"] == "kept"
    assert seen["PATH"] == os.environ["PATH"]
    # The parent keeps them, and hands them to what it starts for itself.
    assert os.environ["WANDB_API_KEY"] == "w"
    out = subprocess.check_output([sys.executable, "-c", "import os; print(os.environ['WANDB_API_KEY'])"], text=True)
    assert out.strip() == "w"


def test_what_is_no_secret_is_not_taken_for_one() -> None:
    plain = {name: "/x" for name in ("PATH", "HOME", "PWD", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "KEYBOARD", "MONKEY")}
    plain |= {"https_proxy": "http://me:word@proxy:3128", "HF_HOME": "/h", "URL": "https://example.org/a"}
    assert secret_names(plain) == []


@pytest.mark.skipif(sys.platform != "linux", reason="address space is bounded on Linux")
def test_a_task_that_takes_too_much_memory_is_too_large_and_the_worker_lives() -> None:
    sizes = [50 * 2**20, 400 * 2**20, 60 * 2**20]
    with WorkerPool(num_workers=1, deadline_seconds=60, initializer=limit_tasks, initargs=(200 * 2**20,)) as pool:
        results = dict(pool.map(take, sizes))
    assert results[sizes[0]] == results[sizes[2]] == 1
    failure = results[sizes[1]]
    assert isinstance(failure, Failure)
    assert failure.status is Status.TOO_LARGE
    assert "more memory than a worker may use: 0.2 GB above what it has when idle" in failure.message
