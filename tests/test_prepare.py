"""From files a user has to a store: what is asked, made, drawn and verified."""

import json
import shutil
from types import SimpleNamespace

import h5py
import pytest
from click.testing import CliRunner
from test_frame_datasets import packed, picture

from vbench_ctl import building, prepare, store
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


def test_an_archive_that_came_broken_may_be_replaced(archive, home):
    """The lock held the first one that came, broken or not, so that no other was taken."""
    (item,) = prepare.plan("dtdb").files()
    item.target.parent.mkdir(parents=True)
    item.target.write_bytes(archive.read_bytes()[:999])
    done = vbench("--yes")
    assert done.exit_code == 1 and "fetch it again: remove that file and run the same command" in done.stderr
    assert done.stderr.count(str(item.target)) == 1 and item.target.exists()
    item.target.write_bytes(archive.read_bytes())
    assert vbench("--yes").exit_code == 0


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
    monkeypatch.setattr(plan.leaf, "expected", lambda options: {"train": 2, "eval": 3}, raising=False)
    found = {(check.split, check.what): check for check in prepare.verify(plan)}
    train, test = found["train", "published clips"], found["eval", "published clips"]
    assert train.good and not train.note
    assert not test.good and test.found == "2" and test.note == "1 dropped"  # which does not count
    done = vbench("--verify")
    assert done.exit_code == 1 and "published clips of eval is 2 (1 dropped), expected 3; remove" in done.stderr
    with pytest.raises(VbenchError, match="no finished store there"):
        prepare.verify(prepare.plan("dtdb", size=32))


def test_a_split_without_a_usable_clip_is_an_error(tmp_path, home):
    files = {
        "fire/train/v1/frame0.png": picture(1),
        "fire/train/v1/frame1.png": picture(2),
        "fire/eval/v1/frame0.png": b"no picture",
    }
    archive = packed(tmp_path / "damaged.zip", files).paths[0]
    folder = home / "stores/dtdb/fire16@1"
    done = vbench("--archive", archive, "--yes")
    assert done.exit_code == 1 and "eval has no clips, since none of 1 can be used, first eval/v1" in done.stderr
    assert "not a whole PNG or JPEG image (it begins as neither does)" in done.stderr
    assert not store.is_store(folder) and not (folder / "eval-00000.h5").exists()
    assert vbench("--split", "train", "--archive", archive, "--yes").exit_code == 0  # goes on with what there is
    assert vbench("--split", "eval", "--archive", archive, "--yes").exit_code == 1
    assert [*store.read_manifest(folder)["splits"]] == ["train"]


def test_advice_names_the_options_that_are_not_the_usual_ones(home):
    words = ["prepare", "bair-hd", "--packing", "annotated", "--split", "val", "--limit", "3", "--yes"]
    done = CliRunner().invoke(main, words)
    given = "--split val --packing annotated --limit 3"
    assert done.exit_code == 3
    assert f"vbench-ctl prepare bair-hd {given} --archive annotated_frames" in done.stderr
    assert prepare.plan("bair-hd").words() == prepare.plan("bair-hd", splits=["test", "train"]).words() == []


def test_a_split_that_another_option_brings_is_told_with_it(home):
    for name, option in (("bair", "--validation apart"), ("bair-hd", "--packing caddy or --packing annotated")):
        done = CliRunner().invoke(main, ["prepare", name, "--split", "val", "--dry-run"])
        assert done.exit_code == 2 and f"known: test, train; {option} has it" in done.stderr
        text = " ".join(CliRunner().invoke(main, ["prepare", name, "--help"]).stdout.split())
        assert f"[default: all of train, test; val with {option}]" in text
    done = CliRunner().invoke(main, ["prepare", "bair", "--split", "val", "--validation", "apart", "--dry-run"])
    assert done.exit_code == 0 and "bair 64-val val: 256 clips" in done.stdout
    done = CliRunner().invoke(main, ["prepare", "bair", "--split", "evaluation"])
    assert done.exit_code == 2 and "known: test, train\n" in done.stderr


def test_a_few_clips_of_the_users_own_need_no_space_for_all(archive, tmp_path, home, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    assert vbench("--archive", archive, "--yes").exit_code == 1  # it has the name of the published one
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    assert vbench("--archive", tmp_path / "unpacked", "--yes").exit_code == 0


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
    assert plan["archive_bytes"] == "unknown"
    assert "\nfiles of unknown size to download and unpack\n" in vbench("--dry-run").stdout
    assert not home.exists()


def test_where_sizes_of_files_are_unknown_that_of_the_whole_is_told(home):
    """Kinetics comes as lists of files, which say what comes then."""
    words = ["prepare", "kinetics600", "--split", "val"]
    text = "files of unknown size (the whole data set: 727.0 GB) to download and unpack"
    assert text in CliRunner().invoke(main, [*words, "--dry-run"]).stdout
    assert text in CliRunner().invoke(main, words).stderr
    bair = CliRunner().invoke(main, ["prepare", "bair", "--split", "test", "--dry-run"]).stdout
    assert "\n32.3 GB to download and unpack\n" in bair


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
    building.build(folder, plans[0])
    manifest = building.build(folder, plans[1])
    assert [each["name"] for each in manifest["sources"]] == ["cinn-eval.txt", "cinn-train.txt", "sky_timelapse.zip"]
    assert set(manifest["splits"]) == {"train", "eval"}
