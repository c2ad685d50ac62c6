"""Weights of tiny made-up networks, and once of the real ones."""

import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from vbench_ctl import doctor, runs, weights
from vbench_ctl.cli import main
from vbench_ctl.cli import weights as command
from vbench_ctl.errors import ManualStep, UsageError, VbenchError

ARRAYS = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "conv.bias": np.array([1, -2], np.float32)}


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


GOOD, MIRRORED = npz(**ARRAYS), npz(a=np.ones(3))
OTHER, STYLED = npz(b=np.zeros(2)), npz(theirs=np.ones(3))


def archive() -> bytes:
    """A source archive whose build script must never run."""
    file, script = io.BytesIO(), b"raise SystemExit('was run')"
    files = {"toy-1/setup.py": script, "toy-1/toy/w.npz": MIRRORED, "toy-1/toy/styled.npz": STYLED}
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


ARCHIVE = archive()
TABLE = f"""
[toy]
title = "A toy"
licence = "MIT"
homepage = "https://example.org"
[[toy.source]]
kind = "url"
url = "https://example.org/toy.npz"
file = "toy.npz"
sha256 = "{sha256(GOOD)}"
size_bytes = {len(GOOD)}
tensors_sha256 = "{weights.tensors_sha256(ARRAYS)}"
[[toy.source]]
kind = "pypi"
package = "toy"
archive = "toy-1.tar.gz"
archive_sha256 = "{sha256(ARCHIVE)}"
member = "toy-1/toy/w.npz"
file = "w.npz"
sha256 = "{sha256(MIRRORED)}"

[toy-twin]
title = "Another use of the toy"
licence = "MIT"
homepage = "https://example.org"
[[toy-twin.source]]
kind = "url"
url = "https://example.org/twin"
file = "twin.npz"
sha256 = "{sha256(MIRRORED)}"

[styled]
title = "A network whose tensor has other names elsewhere"
licence = "MIT"
homepage = "https://example.org"
network = "styled"
options = {{ known = "theirs" }}
[[styled.source]]
kind = "url"
url = "https://example.org/styled.npz"
file = "styled.npz"
[[styled.source]]
kind = "pypi"
package = "toy"
archive = "toy-1.tar.gz"
archive_sha256 = "{sha256(ARCHIVE)}"
member = "toy-1/toy/styled.npz"
file = "styled.npz"
sha256 = "{sha256(STYLED)}"
tensors_sha256 = "{weights.tensors_sha256({"ours": np.ones(3)})}"

[styled-wide]
title = "The same with more classes, without a published hash"
licence = "MIT"
homepage = "https://example.org"
network = "styled"
options = {{ known = "theirs" }}
lengths = {{ theirs = 5 }}
[[styled-wide.source]]
kind = "manual"
page = "https://example.org/form"
file = "wide.npz"
note = "the file wide.npz"

[gated]
title = "A network behind a form"
licence = "unknown"
homepage = "https://example.org"
[[gated.source]]
kind = "manual"
page = "https://example.org/form"
file = "gated.npz"
note = "the file gated.npz"

[open]
title = "A network without a published hash"
licence = "MIT"
homepage = "https://example.org"
[[open.source]]
kind = "url"
url = "https://example.org/open"
file = "open.npz"
"""


def convert(tensors, known):
    """Map the one tensor of the styled network onto our name."""
    import torch

    found = [array for name, array in tensors.items() if name in ("ours", known)]
    if not found:
        raise VbenchError("no published file of this network")
    return {"ours": torch.from_numpy(found[0])}


@pytest.fixture
def net(tmp_path, monkeypatch, home):
    """A table of toys and a network of them: what each address has, and what was asked for."""
    table = tmp_path / "weights.toml"
    table.write_text(TABLE)
    monkeypatch.setattr(weights, "TABLE", table)
    monkeypatch.setattr(weights, "import_module", lambda name: SimpleNamespace(convert=convert))
    held, asked = {"https://example.org/toy.npz": GOOD, "https://example.org/open": OTHER, "toy-1.tar.gz": ARCHIVE}, []

    def bring(what, target):
        asked.append(what)
        if what not in held:
            raise VbenchError(f"{what}: no such place")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(held[what])
        return target

    monkeypatch.setattr(weights, "download", lambda url, target, sha256, size: bring(url, target))
    monkeypatch.setattr(
        weights, "fetch_from_index", lambda package, archive, sha256, folder: bring(archive, folder / archive)
    )
    monkeypatch.setattr(bring, "held", held, raising=False)
    monkeypatch.setattr(bring, "asked", asked, raising=False)
    return bring


def state(name):
    return {row.name: row.state for row in weights.status()}[name]


# Having them


def test_absent_weights_are_a_sentence_with_the_command(net):
    with pytest.raises(VbenchError, match='n/a: no weights "toy"; run "vbench-ctl weights fetch toy"'):
        weights.path("toy")
    assert state("toy") == "absent"


def test_the_first_source_that_works_is_taken(net, home):
    file = weights.fetch("toy")
    assert file == home / "weights/toy/toy.npz" == weights.path("toy") and state("toy") == "ok"
    weights.fetch("toy")
    assert net.asked == ["https://example.org/toy.npz"]


def test_the_index_stands_in_and_only_the_member_is_read(net, home):
    del net.held["https://example.org/toy.npz"]
    file = weights.fetch("toy")
    assert file == home / "weights/toy/w.npz" and file.read_bytes() == MIRRORED
    assert (home / "archives/toy-1.tar.gz").exists() and state("toy") == "ok"


def test_when_no_source_works_each_says_why(net):
    net.held.clear()
    with pytest.raises(VbenchError, match=r"tried: https://example.org/toy.npz: no such.*tried: toy-1.tar.gz: no such"):
        weights.fetch("toy")


def test_where_nothing_may_be_written_no_other_source_is_tried(net, monkeypatch):
    def denied(*asked):
        try:
            raise PermissionError("read-only")
        except PermissionError as error:
            raise VbenchError("weights: no permission to write there") from error

    monkeypatch.setattr(weights, "_from_source", denied)
    with pytest.raises(VbenchError, match=r"^weights: no permission to write there$"):
        weights.fetch("toy")


def test_a_member_of_another_hash_is_refused(net, monkeypatch):
    del net.held["https://example.org/toy.npz"]
    monkeypatch.setattr(weights, "TABLE", weights.TABLE.with_name("changed.toml"))
    weights.TABLE.write_text(TABLE.replace(sha256(MIRRORED), "0" * 64))
    with pytest.raises(VbenchError, match=r"w\.npz in it has SHA-256"):
        weights.fetch("toy")
    assert state("toy") == "absent"


def test_what_is_here_for_one_network_serves_another(net):
    del net.held["https://example.org/toy.npz"]
    weights.fetch("toy")
    assert weights.fetch("toy-twin").read_bytes() == MIRRORED
    assert "https://example.org/twin" not in net.asked


def test_gated_weights_are_a_manual_step(net):
    with pytest.raises(ManualStep, match=r"take the file gated.npz from https.*weights add gated gated.npz"):
        weights.fetch("gated")


def test_without_a_published_hash_they_are_unpinned(net):
    weights.fetch("open")
    assert state("open") == "unpinned"


@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_damaged_files_are_named_and_fetched_again(net, damage):
    file = weights.fetch("toy")
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(GOOD[:-7] if damage == "cut" else GOOD.replace(b"PK", b"KP", 1))
    with pytest.raises(VbenchError, match=f"{file} has SHA-256 .*expected {sha256(GOOD)[:8]}.*weights fetch toy"):
        weights.path("toy")
    assert state("toy") == "broken"
    assert weights.fetch("toy").read_bytes() == GOOD and state("toy") == "ok"


def test_unknown_names_get_the_nearest(net):
    for action in (weights.path, weights.fetch, lambda name: weights.add(name, "x")):
        with pytest.raises(UsageError, match='no weights "toi"; did you mean "toy"'):
            action("toi")
    with pytest.raises(UsageError):
        weights.path("../toy")


def test_doctor_examines_them(net, home):
    def found():
        return list(doctor._weights(home))

    assert found()[0].state == "note" and found()[0].text.endswith("weights: none")
    file = weights.fetch("toy")
    assert found()[0].state == "ok" and f"toy ({sha256(GOOD)[:8]}, ok)" in found()[0].text
    file.write_bytes(GOOD[:-7])
    assert (found()[1].state, found()[1].mend) == ("broken", "vbench-ctl weights fetch toy")


# Adding the user's own


def write(folder, data, name="mine.npz"):
    (folder / name).write_bytes(data)
    return folder / name


def test_a_known_file_is_added_under_the_name(net, tmp_path):
    assert weights.add("toy", write(tmp_path, GOOD)) == "toy"
    assert weights.path("toy").read_bytes() == GOOD and state("toy") == "ok" and not net.asked


def test_the_same_tensors_in_another_container_are_known(net, tmp_path):
    file = write(tmp_path, pickle.dumps({"conv.weight": ARRAYS["conv.weight"], "conv.bias": ARRAYS["conv.bias"]}))
    assert weights.add("toy", file) == "toy"


def test_an_archive_of_the_index_is_unpacked(net, tmp_path):
    assert weights.add("toy", write(tmp_path, ARCHIVE, "toy-1.tar.gz")) == "toy"
    assert weights.path("toy").read_bytes() == MIRRORED


def test_an_unknown_file_goes_by_its_hash(net, tmp_path):
    own = f"toy-{sha256(OTHER)[:8]}"
    assert weights.add("toy", write(tmp_path, OTHER)) == own
    assert weights.path(own).read_bytes() == OTHER and state(own) == "own" and state("toy") == "absent"
    with pytest.raises(VbenchError, match=f'there is "{own}", which is none of the files'):
        weights.path("toy")
    with pytest.raises(VbenchError, match="a file of your own"):
        weights.fetch(own)


def test_a_file_of_another_network_is_refused(net, tmp_path):
    with pytest.raises(VbenchError, match='this file is "toy", not "open"'):
        weights.add("open", write(tmp_path, GOOD))


def test_where_no_hash_is_published_the_first_file_has_the_name(net, tmp_path):
    assert weights.add("gated", write(tmp_path, OTHER)) == "gated" and state("gated") == "unpinned"
    assert weights.add("gated", write(tmp_path, OTHER, "again.npz")) == "gated"
    second = npz(c=np.ones(1))
    assert weights.add("gated", write(tmp_path, second)) == f"gated-{sha256(second)[:8]}"
    assert weights.path("gated").read_bytes() == OTHER
    weights.path("gated").write_bytes(b"cut short")
    assert weights.add("gated", write(tmp_path, second, "second.npz")) == "gated"
    folder = weights.path("gated").parent
    assert sorted(path.name for path in folder.iterdir()) == ["second.npz", "weights.json"]


def test_the_same_weights_under_other_names_are_known(net, tmp_path):
    ours = write(tmp_path, npz(ours=np.ones(3)))
    assert weights.add("styled", ours) == "styled" and state("styled") == "ok"
    with pytest.raises(VbenchError, match='this file is "styled", not "styled-wide"'):
        weights.add("styled-wide", ours)
    other = npz(ours=np.zeros(3))
    assert weights.add("styled", write(tmp_path, other)) == f"styled-{sha256(other)[:8]}"


@pytest.mark.parametrize("name", ["styled", "styled-wide"])
def test_tensors_that_are_not_the_networks_are_not_added(net, tmp_path, home, name):
    with pytest.raises(VbenchError, match="no published file of this network"):
        weights.add(name, write(tmp_path, OTHER))
    assert not (home / "weights").exists()


def test_an_unpinned_name_wants_its_lengths(net, tmp_path):
    narrow, wide = npz(theirs=np.zeros(4)), npz(theirs=np.zeros(5))
    assert weights.add("styled-wide", write(tmp_path, narrow)) == f"styled-wide-{sha256(narrow)[:8]}"
    assert weights.add("styled-wide", write(tmp_path, wide)) == "styled-wide"


def test_what_came_is_the_network_or_the_next_source_is_tried(net, home):
    net.held["https://example.org/styled.npz"] = b"<html>sign in</html>"
    assert weights.fetch("styled").read_bytes() == STYLED
    assert net.asked == ["https://example.org/styled.npz", "toy-1.tar.gz"]
    net.held["https://example.org/open"] = b"<html>sign in</html>"
    with pytest.raises(VbenchError, match="no known file of weights"):
        weights.fetch("open")
    assert state("open") == "absent" and not list((home / "weights/open").iterdir())


RECORDS = ["[]", "null", '{"file": "x"}', '{"file"', '{"file": "..", "sha256": "0", "size_bytes": 1, "source": "-"}']


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_says_too_little_is_named_and_mended(net, tmp_path, record):
    place = weights.fetch("toy").with_name("weights.json")
    place.write_text(record)
    with pytest.raises(VbenchError, match=r"weights\.json"):
        weights.path("toy")
    assert run("status").exit_code == 0 and state("toy") == "broken"
    assert weights.fetch("toy").read_bytes() == GOOD and state("toy") == "ok"
    place.write_text(record)
    assert weights.fetch("open") and weights.add("toy", write(tmp_path, GOOD)) == "toy" and state("toy") == "ok"


def checkpoint(folder, value: float, average: float):
    """Save what a run does, with averages of what it trains."""
    import torch

    state = {name: torch.full((3,), value) for name in ("a", "b.num_batches_tracked")}
    averages = {"a": torch.full((3,), average)}
    torch.save({"step": 1, "system": state, "ema": averages, "optimizers": {"m": state}}, folder / "run.pt")
    return folder / "run.pt"


def test_checkpoints_of_runs_lie_side_by_side(net, tmp_path):
    """Nobody published them, so they go by their hash also where the first file to come would have the name."""
    one, again, other = (weights.add("gated", checkpoint(tmp_path, *values)) for values in ((2, 1), (3, 1), (2, 5)))
    assert one == again != other  # what counts are the averages
    held = {row.name: row.state for row in weights.status() if row.name.startswith("gated")}
    assert held == {"gated": "absent", one: "own", other: "own"}
    assert {name: array.tolist() for name, array in weights.read(weights.path(one)).items()} == {"a": [1, 1, 1]}
    with pytest.raises(VbenchError, match=r'no weights "gated-00000000".*weights add gated FILE'):
        weights.path("gated-00000000")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD[:-30], "not a whole file of weights"),
        (b"", "no known file of weights"),
        (b"<html>sign in</html>", "no known file of weights"),
        (pickle.dumps({"epoch": 3}), "holds no tensors"),
        (pickle.dumps(ARRAYS)[:-20], "not a whole pickle"),
    ],
)
def test_what_is_no_whole_file_is_not_added(net, tmp_path, home, data, words):
    with pytest.raises(VbenchError, match=words):
        weights.add("toy", write(tmp_path, data))
    assert not (home / "weights").exists()


def test_a_missing_file_is_said(net, tmp_path):
    with pytest.raises(VbenchError, match="not there; expected a file with the weights of toy"):
        weights.add("toy", tmp_path / "nowhere.pt")


# Reading every kind


def torch_file(path, value, **options):
    torch = pytest.importorskip("torch")
    torch.save(value, path, **options)
    return path


def torch_arrays():
    import torch

    return {name: torch.from_numpy(array) for name, array in ARRAYS.items()}


def assert_arrays(found):
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: {"epoch": 3, "arch": "x", "state_dict": t}, lambda t: {"model": t}]
)
def test_torch_checkpoints_are_read(tmp_path, new, wrap):
    value = wrap(torch_arrays())
    assert_arrays(weights.read(torch_file(tmp_path / "x.pth.tar", value, _use_new_zipfile_serialization=new)))


def test_key_styles_and_types_stay(tmp_path):
    import torch

    value = {
        "module.conv.weight": torch.ones(2, dtype=torch.bfloat16),
        "n": torch.tensor(3),
        "p": torch.nn.Parameter(torch.ones(1)),
    }
    found = weights.read(torch_file(tmp_path / "x.pt", value))
    assert {name: array.dtype for name, array in found.items()} == {"module.conv.weight": "f4", "n": "i8", "p": "f4"}


def script(path):
    import torch

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)
            self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
            self.sizes = [1, 2]

        def forward(self, x):
            return self.norm(x) * self.turned.sum() + self.sizes[0]

    module = torch.nn.Sequential(torch.nn.Linear(2, 3), Block()).eval()
    torch.jit.save(torch.jit.script(module), path)
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_torchscript_is_read_without_its_code(tmp_path):
    expected = script(tmp_path / "x.pt")
    found = weights.read(tmp_path / "x.pt")
    assert found.keys() == expected.keys() and "1.norm.running_var" in found
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_flax_pickles_are_read(tmp_path):
    nested = {"params": {"Conv_0": {"kernel": ARRAYS["conv.weight"]}}, "batch_stats": {"mean": ARRAYS["conv.bias"]}}
    found = weights.read(write(tmp_path, pickle.dumps(nested), "x.ckpt"))
    assert list(found) == ["params/Conv_0/kernel", "batch_stats/mean"]
    np.testing.assert_array_equal(found["params/Conv_0/kernel"], ARRAYS["conv.weight"])


def test_pickles_of_more_than_ten_million_values_are_read(tmp_path):
    found = weights.read(write(tmp_path, pickle.dumps({"w": np.zeros(11_000_000, np.int8)}), "x.ckpt"))
    assert found["w"].size == 11_000_000


def test_numpy_files_are_read(tmp_path):
    assert_arrays(weights.read(write(tmp_path, GOOD)))
    np.save(tmp_path / "one.npy", ARRAYS["conv.bias"])
    assert weights.read(tmp_path / "one.npy")["one"].tolist() == [1, -2]


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    save_file(torch_arrays(), tmp_path / "x.safetensors")
    assert_arrays(weights.read(tmp_path / "x.safetensors"))


@pytest.mark.slow
def test_tensorflow_variables_are_read(net, tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    module = tensorflow.Module()
    module.kernel = tensorflow.Variable(ARRAYS["conv.weight"])
    tensorflow.saved_model.save(module, str(tmp_path / "saved"))
    prefix = tensorflow.train.Checkpoint(module).write(str(tmp_path / "model.ckpt"))
    for place in (tmp_path / "saved", tmp_path / f"{prefix}.index"):
        found = weights.read(place)
        np.testing.assert_array_equal(found["kernel/.ATTRIBUTES/VARIABLE_VALUE"], ARRAYS["conv.weight"])
    kept = weights.add("toy", tmp_path / "saved")
    assert kept.startswith("toy-") and weights.read(weights.path(kept)).keys() == found.keys()


# Harm


class Call:
    """Pickles as a call."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def poisoned(kind, path, mark):
    if kind.startswith("torch"):
        torch_file(path, {"w": Call(mark)}, _use_new_zipfile_serialization=kind == "torch")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"w": Call(mark)}))
    elif kind == "npz":
        np.savez(path, w=np.array([Call(mark)], object))
    elif kind == "npy":
        np.save(path, np.array([Call(mark)], object))
    else:
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("x/data.pkl", pickle.dumps(Call(mark), 2))
            zipped.writestr("x/constants.pkl", pickle.dumps((), 2))


@pytest.mark.parametrize("kind", ["torch", "torch before 1.6", "pickle", "npz", "npy", "torchscript"])
def test_harmful_files_are_refused_and_not_run(tmp_path, kind):
    path, mark = tmp_path / f"x.{kind[:3]}", tmp_path / "mark"
    poisoned(kind, path, mark)
    path = next(tmp_path.glob("x.*"))
    with pytest.raises(VbenchError, match=r"x.*(nothing of it was run|not a whole file)"):
        weights.read(path)
    assert not mark.exists()


def tensor_pickle(shape, strides, offset=0, count=1):
    """A TorchScript data.pkl with float tensors of one storage that claim a shape."""
    import torch

    class Storage:
        pass

    class Module:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, strides, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(value, Storage) else None

    file = io.BytesIO()
    Pickler(file, 2).dump({"w" * (1 + at): Module() for at in range(count)})
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((5,), (1,), 0), ((2, 2), (4, 1), 0), ((2,), (1,), 3), ((2,), (-1,), 1), ((1 << 40,), (0,), 0), ((2,), (1,), -1)],
)
def test_torchscript_tensors_stay_within_their_bytes(tmp_path, shape, strides, offset):
    def made(data):
        with zipfile.ZipFile(tmp_path / "x.pt", "w") as zipped:
            zipped.writestr("x/data.pkl", data)
            zipped.writestr("x/data/0", np.arange(4, dtype="<f4").tobytes())
            zipped.writestr("x/constants.pkl", pickle.dumps((), 2))
        return tmp_path / "x.pt"

    assert weights.read(made(tensor_pickle((2, 2), (1, 2))))["w"].tolist() == [[0, 2], [1, 3]]
    with pytest.raises(VbenchError, match=r"impossible shape|beyond its bytes"):
        weights.read(made(tensor_pickle(shape, strides, offset)))


def test_torchscript_tensors_over_the_same_bytes_are_bounded(tmp_path):
    """Layers may share weights, but not hundreds."""

    def made(count):
        with zipfile.ZipFile(tmp_path / "x.pt", "w") as zipped:
            zipped.writestr("x/data.pkl", tensor_pickle((1 << 20,), (1,), count=count))
            zipped.writestr("x/data/0", bytes(4 << 20))
            zipped.writestr("x/constants.pkl", pickle.dumps((), 2))
        return tmp_path / "x.pt"

    assert len(weights.read(made(3))) == 3
    with pytest.raises(VbenchError, match="more values than it has bytes for"):
        weights.read(made(100))


@pytest.mark.parametrize("case", ["terabytes", "deep inside", "nowhere"])
def test_a_tensor_of_torch_has_bytes_for_what_it_claims(tmp_path, case):
    import torch

    held = {
        "terabytes": torch.zeros(1).as_strided((10**6, 10**6), (0, 0)),
        "deep inside": {"a": [(torch.zeros(1).expand(2),)]},
        "nowhere": torch.zeros(2, device="meta"),
    }[case]
    torch.save({"state_dict": {"whole": torch.zeros(3, 2).t(), "empty": torch.zeros(0)}}, tmp_path / "good.pt")
    assert weights.read(tmp_path / "good.pt")["whole"].shape == (2, 3)
    torch.save({"w": held}, tmp_path / "evil.pt")
    torch.save({"step": 1, "system": {"w": held}, "optimizers": {}, "ema": {}, "facts": {}}, tmp_path / "step-1.pt")
    for read, file in ((weights.read, "evil.pt"), (runs.restore, "step-1.pt")):
        with pytest.raises(VbenchError, match=rf"{file}: .*a tensor of shape \(.*\) in [04] bytes"):
            read(tmp_path / file)


def test_weights_beyond_memory_are_a_sentence(tmp_path, monkeypatch):
    def full(*asked, **how):
        raise MemoryError("Unable to allocate 8.00 EiB for an array")

    torch_file(tmp_path / "x.pt", torch_arrays())
    monkeypatch.setattr("torch.load", full)
    for read in (weights.read, runs.restore):
        with pytest.raises(VbenchError, match=r"x\.pt: does not fit into memory"):
            read(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("kind", ["zip", "torchscript"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_half_files_are_refused(tmp_path, kind, keep):
    path = tmp_path / "x.pt"
    if kind == "zip":
        torch_file(path, torch_arrays())
    else:
        script(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(VbenchError, match=r"x\.pt: is not a whole"):
        weights.read(path)


# The command


def run(*words):
    return CliRunner().invoke(main, ["weights", *words])


def test_fetching_by_command(net):
    done = run("fetch", "toy", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)[0]["state"] == "ok" and "licence: MIT" in done.stderr


def test_a_manual_step_is_exit_code_3_and_the_rest_is_done(net):
    done = run("fetch", "gated", "toy")
    assert done.exit_code == 3 and "weights add gated" in done.stderr and state("toy") == "ok"


def test_a_failure_outweighs_a_manual_step(net):
    net.held.clear()
    assert run("fetch", "--all").exit_code == 1


def test_a_dry_run_fetches_nothing(net):
    done = run("fetch", "--all", "--dry-run")
    assert done.exit_code == 0 and not net.asked
    for words in (
        "licence: MIT",
        "https://example.org/toy.npz",
        "by hand: https://example.org/form",
        "no published hash",
    ):
        assert words in done.stdout
    listed = json.loads(run("fetch", "toy", "--dry-run", "--json").stdout)
    assert listed[0]["sources"][0] == {"from": "https://example.org/toy.npz", "size_bytes": len(GOOD)}


@pytest.mark.parametrize("words", [["fetch"], ["fetch", "toy", "--all"], ["fetch", "toi"], ["add", "toi", "x"]])
def test_wrong_words_are_exit_code_2(net, words):
    assert run(*words).exit_code == 2


def test_adding_by_command_says_the_name(net, tmp_path):
    done = run("add", "toy", str(write(tmp_path, OTHER)))
    assert done.exit_code == 0 and f'kept as "toy-{sha256(OTHER)[:8]}"' in done.stderr
    assert "asked for with it: none" in done.stderr and f"toy-{sha256(OTHER)[:8]}" in run("status").stdout


@pytest.mark.parametrize(
    ("kept", "scores"),
    [
        ("dti3d-32-1a2b3c4d", ["diversity-dti3d-32-1a2b3c4d", "dtfvd-32-1a2b3c4d"]),
        ("i3d-k400-original-1a2b3c4d", ["fvd-araachie-1a2b3c4d", "fvd-cinn-log-1a2b3c4d"]),
        ("lpips-alex-1a2b3c4d", ["diversity-lpips-1a2b3c4d"]),
        ("resnext101-ucf101-1a2b3c4d", ["vfid-evan-1a2b3c4d"]),
        ("vgg19-1a2b3c4d", []),
    ],
)
def test_what_weights_of_ones_own_are_for_is_said(kept, scores):
    assert list(command._scores_with(kept)) == scores


# The real ones


@pytest.mark.parametrize("name", weights.known())
def test_entries_are_complete(name):
    entry = weights.known()[name]
    needed = {
        "url": ("url", "file"),
        "pypi": ("package", "archive", "archive_sha256", "member", "file", "sha256", "size_bytes", "tensors_sha256"),
        "package": ("package", "member", "sha256", "tensors_sha256"),
        "manual": ("page", "file", "note"),
    }
    assert entry.sources and entry.title and entry.licence and entry.homepage.startswith("https://")
    for source in entry.sources:
        assert all(getattr(source, field) for field in needed[source.kind])
        assert all(len(pin) in (0, 64) for pin in (source.sha256, source.tensors_sha256, source.archive_sha256))
        assert not source.url or source.url.startswith("https://")
    # A name means pinned files only, or has no pins at all.
    fetched = [source for source in entry.sources if source.kind != "manual"]
    assert {bool(source.sha256) for source in fetched} in ({True}, {False}, set())
    pins = [bool(source.tensors_sha256) for source in fetched]
    assert pins == sorted(pins, reverse=True)  # first the sources whose tensors are pinned


def test_heads_of_lpips_come_with_its_package():
    assert state("lpips-alex-heads") == "packaged"
    found = weights.read(weights.path("lpips-alex-heads"))
    assert [array.shape for array in found.values()] == [(1, width, 1, 1) for width in (64, 192, 384, 256, 256)]
    for trunk in ("alex", "vgg", "squeeze"):
        tensors = weights.tensors_sha256(weights.read(weights.path(f"lpips-{trunk}-heads")))
        assert tensors == weights.known()[f"lpips-{trunk}-heads"].sources[0].tensors_sha256


# From each source the same numbers under other names; kernels by their values, since the layouts differ.
KERNELS = {
    "i3d-k400": {7 * 7 * 7 * 3 * 64: 1, 64 * 64: 1, 1024 * 400: 1},
    "inception-2015": {32 * 3 * 3 * 3: 1, 80 * 64: 1},
    "lpips-alex": {11 * 11 * 3 * 64: 1, 5 * 5 * 64 * 192: 1, 3 * 3 * 256 * 256: 1},
    "lpips-vgg": {3 * 3 * 3 * 64: 1, 3 * 3 * 64 * 64: 1, 3 * 3 * 256 * 256: 2, 3 * 3 * 512 * 512: 5},
}


@pytest.mark.parametrize("name", KERNELS)
def test_real_weights_are_the_pinned_ones(real_weights, name):
    path = weights.path(name, real_weights)
    data = path.read_bytes()
    assert sha256(data) in {source.sha256 for source in weights.known()[name].pinned}
    tensors = weights.read(path)
    sizes = [array.size for array in tensors.values() if array.ndim > 1]
    for size, count in KERNELS[name].items():
        assert sizes.count(size) >= count
    assert all(np.isfinite(array).all() for array in tensors.values())
