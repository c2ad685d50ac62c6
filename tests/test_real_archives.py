"""The real data, where its archives are on this machine (VBENCH_HOME/archives): a few clips of each split."""

import re
import shutil

import pytest

from vbench_ctl import acquire, building, files, prepare, registry
from vbench_ctl.errors import VbenchError

HOME = files.home()  # the user's own; the tests themselves have another
KNOWN = ("locks/sources.json", "cache/hashes.json")
UNPACKED_BYTES = 1e9  # more is not unpacked for a test
READ = [name for name in registry.names("datasets") if "file" in prepare.card(name)]
# Of datasets whose files are lists of others, or are to be searched.
LACKING = r'check the network|pip install "vbench-ctl\[faces\]"'


def borrow(name, home):
    """Link what the user has of a dataset, so that nothing there is changed."""
    for place in (f"archives/{name}", "cache/unpacked"):
        (home / place).mkdir(parents=True)
        for path in (HOME / place).glob("*"):
            (home / place / path.name).symlink_to(path)
    for place in KNOWN:
        if (HOME / place).exists():
            (home / place).parent.mkdir(exist_ok=True)
            shutil.copy(HOME / place, home / place)


@pytest.mark.parametrize("name", READ)
def test_the_real_archives_are_read(name, tmp_path, home):
    borrow(name, home)
    plan = prepare.plan(name, root=home, limit=2)
    lacking = [item.name for item in plan.files() if item.state != "there" or item.needed > UNPACKED_BYTES]
    if lacking:
        pytest.skip(f"no {lacking[0]} of {name} in {HOME}/archives, or it is not unpacked")
    try:
        archive = acquire.fetch(name, plan.card, plan.splits, home, options=vars(plan.options))
        manifest = building.build(tmp_path / "store", plan.recipe(archive))
    except VbenchError as error:
        if not re.search(LACKING, str(error)):
            raise
        pytest.skip(str(error))
    for split in plan.splits:
        assert manifest["splits"][split]["clips"] + len(manifest["splits"][split]["dropped"]) == 2
        assert prepare.draw(tmp_path / "store", split).exists()
