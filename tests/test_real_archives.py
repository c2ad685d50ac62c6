"""The real data, where its archives are on this machine (VBENCH_HOME/archives): a few clips of each split."""

import pytest

from vbench_ctl import acquire, files, prepare, registry, store

HOME = files.home()  # the user's own; the tests themselves have another
READ = [name for name in registry.names("datasets") if "file" in prepare.card(name)]


@pytest.mark.parametrize("name", READ)
def test_the_real_archives_are_read(name, tmp_path):
    plan = prepare.plan(name, root=HOME, limit=2)
    lacking = [item.name for item in plan.files() if item.state != "there"]
    if lacking:
        pytest.skip(f"no {lacking[0]} of {name} in {HOME}/archives")
    archive = acquire.fetch(name, plan.card, plan.splits, HOME, options=vars(plan.options))
    manifest = store.build(tmp_path / "store", plan.recipe(archive))
    for split in plan.splits:
        assert manifest["splits"][split]["clips"] + len(manifest["splits"][split]["dropped"]) == 2
        assert prepare.draw(tmp_path / "store", split).exists()
