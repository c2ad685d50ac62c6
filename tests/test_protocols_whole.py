"""Whole protocols of cINN and CCVS: a small model answers each on a store of invented clips, and each metric is computed.

Where hundreds of clips are needed to fill the batches of a release, noise answers; the mended version has the model.
Sizes are small and networks are mean colours; what a protocol says of frames, samples, batches and controls is its own.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from vbench_ctl import (
    building,
    generation,
    networks,
    pairing,
    protocols,
    recipes,
    registry,
    runs,
    scoring,
    tracks,
    video,
)
from vbench_ctl.clips import Clip
from vbench_ctl.errors import VbenchError
from vbench_ctl.protocols import Protocol
from vbench_ctl.rows import Row
from vbench_ctl.sources import FolderSource, Source
from vbench_ctl.statistics.frechet import frechet
from vbench_ctl.training import DataFacts

CINN = [
    *("model.code=8", "model.decoder_width=8", "model.spade_width=8", "model.encoder_widths=[16,16,16,16,16]"),
    *("model.temporal_widths=[16,16,16,16,16]", "model.patch_width=4", "model.small_encoder=8"),
    *("model.generator_width=8", "model.generator_classes=8", "model.generator_hidden=8"),
    *("model.flow_width=16", "model.flow_blocks=2"),
]
END = ["model.control=state", "model.control_offset=[0.0,0.0,0.0]", "model.control_range=[1.0,1.0,1.0]"]
CCVS = [
    *(
        "model.widths=[4,4,4,8]",
        "model.flow_widths=[4]",
        "model.code_width=6",
        "model.codes=12",
        "model.discriminator_widths=[4,4]",
    ),
    *("model.memory=3", "model.layers=1", "model.heads=2", "model.width=8", "model.frames=16"),
]
SOUND = ["model.control=sound", "model.control_codes=7", "model.control_width=4", "model.sound_code_width=4"]
TRACKS = {"actions": ((4,), "float32"), "state": ((3,), "float32"), "stft": ((16, 8), "float32")}

# What a model of each kind is: its baseline, what is set in a recipe, the side of its frames.
MODELS = {
    "cinn": ("cinn", "tiny", CINN, 32),
    "cinn-end": ("cinn", "tiny", [*CINN, *END], 32),
    "ccvs": ("ccvs", "bair-hd-tiny", CCVS, 16),
    "ccvs-ending": ("ccvs", "bair-hd-tiny", [*CCVS, "model.ending=true"], 16),
    "ccvs-free": ("ccvs", "bair-hd-tiny", [*CCVS, "model.unconditional=true"], 16),
    "ccvs-sound": ("ccvs", "audioset-drums-tiny", [*CCVS, *SOUND], 16),
}
DTDB_1 = {"fvd": "32x1", "dtfvd": "40x1", "fid": "45x1", "lpips-vgg": "45x1"}
DTDB_1 |= {"diversity-vgg": "45x5", "diversity": "32x5", "diversity-dti3d": "40x5"}
DTDB_2 = dict.fromkeys(("fvd", "dtfvd", "fid", "lpips-vgg"), "10x1")
DTDB_2 |= dict.fromkeys(("diversity-vgg", "diversity", "diversity-dti3d"), "10x5")
# Of each protocol: the model, the numbers of clips and cases of its small split, and which clips each metric counts.
ASKED = {
    "bair64-cinn-c1-p15@1": (
        *("cinn", 17, 0),
        {"fvd": "16x1", "lpips-vgg": "17x1", "fid": "17x1", "diversity-vgg": "17x5", "diversity": "16x5"},
    ),
    "bair64-endpoint-c1-p16@1": ("cinn-end", 4, 0, {"endpoint": "4x1", "fvd": "4x1"}),
    "iper64-c1-p16@1": (
        *("cinn", 3, 17),
        {"fvd": "16x1", "lpips-vgg": "17x1", "fid": "17x1", "diversity-vgg": "17x5", "diversity": "16x5"},
    ),
    **{f"dtdb-{name}-128-c1-p16@1": ("noise", 9, 0, DTDB_1) for name in ("fire", "clouds", "vegetation", "waterfall")},
    **{f"dtdb-{name}-128-c1-p16@2": ("cinn", 2, 0, DTDB_2) for name in ("fire", "clouds", "vegetation", "waterfall")},
    "landscape128-c1-p16@1": (
        *("noise", 7, 0),
        {metric: count.replace("45", "42") for metric, count in DTDB_1.items()},
    ),
    "landscape128-c1-p16@2": ("cinn", 1, 0, {metric: count.replace("10", "6") for metric, count in DTDB_2.items()}),
    "landscape128-c1-p32@1": ("cinn", 7, 0, {"dtfvd-32": "40x1"}),
    "landscape128-c2-p14@1": ("cinn", 2, 0, dict.fromkeys(("fvd", "dtfvd", "fid", "lpips-vgg"), "12x1")),
    "bair256-ccvs-c1-p15@1": ("ccvs", 2, 0, {"fvd": "10x1:2", "fvd-ccvs": "10x1:2"}),
    "bair256-ccvs-p2p-c1+1-p14@1": (
        *("ccvs-ending", 2, 0),
        {"fvd": "10x1:2", "fvd-ccvs": "10x1:2", "psnr-piq": "10x1", "ssim-ccvs": "10x1"},
    ),
    "bair256-ccvs-unc16@1": ("ccvs-free", 2, 0, {"fvd": "10x1:2", "fvd-ccvs": "10x1:2"}),
    "k600-64-ccvs-c5-p11@1": ("ccvs", 4, 6, {"fvd": "6x1", "fvd-ccvs": "6x1"}),
    "k600-64-ccvs-p2p-c1+1-p14@1": (
        *("ccvs-ending", 4, 6),
        dict.fromkeys(("fvd", "fvd-ccvs", "psnr-piq", "ssim-ccvs"), "6x1"),
    ),
    "drums128-c15-p30@1": (
        *("ccvs-sound", 17, 17),
        {"fvd": "17x1", "fvd-ccvs": "16x1", "psnr-piq": "16x1", "ssim-ccvs": "16x1"},
    ),
    "drums128-audio-c15-p30@1": (
        *("ccvs-sound", 17, 17),
        {"fvd": "17x1", "fvd-ccvs": "16x1", "psnr-piq": "16x1", "ssim-ccvs": "16x1"},
    ),
}
# Frames of a generated case that FVD sees, and of the real one they are compared with, where that is not all of both.
SPANS = {
    "bair64-cinn-c1-p15@1": (slice(0, 16), slice(0, 16)),
    "bair64-endpoint-c1-p16@1": (slice(0, 16), slice(0, 16)),
    "landscape128-c1-p32@1": (slice(1, 33), slice(0, 32)),
    "landscape128-c2-p14@1": (slice(2, 16), slice(2, 16)),
    **{id: (slice(1, 17), slice(0, 16)) for id in ASKED if id.endswith("c1-p16@1") and id[:4] in ("dtdb", "land")},
    **{id: (slice(1, 17), slice(1, 17)) for id in ASKED if id.endswith("c1-p16@2")},
}


class Networks(tiny.Toy):
    """Every network at once: mean colours, the frames themselves as maps, the mean difference as distance."""

    def maps(self, frames: np.ndarray, batch: int) -> Iterator[list[torch.Tensor]]:
        for part in torch.from_numpy(frames).split(batch):
            yield [part.movedim(-1, 1) / 255]

    def between(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        apart = np.abs(real.astype(np.float32) - fake).mean(axis=(1, 2, 3)) / 255
        return np.stack([apart, apart], axis=1)


@pytest.fixture
def everything(toy, monkeypatch) -> None:
    monkeypatch.setattr(networks, "_extractor", lambda *asked: Networks())


@functools.cache
def _model(name: str, folder: Path) -> generation.Model:
    """Make a run of fresh weights."""
    if name not in MODELS:
        return generation.model(name)
    baseline, recipe, sets, side = MODELS[name]
    leaf, settings = registry.load("baselines", baseline), recipes.load(baseline, recipe, "", sets).model
    facts, weights = DataFacts(side, side, tracks=TRACKS, length=17), {}
    torch.manual_seed(0)
    for stage in leaf.STAGES:
        weights[stage] = leaf.build(settings, facts, stage, weights).state_dict()
    runs.imported(folder / name, baseline, leaf, settings, weights, facts, folder)
    return generation.model(folder / name)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return lambda name: _model(name, folder)


def clips(item: tuple[str, int]) -> Iterator[Clip]:
    """Invent clips of noise around a colour of their own, with all that may be told of them."""
    split, count = item
    for index in range(count):
        rng = np.random.default_rng(index)
        frames = rng.integers(100, size=(90, 16, 16, 3), dtype=np.uint8) + rng.integers(150, size=3, dtype=np.uint8)
        known = {name: rng.random((90, *shape)).astype(kind) for name, (shape, kind) in TRACKS.items()}
        yield Clip(f"{split}/{index:03d}", frames, 10.0, known)


def small(p: Protocol, count: int, cases: int) -> Protocol:
    """Ask the same of a split of fewer clips."""
    assert p.select
    select = replace(p.select, clips=min(p.select.clips, count), cases=cases)
    groups = count if p.groups_of else 0
    return replace(p, select=select, groups_of=groups, generated=5 * count if p.generated else 0)


def prepared(p: Protocol, home: Path, count: int) -> Source:
    """Put the store of a protocol where it is looked for."""
    recipe = building.Recipe(p.dataset, p.variant, 1, {p.split: [(p.split, count)]}, clips, {}, {})
    building.build(home / "stores" / p.dataset / f"{p.variant}@1", recipe)
    return pairing.find_real(p)


def fvd_by_hand(p: Protocol, real: Source, out: Path, count: int) -> float:
    made, truth = SPANS.get(p.id, (slice(None), slice(None)))
    fakes, reals = [], []
    for case in pairing.cases(p, real)[:count]:
        reals.append(tiny.colours(real.frames(case.clip, case.start, case.start + case.length)[truth][None])[0])
        fakes.append(tiny.colours(video.read(out / f"{case.key}#0.mkv").frames[made][None])[0])
    return frechet(np.stack(reals), np.stack(fakes))


def is_repeated(id: str) -> bool:
    """Tell whether only the class differs from a protocol that is tried anyway."""
    return id.startswith("dtdb") and "fire" not in id


SLOW = {id for id in ASKED if is_repeated(id)} | {
    *("bair64-cinn-c1-p15@1", "iper64-c1-p16@1", "landscape128-c1-p16@2", "landscape128-c1-p32@1"),
}


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow) if id in SLOW else id for id in ASKED])
def test_a_protocol_is_answered_and_scored(id, model, everything, home, tmp_path):
    word, count, cases, wanted = ASKED[id]
    p = small(protocols.load(id), count, cases)
    real, out = prepared(p, home, count), tmp_path / "out"
    generation.generate(model(word), p, real, out)
    found = {row.metric: row for row in scoring.score(FolderSource(out), real, p)}
    assert tuple(found) == p.metrics == tuple(wanted)
    if "endpoint" in found:
        found["endpoint"] = ends(found["endpoint"], p, real, out)
    for metric, row in found.items():
        assert row.value is not None and np.isfinite(row.value), row.note
        assert row.protocol == id and row.signature.split("|")[4] == wanted[metric], row.signature
        assert not metric.startswith("diversity") or row.value > 0
    for metric in {"fvd", "dtfvd", "dtfvd-32"} & set(found):
        if not p.groups_of:
            number = int(wanted[metric].partition("x")[0])
            assert found[metric].value == pytest.approx(fvd_by_hand(p, real, out, number), rel=1e-3)
    lossy(p, real, out, tmp_path / "lossy")


def ends(row: Row, p: Protocol, real: Source, out: Path) -> Row:
    """Score the end points once more when an estimator's places lie beside the clips: all are off by (3, 4)."""
    assert row.value is None and "no track state" in row.note
    for case in pairing.cases(p, real):
        path = tracks.beside(out / f"{case.key}#0.mkv")
        with np.load(path) as held:
            told = dict(held)
        state = real.tracks_of(case.clip, ["state"], case.start, case.start + case.length)["state"]
        assert np.array_equal(told["told_state"][-1], state[-1])
        tracks.write(path, {**told, "state": state + np.float32([3, 4, 0])}, p.length)
    (again,) = scoring.score(FolderSource(out), real, p, ["endpoint"])
    assert again.value == pytest.approx(5, rel=1e-5)
    return again


def lossy(p: Protocol, real: Source, out: Path, folder: Path) -> None:
    """Clips as mp4 are scored where a protocol says so, which the signature tells, and nowhere else."""
    for path in out.rglob("*.mkv"):
        copy = (folder / path.relative_to(out)).with_suffix(".mp4")
        copy.parent.mkdir(parents=True, exist_ok=True)
        video.write(copy, video.read(path).frames)
        if not p.lossy:
            break
    if p.lossy:
        (row,) = scoring.score(FolderSource(folder), real, p, ["fvd"])
        assert row.value is not None and ",lossy-" in row.signature
    else:
        with pytest.raises(VbenchError, match=f"which {p.id} does not allow"):
            scoring.score(FolderSource(folder), real, p, ["fvd"])


def test_the_classes_of_dtdb_are_asked_alike():
    """So that those which are tried stand for all."""
    for id, p in protocols.load_all().items():
        if is_repeated(id):
            fire = protocols.load(f"dtdb-fire-128-{id.partition('-128-')[2]}")
            assert replace(p, id=fire.id, title=fire.title, variant=fire.variant) == fire


def test_every_protocol_of_the_two_is_tried():
    wanted = (
        "bair64-cinn",
        "bair64-endpoint",
        "iper64",
        "dtdb-",
        "landscape128",
        "bair256-ccvs",
        "k600-64-ccvs",
        "drums128",
    )
    assert {id for id in protocols.load_all() if id.startswith(wanted)} - {"bair256-ccvs-state-c1-p15@1"} == set(ASKED)
