"""The same work on a real Ray cluster of two nodes: the same results, also when a worker is killed in the middle."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_bair
import tiny
from click.testing import CliRunner
from test_execute import Counted

from vbench_ctl import building, execute, generation, measuring, networks, scoring, sources, store
from vbench_ctl.cli import main
from vbench_ctl.clips import Clip
from vbench_ctl.errors import ManualStep, VbenchError

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}  # the least that Ray accepts is 75 MB


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one processor each; the second says that it has two GPUs."""
    pytest.importorskip("ray", reason="Ray is an extra")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        nodes.add_node(**NODE, num_gpus=2)
        nodes.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes
        nodes.shutdown()


def surroundings(folder: Path, shared: Counted, item: int) -> tuple[str, ...]:
    """Wait for the first two items to have begun, so that they must run at the same time; say where this one does."""
    import ray

    (folder / f"{item}").touch()
    while not all((folder / name).exists() for name in "01"):
        time.sleep(0.05)
    names = ("VBENCH_HOME", "OMP_NUM_THREADS")
    return ray.get_runtime_context().get_node_id(), os.getcwd(), *(os.environ.get(name, "") for name in names)


def test_each_node_does_its_part_in_the_drivers_surroundings(cluster, tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Counted, "pickled", 0)
    function = functools.partial(surroundings, tmp_path, Counted())
    found = dict(execute.run(function, list(range(5)), "ray"))
    assert sorted(found) == [0, 1, 2, 3, 4] and found[0][0] != found[1][0]
    assert {place[1:] for place in found.values()} == {(str(tmp_path), str(home), "1")}
    assert Counted.pickled == 1


def fail(error: VbenchError | None) -> int:
    if error:
        raise error
    return 1 // 0


def test_an_error_arrives_as_it_is(cluster):
    with pytest.raises(VbenchError, match=r"^ask for access$") as caught:
        list(execute.run(fail, [ManualStep("ask for access")] * 3, "ray"))
    assert type(caught.value) is ManualStep
    with pytest.raises(ZeroDivisionError):
        list(execute.run(fail, [None], "ray"))


def clips_of_a_killed_worker(folder: Path, item: tiny.Item) -> Iterator[Clip]:
    """Die in the middle of the second shard, the first time."""
    for clip in tiny.clips(item):
        yield clip
        if item.first == 2 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_store_survives_a_killed_worker(cluster, tmp_path):
    make = functools.partial(clips_of_a_killed_worker, tmp_path)
    building.build(tmp_path / "ray", tiny.recipe(make=make), "ray")
    assert (tmp_path / "died").exists()
    found, expected = store.Store(tmp_path / "ray", "test"), tiny.built(tmp_path / "here")
    assert found.ids == expected.ids
    for digest in ("content_sha256", "tracks_sha256"):
        assert found.summary[digest] == expected.summary[digest]


def test_a_dataset_read_from_files_is_the_same(cluster, tmp_path):
    files = {f"train/traj_{at}_to_{at}.tfrecords": test_bair.trajectory(at) for at in range(3)}
    cut = {"test/traj_0_to_1.tfrecords": test_bair.trajectory(3)}
    recipe = test_bair.recipe(test_bair.folder(tmp_path / "archive", {**files, **cut}))
    made, expected = (building.build(tmp_path / f"{workers}", recipe, workers)["splits"] for workers in ("ray", 1))
    assert made == expected and made["train"]["clips"] == 3 and len(made["test"]["dropped"]) == 1


def waits_for_the_others(folder: Path, item: int) -> int:
    """Let item 0 take longer than all others together."""
    until = time.monotonic() + 120
    while item == 0 and len(list(folder.iterdir())) < 5:
        assert time.monotonic() < until, "the others wait for the slow one"
        time.sleep(0.05)
    (folder / f"{item}").touch()
    return item**2


def test_a_slow_node_holds_nobody_up(cluster, tmp_path):
    found = list(execute.run(functools.partial(waits_for_the_others, tmp_path), list(range(6)), "ray"))
    assert (0, 0) in found[-2:]  # the last of the others may come in the same moment
    assert dict(found) == {item: item**2 for item in range(6)}


def test_a_lost_result_is_made_again(cluster, monkeypatch):
    """As Ray says it of one whose node is lost before the driver has it."""
    import ray

    lost = []

    def get(future: Any, get: Any = ray.get) -> Any:
        result = get(future)
        if not lost and isinstance(result, bytes):
            lost.append(future)
            raise ray.exceptions.ObjectLostError(future.hex(), "", "")
        return result

    monkeypatch.setattr(ray, "get", get)
    found = dict(execute.run(many_bytes, [1, 2, 3], "ray"))
    assert lost and found == {index: many_bytes(item) for index, item in enumerate([1, 2, 3])}


def many_bytes(item: int) -> bytes:
    return bytes([item]) * (1 << 20)


def beside_a_doomed_node(folder: Path, doomed: str, until: str, item: int) -> bytes:
    """Begin on all three nodes together; on the doomed one go on only when there is some file."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    (folder / f"{here}-{item}").touch()
    wait_for(folder, "*-*", 3)
    if here == doomed:
        wait_for(folder, until)
        (folder / "done").touch()
    return many_bytes(item)


def wait_for(folder: Path, pattern: str, count: int = 1) -> None:
    until = time.monotonic() + 120
    while len(list(folder.glob(pattern))) < count:
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("until", ["gone", "others"])
def test_what_a_lost_node_was_at_or_had_made_is_done_elsewhere(until, cluster, tmp_path):
    """It is killed at work, or when it holds a result that the driver has not fetched yet."""
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    found = {}
    function = functools.partial(beside_a_doomed_node, tmp_path, node.node_id, until)
    for index, result in execute.run(function, [0, 1, 2], "ray"):
        if not found:
            (tmp_path / "others").touch()
            if until == "others":
                wait_for(tmp_path, "done")
                time.sleep(0.5)  # until the result lies there
            cluster.remove_node(node, allow_graceful=False)
            (tmp_path / "gone").touch()
        found[index] = result
    assert found == {item: many_bytes(item) for item in range(3)}
    (lost,) = tmp_path.glob(f"{node.node_id}-*")
    assert len(list(tmp_path.glob(f"*-{lost.name.rpartition('-')[2]}"))) == 2


def die(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_that_kills_each_worker_is_a_sentence(cluster, monkeypatch):
    monkeypatch.setattr(execute, "RETRIES", 1)
    with pytest.raises(VbenchError, match=r"^2 Ray workers were lost on the same work"):
        list(execute.run(die, [0], "ray"))


def test_outputs_and_rows_are_the_same(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "CHUNK", 2)
    monkeypatch.setattr(measuring, "CHUNK", 2)
    real = sources.StoreSource(tiny.built(tmp_path / "store", test=tiny.work("test", (8, 9, 10, 11, 12), size=(8, 9))))
    rows = {}
    for workers in (1, "ray"):
        folder = tmp_path / f"{workers}" / "noise"
        generation.generate(generation.model("noise"), tiny.protocol(), real, folder, workers=workers)
        scored = scoring.score(sources.open_source(folder), real, tiny.protocol(), workers=workers)
        rows[workers] = [replace(row, provenance={**row.provenance, "made": "", "generated": ""}) for row in scored]
    assert rows["ray"] == rows[1] and len(rows[1]) == 4 and all(row.value is not None for row in rows[1])
    videos = {path.name: path.read_bytes() for path in (tmp_path / "1").rglob("*.mkv")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "ray").rglob("*.mkv")} == videos


class Network:
    """A tiny random network in place of I3D."""

    def features(self, clips: np.ndarray, **options: object) -> np.ndarray:
        import torch

        torch.manual_seed(0)
        layer = torch.nn.Conv3d(3, 5, 3)
        with torch.no_grad():
            return layer(torch.from_numpy(clips).movedim(-1, 1) / 255).relu().mean((2, 3, 4)).numpy()


def with_network(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(networks, "_extractor", lambda *asked: Network())
    patch.setattr(networks, "_sha256", lambda *asked: "0123456789abcdef")
    patch.setattr(networks, "missing", lambda features: "")


def scores_of_a_killed_worker(folder: Path, question: measuring.Question, clips: list[measuring.Clips]) -> Any:
    """Die with the features of the third and fourth clip written and no answer given, the first time."""
    with_network(pytest.MonkeyPatch())  # of a worker that ends with the work
    found = measuring.score_chunk(question, clips)
    if clips[0][0].real == "00002" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def test_scores_of_a_network_survive_a_killed_worker(cluster, tmp_path, monkeypatch):
    with_network(monkeypatch)
    monkeypatch.setattr(measuring, "CHUNK", 2)
    real, fake = (sources.ArraySource(tiny.noise(8, seed, size=(16, 16))) for seed in (0, 1))
    rows = {}
    for workers in (1, "ray"):
        monkeypatch.setenv("VBENCH_HOME", str(tmp_path / f"{workers}"))  # without the features of the other
        if workers == "ray":
            monkeypatch.setattr(measuring, "score_chunk", functools.partial(scores_of_a_killed_worker, tmp_path))
        scored = scoring.score(fake, real, metrics=["fvd", "kvd", "psnr"], workers=workers)
        rows[workers] = [replace(row, provenance={**row.provenance, "made": ""}) for row in scored]
    assert (tmp_path / "died").exists() and list((tmp_path / "ray").rglob("*.npy"))
    assert rows["ray"] == rows[1] and all(row.value is not None for row in rows[1])


def gpus_seen(folder: Path, item: int) -> str:
    """Wait for the other item to have begun."""
    (folder / f"{item}").touch()
    while not (folder / f"{1 - item}").exists():
        time.sleep(0.05)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_worker_has_a_gpu_of_its_own(cluster, tmp_path, monkeypatch):
    seen = dict(execute.run(functools.partial(gpus_seen, tmp_path), [0, 1], "ray", gpu=True))
    assert sorted(seen.values()) == ["0", "1"]
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(VbenchError, match=r"^the Ray cluster has no GPU; .* or use --device cpu$"):
        list(execute.run(tiny.double, [1], "ray", gpu=True))


# Without its head


def begins_and_waits(folder: Path, item: int) -> int:
    """Do the first item at once; in the second one the head is lost."""
    (folder / f"{item}").touch()
    while item and not (folder / "again").exists():
        time.sleep(0.1)
    return item


def driven(folder: Path, address: str) -> str:
    """Drive the work from a process of its own, which Ray may end; return what it says."""
    os.environ.update(RAY_ADDRESS=address, RAY_USAGE_STATS_ENABLED="0")
    try:
        return str(dict(execute.run(functools.partial(begins_and_waits, folder), [0, 1], "ray")))
    except VbenchError as error:
        return str(error)


@pytest.mark.slow
def test_a_lost_head_is_a_sentence_and_a_new_one_does_the_work(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is an extra")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"initialize_head": True, "head_node_args": {**NODE, "include_dashboard": False}}
    nodes = Cluster(**head)
    with ThreadPoolExecutor(1) as thread:
        said = thread.submit(tiny.elsewhere, driven, tmp_path, nodes.address)
        while not (tmp_path / "1").exists() and not said.done():
            time.sleep(0.1)
        nodes.remove_node(nodes.head_node, allow_graceful=False)
        assert "has gone; start it again, then run the same command" in said.result()
    (tmp_path / "again").touch()
    nodes = Cluster(**head)
    try:
        assert tiny.elsewhere(driven, tmp_path, nodes.address) == "{0: 0, 1: 1}"
    finally:
        nodes.shutdown()


# On the command line

PREPARE = ("prepare", "wsprites", "--size", "32", "--frames", "8", "--limit", "4", "--split", "test", "--json")


def vbench(*words: str | Path) -> str:
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_option_reaches_the_cluster(cluster, tmp_path, monkeypatch):
    asked = []

    def run(*given: Any, run: Any = execute.run) -> Any:
        asked.append(given[2])
        return run(*given)

    monkeypatch.setattr(execute, "run", run)
    words = (["--workers", "1"], ["--executor", "ray"])
    made = [json.loads(vbench(*PREPARE, "--root", tmp_path / each[1], *each))["splits"] for each in words]
    assert made[0] == made[1] and asked == [1, "ray"]


def test_the_number_of_workers_is_the_clusters():
    done = CliRunner().invoke(main, [*PREPARE, "--executor", "ray", "--workers", "2"])
    assert done.exit_code == 2 and "--workers and --executor ray exclude each other" in done.output


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(VbenchError, match=r'^Ray is not installed; run: pip install "vbench-ctl\[ray\]"$'):
        list(execute.run(tiny.double, [1], "ray"))


def test_ray_is_imported_only_when_used():
    code = "import sys; from vbench_ctl import execute; list(execute.run(abs, [1, 2])); assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
