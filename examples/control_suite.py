"""Does a model obey? What of the control suite needs nothing fetched, on the truth and on a row that obeys nothing.

python examples/control_suite.py FOLDER

Put your own outputs in place of the sanity rows: `vbench-ctl score OUTPUTS --protocol wsprites-counterfactual --suite control`.
"""

import sys
from dataclasses import replace
from pathlib import Path

from vbench_ctl import generation, leaderboard, prepare, protocols, scoring, suites
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource
from vbench_ctl.store import Store

CASES = 4
METRICS = ("action", "deltapsnr-mean", "counterfactual-share", "reversal-relative", "separation", "psnr")


def main() -> None:
    """Answer some cases and the sets of other answers, score both rows, and say whether they stand in order."""
    home = Path(sys.argv[1])
    defined = protocols.load("wsprites-counterfactual-small")
    plan = prepare.plan("wsprites", home, ("test",), CASES, size="64x48", frames=defined.length)
    prepare.make(plan)
    variant = plan.folder.name.partition("@")[0]
    protocol = replace(defined, variant=variant, select=Select("first", "head", cases=CASES), note="a part of it")
    real = StoreSource(Store(plan.folder, "test"))
    assert set(METRICS) <= set(suites.load("control").metrics)
    found = []
    for name in ("truth", "shuffled-control"):
        folder = home / "outputs" / name
        generation.generate(generation.model(name), protocol, real, folder)
        found += scoring.score(FolderSource(folder), real, protocol, METRICS, model=name)
    for row in found:
        value = "n/a" if row.value is None else f"{row.value:.3f}"
        print(f"{row.model:18}{row.metric:22}{value:>8}  {row.note}")
    wrong = [remark for table in leaderboard.tables(found) for remark in table.remarks if "must obey" in remark]
    print("\n".join(wrong) or "the sanity rows stand in order")


if __name__ == "__main__":
    main()
