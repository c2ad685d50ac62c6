"""How long the control suite takes on 256 clips of 16 frames of 128x96, all of it on the CPU.

python benchmarks/control.py FOLDER [CLIPS [each]]        (FOLDER keeps the store, the outputs and the learned parts)

With `each` every metric is then timed alone, a quarter of an hour.
Networks have the weights that vbench-ctl has fetched; without lpips-alex its metrics are left out.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from vbench_ctl import files, generation, networks, prepare, protocols, scoring, store, suites
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource

CLIPS = 256  # of each split of the store
MODEL = "truth"  # it answers every set; what made the clips makes no difference to the time


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


if __name__ == "__main__":
    main()
