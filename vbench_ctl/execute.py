"""The same function over many work items, in this process, in several, or on a Ray cluster; the results are the same."""

import contextlib
import functools
import logging
import os
import pickle
import platform
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vbench_ctl.errors import VbenchError

if TYPE_CHECKING:  # a command that starts no workers need not wait for it
    from concurrent.futures import Executor

Item = TypeVar("Item")
Result = TypeVar("Result")
Workers = int | Literal["ray"]  # so many processes on this machine, or all of a Ray cluster

ANSWER_SECONDS = 15  # for the machine of RAY_ADDRESS
LOOK_SECONDS = 5  # between two looks whether the head of a cluster is there
RETRIES = 3  # of an item whose Ray worker was lost
_pickled = b""  # of a worker process: the function it runs


class HeadLost(VbenchError):
    """A Ray cluster has lost the machine that holds it together."""


def cpus() -> int:
    """Count the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_gpu(device: str) -> bool:
    """Tell whether a device is not the processors: "cuda", "cuda:1" or "mps"."""
    return device.partition(":")[0] != "cpu"


def known_there(device: str, workers: Workers) -> str:
    """Return what workers call a device: one of a Ray cluster sees one GPU and no other."""
    return device.partition(":")[0] if workers == "ray" else device


def run(
    function: Callable[[Any], Result],
    items: Sequence[Item],
    workers: Workers = 1,
    gpu: bool = False,
    prepare: Callable[[Item], Any] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield (index, function(item)) as they get done; `function` must be importable when there are several workers.

    Each worker gets the function once, so what all items share belongs there: functools.partial(function, shared).
    Work for a GPU is done by this process alone; on a Ray cluster by one worker per GPU, which sees no other.
    With `prepare` it is function(prepare(item)); this process alone prepares the next item meanwhile, in a thread, and for
    a GPU the workers prepare the next ones.
    """
    if not items:
        return
    if prepare and (workers == "ray" or (workers > 1 and not gpu)):
        function, prepare = functools.partial(_in_turn, prepare, function), None
    if workers == "ray":
        yield from _run_on_ray(function, items, gpu)
        return
    processes = min(workers, len(items))
    if gpu or processes <= 1:
        ready = _ahead(prepare, items, processes) if prepare else (item for item in items)
        with contextlib.closing(ready):
            yield from ((index, function(item)) for index, item in enumerate(ready))
        return
    from concurrent.futures import as_completed

    with _pool(function, processes) as pool:
        futures = {pool.submit(_call, item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextlib.contextmanager
def _pool(function: Callable[[Any], Any], processes: int) -> Iterator["Executor"]:
    """Start processes that have the function; one that is killed is a sentence."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Spawned, not forked: a fork copies locks and thread pools in whatever state they are.
    context = multiprocessing.get_context("spawn")
    start = os.getpid(), pickle.dumps(function)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=start)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise VbenchError(
            f"one of {processes} worker processes was killed, most often for lack of memory; run again with fewer --workers"
        ) from error
    except KeyboardInterrupt:
        print("\nfinishing what the workers have begun; Ctrl-C again ends them at once", file=sys.stderr)
        raise
    finally:
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.kill()
            raise


def _ahead(prepare: Callable[[Item], Any], items: Sequence[Item], processes: int) -> Generator[Any]:
    """Yield prepare(item) of one item after the other; each process is at work on one of the next, or a thread of this one."""
    from concurrent.futures import ThreadPoolExecutor

    alone = processes <= 1
    call = prepare if alone else _call
    with ThreadPoolExecutor(1) if alone else _pool(prepare, processes) as pool:
        left = iter(items)
        following = deque(pool.submit(call, item) for item in islice(left, max(processes, 1)))
        while following:
            ready = following.popleft().result()
            following.extend(pool.submit(call, item) for item in islice(left, 1))
            yield ready


def _in_turn(prepare: Callable[[Any], Any], function: Callable[[Any], Result], item: Any) -> Result:
    return function(prepare(item))


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


def _run_on_ray(function: Callable[[Item], Result], items: Sequence[Item], gpu: bool) -> Iterator[tuple[int, Result]]:
    """Hand items to actors as these become free, one to each; a lost actor is replaced and its item done again."""
    with _cluster() as ray:
        size, actor_of = _actors(ray, function, gpu)
        todo = list(reversed(range(len(items))))
        busy: dict[Any, tuple[Any, int | None]] = {}  # future -> its actor and item; without item the actor is starting
        losses: Counter[int | None] = Counter()

        def start_actor() -> None:
            actor = actor_of()
            busy[actor.enter.remote(os.getcwd(), sys.path)] = actor, None

        try:
            for _ in range(min(size, len(items))):
                start_actor()
            left = len(items)
            while left:
                future = _first(ray, list(busy))
                actor, index = busy.pop(future)
                try:
                    result = ray.get(future)
                except ray.exceptions.RayTaskError as error:
                    ray.kill(actor)
                    raise error.cause from error
                except ray.exceptions.RayError as error:  # lost: the worker, its machine, or the result there
                    _check_head(ray)
                    losses[index] += 1
                    if losses[index] > RETRIES:
                        raise VbenchError(
                            f"{losses[index]} Ray workers were lost on the same work, most often for lack of memory; "
                            "run again with fewer processors in the cluster, or see its logs"
                        ) from error
                    if index is not None:
                        todo.append(index)
                    ray.kill(actor)
                    start_actor()
                    continue
                if todo:
                    taken = todo.pop()
                    busy[actor.call.remote(items[taken])] = actor, taken
                else:
                    ray.kill(actor)  # a lost actor's successor may wait for its processor
                if index is not None:
                    left -= 1
                    yield index, result
        except HeadLost:
            busy.clear()  # who would end these workers is gone
            raise
        finally:
            for actor, _ in busy.values():
                ray.kill(actor)


def _first(ray: Any, futures: Sequence[Any]) -> Any:
    """Return one that is done, or find that the head of the cluster has gone: Ray itself would end this process."""
    while True:
        done, _ = ray.wait(futures, num_returns=1, timeout=LOOK_SECONDS)
        if done:
            return done[0]
        _check_head(ray)


def _check_head(ray: Any) -> None:
    address = ray.get_runtime_context().gcs_address
    try:
        _reach(address)
    except VbenchError as error:
        raise HeadLost(
            f"the head of the Ray cluster at {address} has gone; start it again, then run the same command: what is finished is "
            "kept"
        ) from error


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """Join the cluster of RAY_ADDRESS, else one that runs here, else start one; leave it again. The value is ray."""
    try:
        import ray
    except ImportError as error:
        raise VbenchError('Ray is not installed; run: pip install "vbench-ctl[ray]"') from error
    if ray.is_initialized():
        yield ray
        return
    _reach(os.environ.get("RAY_ADDRESS", ""))
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, SystemExit) as error:  # another version of Ray or Python, or no Ray at all
        where = os.environ.get("RAY_ADDRESS", "this machine")
        raise VbenchError(f"no Ray cluster can be used at {where}: {' '.join(str(error).split())}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Refuse an address HOST:PORT where nobody answers: Ray itself tries for minutes and then ends this process."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():  # "", "auto", "local"
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise VbenchError(
            f"no Ray cluster answers at {address} ({error}); start one with ray start --head, or correct RAY_ADDRESS"
        ) from error


def _actors(ray: Any, function: Callable[[Any], Any], gpu: bool) -> tuple[int, Callable[[], Any]]:
    """Return how many actors the cluster holds, and what starts one: with one processor or one GPU of its own."""
    kind = "GPU" if gpu else "CPU"
    size = int(ray.cluster_resources().get(kind, 0))
    if not size:
        raise VbenchError(
            f"the Ray cluster has no {kind}; add a machine with one{' or use --device cpu' if gpu else ''}"
        )
    environment = {name: value for name, value in os.environ.items() if name.startswith("VBENCH_")}
    actor = ray.remote(_Actor).options(
        num_cpus=int(not gpu), num_gpus=int(gpu), runtime_env={"env_vars": {**environment, "OMP_NUM_THREADS": "1"}}
    )
    return size, functools.partial(actor.remote, ray.put(pickle.dumps(function)))


class _Actor:
    """A process of a Ray cluster."""

    def __init__(self, pickled: bytes) -> None:
        global _pickled
        _pickled = pickled

    def enter(self, folder: str, path: list[str]) -> None:
        """Go where the driver is and import what it can, so that names mean the same."""
        sys.path += [place for place in path if place not in sys.path]
        try:
            os.chdir(folder)
        except OSError as error:
            raise VbenchError(
                f"{folder} cannot be entered on {platform.node()}; the machines of a Ray cluster must share their files"
            ) from error

    def call(self, item: Any) -> Any:
        return _call(item)
