"""What may befall a worker process costs one task. The functions here run in spawned processes."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from itertools import count
from pathlib import Path

import psutil
import pytest

from dfd.base.errors import DfdError, ManifestError, UnreadableVideo, WeightsMissing
from dfd.base.types import Status
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.process.worker import _portable


class Stubborn:
    def __reduce__(self):
        raise RuntimeError("I do not travel")


def act(task):
    kind, value = task
    match kind:
        case "double":
            return value * 2
        case "hang":
            time.sleep(600)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "exit":
            os._exit(value)
        case "unreadable":
            raise UnreadableVideo(f"{value}: no video stream in it")
        case "manifest":
            raise ManifestError(value, ["line 3: wrong"])
        case "error":
            raise KeyError(value)
        case "unpicklable":
            return Stubborn()
        case "initialised":
            return os.environ.get("DFD_TEST_INITIALISED")
    return None


def note(value):
    os.environ["DFD_TEST_INITIALISED"] = value


def miss_weights(name):
    raise WeightsMissing(f"{name} is not there; set face_detector.weights=FILE")


def die_at_once():
    os._exit(7)


def remember_pid(task):
    folder, name = task
    (Path(folder) / f"{name}.tmp").write_text(str(os.getpid()))
    (Path(folder) / f"{name}.tmp").rename(Path(folder) / f"{name}.pid")
    time.sleep(600)


@pytest.fixture(scope="module")
def pool():
    """One pool for the tests that need no particular one: starting processes is what takes their time."""
    with WorkerPool(num_workers=2, deadline_seconds=1.5) as pool:
        yield pool


def run(tasks, **options):
    with WorkerPool(**{"num_workers": 2, "deadline_seconds": 30.0, **options}) as pool:
        return dict(pool.map(act, tasks))


def test_a_crash_a_kill_and_an_error_cost_their_own_task_alone(pool):
    sound = [("double", value) for value in range(12)]
    tasks = [
        *sound[:3],
        ("kill", 0),
        ("abort", 0),
        ("exit", 3),
        *sound[3:6],
        ("unreadable", "a.mp4"),
        ("manifest", "m.csv"),
        ("error", "fps"),
        ("unpicklable", 0),
        *sound[6:],
    ]
    results = dict(pool.map(act, tasks))
    assert len(results) == len(tasks)
    assert all(results[task] == task[1] * 2 for task in sound)
    killed, aborted, left = results["kill", 0], results["abort", 0], results["exit", 3]
    assert killed.status == aborted.status == left.status == Status.ERROR
    assert "-9, SIGKILL" in killed.message
    assert "SIGABRT" in aborted.message
    assert "exit code 3" in left.message
    assert results["unreadable", "a.mp4"] == Failure(Status.UNREADABLE, "a.mp4: no video stream in it")
    assert results["manifest", "m.csv"] == Failure(Status.ERROR, "m.csv: 1 problem\n  line 3: wrong")
    assert results["error", "fps"].message.startswith("KeyError: 'fps' (in act, test_workers.py:")
    assert "I do not travel" in results["unpicklable", 0].message


def test_a_task_that_hangs_is_stopped_at_its_deadline_and_the_rest_goes_on(pool):
    begin = time.monotonic()
    results = dict(pool.map(act, [("hang", 0), *(("double", value) for value in range(6))]))
    assert results["hang", 0] == Failure(Status.TIMEOUT, "took longer than the deadline of 1.5 seconds and was stopped")
    assert [results["double", value] for value in range(6)] == [0, 2, 4, 6, 8, 10]
    assert time.monotonic() - begin < 30


def test_the_deadline_counts_from_the_start_of_a_task_and_not_from_its_place_in_the_queue(pool):
    tasks = [("double", value) for value in range(4)]
    begin = time.monotonic()
    results = dict(pool.map(slow_double, tasks))
    assert time.monotonic() - begin > 1.5
    assert [results[task] for task in tasks] == [0, 2, 4, 6]


def slow_double(task):
    time.sleep(1.0)
    return task[1] * 2


def test_each_worker_is_initialised_and_one_that_replaces_a_dead_one_too():
    results = run(
        [("kill", 0), *(("initialised", value) for value in range(4))],
        num_workers=1,
        initializer=note,
        initargs=("yes",),
    )
    assert [results["initialised", value] for value in range(4)] == ["yes"] * 4


def test_an_error_while_workers_start_is_raised_in_the_parent():
    with pytest.raises(WeightsMissing, match=r"yunet.onnx is not there; set face_detector.weights=FILE"):
        run([("double", 1)], initializer=miss_weights, initargs=("yunet.onnx",))


def note_pid(path):
    Path(path).write_text(str(os.getpid()))


def test_workers_start_before_there_is_a_task(tmp_path):
    started = tmp_path / "started"
    with WorkerPool(num_workers=1, deadline_seconds=30.0, initializer=note_pid, initargs=(started,)) as pool:
        pool.start()
        wait_for(started)
        assert alive(int(started.read_text()))


def test_workers_prepare_once_and_those_that_replace_dead_ones_too(tmp_path):
    with WorkerPool(num_workers=1, deadline_seconds=30.0, initializer=note, initargs=("early",)) as pool:
        assert dict(pool.map(act, [("initialised", 0)])) == {("initialised", 0): "early"}
        pool.prepare(note_again, str(tmp_path))
        tasks = [("initialised", 1), ("initialised", 2), ("kill", 3), ("initialised", 4)]
        results = dict(pool.map(act, tasks))
        assert [results["initialised", value] for value in (1, 2, 4)] == ["prepared"] * 3
        assert len(list(tmp_path.iterdir())) == 2, "each of the two processes prepared once"


def note_again(folder):
    note("prepared")
    handle, _ = tempfile.mkstemp(dir=folder)
    os.close(handle)


def note_and_repeat(task):
    folder, value = task
    handle, _ = tempfile.mkstemp(dir=folder, prefix=f"{value}-")
    os.close(handle)
    yield from (value, os.environ.get("DFD_TEST_INITIALISED"))


def runs_in(folder):
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def test_tasks_begun_ahead_are_taken_over_and_not_run_again(tmp_path):
    tasks = [(str(tmp_path), value) for value in "abcde"]
    with WorkerPool(num_workers=1, deadline_seconds=30.0) as pool:
        pool.prepare(note, "prepared")
        pool.begin(note_and_repeat, iter(tasks))
        wait_for_number(tmp_path, 2)
        assert runs_in(tmp_path) == ["a", "b"], "two per worker"
        pool.prepare(note, "prepared")  # as before: nothing begins anew
        items = list(pool.stream(note_and_repeat, [(f"{folder}", value) for folder, value in tasks]))
        assert [item for task, item in items if task == tasks[0]] == ["a", "prepared", None]
        assert len(items) == 15
        assert runs_in(tmp_path) == list("abcde")


def test_tasks_begun_ahead_that_are_not_wanted_are_given_up(tmp_path):
    folder = str(tmp_path)
    with WorkerPool(num_workers=1, deadline_seconds=30.0) as pool:
        pool.begin(act, [("hang", 0), ("double", 1)])
        assert dict(pool.map(act, [("double", 2)])) == {("double", 2): 4}
        pool.begin(note_and_repeat, [(folder, "a"), (folder, "b")])
        pool.prepare(note, "prepared")
        items = list(pool.stream(note_and_repeat, [(folder, "b"), (folder, "c")]))
        for value in "bc":  # those of several tasks come in any order
            assert [item for task, item in items if task == (folder, value)] == [value, "prepared", None]
        assert len(items) == 6


def test_a_task_that_was_over_before_anyone_asked_is_not_late(tmp_path):
    task = (str(tmp_path), "a")
    with WorkerPool(num_workers=1, deadline_seconds=1.0, stall_seconds=0.5) as pool:
        pool.begin(note_and_repeat, [task])
        wait_for_number(tmp_path, 1)
        time.sleep(1.5)
        assert [item for _, item in pool.stream(note_and_repeat, [task])] == ["a", None, None]


def test_an_error_while_workers_prepare_for_tasks_begun_ahead_is_raised_by_the_stream():
    with WorkerPool(num_workers=1, deadline_seconds=30.0) as pool:
        pool.prepare(miss_weights, "yunet.onnx")
        pool.begin(note_and_repeat, [("", "a")])
        with pytest.raises(WeightsMissing, match=r"yunet.onnx is not there"):
            list(pool.stream(note_and_repeat, [("", "a")]))


def wait_for_number(folder, number):
    deadline = time.monotonic() + 30
    while len(list(folder.iterdir())) < number and time.monotonic() < deadline:
        time.sleep(0.05)


def test_an_error_while_workers_prepare_is_raised_in_the_parent():
    with WorkerPool(num_workers=1, deadline_seconds=30.0) as pool:
        pool.prepare(miss_weights, "yunet.onnx")
        with pytest.raises(WeightsMissing, match=r"yunet.onnx is not there"):
            list(pool.map(act, [("double", 1)]))


def test_an_error_that_cannot_be_pickled_keeps_its_words():
    error = _portable(ManifestError("m.csv", ["line 3: wrong"]))
    assert type(error) is DfdError
    assert str(error) == "m.csv: 1 problem\n  line 3: wrong"


def test_workers_that_die_while_they_start_are_an_error_and_not_a_hang():
    with pytest.raises(DfdError, match="die before they take a task"):
        run([("double", 1)], num_workers=1, initializer=die_at_once)


def test_a_worker_killed_between_tasks_loses_no_task():
    with WorkerPool(num_workers=1, deadline_seconds=30.0) as pool:
        results = pool.map(act, (("double", value) for value in range(9)))
        first = [next(results), next(results)]
        for child in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        rest = list(results)
    values = [result for _, result in first + rest]
    # The killed worker may have begun a task; that one is then reported, and no other is touched.
    assert len(values) == 9
    assert sum(isinstance(value, Failure) for value in values) <= 1


def test_tasks_are_drawn_as_workers_become_free(pool):
    drawn = count()
    results = pool.map(act, (("double", next(drawn)) for _ in count()))
    for _ in range(5):
        next(results)
    results.close()
    assert next(drawn) <= 5 + 2 * 2


def count_up(task):
    """Yields 0, 1, … ; what happens after ``stop`` items is the task's name."""
    name, stop = task
    yield from range(stop)
    match name:
        case "hang":
            time.sleep(600)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "unreadable":
            raise UnreadableVideo("cut short")


def items_of(events):
    found = {}
    for task, item in events:
        found.setdefault(task, []).append(item)
    return found


def test_items_come_in_order_while_their_task_goes_on(pool):
    events = items_of(pool.stream(count_up, [("end", 5), ("end", 0), ("unreadable", 2), ("kill", 1), ("hang", 3)]))
    assert events["end", 5] == [0, 1, 2, 3, 4, None]
    assert events["end", 0] == [None]
    assert events["unreadable", 2] == [0, 1, Failure(Status.UNREADABLE, "cut short")]
    # What comes before a death need not all arrive: the news of it takes the shorter way.
    assert "-9, SIGKILL" in events["kill", 1][-1].message
    assert events["hang", 3][:3] == [0, 1, 2]
    assert events["hang", 3][-1].status is Status.TIMEOUT
    assert all(len([item for item in items if not isinstance(item, int)]) == 1 for items in events.values())


def test_an_item_is_there_before_its_task_ends():
    with WorkerPool(num_workers=1, deadline_seconds=30.0) as pool:
        events = pool.stream(count_up, [("hang", 1)])
        assert next(events) == (("hang", 1), 0)


def test_a_task_whose_items_nobody_takes_waits_and_is_not_charged_for_it():
    with WorkerPool(num_workers=1, deadline_seconds=1.5, max_waiting=4) as pool:
        events = pool.stream(count_large, [200])
        values = [next(events)[1][0]]
        time.sleep(3.0)
        values += [item[0] for _, item in events if item is not None]
    assert values == list(range(200))


@pytest.mark.parametrize(("room", "least", "most"), [(0, 4, 12), (2_000_000, 20, 30)])
def test_more_items_may_wait_if_they_are_small(room, least, most):
    with WorkerPool(num_workers=1, deadline_seconds=30.0, max_waiting=4, max_waiting_bytes=room) as pool:
        events = pool.stream(count_moments, [40])
        next(events)
        time.sleep(0.7)
        now = time.monotonic()
        made = [item[0] for _, item in events if item is not None]
    assert least <= sum(moment < now for moment in made) <= most


def count_moments(stop):
    for _ in range(stop):
        yield time.monotonic(), bytes(100_000)


def count_large(stop):
    for value in range(stop):
        yield value, bytes(100_000)


def test_a_task_that_comes_no_further_is_stopped_before_its_deadline():
    with WorkerPool(num_workers=1, deadline_seconds=600.0, stall_seconds=1.0) as pool:
        events = items_of(pool.stream(count_up, [("hang", 2), ("end", 2)]))
    assert events["hang", 2][-1] == Failure(Status.TIMEOUT, "made no progress for 1 seconds and was stopped")
    assert events["end", 2] == [0, 1, None]


def test_a_stream_left_early_does_not_disturb_the_next(pool):
    first = pool.stream(count_up, [("end", 50)])
    next(first)
    first.close()
    assert items_of(pool.stream(count_up, [("end", 3)])) == {("end", 3): [0, 1, 2, None]}


def test_a_second_stream_of_a_pool_is_refused_while_the_first_is_open(pool):
    """Each would take the other's items."""
    first = pool.stream(count_up, [("end", 50)])
    next(first)
    with pytest.raises(RuntimeError, match="has tasks under way"):
        next(pool.map(act, [("double", 1)]))
    assert [item for _, item in first] == [*range(1, 50), None]
    assert list(pool.map(act, [("double", 1)])) == [(("double", 1), 2)]


def test_a_temporary_folder_with_a_long_name_does_not_matter(tmp_path):
    """Sockets have names of at most about a hundred bytes."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    code = "from dfd.process.pool import WorkerPool\nwith WorkerPool(num_workers=1, deadline_seconds=60) as pool:\n"
    code += "    print(list(pool.map(len, ['four'])))"
    environment = {**os.environ, "TMPDIR": str(folder)}
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[('four', 4)]\n", done.stderr


def test_two_equal_tasks_get_a_result_each(pool):
    assert list(pool.map(act, [("double", 3)] * 3)) == [(("double", 3), 6)] * 3


def test_a_script_needs_no_guard(tmp_path):
    """Workers that ran the caller's script again would start workers of their own, and never end."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from dfd.process.pool import WorkerPool\nfrom os.path import basename\n"
        "print('ran')\nwith WorkerPool(num_workers=1, deadline_seconds=60) as pool:\n"
        "    print(list(pool.map(basename, ['a/b'])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "ran\n[('a/b', 'b')]\n"


def test_a_closed_pool_says_so():
    with WorkerPool(num_workers=1, deadline_seconds=1.0) as pool:
        assert list(pool.map(act, [])) == []
    with pytest.raises(ValueError, match="closed"):
        next(pool.map(act, [("double", 3)]))


@pytest.mark.parametrize(
    "options", [{"num_workers": 0}, {"deadline_seconds": 0.0}, {"stall_seconds": -1.0}, {"max_waiting": 0}]
)
def test_a_pool_without_workers_or_time_is_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        WorkerPool(**{"num_workers": 1, "deadline_seconds": 1.0, **options})


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("sent", "within_seconds"), [(signal.SIGKILL, 10), (signal.SIGINT, 10)])
def test_workers_end_when_their_parent_is_killed_or_interrupted(tmp_path, sent, within_seconds):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.process.test_workers import remember_pid
        from dfd.process.pool import WorkerPool
        if __name__ == "__main__":
            with WorkerPool(num_workers=2, deadline_seconds=600.0) as pool:
                list(pool.map(remember_pid, [({str(tmp_path)!r}, "a"), ({str(tmp_path)!r}, "b")]))
        """)
    )
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, script], cwd=root, stderr=subprocess.DEVNULL)
    try:
        pids = [int(wait_for(tmp_path / f"{name}.pid").read_text()) for name in "ab"]
        parent.send_signal(sent)
        parent.wait(timeout=within_seconds)
        end = time.monotonic() + within_seconds
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < end, "a worker outlived its parent"
            time.sleep(0.05)
    finally:
        parent.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_while_workers_import_their_modules_shows_no_traceback_of_theirs(tmp_path):
    """Ctrl-C in a terminal reaches the workers, too."""
    (tmp_path / "slow_import.py").write_text(
        f"import pathlib, time\npathlib.Path({str(tmp_path)!r}, 'importing').touch()\ntime.sleep(60)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = [{str(Path(__file__).parents[2])!r}, {str(tmp_path)!r}]
        from dfd.process.pool import WorkerPool

        class Named:  # the worker imports its module to find it
            def __reduce__(self):
                return __import__, ("slow_import",)

        try:
            with WorkerPool(num_workers=1, deadline_seconds=600.0, initializer=print, initargs=(Named(),)) as pool:
                pool.start()
                time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
        """)
    )
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        wait_for(tmp_path / "importing")
        os.killpg(parent.pid, signal.SIGINT)
        output, _ = parent.communicate(timeout=30)
        assert "interrupted" in output
        assert "Traceback" not in output
    finally:
        parent.kill()


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_for(path, seconds=30):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.05)
    return path
