"""How long the control suite takes on 256 clips of 16 frames of 128x96, all of it on the CPU.

python benchmarks/control.py FOLDER [CLIPS [each]]        (FOLDER keeps the store, the outputs and the learned parts)

With `each` every metric is then timed alone, a quarter of an hour.
Networks have the weights that vbench-ctl has fetched; without lpips-alex its metrics are left out.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from vbench_ctl import files, generation, networks, prepare, protocols, scoring, store, suites, tracks
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource

CLIPS = 256  # of each split of the store
MODEL = "truth"  # it answers every set; what made the clips makes no difference to the time
FOUND = ("local_action", "motion_fg", "motion_bg", "masks", "position")  # tracks that a model may find by itself
POINTS = 0.01  # of the pixels have a motion that was told


def main() -> None:
    """Prepare what is not there, score twice and print the processor's time of each run, and maybe of each metric alone."""
    root, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else CLIPS
    if not (root / "weights").exists():
        root.mkdir(parents=True, exist_ok=True)
        (root / "weights").symlink_to(files.home().resolve() / "weights", target_is_directory=True)
    plan = prepare.plan("wsprites", root, ("train", "test"), CLIPS)
    prepare.make(plan)
    real = StoreSource(store.Store(plan.folder, "test"))
    defined = protocols.load("wsprites-counterfactual")
    protocol = replace(defined, variant=f"{defined.variant}-limit{CLIPS}", select=Select("first", "head", cases=count))
    folder = root / f"outputs-{count}"
    generation.generate(generation.model(MODEL), protocol, real, folder)
    put_found_tracks(folder, real)
    outputs, place = FolderSource(folder), networks.Place(str(root), "cpu")
    tokens = suites.load("control").metrics
    for label in ("first run, with what is learned and kept", "second run"):
        started = time.process_time()
        rows = scoring.score(outputs, real, protocol, tokens, place=place)
        print(f"{label}: {count} clips in {time.process_time() - started:.1f} s of CPU")
    computed = [row.metric for row in rows if row.value is not None]
    print(f"{len(computed)} of {len(tokens)} metrics have a value here")
    for token in computed if "each" in sys.argv else ():
        started = time.process_time()
        scoring.score(outputs, real, protocol, [token], place=place)
        print(f"{token}: {time.process_time() - started:.1f} s")


def put_found_tracks(folder: Path, real: StoreSource) -> None:
    """Put tracks beside the clips as a model that finds actions would: the true ones, not quite right, and told motion."""
    rng = np.random.default_rng(0)
    for entry in FolderSource(folder).manifest["clips"]:
        path = tracks.beside(folder / entry["file"])
        with np.load(path) as held:
            known = dict(held)
        if "masks" in known:
            continue
        start, length = entry["start"], len(known["told_local_action"])
        found = real.tracks_of(entry["clip"], FOUND, start, start + length)
        found |= {name: found[name] + rng.normal(size=found[name].shape) for name in FOUND[1:]}
        found["masks"] = found["masks"].clip(0, 255).astype(np.uint8)
        size = found["masks"].shape[1:]
        motion = rng.random((length, 3, *size)) * (rng.random((length, 1, *size)) < POINTS)
        tracks.write(path, {**known, **found, "told_sparse_motion": motion}, length)


if __name__ == "__main__":
    main()
