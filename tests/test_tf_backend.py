"""FVD by TensorFlow: a SavedModel of the TF-Hub graph's layers and names, made of our weights, gives what PyTorch gives."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vbench_ctl import networks, scoring, tokens, weights
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import i3d, i3d_tf
from vbench_ctl.networks import Place
from vbench_ctl.resize import resize
from vbench_ctl.rows import difference
from vbench_ctl.sources import ArraySource

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("tensorflow")

BRANCHES = {  # specs of the graph: the parts of a Mixed block, with its slip of the pen in Mixed_5b
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3b": "Branch_3/Conv3d_0b_1x1",
}
SCOPE = "RGB/inception_i3d"


class Builder:
    """The layers of the graph as TensorFlow ops, with variables of the checkpoint's names."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        import tensorflow

        self.tf, self.v1 = tensorflow, tensorflow.compat.v1
        self.state = {name: value.numpy() for name, value in state.items()}

    def variable(self, name: str, value: np.ndarray):
        return self.v1.get_variable(name, initializer=self.tf.constant(value), use_resource=False)

    def conv(self, x, ours: str, theirs: str, stride: int = 1):
        kernel = self.variable(
            f"{SCOPE}/{theirs}/conv_3d/w", self.state[f"{ours}.conv3d.weight"].transpose(2, 3, 4, 1, 0)
        )
        return self.v1.nn.conv3d(x, kernel, [1, stride, stride, stride, 1], "SAME")

    def unit(self, x, ours: str, theirs: str, stride: int = 1):
        """Convolve, normalise with eps 1e-3 and no gamma, rectify."""
        x = self.conv(x, ours, theirs, stride)
        beta, mean, variance = (
            self.variable(
                f"{SCOPE}/{theirs}/batch_norm/{name}", self.state[f"{ours}.bn.{leaf}"].reshape(1, 1, 1, 1, -1)
            )
            for name, leaf in (("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var"))
        )
        return self.tf.nn.relu(self.tf.nn.batch_normalization(x, mean, variance, beta, None, 1e-3))

    def mixed(self, x, name: str):
        def branch(x, part: str):
            theirs = "Branch_2/Conv3d_0a_3x3" if (name, part) == ("Mixed_5b", "b2b") else BRANCHES[part]
            return self.unit(x, f"{name}.{part}", f"{name}/{theirs}")

        pooled = self.tf.nn.max_pool3d(x, 3, 1, "SAME")
        parts = [
            branch(x, "b0"),
            branch(branch(x, "b1a"), "b1b"),
            branch(branch(x, "b2a"), "b2b"),
            branch(pooled, "b3b"),
        ]
        return self.tf.concat(parts, -1)

    def logits(self, x):
        for name, layer in i3d.LAYERS.items():
            if isinstance(layer, i3d.Pool):
                x = self.tf.nn.max_pool3d(x, [1, *layer.kernel, 1], [1, *layer.stride, 1], "SAME")
            elif isinstance(layer, i3d.Conv):
                x = self.unit(x, name, name, layer.stride)
            else:
                x = self.mixed(x, name)
        x = self.tf.nn.avg_pool3d(x, [1, 2, 7, 7, 1], 1, "VALID")
        last = "Logits/Conv3d_0c_1x1"
        x = self.conv(x, "logits", last) + self.variable(f"{SCOPE}/{last}/conv_3d/b", self.state["logits.conv3d.bias"])
        return self.tf.reduce_mean(self.tf.squeeze(x, [2, 3]), axis=1, name=f"{SCOPE}/Mean")

    def save(self, folder: Path) -> Path:
        """Write what a TF-Hub module of TensorFlow 1 is: one graph without tags, and the signature "default"."""
        with self.v1.Graph().as_default(), self.v1.Session() as session:
            video = self.v1.placeholder(self.tf.float32, [None, None, 224, 224, 3], "video")
            within = self.v1.assert_less_equal(self.tf.reduce_max(self.tf.abs(video)), 1.001)
            with self.v1.control_dependencies([within]):
                checked = self.tf.identity(video)
            logits = self.logits(checked)
            session.run(self.v1.global_variables_initializer())
            signature = self.v1.saved_model.predict_signature_def({"default": video}, {"default": logits})
            saver = self.v1.saved_model.Builder(str(folder))
            saver.add_meta_graph_and_variables(session, [], signature_def_map={"default": signature})
            saver.save()
        return folder


@pytest.fixture(scope="module")
def graph(real_weights, tmp_path_factory) -> Path:
    """A SavedModel of the graph with the real weights."""
    state = i3d.convert(weights.read(weights.path("i3d-k400", real_weights)))
    return Builder(state).save(tmp_path_factory.mktemp("tfhub") / "i3d")


@pytest.fixture
def root(real_weights, tmp_path) -> Iterator[Path]:
    """A root with the real weights and a cache of its own."""
    (tmp_path / "weights").symlink_to(real_weights.resolve() / "weights")
    yield tmp_path
    networks.use(Place())


def clips(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 16, 8, 6, 3), np.uint8).repeat(8, axis=2).repeat(12, axis=3)


def test_features_and_fvd_are_those_of_pytorch(graph, root):
    """The graph passes the self-test on the way, or there would be no score."""
    fake, real = clips(2, 1), clips(2, 2)
    rows, found = [], []
    for backend in ("torch", f"tf:{graph}"):
        place = Place(str(root), backend=backend)
        (row,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvd"], place=place)
        rows.append(row)
        found.append(networks.of(tokens.metric("fvd").features, list(fake)))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3 * np.abs(found[0]).max(), rtol=0)
    assert (found[1] != found[0]).any()  # each backend computed its own
    assert rows[1].value == pytest.approx(rows[0].value, rel=1e-4) and rows[0].value > 100
    assert difference(rows[0].signature, rows[1].signature) == "computation tf,ddof1 / tf,ddof1,backend-tf"


def test_the_saved_models_weights_are_ours(graph, real_weights):
    ours, theirs = (i3d.convert(weights.read(file)) for file in (weights.path("i3d-k400", real_weights), graph))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_our_resize_is_tensorflows():
    import tensorflow

    frames = clips(1)[0, :2].astype(np.float32)
    expected = tensorflow.compat.v1.image.resize_bilinear(frames, i3d.SIZE).numpy()
    found = resize(torch.from_numpy(frames).movedim(-1, 1), i3d.SIZE, "tf1_legacy").movedim(1, -1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_tensorflow_hubs_cache_is_found(graph, monkeypatch, tmp_path):
    hub = pytest.importorskip("tensorflow_hub")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    with pytest.raises(
        VbenchError, match=r"holds no saved_model.pb, expected what tensorflow-hub fetches; run python -c"
    ):
        i3d_tf.folder("tf")
    place = tmp_path / hashlib.sha1(b"https://tfhub.dev/deepmind/i3d-kinetics-400/1").hexdigest()
    place.symlink_to(graph)
    assert Path(hub.resolve(i3d_tf.HANDLE)) == i3d_tf.folder("tf") == place


# What cannot be had


def row(root: Path, backend: str, token: str = "fvd"):
    return scoring.score(
        ArraySource(clips(2)), ArraySource(clips(2)), metrics=[token], place=Place(str(root), backend=backend)
    )[0]


def test_without_the_graph_the_cell_says_so(root, tmp_path):
    found = row(root, f"tf:{tmp_path}/nowhere")
    assert found.value is None and "nowhere holds no saved_model.pb, expected the folder of a SavedModel" in found.note


def test_pipelines_with_another_eps_have_no_graph(root, graph):
    assert row(root, f"tf:{graph}", "fvd-videogpt").note.startswith("n/a: the TensorFlow graph has its own eps")


def test_a_word_that_is_no_backend_is_refused(root):
    with pytest.raises(UsageError, match='no backend "tensorflow"'):
        row(root, "tensorflow")


def saved(folder: Path, build) -> Path:
    """Write a small graph with a signature "default"."""
    import tensorflow

    v1 = tensorflow.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        video = v1.placeholder(tensorflow.float32, [None, 400], "video")
        signature = v1.saved_model.predict_signature_def({"default": video}, {"default": build(tensorflow, video)})
        saver = v1.saved_model.Builder(str(folder))
        saver.add_meta_graph_and_variables(session, [], signature_def_map={"default": signature})
        saver.save()
    return folder


def test_a_graph_that_reads_files_is_refused(tmp_path):
    def build(tf, video):
        size = tf.strings.length(tf.io.read_file("/etc/hostname"))
        return tf.add(video, tf.cast(size, tf.float32), name=i3d_tf.LOGITS.removesuffix(":0"))

    with pytest.raises(VbenchError, match="its graph runs ReadFile, which I3D does not need"):
        i3d_tf.load(saved(tmp_path / "reads", build))


def test_another_graph_is_refused(tmp_path):
    with pytest.raises(VbenchError, match="its graph has no RGB/inception_i3d/Mean:0"):
        i3d_tf.load(saved(tmp_path / "other", lambda tf, video: tf.add(video, 1, name="sum")))
