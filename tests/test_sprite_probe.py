"""The oracle of W-Sprites: what it reads from fresh worlds, how it takes bad frames, and the scores that rest on it."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from vbench_ctl import building, networks, recipes, registry, runs, scoring, store, tracks, training, weights
from vbench_ctl.baselines import sprite_probe as leaf
from vbench_ctl.baselines.sprite_probe import teacher
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import sprite_probe
from vbench_ctl.generators.wsprites import walk
from vbench_ctl.metrics import action, identity
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, JoinedSource, StoreSource
from vbench_ctl.statistics import sprites
from vbench_ctl.training import DataFacts

FRAMES = 12
FACTS = DataFacts(96, 128, tracks=dict.fromkeys(teacher.TRACKS, ((), "int8")), length=16)


@pytest.fixture(scope="module")
def probe() -> sprite_probe.Extractor:
    """The one that comes with the package."""
    return sprite_probe.load(weights.path(sprite_probe.WEIGHTS))


def fresh(count: int, size: str = "128x96", split: str = "test") -> list[Clip]:
    """Clips of a world that the probe was not trained on."""
    world = registry.load("datasets", "wsprites")
    options = world.Options(size=size, frames=FRAMES, seed=901)
    first, total = world.CAST[split].start * 10, len(world.CAST[split]) * 10
    return [world.clip(split, first + at * total // count, options) for at in range(count)]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [*fresh(8), *fresh(4, split="train")]


def shares(probe: sprite_probe.Extractor, clips: list[Clip], change=lambda frames: frames) -> dict[str, float]:
    """Return how often each thing is read right, and the mean error in pixels."""
    found = np.concatenate([probe.features(change(clip.frames)) for clip in clips])
    true = {name: np.concatenate([clip.tracks[name] for clip in clips]) for name in teacher.TRACKS}
    centres = true["position"] + clips[0].frames.shape[1] / 3  # half a cell, which is two thirds of the height
    seen = found[:, 0] >= 0
    return {
        "seen": seen.mean(),
        "action": (found[:, 2] == true["local_action"]).mean(),
        "facing": (found[:, 2] % 3 == true["local_action"] % 3).mean(),
        "identity": (found[:, 4:] == true["identity"]).all(axis=1).mean(),
        "pixels": np.linalg.norm(found[seen, :2] - centres[seen], axis=1).mean(),
    }


# What the network in the package reads


def test_fresh_clips_are_read(probe):
    found = shares(probe, fresh(40))
    assert found["seen"] == 1 and found["pixels"] < 0.75
    assert min(found["action"], found["facing"], found["identity"]) >= 0.99


def test_phases_are_read(probe, clips):
    true = np.stack([teacher.phases(torch.from_numpy(clip.tracks["local_action"]).long()[None])[0] for clip in clips])
    found = np.stack([probe.features(clip.frames)[:, 3] for clip in clips])
    assert (found == true).mean() > 0.95


def test_small_frames_are_read(probe):
    found = shares(probe, fresh(16, "64x48"))
    assert found["seen"] == 1 and found["pixels"] < 0.5  # of these frames, a whole native one
    assert found["action"] >= 0.99 and found["identity"] >= 0.98


def test_worn_frames_are_read_less_well_but_read(probe, clips):
    def worn(level: float):
        def change(frames):
            noise = np.random.default_rng(0).normal(0, level, frames.shape)
            return (0.9 * frames + 10 + noise).clip(0, 255).astype(np.uint8)

        return shares(probe, clips[:6], change)

    slight, strong, drowned = (worn(level)["action"] for level in (5, 40, 400))
    assert slight > 0.97 and slight >= strong > 0.5 > drowned


@pytest.mark.parametrize("level", [0, 90, 255])
def test_no_sprite_is_seen_where_there_is_none(probe, level):
    plain = np.full((1, 96, 128, 3), level, np.uint8)
    assert (probe.features(plain) == -1).all()
    noise = np.random.default_rng(level).integers(0, 256, (4, 96, 128, 3), dtype=np.uint8)
    assert (probe.features(noise) == -1).all()


def test_each_frame_is_read_alone(probe, clips):
    frames = np.concatenate([clip.frames for clip in clips[:3]])
    whole = probe.features(frames)
    order = np.random.default_rng(0).permutation(len(frames))
    for batch, found in (
        (1, probe.features(frames, batch=1)),
        (7, probe.features(frames[order], batch=7)[order.argsort()]),
    ):
        assert (found[:, 2:] == whole[:, 2:]).all(), batch
        np.testing.assert_allclose(found[:, :2], whole[:, :2], atol=1e-3)


def test_its_file_is_small_and_pinned():
    file = weights.path(sprite_probe.WEIGHTS)
    assert file.parent == Path(sprite_probe.__file__).parent and file.stat().st_size < 2_000_000
    (status,) = (each for each in weights.status() if each.name == sprite_probe.WEIGHTS)
    assert status.state == "packaged" and not networks.missing(
        networks.Features("sprite_probe", "sprite-probe", "frame")
    )


def test_another_file_is_refused():
    with pytest.raises(VbenchError, match="which is no published file of this network"):
        sprite_probe.load({"a": np.zeros(3)})
    state = {name: value.numpy() for name, value in sprite_probe.SpriteProbe().state_dict().items()}
    with pytest.raises(VbenchError, match="the weights lack reader"):
        sprite_probe.load({name: value for name, value in state.items() if name != "reader.poses.bias"})
    state["finder.nowhere.bias"] = np.full(1, -1e9, np.float32)
    with pytest.raises(VbenchError, match="a sprite was found in a grey picture"):
        sprite_probe.self_test(sprite_probe.load(state))


# Scores


@pytest.fixture
def real(tmp_path, clips) -> StoreSource:
    building.build(tmp_path / "store", tiny.recipe(make=iter, test=[clips[:8]]))
    return StoreSource(store.Store(tmp_path / "store"))


TOKENS = [
    "action",
    "action-macro",
    "action-facing",
    "action-animation",
    "identity",
    "add-sprite",
    "mdr-sprite",
    "endpoint-sprite",
]


def scored(folder: Path, real: StoreSource, frames: dict[str, np.ndarray], told=None, metrics=TOKENS):
    """Score frames by clip id after one given frame."""
    tiny.write_outputs(folder, {f"{clip_id}@0#0": each for clip_id, each in frames.items()})
    for clip_id, track in (told or {}).items():
        tracks.write(folder / f"{clip_id}@0#0.npz", {"told_local_action": track}, FRAMES)
    asked = tiny.protocol(
        select=Select("first"), context=1, predict=FRAMES - 1, metrics=tuple(metrics), scored="predicted"
    )
    return {row.metric: row for row in scoring.score(FolderSource(folder), real, asked, metrics)}


def test_real_clips_beat_shuffled_ones_and_those_beat_noise(tmp_path, real):
    true = {clip_id: real.frames(clip_id) for clip_id in real.ids}
    order = np.r_[0, 1 + np.random.default_rng(0).permutation(FRAMES - 1)]
    shuffled = {clip_id: frames[order] for clip_id, frames in true.items()}
    noise = {clip_id: tiny.noise(1, at, FRAMES, (96, 128))[0] for at, clip_id in enumerate(true)}
    found = [scored(tmp_path / str(at), real, each) for at, each in enumerate((true, shuffled, noise))]
    for token in ("action", "action-macro", "action-facing", "action-animation"):
        best, middle, worst = (rows[token].value for rows in found)
        assert best >= 0.98 and best > middle + 0.1 and middle > worst + 0.1, token
    assert [rows["identity"].value >= 0.98 for rows in found] == [True, True, False]
    for token in ("add-sprite", "endpoint-sprite"):
        assert found[0][token].value == 0 < found[1][token].value
    assert found[0]["mdr-sprite"].value == found[1]["mdr-sprite"].value == 0 and found[2]["mdr-sprite"].value > 90
    assert "no sprite in 0 %; real clips reach" in found[0]["action"].note
    assert "always the commonest" in found[2]["action"].note
    assert len(found[0]["identity"].per_frame) == FRAMES - 1
    reached = f"real clips reach {found[0]['identity'].value:.4f}"  # the same whatever was generated
    assert all(rows["identity"].note.startswith(reached) for rows in found)
    assert found[0]["action"].signature.startswith("action|default|sprite-probe:")
    counts = np.array(found[1]["action"].details["confusion"]["counts"])
    assert np.trace(counts) / counts.sum() == pytest.approx(found[1]["action"].value)
    assert found[1]["action"].details["confusion"]["labels"][0] == "walk front"


def test_what_was_told_counts_more_than_what_happened(tmp_path, real):
    """Each clip shows another one, whose actions were told."""
    ids = real.ids
    frames = {clip_id: real.frames(other) for clip_id, other in zip(ids, ids[1:] + ids[:1], strict=True)}
    told = {
        clip_id: real.track("local_action", other)[1:] for clip_id, other in zip(ids, ids[1:] + ids[:1], strict=True)
    }
    with_told = scored(tmp_path / "told", real, frames, told, ["action"])["action"]
    without = scored(tmp_path / "bare", real, frames, None, ["action"])["action"]
    assert with_told.value >= 0.98 and without.value < 0.7
    assert (
        with_told.note.partition("real clips reach")[2].partition(";")[0]
        == (without.note.partition("real clips reach")[2].partition(";")[0])
    )


def reading(actions, who=(0, 0, 0, 0), seen: bool = True) -> np.ndarray:
    rows = np.zeros((len(actions), len(sprites.COLUMNS)), np.float32)
    rows[:, 2], rows[:, 4:] = actions, who
    return rows if seen else np.full_like(rows, -1)


def test_action_by_hand():
    real = {"local_action": np.int8([0, 1, 2, 8]), "detected": reading([0, 1, 2, 8])}
    fake = {"detected": np.concatenate([reading([0, 4, 1]), reading([0], seen=False)])}
    parts = [action.collect(real, fake)]
    assert action.pooled(parts) == 1 / 4
    assert action.pooled(parts, form="facing") == 2 / 4 and action.pooled(parts, form="animation") == 2 / 4
    assert action.pooled(parts, form="macro") == pytest.approx(1 / 5)  # of 0, 1, 2, 8 and 4, one is right
    assert action.note(parts) == (
        "4 frames, macro-F1 0.200, no sprite in 25 %; real clips reach 1.0000; always the commonest 0.250"
    )
    counts = np.array(action.details(parts)["confusion"]["counts"])
    assert counts[0, 0] == counts[1, 4] == counts[2, 1] == counts[8, 9] == 1 and counts.sum() == 4
    assert np.trace(action.details(parts)["confusion_real"]["counts"]) == 4
    fake["told_local_action"] = np.array([np.nan, 4, 1])  # of the last three frames; of the first of them nothing
    told = [action.collect(real, fake)]
    assert action.pooled(told) == 0 and len(action._side(told, 1)) == 2
    assert np.isnan(action.pooled([parts[0][:4]])) and action.note([parts[0][:4]]) == "no frame was scored"
    with pytest.raises(VbenchError, match="local_action is from 0 to 9, expected W-Sprites' 0 to 8"):
        action.collect({"local_action": np.array([0, 9]), "detected": reading([0, 0])}, {"detected": reading([0, 0])})


def test_identity_by_hand():
    real = {"identity": np.uint8([[0, 1, 2, 3]] * 3)}
    fake = {
        "detected": np.concatenate([reading([0], (0, 1, 2, 3)), reading([0], (0, 1, 2, 4)), reading([0], seen=False)])
    }
    assert identity.values(real, fake).tolist() == [1, 0, 0]
    assert identity.values(real, fake, form="share").tolist() == [1, 0.75, 0]


# How it is trained


def test_phases_are_the_generators():
    for seed in range(5):
        (show,), _ = walk.perform(np.random.default_rng(seed).random, (64, 32), 90)
        found = teacher.phases(torch.tensor([show.actions]))
        assert found[0].tolist() == show.phases


def test_the_target_has_the_centre_as_its_mean():
    centres = torch.tensor([[32.0, 33.0], [61.0, 40.0], [95.0, 63.0], [50.0, 50.0]])
    shares = teacher.target(centres, torch.tensor([False, False, False, True]), 1 + 24 * 32, 32)
    assert shares[3].argmax() == 0 and torch.allclose(shares.sum(1), torch.ones(4))
    logits = shares[:3, 1:].log().clamp(min=-100)
    assert torch.allclose(sprite_probe.located(logits, 32), centres[:3], atol=1e-4)


def test_cells_are_cut_beyond_the_edge_too():
    frames = torch.arange(96 * 128).reshape(1, 1, 96, 128).float()
    assert (sprite_probe.cut(frames, torch.tensor([[40.2, 35.6]])) == frames[:, :, 4:68, 8:72]).all()
    beyond = sprite_probe.cut(frames, torch.tensor([[30.0, 33.0]]))
    assert (beyond[..., 2] == beyond[..., 0]).all() and (beyond[..., 3] != beyond[..., 2]).all()


def test_a_short_training_reaches_the_scores(tmp_path, clips):
    long = []
    for clip in clips[:6]:  # as long as the recipe has them
        tracks_of = {name: np.concatenate([track, track[:4]]) for name, track in clip.tracks.items()}
        long.append(Clip(clip.id, np.concatenate([clip.frames, clip.frames[:4]]), clip.fps, tracks_of))
    work = {"train": [long[:3]], "val": [long[3:]]}
    building.build(tmp_path / "store", building.Recipe("sprites", "small", 1, work, iter, {}, {}, None))
    sets = ["training.steps=2", "training.batch=2", "training.log_every=1", "training.track=[]", "data.split=train+val"]
    recipe = recipes.load("sprite-probe", "wsprites", str(tmp_path / "store"), [*sets, "data.repeats={}"])
    run = training.train("sprite-probe", recipe, tmp_path / "run", device="cpu")
    losses = [entry["losses"] for entry in runs.read_log(run)]
    assert len(losses) == 2 and all(0 < each["adam"] < 30 for each in losses)
    (file,) = runs.checkpoints(run, "").values()
    sizes = [weights.pack(file, tmp_path / name) for name in ("a.npz", "b.npz")]
    assert sizes[0] < 2_000_000 and (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    packed, straight = (sprite_probe.load(path) for path in (tmp_path / "a.npz", file))
    frames = clips[0].frames[:2]
    assert (packed.features(frames) == straight.features(frames)).all()
    with pytest.raises(UsageError, match="give it a name that ends so"):
        weights.pack(file, tmp_path / "a.pt")
    with pytest.raises(VbenchError, match="no checkpoint of a run"):
        weights.pack(tmp_path / "a.npz", tmp_path / "c.npz")


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(UsageError, match="frames are 64x48, expected 128x96"):
        leaf.build(leaf.Settings(), DataFacts(48, 64, tracks=FACTS.tracks, length=16), "", {})
    with pytest.raises(UsageError, match="the clips have no position"):
        leaf.build(leaf.Settings(), DataFacts(96, 128, tracks={"local_action": ((), "int8")}), "", {})
    with pytest.raises(UsageError, match="frames and rate_steps are at least 1"):
        leaf.Settings(frames=0)
    with pytest.raises(UsageError, match="shares of the frames"):
        leaf.Settings(empty=1.0)
    with pytest.raises(UsageError, match="sprite-probe makes no clips"):
        leaf.generate(None, [])


def test_sources_are_joined(tmp_path):
    stores = [tiny.built(tmp_path / str(n), test=tiny.work("test", lengths)) for n, lengths in ((0, (3, 5)), (1, (4,)))]
    parts = [StoreSource(each) for each in stores]
    both = JoinedSource(parts)
    assert both.ids == ["0/test/clip_0", "0/test/clip_1", "1/test/clip_0"] and both.tracks == parts[0].tracks
    assert [both.length(clip_id) for clip_id in both.ids] == [3, 5, 4] and both.lossy() is None
    assert (both.frames("1/test/clip_0", 1, 4, 2) == parts[1].frames("test/clip_0", 1, 4, 2)).all()
    assert (both.track("actions", "0/test/clip_1") == parts[0].track("actions", "test/clip_1")).all()
    assert both.tracks_of("1/test/clip_0", ["state", "none"]).keys() == {"state"}
