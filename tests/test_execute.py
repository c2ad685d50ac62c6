"""Work items in one process or several: the same results, and errors that arrive as they were raised."""

import functools
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from vbench_ctl import execute
from vbench_ctl.errors import ManualStep, UsageError, VbenchError


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_done_once(workers):
    assert dict(execute.run(tiny.double, [3, 1, 2], workers)) == {0: 6, 1: 2, 2: 4}


def test_nothing_to_do():
    assert list(execute.run(tiny.double, [], 4)) == []


class Counted:
    """What all items share; it says how often it was pickled."""

    pickled = 0

    def __getstate__(self):
        Counted.pickled += 1
        return {"data": bytes(1000)}


def test_a_ray_head_that_has_gone_is_a_sentence():
    """Ray itself tries for a minute and then ends the process; test_ray.py tries it on a real cluster."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
    where = SimpleNamespace(gcs_address=address)
    ray = SimpleNamespace(wait=lambda futures, **how: ([], futures), get_runtime_context=lambda: where)
    with pytest.raises(execute.HeadLost, match=f"^the head of the Ray cluster at {address} has gone; start it again"):
        execute._first(ray, [object()])


def process(shared: Counted, item: int) -> int:
    return os.getpid()


def test_what_items_share_is_sent_once():
    """A source lists all its clips; sent with each of thousands of items it would cost more than the work."""
    shared = Counted()
    ends = dict(execute.run(functools.partial(process, shared), list(range(20)), 2))
    assert Counted.pickled == 1 and len(ends) == 20 and os.getpid() not in ends.values()


def fail(kind: type[VbenchError]) -> None:
    raise kind(f"a {kind.__name__} in one sentence")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_as_it_is(workers):
    for kind, code in ((ManualStep, 3), (UsageError, 2), (VbenchError, 1))[: 3 if workers == 1 else 1]:
        with pytest.raises(VbenchError, match=f"^a {kind.__name__} in one sentence$") as caught:
            list(execute.run(fail, [kind, kind], workers))
        assert type(caught.value) is kind and caught.value.exit_code == code


def test_a_bug_arrives_as_itself():
    with pytest.raises(ZeroDivisionError):
        list(execute.run(functools.partial(operator.floordiv, 1), [0, 0], 2))


def halve(number: int) -> float:
    if number > 9:
        raise VbenchError("too large")
    return number / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_items_can_be_prepared(workers):
    assert dict(execute.run(tiny.double, [3, 1, 2], workers, prepare=halve)) == {0: 3, 1: 1, 2: 2}
    assert dict(execute.run(tiny.double, [3], workers, prepare=halve)) == {0: 3}
    with pytest.raises(VbenchError, match=r"^too large$"):
        list(execute.run(tiny.double, [1, 20, 2], workers, prepare=halve))


def test_one_process_prepares_one_item_ahead():
    """Each item waits until its successor is being prepared, which it would not be in one thread."""
    begun = [threading.Event() for _ in range(4)]

    def prepare(item: int) -> int:
        begun[item].set()
        return item

    def work(item: int) -> bool:
        assert item + 2 >= len(begun) or not begun[item + 2].is_set()
        return begun[min(item + 1, 3)].wait(timeout=60)

    assert [done for _, done in execute.run(work, range(4), prepare=prepare)] == [True] * 4


def begin(folder: Path, item: int) -> tuple[int, int]:
    """Say that an item has begun, and wait until the other of its pair has, which takes a second process."""
    (folder / f"{item}").touch()
    wait_for(folder / f"{item ^ 1}")
    return os.getpid(), item


def wait_for(path: Path) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.01)


def test_for_a_gpu_the_workers_prepare_the_next_items(tmp_path):
    """The work is done here in order; two of the next items are being prepared at a time, and no more."""
    done = []

    def work(prepared: tuple[int, int]) -> int:
        place, item = prepared
        assert place != os.getpid() and not (tmp_path / f"{item + 3}").exists()
        done.append(item)
        return item**2

    prepare = functools.partial(begin, tmp_path)
    assert list(execute.run(work, range(6), 2, gpu=True, prepare=prepare)) == [(item, item**2) for item in range(6)]
    assert done == [*range(6)]


def test_an_error_of_a_worker_that_prepares_arrives_as_it_is():
    with pytest.raises(VbenchError, match=r"^too large$"):
        list(execute.run(tiny.double, [1, 20, 2, 3], 2, gpu=True, prepare=halve))


def die(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_that_prepares_is_a_sentence():
    with pytest.raises(VbenchError, match=r"^one of 2 worker processes was killed"):
        list(execute.run(tiny.double, [1, 2, 3], 2, gpu=True, prepare=die))


def test_what_is_prepared_is_not_waited_for_after_an_error():
    seen = []
    with pytest.raises(ZeroDivisionError):
        list(execute.run(functools.partial(operator.floordiv, 1), [0, 1, 2, 3], prepare=lambda n: seen.append(n) or n))
    assert seen in ([0], [0, 1])


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://[::1]:9", "no.such.host.invalid:6379", "127.0.0.1:99999"])
def test_an_address_where_nobody_answers_is_a_sentence(address):
    with pytest.raises(VbenchError, match=r"^no Ray cluster answers at \S+ \(.*\); start one .* correct RAY_ADDRESS$"):
        execute._reach(address)


def test_an_address_where_somebody_answers_is_left_to_ray():
    with socket.create_server(("127.0.0.1", 0)) as server:
        execute._reach(f"ray://127.0.0.1:{server.getsockname()[1]}")
    for none in ("", "auto", "local"):
        execute._reach(none)


class Lost:
    """Something that cannot be opened again in another process."""

    def __reduce__(self):
        return open_lost, ()


def open_lost() -> None:
    raise VbenchError("lost.npy is gone")


def test_an_error_while_a_worker_opens_what_is_shared_arrives_too():
    with pytest.raises(VbenchError, match=r"^lost.npy is gone$"):
        list(execute.run(functools.partial(process, Lost()), [1, 2], 2))


def test_at_least_one_processor():
    assert 1 <= execute.cpus() <= (os.cpu_count() or 1)


def test_no_thread_is_left_after_an_error():
    """Not even while somebody holds the error, as the command line does until it ends."""

    def fail(item: int) -> int:
        raise VbenchError("no")

    with pytest.raises(VbenchError) as held:
        list(execute.run(fail, [1, 2, 3], 1, prepare=lambda item: item))
    assert held.value.__traceback__
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


BUSY = """
import signal, time
from pathlib import Path
from vbench_ctl import execute

def work(name):
    Path(name).touch()
    time.sleep({seconds})

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    list(execute.run(work, ["one", "two"], 2))
"""


@pytest.mark.parametrize(("signals", "seconds"), [(1, 5), (2, 600)])
def test_ctrl_c_waits_for_what_was_begun_and_the_second_one_does_not(signals, seconds, tmp_path):
    (tmp_path / "busy.py").write_text(BUSY.format(seconds=seconds))
    started = subprocess.Popen([sys.executable, "busy.py"], cwd=tmp_path, stderr=subprocess.PIPE)
    assert started.stderr
    while not (tmp_path / "one").exists() or not (tmp_path / "two").exists():
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    assert started.stderr.readline() == b"\n"
    assert b"Ctrl-C again ends them at once" in started.stderr.readline()
    if signals == 2:
        started.send_signal(signal.SIGINT)
    started.communicate(timeout=300)
    assert started.returncode != 0
