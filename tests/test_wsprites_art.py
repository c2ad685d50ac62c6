import hashlib
from itertools import product

import numpy as np
import pytest

from vbench_ctl.errors import UsageError
from vbench_ctl.generators.wsprites import art, scenery

WALK_FRONT, WALK_LEFT, WALK_RIGHT = 0, 1, 2
PLAIN = (0, 0, 0, 0)
MIXED = [(1, 2, 3, 4), (3, 1, 5, 2), (4, 4, 2, 1), (5, 3, 4, 5), (2, 5, 1, 3), PLAIN]
# Pinned so that a change of the art, which makes another data set, does not pass unseen.
CHARACTERS = {
    (0, 64): "5992830681babebf",
    (0, 32): "587d804f3bb220b8",
    (1, 32): "21adaf93c388ad80",
    (2, 32): "f327064c0f6e8fbe",
    (3, 32): "62c13994f4c2b8dd",
    (4, 32): "f5ab830d01a40640",
    (5, 32): "79b4022e5aa71488",
}
SCENES = {
    "meadow": "48fbda2d489b3010",
    "forest": "fd08b08a75831726",
    "autumn": "6d900b717911d2a2",
    "desert": "c325d5fab81a9fe6",
    "beach": "972bd2da22bf8762",
    "snow": "d5a26b69a7040571",
    "dungeon": "3a97f84952aa9a9d",
    "town": "c66a2f6127e2810a",
    "volcano": "a990adce639f746f",
    "swamp": "8c5d5e60666a5a08",
}


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def test_nine_animations_in_the_order_of_their_ids():
    assert art.ANIMATIONS[:3] == ("walk front", "walk left", "walk right")
    assert art.ANIMATIONS[3:6] == ("spellcast front", "spellcast left", "spellcast right")
    assert art.ANIMATIONS[6:] == ("slash front", "slash left", "slash right")


@pytest.mark.parametrize("size", [8, 64, 100])
def test_cells_are_straight_rgba_with_binary_alpha(size):
    cells = art.character((3, 2, 5, 1), size)
    assert cells.shape == (9, 8, size, size, 4) and cells.dtype == np.uint8
    assert set(np.unique(cells[..., 3])) == {0, 255}
    assert not cells[cells[..., 3] == 0].any()


@pytest.mark.parametrize(("variant", "size"), CHARACTERS)
def test_character_is_the_same_on_every_machine(variant, size):
    assert digest(art.character((variant,) * 4, size)) == CHARACTERS[variant, size]


def test_all_identities_look_different():
    frames = {digest(art.character(identity, 32)[WALK_FRONT, 0]) for identity in product(range(art.VARIANTS), repeat=4)}
    assert len(frames) == art.VARIANTS**4


@pytest.mark.parametrize("identity", MIXED)
@pytest.mark.parametrize("size", [32, 64])
def test_every_cell_holds_a_figure_clear_of_the_border(identity, size):
    solid = art.character(identity, size)[..., 3] > 127
    covered = solid.mean(axis=(2, 3))
    assert covered.min() > 0.15 and covered.max() < 0.6
    border = np.ones((size, size), bool)
    border[1:-1, 1:-1] = False
    assert not solid[:, :, border].any()


def test_figure_fills_the_cell_like_a_classic_sprite():
    solid = art.character(PLAIN)[WALK_FRONT, 0, ..., 3] > 127
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    assert 48 <= np.ptp(rows) + 1 <= 58 and rows[-1] >= 59
    assert 28 <= np.ptp(columns) + 1 <= 34 and abs((columns[0] + columns[-1]) / 2 - 31.5) <= 2


@pytest.mark.parametrize("identity", MIXED)
def test_animations_differ(identity):
    cells = art.character(identity)
    assert len({digest(animation) for animation in cells}) == len(art.ANIMATIONS)
    for action in range(3):
        front, left, right = cells[3 * action : 3 * action + 3, 0]
        assert not np.array_equal(left, front) and not np.array_equal(left, right)
    for animation in cells:
        assert len({digest(frame) for frame in animation}) >= 7


def test_walk_frames_0_and_4_are_opposite_contacts():
    cells = art.character((0, 0, 1, 0))
    feet = cells[WALK_FRONT, :, 50:, :, 3] > 127
    left, right = feet[..., :32], feet[..., 32:]
    assert _lowest(left[0]) > _lowest(right[0]) and _lowest(left[4]) < _lowest(right[4])
    np.testing.assert_array_equal(feet[0], feet[4][:, ::-1])
    side = cells[WALK_LEFT, ..., 3] > 127
    stride = [np.ptp(np.flatnonzero(frame[54:].any(axis=0))) for frame in side]
    assert min(stride[0], stride[4]) > max(stride[2], stride[6])
    assert not np.array_equal(cells[WALK_LEFT, 0], cells[WALK_LEFT, 4])


def _lowest(solid: np.ndarray) -> int:
    return np.flatnonzero(solid.any(axis=1))[-1]


def test_slash_and_spell_reach_beyond_the_walker():
    solid = art.character(PLAIN)[..., 3] > 127
    for view in range(3):
        walk, spell, slash = (solid[3 * action + view].any(axis=(0, 1)).sum() for action in range(3))
        assert spell > walk + 4 and slash > walk + 4


@pytest.mark.parametrize("identity", [(0, 0, 0), (0, 0, 0, 6), (-1, 0, 0, 0)])
def test_an_unknown_character_is_a_usage_error(identity):
    with pytest.raises(UsageError, match="numbers from 0 to 5"):
        art.character(identity)


def test_an_impossible_size_is_a_usage_error():
    with pytest.raises(UsageError, match="from 8 to 512"):
        art.character(PLAIN, 4)


def test_a_character_does_not_depend_on_what_was_drawn_before():
    before = art.character(MIXED[0], 24)
    art._layer.cache_clear()
    art.character(MIXED[1], 24)
    np.testing.assert_array_equal(art.character(MIXED[0], 24), before)


@pytest.mark.parametrize("name", scenery.BIOMES)
def test_scene_is_the_same_on_every_machine(name):
    assert digest(scenery.landscape(name, np.random.default_rng(0), 96, 72)) == SCENES[name]


@pytest.mark.parametrize("name", scenery.BIOMES)
def test_scene_has_features_everywhere(name):
    """So that its drift can be seen in any part of a frame."""
    grey = scenery.landscape(name, np.random.default_rng(1), 140, 105).mean(axis=-1)
    blocks = grey.reshape(3, 35, 4, 35).swapaxes(1, 2).reshape(12, -1)
    assert (blocks.std(axis=1) > 2.0).all()


def test_scene_draws_its_country_from_the_stream():
    first = [scenery.scene(np.random.default_rng([7, i]), 40, 30) for i in range(8)]
    again = [scenery.scene(np.random.default_rng([7, i]), 40, 30) for i in range(8)]
    assert all(scene.shape == (30, 40, 3) and scene.dtype == np.uint8 for scene in first)
    assert len({digest(scene) for scene in first}) == 8
    np.testing.assert_array_equal(first, again)


def test_scene_is_as_big_as_asked_for_and_shows_as_much():
    small, large = (scenery.landscape("town", np.random.default_rng(3), 140 * k, 105 * k) for k in (1, 2))
    halved = large.reshape(105, 2, 140, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 12
