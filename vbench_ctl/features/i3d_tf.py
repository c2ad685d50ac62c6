"""I3D as TensorFlow runs it: the TF-Hub graph deepmind/i3d-kinetics-400/1 itself, as a check of ours in PyTorch.

The logits are those of google-research/google-research:frechet_video_distance, of clips that `i3d` has prepared.
"""

import hashlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from vbench_ctl.errors import VbenchError
from vbench_ctl.features import i3d

HANDLE = "https://tfhub.dev/deepmind/i3d-kinetics-400/1"
LOGITS = "RGB/inception_i3d/Mean:0"
SIGNATURE = "default"
# Ops that reach files or Python, which no layer needs. The list need not be complete: give only folders you trust.
HARMFUL = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "LookupTableExportV2"}


def folder(backend: str) -> Path:
    """Return the graph's folder: FOLDER of "tf:FOLDER", and of "tf" where tensorflow-hub keeps what it has fetched."""
    if find_spec("tensorflow") is None:
        raise VbenchError('n/a: --backend tf needs tensorflow; run pip install "vbench-ctl[tf]"')
    _, given, name = backend.partition(":")
    cache = os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir(), "tfhub_modules")
    place = Path(name).expanduser() if given else Path(cache, hashlib.sha1(HANDLE.encode()).hexdigest())
    if not (place / "saved_model.pb").is_file():
        wanted = "the folder of a SavedModel" if given else "what tensorflow-hub fetches"
        raise VbenchError(
            f"n/a: {place} holds no saved_model.pb, expected {wanted}; run "
            f"python -c \"import tensorflow_hub; tensorflow_hub.resolve('{HANDLE}')\" or name another --backend tf:FOLDER"
        )
    return place


class Graph:
    """Clips (N, 3, T, 224, 224) in [-1, 1] -> logits (N, 400)."""

    def __init__(self, place: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # or it tells of every processor feature it could use
        import tensorflow
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        self.tensorflow = tensorflow
        tensorflow.config.set_visible_devices([], "GPU")  # else it takes the whole memory of every GPU
        saved = SavedModel.FromString((place / "saved_model.pb").read_bytes())
        definition = saved.meta_graphs[0]
        _check(definition, place)
        (video,) = definition.signature_def[SIGNATURE].inputs.values()
        self.loaded = tensorflow.saved_model.load(str(place), tags=list(definition.meta_info_def.tags))
        self.run = self.loaded.prune(video.name, LOGITS)

    def __call__(self, x: Tensor) -> Tensor:
        clips = self.tensorflow.constant(x.movedim(1, -1).contiguous().cpu().numpy())
        return torch.from_numpy(self.run(clips).numpy().copy())


def _check(definition, place: Path) -> None:
    """Refuse a graph that is not I3D's or that does more than compute."""
    nodes = [*definition.graph_def.node, *(n for f in definition.graph_def.library.function for n in f.node_def)]
    if harmful := sorted({node.op for node in nodes} & HARMFUL):
        raise VbenchError(
            f"{place}: its graph runs {', '.join(harmful)}, which I3D does not need; use the graph of {HANDLE}"
        )
    names = {node.name for node in definition.graph_def.node}
    if LOGITS.partition(":")[0] not in names or len(definition.signature_def[SIGNATURE].inputs) != 1:
        raise VbenchError(
            f'{place}: its graph has no {LOGITS} or no signature "{SIGNATURE}" of one input; use the graph of {HANDLE}'
        )


def load(place: Path) -> i3d.Extractor:
    """Return the extractor of a SavedModel folder."""
    return i3d.Extractor(Graph(place))
