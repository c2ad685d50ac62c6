"""Videos and archives are made here; nothing is fetched."""

import io
import shutil
import struct
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from vbench_ctl import acquire, building, hosts, pairing, protocols, registry, store, video
from vbench_ctl.archives import Archive
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError

kinetics = registry.load("datasets", "kinetics600")
FRAMES = 12
IDS = [f"clip_-id_{at:02d}" for at in range(6)]
STEMS = [f"{name}_{at:06d}_{at + 10:06d}" for at, name in enumerate(IDS)]
TURNS = {0: (1, 0, 0, 1), 1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}  # quarters counterclockwise


def picture(seed: int, frames: int = FRAMES, width: int = 340, height: int = 256) -> np.ndarray:
    """A smooth pattern that moves: no colour changes within a pixel of 4:2:0."""
    y, x = np.mgrid[:height, :width]
    waves = [np.stack([x + 4 * t, y + 9 * t + 40 * seed, x + y - 6 * t], -1) / 30 for t in range(frames)]
    return (127.5 + 110 * np.sin(np.stack(waves) + seed)).astype(np.uint8)


def area(squares: np.ndarray) -> np.ndarray:
    """Shrink (T, n, n, 3) to 64x64 by the mean of the area that each pixel covers."""
    frames, side = squares.shape[:2]
    fine = squares.repeat(2, axis=1).repeat(2, axis=2)
    return fine.reshape(frames, 64, side // 32, 64, side // 32, 3).mean((2, 4))


@pytest.fixture(scope="module")
def mp4s(tmp_path_factory):
    """Four clips: three of different shapes, one of half the length."""
    folder = tmp_path_factory.mktemp("mp4s")
    for at, (width, height, frames) in enumerate(
        [(340, 256, FRAMES), (192, 340, FRAMES), (128, 96, FRAMES), (96, 96, 8)]
    ):
        video.write(folder / f"{STEMS[at]}.mp4", picture(at, frames, width, height), fps=25, crf=10)
    return folder


def tar_of(path, videos, folder=""):
    with tarfile.open(path, "w:gz") as tar:
        for each in videos:
            tar.add(each, f"{folder}{each.name}")
    return path


def build(folder, archive, split="val", workers=1, limit=None, **options):
    chosen = kinetics.Options(**options)
    work = kinetics.shards(split, chosen, limit, archive)
    recipe = building.Recipe(
        "kinetics600",
        kinetics.variant(chosen),
        kinetics.VERSION,
        {split: work},
        kinetics.clips,
        kinetics.facts(chosen),
        {},
    )
    building.build(folder, recipe, workers)
    return store.Store(folder, split)


@pytest.fixture(scope="module")
def flat(tmp_path_factory, mp4s):
    """The four clips in one folder, and their store."""
    root = tmp_path_factory.mktemp("flat")
    shutil.copytree(mp4s, root / "val")
    return build(root / "store", Archive((root,)))


# Pixels


def test_a_pixel_is_the_mean_of_its_area_in_the_centre_square(flat, mp4s):
    for at, (top, left, side) in {0: (0, 42, 256), 1: (74, 0, 192), 2: (0, 16, 96)}.items():
        whole = np.stack(list(video.frames(mp4s / f"{STEMS[at]}.mp4"))).astype(float)
        square = whole[:, top : top + side, left : left + side]
        error = np.abs(flat.frames(at) - area(square))
        assert error.mean() < 0.6 and error.max() <= 5


def test_times_ids_and_rate(flat):
    assert flat.ids == [f"val/{stem}" for stem in STEMS[:4]]
    assert flat.lengths.tolist() == [FRAMES] * 3 + [8]
    assert (flat.size, flat.fps) == ((64, 64), 25)


def test_views_of_short128_are_the_squares_that_the_protocol_crops(tmp_path, mp4s):
    shutil.copytree(mp4s, tmp_path / "val")
    made = build(tmp_path / "store", Archive((tmp_path,)), size="short128")
    assert made.size == (128, 384)
    for at in (0, 1):  # landscape and portrait
        with open(mp4s / f"{STEMS[at]}.mp4", "rb") as file:
            middle, _ = kinetics.read(file, 128)
        views = [pairing.square(made.frames(at), place) for place in (0, 0.5, 1)]
        assert np.array_equal(views[1], middle)
        whole = np.stack(list(video.frames(mp4s / f"{STEMS[at]}.mp4"))).astype(float)
        side = min(whole.shape[1:3])
        for view, part in zip(views, (whole[:, :side, :side], None, whole[:, -side:, -side:]), strict=True):
            if part is not None:
                assert np.abs(view.mean((1, 2)) - part.mean((1, 2))).max() < 1
    assert not np.array_equal(*(pairing.square(made.frames(0), place) for place in (0, 1)))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("at", [0, 1])
def test_turned_videos_stand_upright(tmp_path, mp4s, turns, at):
    path = tmp_path / "clip.mp4"
    data = (mp4s / f"{STEMS[at]}.mp4").read_bytes()
    place = data.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2, version 0
    a, b, c, d = (each << 16 for each in TURNS[turns])
    path.write_bytes(data[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[place + 36 :])
    frames = np.stack(list(video.frames(path))).astype(float)
    side = min(frames.shape[1:3])
    with open(path, "rb") as file:
        views, _ = kinetics.read(file, 64, views=3)
    first, last = area(frames[:, :side, :side]), area(frames[:, -side:, -side:])
    for view, wanted in ((views[:, :, :64], first), (views[:, :, 128:], last)):
        assert np.abs(view - wanted).mean() < 0.6


# Layouts


def test_folders_tars_and_workers_give_the_same_store(tmp_path, mp4s, flat):
    videos = sorted(mp4s.iterdir())
    classes = tmp_path / "by class"
    for at, each in enumerate(videos):
        target = classes / "validate" / f"class {at % 2}" / each.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(each, target)
    tars = tmp_path / "tars" / "val"
    tars.mkdir(parents=True)
    tar_of(tars / "part_0.tar.gz", videos[:2])
    tar_of(tars / "part_1.tar.gz", videos[2:], "deep/er/")
    by_class = build(tmp_path / "a", Archive((classes,)))
    in_tars = build(tmp_path / "b", Archive((tars.parent,)))
    one_by_one = build(tmp_path / "c", Archive(tuple(sorted(tars.iterdir()))))
    assert sorted(by_class.ids) == flat.ids
    assert flat.content_sha256() == in_tars.content_sha256() == one_by_one.content_sha256()
    assert all(path.exists() for path in tars.iterdir())
    assert not any((tmp_path / "vbench-home").rglob("*.mp4"))


def test_one_and_two_workers_give_the_same_store(tmp_path, mp4s, flat, monkeypatch):
    monkeypatch.setattr(kinetics, "SHARD_BYTES", 1)  # a shard of its own for each clip
    shutil.copytree(mp4s, tmp_path / "val")
    made = build(tmp_path / "store", Archive((tmp_path,)), workers=2)
    assert len(made.summary["shards"]) == 4 and made.content_sha256() == flat.content_sha256()


def test_videos_of_any_kind_lose_their_suffix_in_folders_and_tars(tmp_path, mp4s, flat):
    names = [f"{STEMS[0]}.MP4", f"{STEMS[1]}.avi", f"{STEMS[2]}.WebM"]
    for folder in (tmp_path / "loose/val", tmp_path / "tars/val"):
        folder.mkdir(parents=True)
    for at, name in enumerate(names):
        shutil.copy(mp4s / f"{STEMS[at]}.mp4", tmp_path / "loose/val" / name)
    tar_of(tmp_path / "tars/val/part_0.tar.gz", sorted((tmp_path / "loose/val").iterdir()))
    for where in ("loose", "tars"):
        assert build(tmp_path / f"{where}-store", Archive((tmp_path / where,))).ids == flat.ids[:3]
    assert kinetics.parse(f"{names[0]} dancing\n", "val.txt") == {(IDS[0], 0, 10): "dancing"}


def test_limit_takes_the_first_clips(tmp_path, mp4s, monkeypatch):
    shutil.copytree(mp4s, tmp_path / "loose/val")
    assert build(tmp_path / "a", Archive((tmp_path / "loose",)), limit=2).ids == [f"val/{stem}" for stem in STEMS[:2]]
    (tmp_path / "tars/val").mkdir(parents=True)
    for at, each in enumerate(sorted(mp4s.iterdir())[:3]):
        tar_of(tmp_path / f"tars/val/part_{at}.tar.gz", [each])
    monkeypatch.setattr(kinetics, "CLIPS_PER_TAR", 1)
    assert build(tmp_path / "b", Archive((tmp_path / "tars",)), limit=2).ids == [f"val/{stem}" for stem in STEMS[:2]]


def test_short_clips_are_left_out_when_frames_are_asked_for(tmp_path, mp4s):
    shutil.copytree(mp4s, tmp_path / "val")
    made = build(tmp_path / "store", Archive((tmp_path,)), frames=10)
    assert made.lengths.tolist() == [10] * 3
    assert made.summary["dropped"] == [{"id": f"val/{STEMS[3]}", "reason": "it has 8 frames, expected 10"}]


# What cannot be used


def test_damaged_videos_are_dropped_with_the_reason(tmp_path, mp4s):
    folder = tmp_path / "val"
    folder.mkdir()
    whole = (mp4s / f"{STEMS[0]}.mp4").read_bytes()
    (folder / f"{STEMS[0]}.mp4").write_bytes(whole.replace(b"moov", b"gone", 1))
    with av.open(str(mp4s / f"{STEMS[0]}.mp4")) as container:
        middle = [packet.pos for packet in container.demux(video=0) if packet.size][FRAMES // 2]
    (folder / f"{STEMS[1]}.mp4").write_bytes(whole[:middle])
    (folder / f"{STEMS[2]}.mp4").write_bytes(b"<html>gone</html>")
    (folder / f"{STEMS[3]}.mp4").write_bytes(b"")
    shutil.copy(mp4s / f"{STEMS[0]}.mp4", folder / f"{STEMS[4]}.mp4")
    made = build(tmp_path / "store", Archive((tmp_path,)))
    assert made.ids == [f"val/{STEMS[4]}"]
    reasons = {drop["id"][4:]: drop["reason"] for drop in made.summary["dropped"]}
    assert list(reasons) == STEMS[:4]
    assert "not a video that can be read" in reasons[STEMS[0]] and "cut short, with 6 of 12" in reasons[STEMS[1]]
    assert all("not a video that can be read" in reasons[stem] for stem in STEMS[2:4])


def test_the_same_clip_twice_counts_once(tmp_path, mp4s):
    (tmp_path / "val").mkdir()
    video_file = mp4s / f"{STEMS[3]}.mp4"
    with tarfile.open(tmp_path / "val/part_0.tar.gz", "w:gz") as tar:
        tar.add(video_file, f"a/{video_file.name}")
        tar.add(video_file, f"b/{video_file.name}")
    made = build(tmp_path / "store", Archive((tmp_path,)))
    assert made.ids == [f"val/{STEMS[3]}"]
    assert made.summary["dropped"][0]["reason"].endswith(f"is the same clip as val/part_0/a/{video_file.name}")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_clip_in_two_tars_stays_in_the_first(tmp_path, mp4s, workers):
    (tmp_path / "val").mkdir()
    tar_of(tmp_path / "val/part_0.tar.gz", [mp4s / f"{STEMS[3]}.mp4"])
    tar_of(tmp_path / "val/part_1.tar.gz", [mp4s / f"{STEMS[2]}.mp4", mp4s / f"{STEMS[3]}.mp4"])
    work = kinetics.shards("val", kinetics.Options(), None, Archive((tmp_path,)))
    recipe = building.Recipe("kinetics600", "64", 2, {"val": work}, kinetics.clips, {}, {}, repeats=kinetics.REPEATS)
    made = building.build(tmp_path / "store", recipe, workers)["splits"]["val"]
    assert store.Store(tmp_path / "store", "val").ids == [f"val/{STEMS[3]}", f"val/{STEMS[2]}"]
    assert made["dropped"] == [{"id": f"val/{STEMS[3]}", "reason": "it is in val-00000.h5 already"}]


@pytest.mark.parametrize("case", ["../out.mp4", "/out.mp4", "link"])
def test_tars_that_lead_out_are_refused(tmp_path, case):
    (tmp_path / "val").mkdir()
    with tarfile.open(tmp_path / "val/part_0.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("val/link.mp4" if case == "link" else case)
        if case == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(entry, io.BytesIO())
    with pytest.raises(VbenchError, match=r"part_0\.tar\.gz: .*(leads out of the archive|link).*do not trust"):
        build(tmp_path / "store", Archive((tmp_path,)))


def test_videos_of_an_unknown_split_are_named(tmp_path, mp4s):
    shutil.copytree(mp4s, tmp_path / "somewhere")
    with pytest.raises(VbenchError, match=r"whether .*mp4 is of train, val, test cannot be told; put the videos"):
        build(tmp_path / "store", Archive((tmp_path / "somewhere",)))


def test_an_empty_archive_is_explained(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VbenchError, match=r"has no file, expected test/CLASS/ID_START_END.mp4.*--archive"):
        build(tmp_path / "store", Archive((tmp_path / "empty",)), split="test")


# CVDF: a list of addresses, one tar after the other


def refused(url, said):
    """What is raised when yt-dlp says something about a video."""
    name = url.partition(":")[2]
    return hosts._youtube_refused(hosts.Wanted(Path(name)), url, Exception(f"ERROR: [youtube] {name}: {said}"))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Addresses of a pretended server and what it has; what was asked for is kept in `asked`."""
    served, asked = {}, []

    def fetch_one(url, target, **_):
        asked.append((url, target))
        if url.startswith("youtube:") and url not in served:
            raise refused(url, "Video unavailable. This video is private")
        if url not in served:
            raise VbenchError(f"{url}: not there")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(served[url], target)

    monkeypatch.setattr(acquire, "fetch_one", fetch_one)
    return served, asked


def test_listed_tars_come_one_by_one_and_are_deleted(tmp_path, mp4s, web, flat):
    served, asked = web
    base = "https://server.example/600/val"
    lines = [
        f"{base}/petting animal (not cat).tar.gz",
        "",
        f'"{base}/massaging person\'s head.tar.gz"',
        f"{base}/petting animal (not cat).tar.gz  ",
        f"{base}/petting%20animal%20(not%20cat).tar.gz",
    ]
    encoded = [f"{base}/petting%20animal%20(not%20cat).tar.gz", f"{base}/massaging%20person%27s%20head.tar.gz"]
    videos = sorted(mp4s.iterdir())
    for url, part in zip(encoded, (videos[:2], videos[2:]), strict=True):
        served[url] = tar_of(tmp_path / f"{len(served)}.tar.gz", part)
    (tmp_path / "k600_val_path.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "val.txt").write_text(
        f"petting animal (not cat),{IDS[0]},0,10\npetting animal (not cat),{IDS[1]},1,11\nmassaging person's head,{IDS[2]},2,12\n"
    )
    archive = Archive((tmp_path / "k600_val_path.txt", tmp_path / "val.txt"), tmp_path / "root")
    made = build(tmp_path / "store", archive)
    assert [url for url, _ in asked] == encoded
    assert made.content_sha256() == flat.content_sha256()
    assert [made.track("label", at)[0] for at in range(4)] == [1, 1, 0, 0]  # the last by the name of its tar
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert all(path.exists() for path in served.values())


def test_listed_clips_that_no_tar_holds_are_dropped(tmp_path, mp4s, home):
    mine = tmp_path / "mine"
    (mine / "val").mkdir(parents=True)
    tar_of(mine / "val/part_0.tar.gz", sorted(mp4s.iterdir())[:2])
    shutil.copy(mp4s / f"{STEMS[2]}.mp4", mine / f"val/{IDS[2]}.mp4")  # named by its id alone
    (mine / f"val/{STEMS[3]}.mp4").write_bytes(b"damaged")
    lines = [f"dancing,{name},{at},{at + 10}" for at, name in enumerate(IDS)]
    (mine / "val.csv").write_text("\n".join(["label,youtube_id,time_start,time_end", *lines]))
    (mine / "val.txt").write_text(f"{IDS[0]} dancing\n{IDS[0]} 100 110 dancing\nnot-anyones dancing\n")
    words = ["prepare", "kinetics600", "--split", "val", "--archive", str(mine), "--yes"]
    strict = CliRunner().invoke(main, [*words, "--strict"])
    assert strict.exit_code == 1 and "5 clips cannot be used, first val/" in strict.stderr
    folder = home / "stores/kinetics600/64@2"
    assert not store.is_store(folder)
    assert CliRunner().invoke(main, words).exit_code == 0
    assert store.Store(folder, "val").ids == [f"val/{IDS[2]}", *(f"val/{stem}" for stem in STEMS[:2])]
    _, damaged, *lacking = (folder / "dropped.csv").read_text().splitlines()
    assert damaged.startswith(f"val,val/{STEMS[3]},not a video")
    assert lacking == [
        *(
            f'val,val/{stem},"it is on a list, and no tar or folder has it"'
            for stem in (*STEMS[4:], f"{IDS[0]}_000100_000110")
        ),
        'val,val/not-anyones,"it is on a list without its times, and no tar or folder has it"',
    ]
    limited = CliRunner().invoke(main, [*words, "--limit", "2"])
    assert limited.exit_code == 0 and "on a list" not in limited.stderr


def test_a_tar_that_is_read_in_part_is_deleted_too(tmp_path, mp4s, web):
    served, asked = web
    served["https://server.example/part_0.tar.gz"] = tar_of(tmp_path / "part.tar.gz", sorted(mp4s.iterdir()))
    (tmp_path / "k600_val_path.txt").write_text(
        "https://server.example/part_0.tar.gz\nhttps://server.example/part_1.tar.gz\n"
    )
    archive = Archive((tmp_path / "k600_val_path.txt",), tmp_path / "root")
    assert build(tmp_path / "store", archive, limit=1).ids == [f"val/{STEMS[0]}"]
    assert len(asked) == 1 and not asked[0][1].exists()


def test_a_tar_that_does_not_come_stops_the_work(tmp_path, web):
    (tmp_path / "k600_val_path.txt").write_text("https://server.example/part_0.tar.gz\n")
    with pytest.raises(VbenchError, match=r"part_0\.tar\.gz: not there"):
        build(tmp_path / "store", Archive((tmp_path / "k600_val_path.txt",)))


def test_a_list_that_is_none_is_refused(tmp_path):
    (tmp_path / "k600_val_path.txt").write_text("<!doctype html>\n")
    with pytest.raises(VbenchError, match="is no address of a tar; fetch the list again"):
        build(tmp_path / "store", Archive((tmp_path / "k600_val_path.txt",)))


def test_videos_at_hand_are_taken_before_the_list(tmp_path, mp4s, web, flat):
    shutil.copytree(mp4s, tmp_path / "mine/val")
    (tmp_path / "k600_val_path.txt").write_text("https://server.example/part_0.tar.gz\n")
    made = build(tmp_path / "store", Archive((tmp_path / "k600_val_path.txt", tmp_path / "mine")))
    assert made.content_sha256() == flat.content_sha256() and not web[1]


# YouTube


def test_clips_of_youtube_are_cut_out_and_missing_ones_dropped(tmp_path, web):
    served, asked = web
    video.write(tmp_path / "long.mp4", picture(5, 30, 96, 96), fps=5, crf=10)  # six seconds
    served[f"youtube:{IDS[0]}"] = served[f"youtube:{IDS[2]}"] = tmp_path / "long.mp4"
    rows = [f"dancing,{IDS[0]},1.0,3.0", f"dancing,{IDS[1]},0,10", f"dancing,{IDS[0]},1,3", f"jumping,{IDS[2]},4,14"]
    rows += [f"dancing,{IDS[0]},3,5"]
    (tmp_path / "test.csv").write_text("\n".join(["label,youtube_id,time_start,time_end", *rows]))
    made = build(tmp_path / "store", Archive((tmp_path / "test.csv",), tmp_path / "root"), "test", source="youtube")
    assert made.ids == [f"test/{IDS[0]}_000001_000003", f"test/{IDS[2]}_000004_000014", f"test/{IDS[0]}_000003_000005"]
    assert made.lengths.tolist() == [10, 10, 10]
    assert [made.track("label", at)[0] for at in range(3)] == [0, 1, 0]
    assert len({target for _, target in asked}) == 4  # two workers may fetch two stretches of one video at once
    (dropped,) = made.summary["dropped"]
    assert dropped["id"] == f"test/{IDS[1]}_000000_000010" and "This video is private" in dropped["reason"]
    with open(tmp_path / "long.mp4", "rb") as file:
        whole, _ = kinetics.read(file, 64)
    assert np.array_equal(made.frames(0), whole[5:15]) and np.array_equal(made.frames(1), whole[20:])
    assert not list((tmp_path / "root").rglob("*.mp4"))


# yt-dlp 2026.10.26: extractor/youtube/_video.py, networking/exceptions.py and utils
GONE = [
    "Video unavailable. This video has been removed by the uploader",
    "Private video. Sign in if you've been granted access to this video. Use --cookies-from-browser or --cookies",
    "Sign in to confirm your age. This video may be inappropriate for some users. Use --cookies-from-browser",
    "Join this channel to get access to members-only content like this video, and other exclusive perks.",
    "This video requires payment to watch",
    "Video unavailable. This video contains content from SME, who has blocked it on copyright grounds",
    "This video has been blocked",
    "The uploader has not made this video available in your country",
    "This video is DRM protected",
    "Requested format is not available. Use --list-formats for a list of available formats",
]
PASSING = [
    "Unable to download API page: HTTP Error 503: Service Unavailable (caused by <HTTPError 503: Service Unavailable>)",
    "Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError 429: Too Many Requests>)",
    "Unable to download API page: [Errno -3] Temporary failure in name resolution (caused by TransportError())",
    "Sign in to confirm you’re not a bot. Use --cookies-from-browser or --cookies for the authentication",
    "Video unavailable. This content isn't available, try again later. The current session has been rate-limited",
    "The page needs to be reloaded.",
    "Failed to extract any player response; please report this issue on  https://github.com/yt-dlp/yt-dlp/issues",
]


@pytest.mark.parametrize("said", GONE + PASSING)
def test_a_video_that_youtube_withholds_is_dropped_and_passing_trouble_stops(tmp_path, monkeypatch, said):
    def fetch_one(url, target, **_):
        raise refused(url, said)

    monkeypatch.setattr(acquire, "fetch_one", fetch_one)
    (tmp_path / "test.csv").write_text(f"label,youtube_id,time_start,time_end\ndancing,{IDS[0]},0,10\n")
    (shard,) = kinetics.shards("test", kinetics.Options(source="youtube"), None, Archive((tmp_path / "test.csv",)))
    if said in PASSING:
        with pytest.raises(VbenchError, match="run it again later"):
            list(kinetics.clips(shard))
    else:
        (dropped,) = kinetics.clips(shard)
        assert dropped.id == f"test/{IDS[0]}_000000_000010"


@pytest.mark.parametrize(
    "said",
    [
        "YouTube needs yt_dlp, which is not installed",
        "no space left on the device",
        "unable to download video data: 403",
    ],
)
def test_trouble_of_this_machine_is_no_missing_video(tmp_path, monkeypatch, said):
    def fetch_one(url, target, **_):
        raise VbenchError(f"youtube-{IDS[0]}.mp4: {hosts.page(url)} does not come ({said})")

    monkeypatch.setattr(acquire, "fetch_one", fetch_one)
    (tmp_path / "test.csv").write_text(f"label,youtube_id,time_start,time_end\ndancing,{IDS[0]},0,10\n")
    (shard,) = kinetics.shards("test", kinetics.Options(source="youtube"), None, Archive((tmp_path / "test.csv",)))
    with pytest.raises(VbenchError, match=said):
        list(kinetics.clips(shard))


def test_cookies_and_rate_are_shown_to_youtube_and_refused_elsewhere(tmp_path, mp4s, monkeypatch):
    asked = []

    def fetch_one(url, target, **how):
        asked.append((how["cookies"], how["rate"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mp4s / f"{STEMS[0]}.mp4", target)

    monkeypatch.setattr(acquire, "fetch_one", fetch_one)
    (tmp_path / "test.csv").write_text(f"label,youtube_id,time_start,time_end\ndancing,{IDS[0]},0,10\n")
    archive = Archive((tmp_path / "test.csv",), tmp_path / "root", cookies="firefox", rate="2M")
    assert len(build(tmp_path / "store", archive, "test", source="youtube")) == 1
    assert asked == [("firefox", "2M")]
    with pytest.raises(UsageError, match="--cookies and --rate are for YouTube; add --source youtube"):
        kinetics.shards("test", kinetics.Options(), None, archive)


def test_no_clip_at_all_is_an_error(tmp_path, web):
    rows = [f"dancing,missing_{at:03d},0,10" for at in range(12)]
    (tmp_path / "test.csv").write_text("\n".join(["label,youtube_id,time_start,time_end", *rows]))
    with pytest.raises(VbenchError, match="missing_000: Video unavailable"):
        build(tmp_path / "store", Archive((tmp_path / "test.csv",)), "test", source="youtube")


# Annotations

TIMED = {("aB-_5678901", 3, 13): "tobogganing", ("bB-_5678901", 0, 10): "petting animal (not cat)"}
WITHOUT_TIMES = {(name, None, None): label for (name, *_), label in TIMED.items()}
FORMATS = {
    "csv": (
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        'tobogganing,aB-_5678901,3,13,val,0\n"petting animal (not cat)",bB-_5678901,0.0,10.0,val,1\n',
        TIMED,
    ),
    "other columns": (
        "youtube_id,time_start,time_end,label\r\naB-_5678901,3,13,tobogganing\r\nbB-_5678901,0,10,petting animal (not cat)\r\n",
        TIMED,
    ),
    "no header": ("tobogganing,aB-_5678901,3,13,val\npetting animal (not cat),bB-_5678901,0,10,val\n", TIMED),
    "paths": (
        "val/tobogganing/aB-_5678901_000003_000013.mp4 571\nval/petting_animal_(not_cat)/bB-_5678901_000000_000010.mp4 380\n",
        TIMED,
    ),
    "file and class": (
        "aB-_5678901_000003_000013.mp4 tobogganing\nbB-_5678901_000000_000010.mp4 petting animal (not cat)\n",
        TIMED,
    ),
    "tabs": ("aB-_5678901\t3\t13\ttobogganing\nbB-_5678901\t0\t10\tpetting animal (not cat)\n", TIMED),
    "blanks": ("tobogganing aB-_5678901 3 13\n# a comment\nbB-_5678901 petting animal (not cat)\n", None),
    "id and class": ("aB-_5678901,tobogganing\nbB-_5678901,petting animal (not cat)\n", WITHOUT_TIMES),
    "bare ids": ("aB-_5678901\n\nbB-_5678901\n", dict.fromkeys(WITHOUT_TIMES, "")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_annotations_are_read_in_whatever_form(name):
    text, wanted = FORMATS[name]
    if wanted is None:
        wanted = {("aB-_5678901", 3, 13): "tobogganing", ("bB-_5678901", None, None): "petting animal (not cat)"}
    assert kinetics.parse(text, "val.txt") == wanted


def test_a_list_without_clips_is_refused():
    with pytest.raises(VbenchError, match=r"val\.txt: no line names a YouTube clip, the first is \"<html>\""):
        kinetics.parse("<html>\n</html>\n", "val.txt")


@pytest.mark.parametrize("in_folder", [True, False])
def test_official_annotations_are_read_from_their_tar(tmp_path, mp4s, in_folder):
    rows = [
        "label,youtube_id,time_start,time_end,split",
        f"dancing,{IDS[0]},0,10,validate",
        f"archery,{IDS[1]},1,11,validate",
    ]
    (tmp_path / "validate.csv").write_text("\n".join(rows))
    (tmp_path / "mine").mkdir()
    place = tmp_path / "mine" if in_folder else tmp_path
    tar_of(place / "kinetics600.tar.gz", [tmp_path / "validate.csv"], "kinetics600/")
    shutil.copytree(mp4s, tmp_path / "mine/val")
    paths = (tmp_path / "mine",) if in_folder else (place / "kinetics600.tar.gz", tmp_path / "mine")
    made = build(tmp_path / "store", Archive(paths))
    assert [int(made.track("label", at)[0]) for at in range(4)] == [1, 0, -1, -1]


@pytest.mark.parametrize("packed", [True, False])
def test_classes_have_the_same_number_in_every_split(tmp_path, mp4s, packed):
    head = "label,youtube_id,time_start,time_end"
    lists = tmp_path / "mine"
    lists.mkdir()
    (lists / "train.csv").write_text(f"{head}\narchery,{IDS[4]},4,14\nbowling,{IDS[5]},5,15\n")
    (lists / "val.csv").write_text(f"{head}\ndancing,{IDS[0]},0,10\nbowling,{IDS[1]},1,11\n")
    if packed:  # the official ones alone decide, whatever else is there
        tar_of(tmp_path / "mine/kinetics600.tar.gz", sorted(lists.glob("*.csv")), "kinetics600/")
        (lists / "train.csv").write_text(f"{head}\naardvark riding,{IDS[4]},4,14\n")
    shutil.copytree(mp4s, lists / "val")
    (lists / "train").mkdir()
    shutil.copy(mp4s / f"{STEMS[0]}.mp4", lists / f"train/{STEMS[5]}.mp4")
    held = {split: build(tmp_path / split, Archive((lists,)), split) for split in ("train", "val")}
    assert [int(held["val"].track("label", at)[0]) for at in range(2)] == [2, 1]
    assert int(held["train"].track("label", 0)[0]) == 1


def test_labels_by_id_alone_and_without_any(tmp_path, mp4s, capsys):
    shutil.copytree(mp4s, tmp_path / "val")
    kinetics.shards("val", kinetics.Options(), None, Archive((tmp_path,)))
    assert "the label of every clip of val will be -1; stop and give kinetics600.tar.gz" in capsys.readouterr().err
    (tmp_path / "val.txt").write_text(f"{IDS[0]} dancing\n{IDS[1]} air drumming\n")
    made = build(tmp_path / "store", Archive((tmp_path,)))
    assert [int(made.track("label", at)[0]) for at in range(4)] == [1, 0, -1, -1]
    assert "-1" not in capsys.readouterr().err


def test_a_list_without_labels_leaves_those_of_another(tmp_path, mp4s):
    shutil.copytree(mp4s, tmp_path / "val")
    (tmp_path / f"val/{STEMS[0]}.mp4").rename(tmp_path / f"val/{IDS[0]}.mp4")
    (tmp_path / "val.csv").write_text(f"label,youtube_id,time_start,time_end\ndancing,{IDS[0]},0,10\n")
    (tmp_path / "val.txt").write_text(f"{IDS[0]}\n{IDS[1]}\n")
    made = build(tmp_path / "store", Archive((tmp_path,)))
    assert [int(made.track("label", at)[0]) for at in range(4)] == [0, -1, -1, -1]


def test_a_class_is_found_by_its_folder_however_that_is_written(tmp_path, mp4s):
    name = "passing_American_football_(in_game)"
    shutil.copytree(mp4s, tmp_path / "mine/val" / name)
    (tmp_path / "train.csv").write_text(f"label,youtube_id\n{name.replace('_', ' ')},{IDS[5]}\n")
    made = build(tmp_path / "store", Archive((tmp_path / "mine", tmp_path / "train.csv")))
    assert {int(made.track("label", at)[0]) for at in range(4)} == {0}


# Options


def test_variants_and_splits_are_those_of_the_protocols():
    known = {kinetics.variant(kinetics.Options(size=size)) for size in ("64", "short128")}
    for protocol in protocols.load_all().values():
        if protocol.dataset == "kinetics600":
            assert protocol.variant in known and protocol.split in kinetics.SPLITS
    assert kinetics.variant(kinetics.Options(frames=32, source="youtube")) == "64-frames32-youtube"


def test_estimates():
    assert kinetics.estimate("test", kinetics.Options()) == (60_000, 60_000 * 250 * 64 * 64 * 3)
    assert kinetics.estimate("train", kinetics.Options(frames=32), 10) == (10, 10 * 32 * 64 * 64 * 3)
    short, square = (kinetics.estimate("val", kinetics.Options(size=size))[1] for size in ("short128", "128"))
    assert square < short < 3 * square  # PNG


@pytest.mark.parametrize("wrong", [{"size": "long"}, {"size": "8"}, {"frames": -1}])
def test_wrong_options_are_explained(wrong):
    with pytest.raises(UsageError, match=r"^--(size|frames) "):
        kinetics.Options(**wrong)
