"""The same function over many work items, in this process or in several; the results do not depend on which."""

import functools
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from vbench_ctl.errors import VbenchError

Item = TypeVar("Item")
Result = TypeVar("Result")

_pickled = b""  # of a worker process: the function it runs


def cpus() -> int:
    """Count the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(function: Callable[[Item], Result], items: Sequence[Item], workers: int = 1) -> Iterator[tuple[int, Result]]:
    """Yield (index, function(item)) as they get done; `function` must be importable when there are several workers.

    Each worker gets the function once, so what all items share belongs there: functools.partial(function, shared).
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from ((index, function(item)) for index, item in enumerate(items))
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    # Spawned, not forked: a fork copies locks and thread pools in whatever state they are.
    context = multiprocessing.get_context("spawn")
    start = os.getpid(), pickle.dumps(function)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=start)
    try:
        futures = {pool.submit(_call, item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise VbenchError(
            f"one of {workers} worker processes was killed, most often for lack of memory; run again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int, pickled: bytes) -> None:
    """Use one thread, leave Ctrl-C to the parent, and stop when the parent is gone."""
    import signal

    global _pickled
    _pickled = pickled
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call(item: Any) -> Any:
    return _function()(item)


@functools.cache
def _function() -> Callable[[Any], Any]:
    """Unpickle when the first item is there: an error in the initializer would be lost."""
    return pickle.loads(_pickled)
