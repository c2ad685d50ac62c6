"""Work items in one process or several: the same results, and errors that arrive as they were raised."""

import functools
import operator
import os

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
