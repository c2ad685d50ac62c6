"""From files a user has to a store: what is asked, made, drawn and verified."""

import json
import shutil

import h5py
import pytest
from click.testing import CliRunner
from test_frame_datasets import packed, picture

from vbench_ctl import prepare, store
from vbench_ctl.archives import Archive
from vbench_ctl.cli import main
from vbench_ctl.errors import VbenchError


@pytest.fixture
def archive(tmp_path):
    files = {
        f"dtdb/fire/{s}/v{v}/frame{t}.png": picture(9 * v + t)
        for s in ("train", "eval")
        for v in (1, 2)
        for t in range(9)
    }
    files["dtdb/fire/eval/v3/frame0.png"] = picture(0)[:50]
    return packed(tmp_path / "dtdb-cinn.zip", files).paths[0]


def vbench(*words):
    return CliRunner().invoke(main, ["prepare", "dtdb", "--size", "16", "--workers", "1", *map(str, words)])


def test_a_store_is_made_of_what_the_user_has(archive, home):
    done = vbench("--archive", archive, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    folder, manifest = home / "stores/dtdb/fire16@1", json.loads(done.stdout)
    assert [split["clips"] for split in manifest["splits"].values()] == [2, 2]
    (source,) = manifest["sources"]
    assert (
        source["name"] == "dtdb-cinn.zip" and source["size"] == archive.stat().st_size and len(source["sha256"]) == 64
    )
    assert manifest["card"]["licence"] and manifest["card"]["licence_accepted"].startswith("20")
    assert "licence: " in done.stderr and "citation: Hadji" in done.stderr
    assert (folder / "train.png").exists() and (folder / "eval.png").exists()
    assert (folder / "dropped.csv").read_text().splitlines()[1].startswith("eval,eval/v3,")
    # The second time neither the archive nor an answer is needed.
    archive.unlink()
    again = vbench()
    assert again.exit_code == 0 and "nothing done" in again.stderr


def test_files_may_follow_the_option_and_a_folder_will_do(archive, tmp_path, home):
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    done = vbench(
        "--split",
        "train",
        "--yes",
        "--archive",
        tmp_path / "unpacked/dtdb/fire/train",
        tmp_path / "unpacked/dtdb/fire/eval",
    )
    assert done.exit_code == 1 and "expected fire/train/VIDEO" in done.stderr  # the texture's name is in the layout
    done = vbench("--split", "train", "--yes", "--archive", tmp_path / "unpacked")
    assert done.exit_code == 0 and store.Store(home / "stores/dtdb/fire16@1", "train").ids == ["train/v1", "train/v2"]
    done = vbench(archive)
    assert done.exit_code == 2 and "files that you have are given with --archive" in done.stderr


def test_nobody_to_ask_and_nothing_accepted_makes_nothing(archive, home):
    done = vbench("--archive", archive)
    assert done.exit_code == 2 and "add --yes if you accept the licence" in done.stderr
    assert not (home / "stores").exists()


def test_strict_makes_a_bad_clip_an_error(archive, home):
    done = vbench("--archive", archive, "--yes", "--strict")
    assert done.exit_code == 1 and "1 clips cannot be used, first eval/v3" in done.stderr
    assert not store.is_store(home / "stores/dtdb/fire16@1")


def test_verify_finds_what_has_changed(archive, home):
    assert vbench("--archive", archive, "--yes").exit_code == 0
    done = vbench("--verify", "--json")
    assert done.exit_code == 0 and {check["what"] for check in json.loads(done.stdout)} == {
        "clips",
        "published clips",
        "content_sha256",
        "tracks_sha256",
    }
    with h5py.File(home / "stores/dtdb/fire16@1/train-00000.h5", "r+") as file:
        file["frames"][0, 0, 0, 0] ^= 1
    done = vbench("--verify")
    assert done.exit_code == 1 and "content_sha256 of train is" in done.stderr and "WRONG" in done.stdout


def test_verify_compares_with_the_published_sizes(archive, home, monkeypatch):
    assert vbench("--archive", archive, "--yes").exit_code == 0
    plan = prepare.plan("dtdb", size=16)
    monkeypatch.setattr(plan.leaf, "expected", lambda options: {"train": 2, "eval": 4}, raising=False)
    found = {(check.split, check.what): check for check in prepare.verify(plan)}
    assert found["train", "published clips"].good  # the dropped one counts
    assert not found["eval", "published clips"].good and found["eval", "published clips"].found == "3"
    with pytest.raises(VbenchError, match="no finished store there"):
        prepare.verify(prepare.plan("dtdb", size=32))


def test_a_lost_shard_is_made_again(archive, home):
    assert vbench("--archive", archive, "--yes").exit_code == 0
    shard = home / "stores/dtdb/fire16@1/train-00000.h5"
    before = shard.read_bytes()
    shard.unlink()
    assert vbench("--archive", archive, "--yes").exit_code == 0
    with h5py.File(shard) as file:
        assert list(file["clip_id"]) == [b"train/v1", b"train/v2"]
    assert len(shard.read_bytes()) == len(before)


def test_a_dry_run_lists_files_and_makes_nothing(home):
    done = vbench("--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert plan["files"][0]["state"] == "missing" and plan["files"][0]["kind"] == "gdrive"
    assert not home.exists()


def test_a_store_grows_split_by_split(tmp_path, home):
    """Each split depends on its own files: those of another one that come later do not make it another store."""
    place = tmp_path / "sky/sky_train/a/a_1"
    place.mkdir(parents=True)
    (place / "a_1_0001.jpg").write_bytes(picture(1, suffix="jpeg"))
    archives = home / "archives/landscape"
    archives.mkdir(parents=True)
    shutil.make_archive(str(archives / "sky_timelapse"), "zip", tmp_path / "sky")
    plans = []
    for splits in (["train"], ["train", "eval"]):
        plan = prepare.plan("landscape", splits=splits, size=16)
        files = [archives / "sky_timelapse.zip"]
        for split in splits:
            files.append(archives / f"cinn-{split}.txt")
            files[-1].write_text("a/a_1\n")
        sources = tuple({"name": f.name, "size": f.stat().st_size, "sha256": f"{len(f.name)}"} for f in files)
        plans.append(plan.recipe(Archive(tuple(files), None, sources)))
    assert plans[0].fingerprint("train") == plans[1].fingerprint("train")
    folder = tmp_path / "store"
    store.build(folder, plans[0])
    manifest = store.build(folder, plans[1])
    assert [each["name"] for each in manifest["sources"]] == ["cinn-eval.txt", "cinn-train.txt", "sky_timelapse.zip"]
    assert set(manifest["splits"]) == {"train", "eval"}
