"""Annotating frames by clicking: what is kept, going on after a stop, and that CCVS's state estimator trains on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving
import tiny
import torch
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient

from vbench_ctl import files, registry, training, video
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.play import annotate, server
from vbench_ctl.sources import open_source
from vbench_ctl.training import DataFacts

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def source(tmp_path) -> tiny.Named:
    return tiny.Named(dict(zip(("train/a", "train/../b", EVIL), tiny.noise(3, 0), strict=True)))


@pytest.fixture
def desk(source, tmp_path) -> annotate.Desk:
    return annotate.desk(source, tmp_path / "marks", 8)


def mark(desk: annotate.Desk, at: int, x: float = 0.25, y: float = 0.75, **how: bool) -> dict:
    (reply,) = annotate.Annotator(desk).answer({"do": "mark", "at": at, "x": x, "y": y, **how})
    return reply.about


def test_a_mark_is_the_unmarked_frame_with_its_state(desk, source):
    mark(desk, 0)
    found = open_source(desk.out)
    assert list(found.tracks) == ["state"] and len(found.ids) == 1
    case = desk.frames[0]
    assert np.array_equal(found.frames(found.ids[0]), source.frames(case.clip, case.start, case.start + 1))
    state = found.track("state", found.ids[0])
    assert state.dtype == np.float32 and state.tolist() == [[0.25, 0.75]]


def test_a_mark_may_be_moved_and_forgotten(desk):
    mark(desk, 2)
    assert mark(desk, 2, 0.5, 0.5)["mark"] == [0.5, 0.5]
    (reply,) = annotate.Annotator(desk).answer({"do": "unmark", "at": 2})
    assert reply.about["mark"] is None and not list(desk.out.rglob("*.*"))


def test_it_goes_on_with_the_first_frame_without_a_mark(desk, source):
    assert mark(desk, 0, go_on=True)["at"] == 1
    assert mark(desk, 2, go_on=True)["at"] == 3
    again = annotate.desk(source, desk.out, 8)
    (reply,) = annotate.Annotator(again).greet()
    assert again.frames == desk.frames and (reply.about["at"], reply.about["done"]) == (1, 2)
    for at in again.open():
        last = mark(again, at, go_on=True)
    assert (last["done"], last["of"]) == (8, 8)


def test_a_stop_between_the_two_files_leaves_nothing_that_looks_finished(desk, monkeypatch):
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(annotate.video, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        mark(desk, 0)
    assert desk.open()[0] == 0
    monkeypatch.undo()
    mark(desk, 0)
    assert len(open_source(desk.out).ids) == 1


def test_frames_are_of_all_clips_and_none_twice(source, tmp_path):
    desk = annotate.desk(source, tmp_path, 100)
    assert len(desk.frames) == len({(case.clip, case.start) for case in desk.frames}) == 18
    few = annotate.desk(source, tmp_path, 3, seed=1)
    assert {case.clip for case in few.frames} == set(source.ids)
    assert few.frames != annotate.desk(source, tmp_path, 3, seed=2).frames


def test_the_frames_of_a_seed_stay_what_they_are(desk, source):
    """Else those that somebody has annotated would be among others."""
    drawn = [(2, 1), (0, 0), (1, 0), (0, 4), (1, 3), (2, 5), (2, 3), (0, 1)]
    assert [(source.ids.index(case.clip), case.start) for case in desk.frames] == drawn


def test_each_length_is_asked_for_once(source, tmp_path, monkeypatch):
    asked = []
    length = source.length
    monkeypatch.setattr(source, "length", lambda clip: asked.append(clip) or length(clip))
    annotate.desk(source, tmp_path, 12)
    assert asked == source.ids


def test_all_frames_of_a_long_clip_are_found_among_many_short_ones(tmp_path):
    frames = np.zeros((2000, 2, 2, 3), np.uint8)
    source = tiny.Named({str(number): frames[: 1 if number else 2000] for number in range(200)})
    desk = annotate.desk(source, tmp_path, 10_000)
    assert len(desk.frames) == len({(case.clip, case.start) for case in desk.frames}) == 2199


def test_ctrl_c_is_heard_while_a_clip_is_looked_at(tmp_path, monkeypatch):
    def decoded(path: Path, whole: Any = video._decoded) -> Iterator[Any]:
        try:
            yield from whole(path)
        finally:
            raise KeyboardInterrupt

    video.write(tmp_path / "a.mkv", tiny.noise(1, 0)[0])
    monkeypatch.setattr(video, "_decoded", decoded)
    with pytest.raises(KeyboardInterrupt):
        video.probe(tmp_path / "a.mkv")


def test_no_name_of_a_clip_leaves_the_folder(desk):
    for at in range(8):
        mark(desk, at)
    assert len(list(desk.out.rglob("*.mkv"))) == 8
    assert not [path for path in desk.out.parent.iterdir() if path.name not in ("marks", "vbench-home")]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"do": "mark", "at": 0, "x": 1.5, "y": 0}, "x is 1.5"),
        ({"do": "mark", "at": 0, "x": float("nan"), "y": 0}, "x is nan"),
        ({"do": "mark", "at": 8, "x": 0, "y": 0}, "at is 8"),
        ({"do": "show", "at": "../../x"}, "at is ../../x"),
        ({"do": "erase", "at": 0}, "nothing that this page does"),
    ],
    ids=str,
)
def test_what_a_browser_says_is_checked(desk, said, says):
    with pytest.raises(UsageError, match=says):
        annotate.Annotator(desk).answer(said)


def test_the_state_estimator_of_ccvs_trains_on_the_folder(tmp_path):
    clips = tiny.Named({f"train/{n}": clip for n, clip in enumerate(tiny.noise(2, 0, size=(16, 16)))})
    desk = annotate.desk(clips, tmp_path / "marks", 4)
    for at in range(4):
        mark(desk, at, x=at / 4)
    leaf = registry.load("baselines", "ccvs")
    sizes = {
        "widths": (8, 16, 24),
        "code_width": 10,
        "codes": 24,
        "discriminator_widths": (4, 4, 4),
        "control_codes": 9,
    }
    settings = leaf.Settings(**sizes, control="state", control_width=6)
    data = training.DataSettings(dataset=str(desk.out), length=1, tracks=("state",))
    source = training.open_data(data, "train")
    windows = training.Windows(source, 1, tracks=["state"])
    facts = training.data_facts(windows, source)
    torch.manual_seed(0)
    first = leaf.build(settings, DataFacts(16, 16), "autoencoder", {})
    system = leaf.build(settings, facts, "control", {"autoencoder": first.state_dict()})
    (update,) = system.updates(windows.batch(range(4)), 0)
    assert torch.isfinite(update.loss) and sorted(windows.batch(range(4))["state"][:, 0, 0].tolist()) == [
        0,
        0.25,
        0.5,
        0.75,
    ]


def test_a_folder_where_one_clip_lacks_its_track_is_named(desk):
    mark(desk, 0)
    mark(desk, 1)
    source = open_source(desk.out)
    (source.paths[source.ids[1]].with_suffix(".npz")).unlink()
    with pytest.raises(VbenchError, match=r'no track beside .* "state"'):
        source.track("state", source.ids[1])


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_served(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", lambda prepared, *where: served.append(prepared()))
    tiny.write_outputs(tmp_path / "clips", {"a": tiny.noise(1, 0)[0]})
    (tmp_path / "file").write_text("notes")
    for place in (tmp_path / "file", tmp_path / "file/below"):
        done = CliRunner().invoke(main, ["annotate", str(tmp_path / "clips"), "--out", str(place)])
        said = f"{place}: a file is in the way of a folder; move it or choose another place"
        assert done.exit_code == 1 and done.stderr.splitlines()[-1] == f"Error: {said}" and not served
    with files.locked(tmp_path / "marks"):
        done = CliRunner().invoke(main, ["annotate", str(tmp_path / "clips"), "--out", str(tmp_path / "marks")])
        assert "another vbench-ctl is writing there" in done.stderr and not served
    assert (tmp_path / "file").read_text() == "notes"
    (tmp_path / "marks/train").mkdir()
    (tmp_path / "marks/train/.a.0123abcd.part.mkv").write_bytes(b"half a clip")  # of one that was killed
    done = CliRunner().invoke(main, ["annotate", str(tmp_path / "clips"), "--out", str(tmp_path / "marks")])
    assert done.exit_code == 0 and len(served) == 1 and not list((tmp_path / "marks/train").iterdir())


def annotated(clips: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["annotate", str(clips), "--out", str(out), *words])


def test_a_folder_that_somebody_else_filled_stays_as_it_is(desk, tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", lambda prepared, *where: served.append(prepared()))
    clips = tiny.write_outputs(tmp_path / "clips", {"a": tiny.noise(1, 0)[0]})
    outputs = tiny.write_outputs(tmp_path / "outputs", {"a@0#0": tiny.noise(1, 1)[0]})
    files.write_json(outputs / "manifest.json", {"model": "a"})
    (tmp_path / "begun").mkdir()
    files.write_json(tmp_path / "begun/manifest.json", {"model": "a"})  # as generate does before its first clip
    videos = tiny.write_outputs(tmp_path / "videos", {"b@0": tiny.noise(1, 1)[0]})
    for out, says in (
        (clips, "lies among the clips to annotate"),
        (clips / "marks", "lies among the clips to annotate"),
        (outputs, "holds a@0#0.mkv, which is no mark"),
        (tmp_path / "begun", "holds manifest.json, which is no mark"),
        (videos, "holds b@0.mkv, which is no mark"),
        (tmp_path, "which is no mark"),
    ):
        done = annotated(clips, out)
        assert done.exit_code == 2 and says in done.stderr and not served
    assert not list(tmp_path.rglob(".lock"))
    mark(desk, 0)  # of other clips
    assert annotated(clips, desk.out).exit_code == 0 and len(served) == 1


def test_a_split_of_what_has_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "serve", lambda *asked: pytest.fail("it is served"))
    clips = tiny.write_outputs(tmp_path / "clips", {"a": tiny.noise(1, 0)[0]})
    done = annotated(clips, tmp_path / "marks", "--split", "train")
    assert done.exit_code == 2 and "no store, and so without splits" in done.stderr
    assert not (tmp_path / "marks").exists()


def test_its_page_is_guarded(desk):
    client = TestClient(server.app(desk.page, "t"), base_url="http://127.0.0.1:8765")
    assert client.get("/t/").status_code == 200 and client.get("/wrong/").status_code == 403


def test_clicks_keys_and_undo_in_a_browser(desk, page):
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    with serving.serving(desk.page, serving.free_port()) as address:
        page.goto(address)
        page.get_by_text("Frame 1 of 8, 0 annotated").wait_for()
        box = page.locator("#picture").bounding_box()
        page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
        page.get_by_text("Frame 2 of 8, 1 annotated").wait_for()
        assert desk.mark(0) == pytest.approx([0.25, 0.5], abs=0.01)
        page.keyboard.press("n")
        page.get_by_text("Frame 3 of 8, 1 annotated").wait_for()
        page.keyboard.press("p")
        page.get_by_text("Frame 2 of 8, 1 annotated").wait_for()
        page.locator("#picture").focus()
        page.keyboard.press("Enter")  # without a mouse
        page.get_by_text("Frame 3 of 8, 2 annotated").wait_for()
        page.keyboard.press("u")
        page.get_by_text("Frame 2 of 8, 1 annotated").wait_for()
        page.keyboard.press("Backspace")
        page.get_by_text("Frame 1 of 8, 0 annotated").wait_for()
        shown = [page.locator("#name").inner_text()]
        for number in range(2, 9):
            page.keyboard.press("n")
            page.get_by_text(f"Frame {number} of 8").wait_for()
            shown.append(page.locator("#name").inner_text())
        assert any(name.startswith(EVIL) for name in shown) and page.locator("img").count() == 0
    page.get_by_text("lost; trying again").wait_for()
    assert [error for error in errors if "ERR_CONNECTION_REFUSED" not in error] == []
    assert not list(Path(desk.out).rglob("*.mkv"))
