"""Every reader of files that others may have written, with well-formed examples of what it reads: food for fuzzing."""

import dataclasses
import functools
import gzip
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import h5py
import numpy as np
import PIL.Image
import tiny
import torch

from vbench_ctl import (
    archives,
    files,
    generation,
    hashes,
    importers,
    leaderboard,
    pickles,
    protocols,
    recipes,
    rows,
    runs,
    shards,
    sources,
    store,
    tfrecord,
    tokens,
    tracks,
    video,
    weights,
)
from vbench_ctl.baselines.ccvs.released import Told
from vbench_ctl.baselines.cinn import released as cinn
from vbench_ctl.baselines.glass import released as glass
from vbench_ctl.datasets import kinetics600, tennis, uva_nemo
from vbench_ctl.errors import UsageError
from vbench_ctl.play import annotate, blind, recording, server
from vbench_ctl.report import boards, training
from vbench_ctl.statistics import moments

FRAMES = np.arange(3 * 6 * 8 * 3, dtype=np.uint8).reshape(3, 6, 8, 3)


# What a reader must not do


_WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_RUNS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class"}
_CALLS = {"socket.connect", "socket.getaddrinfo", "urllib.Request"}
_watched: list[tuple[Path, list[str]]] = []  # the folder that may be written to, and what was done besides


def _notice(event: str, given: tuple[Any, ...]) -> None:
    if not _watched:
        return
    folder, escapes = _watched[-1]
    if event == "open":
        path, _, flags = given
        written = [path] if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) else []
    else:
        written = list(_named(event, given)) if event in _WRITES else []
    outside = [path for path in written if not isinstance(path, int) and not _inside(path, folder)]
    foreign = event == "exec" and (_lies_inside(given[0].co_filename, folder) or not _importing())
    if outside or foreign or event in _RUNS | _CALLS:
        escapes.append(f"{event} {given!r:.200}")


def _named(event: str, given: tuple[Any, ...]) -> Iterator[str]:
    """Yield the paths that a call is about; those relative to an open folder, which comes last, below that."""
    base = f"/dev/fd/{given[-1]}" if event != "os.truncate" and isinstance(given[-1], int) and given[-1] >= 0 else ""
    for each in given:
        if isinstance(each, str | bytes | os.PathLike):
            yield os.path.join(base, os.fsdecode(each))


def _inside(path: Any, folder: Path) -> bool:
    place = Path(os.path.realpath(os.fsdecode(path)))
    return place.is_relative_to(folder) or place == Path(os.devnull) or "__pycache__" in place.parts


def _lies_inside(name: str, folder: Path) -> bool:
    return os.path.exists(name) and _inside(name, folder)


def _importing() -> bool:
    """Tell whether a module is being imported, which runs code that no reader was given."""
    frame: FrameType | None = sys._getframe()
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


sys.addaudithook(_notice)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Yield the list of what is written outside a folder, run or called up meanwhile."""
    escapes: list[str] = []
    _watched.append((folder.resolve(), escapes))
    try:
        yield escapes
    finally:
        _watched.pop()


class Parser(NamedTuple):
    """A reader, how the file that it reads is called, and examples of such a file."""

    name: str
    file: str
    read: Callable[[Path], Any]
    examples: Callable[[Path], Sequence[bytes]]  # given an empty folder to make them in


def give(parser: Parser, data: bytes) -> None:
    """Let a reader read a file that lies alone in a new folder; it may do nothing outside of that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / parser.file
        path.write_bytes(data)
        with watched(Path(folder)) as escapes:
            try:
                parser.read(path)
            finally:
                assert not escapes, escapes


def _numpy(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, FRAMES[None])
    return buffer.getvalue()


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _clip(folder: Path, name: str, frames: np.ndarray = FRAMES) -> bytes:
    video.write(folder / name, frames)
    return (folder / name).read_bytes()


def _hdf5(folder: Path) -> bytes:
    with h5py.File(folder / "made.h5", "w") as file:
        file["videos"] = FRAMES[None]
    return (folder / "made.h5").read_bytes()


def _tfrecord() -> bytes:
    entry = b"\x0a\x01a\x12\x05\x0a\x03\x0a\x01x"  # feature "a" with the bytes "x"
    message = b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry
    header = struct.pack("<Q", len(message))
    crcs = [struct.pack("<I", tfrecord.masked_crc32c(part)) for part in (header, message)]
    return header + crcs[0] + message + crcs[1]


def _examples(path: Path) -> None:
    with open(path, "rb") as file:
        for message in tfrecord.records(file):
            if isinstance(message, bytes):
                example = tfrecord.Example(message)
                for name in list(example._features):
                    example.floats(name)
                    example.bytes(name)


def _protobuf(path: Path) -> None:
    example = tfrecord.Example(path.read_bytes())
    for name in list(example._features):
        example.floats(name)
        example.bytes(name)


def _tar(*names: str, compress: bool = False) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compress else "w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
    return buffer.getvalue()


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"abc")
    return buffer.getvalue()


def _members(path: Path) -> None:
    for member in archives.members(path, path.parent / "home"):
        with member.open() as file:
            file.read(1 << 20)


def _outputs(path: Path) -> None:
    _clip(path.parent, "a.mkv")
    found = sources.open_source(path.parent)
    found.lossy()
    for clip_id in found.ids:
        found.frames(clip_id)


def _protocol(path: Path) -> None:
    for protocol in protocols.parse(_text(path)).values():
        protocols.card(protocol)
        protocols.summary_rows()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("not UTF-8") from error  # whoever calls such a reader has the text already


def _rows(path: Path) -> None:
    loaded = rows.load(path)
    found = leaderboard.tables(loaded)
    leaderboard.as_csv(found)
    leaderboard.markdown(found)
    boards.boards(loaded, boards.Colours())


def _row() -> rows.Row:
    return rows.Row("psnr", 20.0, 19.0, 21.0, "higher", 3, "tiny-c2-p4@1", "psnr|default|-|4f|3x1|-|v1", "mine")


def _rich_row() -> rows.Row:
    deciles = [[float(at), 2.0] for at in range(11)]
    details = {
        "confusion": {"labels": ["left", "right"], "counts": [[3, 1], [0, 2]]},
        "actions": [{"action": 0, "quantiles": deciles}],
    }
    said = {"made": {"at": "now", "with": {"numpy": "2"}, "command": ["vbench-ctl", "score"]}, "seed": 0}
    return dataclasses.replace(_row(), per_frame=[20.0, 21.0, 19.0], provenance=said, details=details)


def _row_file(folder: Path) -> bytes:
    rows.save(folder / "rows.json", [_rich_row()])
    return (folder / "rows.json").read_bytes()


def _evil_pickle() -> bytes:
    class Evil:
        def __reduce__(self) -> tuple:
            return (open, ("executed", "w"))

    return pickle.dumps({"actions": [1, 2, Evil()]})


def _script(folder: Path) -> bytes:
    torch.jit.script(torch.nn.Linear(2, 1)).save(str(folder / "w.zip"))
    return (folder / "w.zip").read_bytes()


def _shard(folder: Path) -> bytes:
    with shards.new_shard(folder / "made-00000.h5") as writer:
        writer.add(tiny.clip("test", 0, 3))
    return (folder / "made-00000.h5").read_bytes()


def _read_shard(path: Path) -> None:
    shard = shards.Shard(path)
    if len(shard.ids):
        shard.read("frames", range(3))


@functools.cache
def _store() -> dict[str, bytes]:
    """Return the files of a tiny store."""
    with tempfile.TemporaryDirectory() as folder:
        place = tiny.built(Path(folder)).folder
        return {path.name: path.read_bytes() for path in Path(place).iterdir() if path.suffix in (".json", ".h5")}


def _read_store(path: Path) -> None:
    for name, data in _store().items():
        if name != path.name:
            (path.parent / name).write_bytes(data)
    manifest = store.read_manifest(path.parent)
    for split in manifest["splits"]:
        found = sources.open_source(path.parent, split)
        for clip_id in found.ids[:2]:
            found.frames(clip_id)


def _read_run(path: Path) -> None:
    for name, data in (("run.json", json.dumps(RUN).encode()), ("recipe.toml", RECIPE)):
        if name != path.name:
            (path.parent / name).write_bytes(data)
    training.read(path.parent)
    runs.history(runs.open_run(path.parent))


def _mcvd(folder: Path) -> bytes:
    with h5py.File(folder / "made.hdf5", "w") as file:
        file["len/0"] = len(FRAMES)
        for at, frame in enumerate(FRAMES):
            file[f"0/{at}"] = frame
    return (folder / "made.hdf5").read_bytes()


def _videogpt(folder: Path) -> bytes:
    with h5py.File(folder / "made.hdf5", "w") as file:
        file.update({"train_data": FRAMES, "train_idx": np.array([0, 2]), "train_actions": np.zeros((3, 2))})
    return (folder / "made.hdf5").read_bytes()


def _import(path: Path) -> None:
    """Read all clips of what is imported from a file, or from the folder that it lies in."""
    source = path.parent if path.suffix == ".pkl" else path
    if source.is_dir():
        for at, frame in enumerate(FRAMES):
            PIL.Image.fromarray(frame).save(source / f"{at:05d}.png")
    recipe = importers.recipe(source, "mine")
    for parts in recipe.work.values():
        for part in parts:
            list(recipe.clips(part))


def _read_hashes(path: Path) -> None:
    known = path.parent / "cache" / "hashes.json"
    known.parent.mkdir(exist_ok=True)
    known.write_bytes(path.read_bytes())
    hashes.digest(path, path.parent)


def _options(path: Path) -> None:
    told = Told(path)
    told.switched("q_use_ema")
    told.number("x_n_head")


def _csv(read: Callable[[archives.Member], Any]) -> Callable[[Path], Any]:
    return lambda path: read(archives.Member(path.name, path.stat().st_size, path))


def _recordings(path: Path) -> None:
    recording._noted(path.parent, recording.Take("m", FRAMES, {}))


def _message(path: Path) -> None:
    _clip(path.parent, "a.mkv")
    desk = annotate.desk(sources.open_source(path.parent), path.parent / "marks", 2)
    server._heard(annotate.Annotator(desk), _text(path))


CHECKPOINT = {"step": 1, "system": {"w": torch.zeros(2)}, "optimizers": {}, "ema": {}, "facts": {}}
RECIPE = b'[data]\ndataset = "wsprites"\nlength = 4\n[model]\ncodes = 2\n[training]\nsteps = 3\nbatch = 2\n'


@functools.cache
def known() -> dict[str, Parser]:
    """Return all parsers by name."""
    found = [
        Parser("tfrecord", "a.tfrecords", _examples, lambda folder: [_tfrecord() * 2]),
        Parser("protobuf", "a.bin", _protobuf, lambda folder: [_tfrecord()[12:-4]]),
        Parser("outputs manifest", "manifest.json", _outputs, lambda folder: [json.dumps(OUTPUTS).encode()]),
        Parser("protocols", "p.toml", _protocol, lambda folder: [tiny.PROTOCOL.encode()]),
        Parser("rows", "rows.json", _rows, lambda folder: [_row_file(folder)]),
        Parser("control csv", "c.csv", generation.read_control, lambda folder: [b"dx,dy\n1,2\n3,-4.5\n"]),
        Parser("store manifest", "manifest.json", _read_store, lambda folder: [_store()["manifest.json"]]),
        Parser("run", "run.json", _read_run, lambda folder: [json.dumps(RUN).encode()]),
        Parser("run log", "log.jsonl", _read_run, lambda folder: [LOG]),
        Parser("mcvd", "a.hdf5", _import, lambda folder: [_mcvd(folder)]),
        Parser("videogpt", "a.hdf5", _import, lambda folder: [_videogpt(folder)]),
        Parser("pvg", "actions.pkl", _import, lambda folder: [pickle.dumps([1, 2, None])]),
        Parser("blind answers", "a.csv", blind.read, lambda folder: [ANSWERS]),
        Parser("glass config", "a.yaml", glass._read_config, lambda folder: [json.dumps(CONFIG).encode()]),
        Parser("cinn config", "a.yaml", cinn._read_config, lambda folder: [json.dumps(CINN_CONFIG).encode()]),
        Parser(
            "ccvs options", "opt.txt", _options, lambda folder: [b"q_use_ema: True [default: False]\nx_n_head: 8\n"]
        ),
        Parser(
            "clip lists", "test.csv", _csv(lambda m: kinetics600.parse(m.text(), m.name)), lambda folder: CLIP_LISTS
        ),
        Parser("rallies", "annotations.csv", _csv(tennis._rallies), lambda folder: [RALLIES]),
        Parser(
            "splits",
            "splits.csv",
            _csv(lambda m: tennis._chosen(m, "test")),
            lambda folder: [b"sequence,split\n1,test\n"],
        ),
        Parser("face boxes", "a.csv", uva_nemo.read_boxes, lambda folder: [b"video,x0,y0,x1,y1\na.mp4,1,2,30.5,40\n"]),
        Parser("recordings", "manifest.json", _recordings, lambda folder: [json.dumps(OUTPUTS).encode()]),
        Parser("messages", "said.json", _message, lambda folder: [b'{"do": "mark", "at": 0, "x": 0.5, "y": 0.25}']),
        Parser("hashes", "hashes.json", _read_hashes, lambda folder: [HASHES]),
        Parser("recipe", "r.toml", _recipe, lambda folder: [RECIPE]),
        Parser("pickle", "a.pkl", pickles.load, lambda folder: [_evil_pickle(), pickle.dumps({"a": np.arange(3)}, 2)]),
        Parser("matroska", "a.mkv", _video, lambda folder: [_clip(folder, "a.mkv")]),
        Parser("mp4", "a.mp4", _video, lambda folder: [_clip(folder, "a.mp4", FRAMES.repeat(4, 1).repeat(4, 2))]),
        Parser("avi", "a.avi", _video, lambda folder: [_clip(folder, "a.avi")]),
        Parser("png", "a.png", lambda path: video.image(path, path), lambda folder: [_png(folder)]),
        Parser("tracks", "a.npz", _tracks, lambda folder: [_numpy(actions=np.zeros((3, 2)))]),
        Parser("npz clips", "a.npz", _clips, lambda folder: [_numpy(clips=FRAMES[None])]),
        Parser("npy clips", "a.npy", _clips, lambda folder: [_array()]),
        Parser("hdf5 clips", "a.h5", _clips, lambda folder: [_hdf5(folder)]),
        Parser("store shard", "test-00000.h5", _read_shard, lambda folder: [_shard(folder)]),
        Parser("import hdf5", "a.hdf5", importers.detect, lambda folder: [_hdf5(folder)]),
        Parser("statistics", "a.npz", moments.load, lambda folder: [_numpy(mu=np.zeros(2), sigma=np.eye(2))]),
        Parser("checkpoint", "step-1.pt", runs.restore, lambda folder: [_saved(CHECKPOINT)]),
        Parser(
            "weights pt",
            "w.pt",
            weights.read,
            lambda folder: [_saved({"w": torch.zeros(2)}), _evil_pickle(), TERABYTES],
        ),
        Parser("weights npz", "w.npz", weights.read, lambda folder: [_numpy(w=np.zeros(2))]),
        Parser("weights npy", "w.npy", weights.read, lambda folder: [_array()]),
        Parser("weights flax", "w.pkl", weights.read, lambda folder: [pickle.dumps({"a": {"w": np.zeros(2)}})]),
        Parser("weights safetensors", "w.safetensors", weights.read, lambda folder: [SAFETENSORS]),
        Parser("torchscript", "w.zip", pickles.load_torchscript, lambda folder: [_script(folder)]),
        Parser("signature", "s.txt", lambda path: tokens.token_like(_text(path)), lambda folder: [SIGNATURE]),
        Parser("tar", "a.tar", _members, lambda folder: [_tar("a/b"), _tar(*EVIL)]),
        Parser("tar.gz", "a.tar.gz", _members, lambda folder: [_tar("a/b", compress=True), gzip.compress(b"abc")]),
        Parser("zip", "a.zip", _members, lambda folder: [_zip("a/b"), _zip(*EVIL)]),
        Parser("json", "a.json", files.read_json, lambda folder: [b'{"a": [1, 2.5, null, "x"]}']),
    ]
    return {parser.name: parser for parser in found}


RUN = {
    "format": "vbench-run 1",
    "id": "0a1b",
    "baseline": "glass",
    "recipe": "tiny",
    "seed": {"": 0},
    "data": {"": "tiny 8x6 train 0a"},
    "made": {"at": "now", "on": "a machine", "with": {"numpy": "2"}, "command": ["vbench-ctl", "train", "glass"]},
    "resumed": [{"at": "later", "command": ["vbench-ctl", "train"], "changes": {"training.steps": 5}}],
}
LOG = (
    b'{"stage": "", "step": 1, "losses": {"a": 0.5}, "steps_per_second": 2.0, "cpu_seconds": 1}\n'
    b'{"stage": "", "step": 2, "validation": {"a": 0.4}}\n'
)
ANSWERS = b"at,rater,question,protocol,clip,left,right,answer\nnow,me,real,p@1,a,m,n,left\n"
HASHES = b'{"/somewhere/a": [3, 5, "00"]}'
_RAMP = (("num_observations", "increase"), ("gt_observations", "decrease"), ("gumbel_temperature", "decrease"))
CONFIG = {
    "training": {
        **{f"{name}_{key}": 8 for name, way in _RAMP for key in ("start", "end", f"{way}_start", "steps")},
        "pretraining_steps_gma": 7,
        "optimizer": {"learning_rate": 0.1, "weight_decay": 0.2},
        "lr_schedule": [3],
        "lr_gamma": 0.3,
        "loss_params": {"mask_size": 0.4},
        "loss_weights": {"reconstruction_loss": 1.0},
        "batching": {"observations_count": 8},
    },
    "model": {"action_separator": {"action_network": {"use_plain_direction": True}}},
}
CINN_CONFIG = {
    "Encoder": {"stride_t": [1, 2], "stride_s": [1, 2]},
    "Decoder": {"upsample_t": [1], "upsample_s": [2]},
    "Discriminator_Temporal": {"channels": [8], "stride_t": [1], "stride_s": [2]},
    "Training": {"w_recon": 1, "w_percep": 2.5, "w_kl": 1e-6},
}
CLIP_LISTS = (
    b"label,youtube_id,time_start,time_end,split\nrunning,abcdefghijk,1,11,test\n",
    b"k600/test/running/abcdefghijk_000001_000011.mp4 running\n",
)
RALLIES = b"""original_filename,begin_frame,end_frame,top,left,bottom,right
nadal_kyrgios_wimbledon_4.mp4,3,90,10,20,300,400
"""
EVIL = ("a/b", "../outside", "/absolute")
OUTPUTS = {"format": "vbench-outputs 1", "model": "m", "protocol": "p@1", "seed": 0, "clips": [{"file": "a.mkv"}]}
SIGNATURE = b"psnr|default|-|15f|256x1|rgb,peak255|v1"
TERABYTES = _saved({"w": torch.zeros(1).as_strided((10**6, 10**6), (0, 0))})
SAFETENSORS = (lambda header: struct.pack("<Q", len(header)) + header + bytes(8))(
    b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
)


def _recipe(path: Path) -> None:
    recipes.read(path, recipes.trainable("glass"))


def _video(path: Path) -> None:
    video.probe(path)
    video.read(path, max_bytes=1 << 26)


def _png(folder: Path) -> bytes:
    PIL.Image.fromarray(FRAMES[0]).save(folder / "a.png")
    return (folder / "a.png").read_bytes()


def _tracks(path: Path) -> None:
    for track in tracks.read(path, ("actions",)).values():
        tracks.of_frames(track, range(3), 3)


def _clips(path: Path) -> None:
    found = sources.open_source(path)
    for clip_id in list(found.ids)[:3]:
        found.frames(clip_id)
