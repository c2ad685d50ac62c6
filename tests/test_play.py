"""Driving models by hand: what leaves offer, a tab's drive, recordings that score takes, who is let in, and the page."""

import errno
import json
import re
import shlex
import shutil
import socket
import struct
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving
import tiny
import torch
from click.testing import CliRunner
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vbench_ctl import building, registry, runs, scoring, tracks
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.play import drive, recording, server
from vbench_ctl.play.player import Button, Player, Start, arrows, choices
from vbench_ctl.sources import open_source
from vbench_ctl.training import DataFacts

ROOT = Path(__file__).resolve().parent.parent
STORE = ("prepare", "wsprites", "--size", "32", "--frames", "12", "--limit", "2", "--split", "test", "--workers", "1")
RIGHT = [["ArrowRight"], None, 1.0]
FACTS = DataFacts(32, 32, None, {}, 0, 16)
TOKEN, HOST = "secret", "127.0.0.1:8765"
ORIGIN = {"origin": f"http://{HOST}"}


@pytest.fixture(scope="module")
def sprites(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("home")
    done = CliRunner().invoke(main, [*STORE, "--root", str(root)])
    assert done.exit_code == 0, done.output
    (folder,) = (root / "stores/wsprites").iterdir()
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A GLASS that has learnt nothing."""
    leaf = registry.load("baselines", "glass")
    settings = leaf.Settings(masking_widths=(4, 4), codes=3)
    torch.manual_seed(0)
    system = leaf.build(settings, FACTS, "", {})
    folder = tmp_path_factory.mktemp("runs") / "a-glass"
    runs.imported(folder, "glass", leaf, settings, {"": system.state_dict()}, FACTS, Path("none"))
    return folder


@pytest.fixture(scope="module")
def loaded(run, sprites) -> drive.Table:
    return drive.table([run], Path("nowhere"), sprites)


@pytest.fixture
def table(loaded, tmp_path) -> drive.Table:
    return replace(loaded, out=tmp_path / "recordings")


@pytest.fixture
def tab(table) -> drive.Drive:
    made = drive.Drive(table)
    made.answer({"do": "start", "clip": 0, "frame": 3, "seed": 0})
    return made


def step(tab: drive.Drive, asked=RIGHT) -> server.Frames:
    (frames,) = tab.answer({"do": "step", "asked": asked})
    return frames


# What leaves offer


def test_the_world_of_wsprites_does_what_its_clips_do_bit_by_bit(sprites):
    source, leaf = open_source(sprites), registry.load("datasets", "wsprites")
    options = leaf.Options(**source.manifest["options"])
    for clip in source.ids:
        told = source.tracks_of(clip, ("global_action", "local_action", "motion_bg"))
        for first in (0, 5):
            player = leaf.world(options, clip, first)
            state, real = player.state, source.frames(clip)
            for t in range(first + 1, len(real)):
                frames, state = player.step(state, {name: track[t] for name, track in told.items()})
                assert np.array_equal(frames[0], real[t]), (clip, t)


def test_the_keys_of_the_world_of_wsprites_say_what_its_tracks_say(sprites):
    source, leaf = open_source(sprites), registry.load("datasets", "wsprites")
    player = leaf.world(leaf.Options(**source.manifest["options"]), source.ids[0], 0)
    right = player.control({"ArrowRight"})
    moves = source.tracks_of(source.ids[0], ("global_action", "local_action", "motion_fg"))
    walking = [t for t in range(12) if moves["global_action"][t] == right["global_action"]]
    assert all(moves["local_action"][t] == right["local_action"] for t in walking)
    assert right["motion_fg"][0] == pytest.approx(7 * 32 / 128) and right["motion_fg"][1] == 0
    assert player.control({"d"})["motion_bg"][0] < 0  # the camera goes right, what it sees to the left
    assert player.control(set()) == player.rest


def glass_that_knows_actions():
    leaf = registry.load("baselines", "glass")
    facts = replace(FACTS, tracks={"local_action": ((), "int8")})
    return leaf, leaf.build(leaf.Settings(masking_widths=(4, 4), codes=3, labels=9), facts, "", {}), 32, {}


def g3an_that_is_told():
    leaf = registry.load("baselines", "g3an")
    known = {"action": ((), "int64"), "wind": ((2,), "float32")}
    system = leaf.build(
        leaf.Settings(width=4, controls={"action": 3, "wind": 0}), DataFacts(64, 64, None, known, 0, 16), "", {}
    )
    return leaf, system, 64, {"action": np.int64(1), "wind": np.zeros(2, np.float32)}


def cinn_with_an_endpoint():
    from vbench_ctl.baselines.cinn.flow_stage import FlowStage

    leaf = registry.load("baselines", "cinn")
    recipe = tomllib.loads((ROOT / "baselines/recipes/cinn/tiny.toml").read_text())["model"]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()}
    told = {"control": "position", "control_offset": (0.0, 10.0), "control_range": (64.0, 32.0)}
    return (
        leaf,
        FlowStage(leaf.Settings(**{**values, **told, "flow_blocks": 2, "flow_width": 16})),
        32,
        {"position": np.float32([3, 4])},
    )


def ccvs_with(**told):
    from vbench_ctl.baselines.ccvs.autoencoder import Autoencoder
    from vbench_ctl.baselines.ccvs.control import State
    from vbench_ctl.baselines.ccvs.networks import Quantiser, StateEstimator
    from vbench_ctl.baselines.ccvs.synthesis import System

    leaf = registry.load("baselines", "ccvs")
    sizes = {"widths": (8, 16, 24), "code_width": 10, "codes": 24, "layers": 1, "heads": 2, "width": 16, "frames": 3}
    settings = leaf.Settings(**sizes, **told, control_codes=9)
    control = State(StateEstimator(10, 6, 2, (4, 4)), Quantiser(9, 1)) if told["control"] == "state" else None
    system = System(settings, Autoencoder(settings, 16, 16), control, len(settings.control_tracks) or 2)
    for weight in system.transformer.parameters():
        torch.nn.init.normal_(weight)  # else all tokens are equally likely whatever it is told
    return leaf, system, 16, {"action": np.int8(1), "kind": np.int8(0)}


PLAYERS = {
    "glass": glass_that_knows_actions,
    "g3an": g3an_that_is_told,
    "cinn": cinn_with_an_endpoint,
    "ccvs-actions": lambda: ccvs_with(control="actions", control_tracks=("action",), label_track="kind", labels=2),
    "ccvs-state": lambda: ccvs_with(control="state"),
}


def started(name: str) -> Player:
    """Return the player of a small system that has learnt nothing."""
    torch.manual_seed(0)
    leaf, system, side, known = PLAYERS[name]()
    frame = np.random.default_rng(0).integers(256, size=(side, side, 3), dtype=np.uint8)
    return leaf.drive(system.eval(), Start(frame, (2 * side, 2 * side), known, 5))


def test_there_is_a_small_system_of_every_baseline_that_can_be_driven():
    driven = {name for name in registry.names("baselines") if hasattr(registry.load("baselines", name), "drive")}
    untried = {name for name in driven if not any(f"{player}-".startswith(f"{name}-") for player in PLAYERS)}
    assert not untried, f"write how PLAYERS makes a small system of {untried}"


@pytest.mark.parametrize("name", PLAYERS)
def test_a_player_answers_alike_from_the_same_state_and_takes_what_its_buttons_set(name):
    player = started(name)
    assert len({button.key for button in player.buttons}) == len(player.buttons)
    ways = [player.control({button.key}) for button in player.buttons]
    ways += [player.control(set(), (0.25, 0.75))] if player.point else []
    for control in ways:
        assert control.keys() == player.rest.keys()
        assert all(type(control[key]) is type(player.rest[key]) for key in control)
    first, after = player.step(player.state, player.rest)
    assert first.shape[0] == player.frames and first.shape[3] == 3 and first.dtype == np.uint8
    for _ in range(3):  # beyond what a transformer of 3 frames looks back at
        _, after = player.step(after, ways[-1])
    again, _ = player.step(player.state, player.rest)
    assert np.array_equal(first, again)  # what came between changed no state
    some = ways if player.frames == 1 else [*ways[1:3], *ways[-2:]]
    others = [player.step(player.state, control)[0] for control in some]
    assert any(not np.array_equal(first, other) for other in others)


def test_a_click_is_an_endpoint_in_the_units_of_the_data():
    assert started("cinn").control(set(), (0.5, 0.25)) == {"position": (32.0, 18.0)}
    assert started("ccvs-state").control(set(), (0.5, 0.25)) == {"state": (0.5, 0.25)}


def test_the_true_action_goes_by_the_code_that_went_with_it():
    torch.manual_seed(0)
    leaf, system, side, _ = glass_that_knows_actions()
    system.counts[4] = torch.tensor([0.0, 0.0, 7.0])
    system.counts[5] = torch.tensor([0.0, 7.0, 0.0])
    player = leaf.drive(system.eval(), Start(np.full((side, side, 3), 90, np.uint8), (side, side), {}, 0))
    by_truth, _ = player.step(player.state, {**player.rest, "local_action": 4})
    by_code, _ = player.step(player.state, {**player.rest, "code": 2})
    assert np.array_equal(by_truth, by_code)


def test_a_start_frame_without_what_a_model_is_told_is_refused():
    leaf, system, side, _ = g3an_that_is_told()
    with pytest.raises(UsageError, match="is told action"):
        leaf.drive(system.eval(), Start(np.zeros((side, side, 3), np.uint8), (side, side), {}, 0))


def test_vectors_add_up_and_classes_are_chosen():
    player = Player(
        None, lambda state, control: (np.zeros((1, 2, 2, 3), np.uint8), state), {"go": (0.0, 0.0), "act": 0}
    )
    player = Player(None, player.step, player.rest, (*arrows("go", 2, 3), *choices({"act": 3})))
    assert player.control({"ArrowRight", "ArrowUp", "2"}, stride=0.5) == {"go": (1.0, -1.5), "act": 2}
    assert player.control({"unknown"}) == player.rest
    many = choices({"a": 30, "b": 2})
    assert len({button.key for button in many}) == 32
    assert many[-1] == Button(many[-1].key, "1", {"b": 1}, "b", stays=True)


# One tab


def test_a_drive_is_undone_told_again_and_side_by_side(tab, table):
    first = [step(tab).clips for _ in range(3)]
    (undone,) = tab.answer({"do": "undo"})
    assert undone.about["steps"] == 2
    assert all(np.array_equal(a, b) for a, b in zip(undone.clips, first[1], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(step(tab).clips, first[2], strict=True))
    other = drive.Drive(table)  # as a tab that finds back to a server that was started again
    _, frames = other.answer({"do": "start", "clip": 0, "frame": 3, "seed": 0, "script": [RIGHT] * 3})
    assert frames.about["steps"] == 3
    assert all(np.array_equal(a, b) for a, b in zip(frames.clips, first[2], strict=True))
    with pytest.raises(UsageError, match="nothing to undo"):
        for _ in range(4):
            other.answer({"do": "undo"})


def test_the_model_is_told_what_the_world_is_told(tab):
    step(tab)
    model, world = tab.sides
    assert model.told[0]["told_motion_fg"] == pytest.approx(world.told[0]["told_motion_fg"])
    assert world.told[0]["told_global_action"] == 1


def test_two_runs_have_two_sides_with_names_of_their_own(run, sprites, tmp_path):
    table = drive.table([run, run], tmp_path, sprites)
    tab = drive.Drive(table)
    about, _ = tab.answer({"do": "start", "clip": 1, "frame": 0, "seed": 0})
    assert [side["name"] for side in about["sides"]] == ["a-glass-1", "a-glass-2", "world"]
    step(tab)
    assert np.array_equal(tab.sides[0].clips[-1], tab.sides[1].clips[-1])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/glass", "a/glass", "c/glass-1"], ["glass-2", "glass-3", "glass-1"]),
        (["glass-1", "a/glass", "b/glass"], ["glass-1", "glass-2", "glass-3"]),
        (["truth", "world", "recorded clip"], ["truth-1", "world-1", "recorded clip-1"]),
        (["truth-1", "truth", "b/truth"], ["truth-1", "truth-2", "truth-3"]),
    ],
)
def test_no_two_sides_share_a_name_whatever_folders_are_called(paths, names):
    assert drive._names([Path(path) for path in paths]) == names


def test_a_run_called_truth_is_scored_against_the_truth(run, sprites, tmp_path):
    shutil.copytree(run, tmp_path / "truth")
    tab = drive.Drive(drive.table([tmp_path / "truth"], tmp_path / "my rec", sprites))
    tab.answer({"do": "start", "clip": 0, "frame": 0, "seed": 0})
    step(tab)
    (made,) = tab.answer({"do": "record"})
    (command,) = made["commands"]
    outputs, real = shlex.split(command)[2::2]  # as a shell reads it, in a folder whose name has a space
    (row,) = scoring.score(open_source(outputs), open_source(real), metrics=["psnr"])
    assert row.value < 100 and Path(outputs).name == "truth-1" and Path(real).name == "truth"


def test_a_recording_is_scored_against_the_world(tab, tmp_path):
    for asked in [RIGHT] * 3 + [[["ArrowDown", "1"], None, 2.0]]:
        step(tab, asked)
    for number in range(2):
        (made,) = tab.answer({"do": "record"})
        folder = Path(made["folder"])
        assert len(list(folder.glob("a-glass/**/*.mkv"))) == number + 1
        assert Path(made["film"]).stat().st_size > 0
    fake, real = open_source(folder / "a-glass"), open_source(folder / "truth")
    (row,) = scoring.score(fake, real, metrics=["psnr"])
    assert row.n == 2 and row.model == "a-glass" and np.isfinite(row.value)
    told = tracks.read(tracks.beside(fake.paths[fake.ids[0]]), ["told_code", "told_motion_fg"])
    assert told["told_code"].tolist() == [0, 0, 0, 1]
    held = json.loads((folder / "a-glass/manifest.json").read_text())
    assert held["model"] == "a-glass" and [clip["sample"] for clip in held["clips"]] == [0, 1]


def test_what_a_killed_recording_left_is_replaced(tab, tmp_path):
    step(tab)
    (made,) = tab.answer({"do": "record"})
    manifest = Path(made["folder"]) / "a-glass/manifest.json"
    (made_then,) = tab.answer({"do": "record"})
    (clip,) = (Path(made["folder"]) / "a-glass").rglob("*#1.mkv")
    written = clip.read_bytes()
    for side in ("a-glass", "truth"):  # as if the second had been killed before it was noted
        path = manifest.parent.with_name(side) / "manifest.json"
        held = json.loads(path.read_text())
        path.write_text(json.dumps({**held, "clips": held["clips"][:1]}))
    clip.write_bytes(b"")
    film = Path(made["film"]).with_name(".half.0123abcd.part.mp4")
    film.write_bytes(b"half")
    assert tab.answer({"do": "record"}) == [made_then] and clip.read_bytes() == written and not film.exists()
    assert [entry["sample"] for entry in json.loads(manifest.read_text())["clips"]] == [0, 1]


def test_a_recording_that_one_side_cannot_note_is_noted_by_none(tab, tmp_path, monkeypatch):
    step(tab)
    tab.answer({"do": "record"})
    held = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    manifests = {path: path.read_text() for path in held if path.name == "manifest.json"}
    assert len(manifests) == 2

    def note(path: Path, take: recording.Take, clips: Any, note: Any = recording._note) -> None:
        if take.name == drive.TRUTH:
            raise OSError(errno.ENOSPC, "No space left on device")
        note(path, take, clips)

    monkeypatch.setattr(recording, "_note", note)
    with pytest.raises(VbenchError, match="the disk is full"):
        tab.answer({"do": "record"})
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == held
    assert {path: path.read_text() for path in manifests} == manifests


def test_without_a_world_the_recorded_clip_stands_beside_as_long_as_it_goes_on(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(drive.Table, "world", lambda *asked: None)
    tab = drive.Drive(replace(loaded, out=tmp_path))
    tab.answer({"do": "start", "clip": 0, "frame": 9, "seed": 0})
    real = tab.shared.source.frames(tab.shared.clips[0])
    for t in (10, 11):
        assert np.array_equal(step(tab).clips[1][0], real[t])
    (made,) = tab.answer({"do": "record"})
    assert Path(made["folder"]).name == "clip" and made["commands"]
    step(tab)
    (made,) = tab.answer({"do": "record"})  # longer than the clip
    assert Path(made["folder"]).name == "free" and not (tmp_path / "free/truth").exists() and not made["commands"]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"do": "dance"}, "nothing that this page does"),
        ({"do": "start", "clip": 99, "frame": 0, "seed": 0}, "clip is 99"),
        ({"do": "start", "clip": "../x", "frame": 0, "seed": 0}, "clip is ../x"),
        ({"do": "start", "clip": True, "frame": 0, "seed": 0}, "clip is True"),
        ({"do": "start", "clip": 0, "frame": -1, "seed": 0}, "frame is -1"),
        ({"do": "start", "clip": 0, "frame": 0, "seed": 0, "script": [1]}, "a step is not"),
        ({"do": "start", "clip": 0, "frame": 0, "seed": 0, "script": [RIGHT] * 601}, "script is not a list"),
        ({"do": "step", "asked": [["x"] * 65, None, 1.0]}, "pressed is not a list"),
        ({"do": "step", "asked": [[], [2, 0], 1.0]}, "point is 2"),
        ({"do": "step", "asked": [[], [0], 1.0]}, "point is None"),
        ({"do": "step", "asked": [[], None, float("nan")]}, "stride is nan"),
        ({"do": "step"}, "a step is not"),
        ({"do": "record"}, "nothing to record"),
    ],
    ids=str,
)
def test_what_a_browser_says_is_checked(tab, said, says):
    with pytest.raises(UsageError, match=says):
        tab.answer(said)


# Who is let in


@pytest.fixture
def client(table) -> TestClient:
    return TestClient(server.app(table.page, TOKEN), base_url=f"http://{HOST}", headers={"host": HOST})


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        (f"/{TOKEN}/", {}, 200),
        (f"/{TOKEN}/play.js", ORIGIN, 200),
        (f"/{TOKEN}/", {"host": "localhost:8765"}, 200),
        ("/wrong/", {}, 403),
        ("/", {}, 403),
        (f"/{TOKEN}x/", {}, 403),
        (f"/{TOKEN}/", {"origin": "http://evil.example"}, 403),
        (f"/{TOKEN}/", {"origin": "null"}, 403),
        (f"/{TOKEN}/", {"origin": "http://127.0.0.1:9999"}, 403),
        (f"/{TOKEN}/", {"host": "evil.example:8765"}, 403),
        (f"/{TOKEN}/", {"host": "127.0.0.1:80"}, 403),
        (f"/{TOKEN}/blind.js", {}, 404),
        (f"/{TOKEN}/../../setup.cfg", {}, 403),
        (f"/{TOKEN}/..%2f..%2fserver.py", {}, 404),
        (f"/{TOKEN}//etc/passwd", {}, 404),
    ],
)
def test_only_this_page_with_its_token_under_its_name_is_answered(client, path, headers, code):
    found = client.get(path, headers=headers)
    assert found.status_code == code
    if code == 200:
        assert "default-src 'none'" in found.headers["content-security-policy"]
        assert found.headers["referrer-policy"] == "no-referrer"


def test_nothing_can_be_posted(client):
    assert client.post(f"/{TOKEN}/", content=b"x" * 100).status_code == 405
    assert client.get(f"/{TOKEN}/openapi.json").status_code == 404


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://evil.example"}, {**ORIGIN, "host": "evil.example:8765"}], ids=str
)
def test_a_conversation_needs_the_origin_and_the_name_of_the_page(client, headers):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://{HOST}/{TOKEN}/talk", headers=headers):
        pass


def test_a_conversation_goes_on_after_nonsense(client):
    with client.websocket_connect(f"ws://{HOST}/{TOKEN}/talk", headers=ORIGIN) as socket:
        assert unpacked(socket.receive_bytes())["kind"] == "clips"
        for nonsense in ("{", "[]", '{"do": 1}', "[" * 20_000, '{"do": "step"}'):
            socket.send_text(nonsense)
            assert socket.receive_json()["kind"] == "error"
        socket.send_bytes(b"\0\1")
        assert "not JSON" in socket.receive_json()["text"]
        socket.send_text('{"do": "\\ud800"}')
        assert "nothing that this page does" in socket.receive_json()["text"]
        socket.send_json({"do": "start", "clip": 0, "frame": 0, "seed": 0})
        assert socket.receive_json()["kind"] == "table"
        assert unpacked(socket.receive_bytes())["shapes"] == [[1, 32, 32], [1, 32, 32]]
        socket.send_text("x" * (server.LARGEST + 1))
        assert socket.receive()["code"] == server.TOO_LARGE


def unpacked(data: bytes) -> dict:
    (length,) = struct.unpack_from("<I", data)
    head = json.loads(data[4 : 4 + length])
    assert len(data) == 4 + length + sum(3 * t * h * w for t, h, w in head["shapes"])
    return head


def test_one_tab_too_many_is_refused_politely_and_finds_a_place_later(table):
    page = server.Page("play", lambda: drive.Drive(table), most=1)
    client = TestClient(server.app(page, TOKEN), base_url=f"http://{HOST}")
    place = f"ws://{HOST}/{TOKEN}/talk"
    with client.websocket_connect(place, headers=ORIGIN) as first:
        first.receive_bytes()
        with client.websocket_connect(place, headers=ORIGIN) as second:
            said = second.receive_json()
            assert said["kind"] == "busy" and "close one" in said["text"]
            assert second.receive()["code"] == server.TRY_LATER
    with client.websocket_connect(place, headers=ORIGIN) as third:
        assert unpacked(third.receive_bytes())["kind"] == "clips"


def test_of_fifty_players_at_once_those_beyond_the_limit_are_refused_politely(table):
    def comes(number: int) -> tuple[Any, Any]:
        socket = connect(f"ws{address[4:]}talk", origin=f"http://127.0.0.1:{port}", open_timeout=60)
        return socket, socket.recv(timeout=60)

    port = serving.free_port()
    with serving.serving(table.page, port) as address, ThreadPoolExecutor(50) as crowd:
        found = list(crowd.map(comes, range(50)))
        refused = [(socket, json.loads(said)) for socket, said in found if isinstance(said, str)]
        assert len(refused) == 50 - table.page.most
        for socket, said in refused:
            assert said["kind"] == "busy" and "close one" in said["text"]
            with pytest.raises(ConnectionClosed) as end:
                socket.recv(timeout=60)
            assert end.value.rcvd.code == server.TRY_LATER
        playing = [socket for socket, said in found if isinstance(said, bytes)]
        for socket in playing:  # and the others go on
            socket.send(json.dumps({"do": "start", "clip": 0, "frame": 0, "seed": 0}))
            assert json.loads(socket.recv(timeout=60))["kind"] == "table"
            socket.close()


def test_the_token_is_kept_for_its_owner_alone(home):
    token = server.kept_token()
    assert len(token) >= 32 and server.kept_token() == token
    assert (home / "web-token").stat().st_mode & 0o077 == 0


def test_a_host_for_all_is_refused_and_a_taken_port_explained(run, sprites):
    words = ["play", str(run), "--real", str(sprites), "--device", "cpu"]
    done = CliRunner().invoke(main, [*words, "--host", "0.0.0.0"])
    assert done.exit_code == 2 and "no address that a browser can name" in done.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CliRunner().invoke(main, [*words, "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1 and "choose another --port" in done.stderr


def test_an_address_that_is_not_of_this_machine_is_explained():
    with pytest.raises(VbenchError, match="give an address of this machine as --host") as refused:
        server.serve(pytest.fail, "192.0.2.1", 0)  # RFC 5737: nobody's
    assert "--port" not in str(refused.value)


def test_a_port_is_taken_before_the_page_is_prepared(monkeypatch, table):
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda *asked, **how: None)
    port = serving.free_port()

    def prepared() -> server.Page:
        with pytest.raises(VbenchError, match="choose another --port"):
            server.serve(pytest.fail, "127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):  # who comes early waits
            return table.page

    server.serve(prepared, "127.0.0.1", port)


class Busy:
    """A tab that computes until it is left, or for longer than a server's patience."""

    def __init__(self) -> None:
        self.begun, self.left = threading.Event(), threading.Event()

    def greet(self) -> list[server.Reply]:
        return []

    def answer(self, said: server.Said) -> list[server.Reply]:
        self.begun.set()
        self.left.wait(1.5)
        return []

    def leave(self) -> None:
        self.left.set()


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_while_a_tab_computes_ends_quietly(caplog, twice):
    door, busy = server._door("127.0.0.1", 0), Busy()
    port = door.getsockname()[1]
    running = server.ready(server.Page("play", lambda: busy), TOKEN, "127.0.0.1", port)
    thread = threading.Thread(target=running.run, args=([door],), daemon=True)
    thread.start()
    with connect(f"ws://127.0.0.1:{port}/{TOKEN}/talk", origin=f"http://127.0.0.1:{port}") as tab:
        tab.send('{"do": "compute"}')
        assert busy.begun.wait(60)
        running.should_exit, running.force_exit = True, twice  # what uvicorn makes of Ctrl-C
        thread.join(60)
    assert not thread.is_alive() and caplog.messages == []


def test_another_host_is_warned_about(monkeypatch, capsys, table):
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda *asked, **how: None)
    server.serve(lambda: table.page, "127.0.0.2", 0)
    said = capsys.readouterr()
    assert "WARNING" in said.err and "http://127.0.0.2:" in said.out
    server.serve(lambda: table.page, "127.0.0.1", 0)
    assert "WARNING" not in capsys.readouterr().err


def test_a_baseline_that_cannot_be_driven_says_so(run, sprites, tmp_path, monkeypatch):
    monkeypatch.delattr(registry.load("baselines", "glass"), "drive")
    with pytest.raises(UsageError, match="cannot be driven"):
        drive.table([run], tmp_path, sprites)


def test_clips_to_start_from_are_of_the_split_test_else_of_one_that_is_there(run, tmp_path):
    for name, splits in (("whole", ["all"]), ("parted", ["train", "test"])):
        building.build(tmp_path / name, tiny.recipe(**{split: tiny.work(split, (9,)) for split in splits}))
    assert drive.table([run], tmp_path, tmp_path / "whole").clips == ["all/clip_0"]
    assert drive.table([run], tmp_path, tmp_path / "parted").clips == ["test/clip_0"]
    assert drive.table([run], tmp_path, tmp_path / "parted", "train").clips == ["train/clip_0"]


def test_a_split_that_is_not_there_is_not_advised_to_be_prepared(run, sprites, tmp_path):
    root = sprites.parents[2]
    with pytest.raises(UsageError, match='no split of wsprites "nosuch"; known: test, train'):
        drive.table([run], tmp_path, Path("wsprites"), "nosuch", root)
    with pytest.raises(UsageError, match='no split "nosuch"'):
        drive.table([run], tmp_path, sprites, "nosuch")
    tiny.write_outputs(tmp_path / "clips", {"a": tiny.noise(1, 0)[0]})
    for split in ("test", "test+train"):
        with pytest.raises(UsageError, match="no store, and so without splits"):
            drive.table([run], tmp_path, tmp_path / "clips", split)
    assert drive.table([run], tmp_path, tmp_path / "clips").clips == ["a"]


# The page in a browser


@pytest.fixture
def errors(page) -> list[str]:
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def picture(page) -> str:
    """Return what the first side shows; a canvas that was just made has nothing yet."""
    return page.evaluate("document.querySelector('.side canvas').toDataURL()")


def steps(page, count: int) -> None:
    page.locator("#steps", has_text=str(count)).wait_for()


def test_keys_buttons_undo_and_recording_in_a_browser(table, page, errors):
    with serving.serving(table.page, serving.free_port()) as address:
        page.goto(address)
        page.locator(".side canvas").first.wait_for()
        before = picture(page)
        page.keyboard.press("ArrowRight")
        steps(page, 1)
        after = picture(page)
        assert after != before
        page.get_by_role("button", name="move: walk right").click()
        steps(page, 2)
        page.keyboard.press("Backspace")
        steps(page, 1)
        assert picture(page) == after
        page.keyboard.press("Home")
        steps(page, 0)
        assert picture(page) == before
        page.keyboard.press("Space")  # runs by itself
        page.locator("#steps", has_text=re.compile(r"^([3-9]|\d\d+)$")).wait_for()
        page.get_by_role("button", name="Run").click()
        page.get_by_role("button", name="Record").click()
        page.get_by_text("vbench-ctl score").wait_for()
        folder = table.out / "world"
        (row,) = scoring.score(open_source(folder / "a-glass"), open_source(folder / "truth"), metrics=["psnr"])
        assert row.n == 1
        unnamed = "button:not([aria-label]):not(:has-text(' ')), canvas:not([aria-label]):not(.starts canvas)"
        assert [each for each in page.locator(unnamed).all() if not each.inner_text().strip()] == []
    assert errors == []


def test_two_tabs_drive_apart_and_find_back_after_a_restart(table, page, errors):
    port = serving.free_port()
    with serving.serving(table.page, port) as address:
        page.goto(address)
        page.locator(".side canvas").first.wait_for()
        for count in (1, 2):
            page.keyboard.press("ArrowDown")
            steps(page, count)
        here = picture(page)
        other = page.context.new_page()
        other.goto(address)
        other.locator(".side canvas").first.wait_for()
        other.keyboard.press("ArrowRight")
        steps(other, 1)
        other.close()
        steps(page, 2)
        assert picture(page) == here
    page.get_by_text("lost; trying again").wait_for()
    with serving.serving(table.page, port):
        page.get_by_text("connected", exact=True).wait_for()
        steps(page, 2)
        page.locator(".side canvas").first.wait_for()
        assert picture(page) == here  # the server was told the whole drive again
        page.keyboard.press("ArrowDown")
        steps(page, 3)
    assert [error for error in errors if "ERR_CONNECTION" not in error and "WebSocket" not in error] == []


def test_malicious_names_stay_text(run, tmp_path, page, errors):
    evil = "<img src=x onerror=alert(1)>"
    clips = tmp_path / "clips"
    tiny.write_outputs(clips, {evil: tiny.noise(1, 0, size=(32, 32))[0]})
    wild = tmp_path / "<script>alert(2)<"
    shutil.copytree(run, wild)
    table = drive.table([wild], tmp_path / "out", clips)
    with serving.serving(table.page, serving.free_port()) as address:
        page.goto(address)
        page.get_by_text(evil, exact=True).wait_for()
        page.get_by_text("<script>alert(2)<", exact=True).wait_for()
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 1
        page.keyboard.press("ArrowUp")
        steps(page, 1)
    assert errors == []
