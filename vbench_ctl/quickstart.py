"""The whole tool in a few minutes: a small data set, baselines and sanity rows, scores, tables and pictures."""

from collections.abc import Callable
from pathlib import Path

from vbench_ctl import (
    generation,
    leaderboard,
    pairing,
    pictures,
    prepare,
    protocols,
    recipes,
    registry,
    scoring,
    sources,
    training,
)

PROTOCOL = "wsprites-quickstart@1"
SHOWN = (0, 11, 22)  # cases on the contact sheets


def run(folder: Path, workers: int = 1, say: Callable[[str], None] = print) -> list[leaderboard.Table]:
    """Make everything below `folder`; a second run goes on from what is there."""
    protocol = protocols.load(PROTOCOL)
    say(f"1/5  a small {protocol.dataset}, made from a seed")
    limit = int(protocol.variant.rpartition("-limit")[2])
    manifest = prepare.make(prepare.plan(protocol.dataset, folder, (), limit), workers)
    for split, made in manifest["splits"].items():
        say(
            f"     {split}: {made['clips']} clips of {made['frames'] // made['clips']} frames, {made['width']}x{made['height']}"
        )

    say("2/5  train what learns, very little")
    trained = learners(protocol)
    for name, recipe in trained.items():
        training.train(name, recipes.load(name, recipe, protocol.dataset), folder / "runs" / name, root=folder)

    real = pairing.find_real(protocol, folder)
    untrained = [n for n in registry.names("baselines") if not generation.is_trained(registry.load("baselines", n))]
    names = sorted([*trained, *untrained])
    say(f"3/5  {protocol.id}: continue {len(real.ids)} clips with {', '.join(names)}")
    for name in names:
        model = generation.model(folder / "runs" / name if name in trained else name)
        generation.generate(model, protocol, real, folder / "outputs" / name, workers=workers)

    say("4/5  scores")
    outputs = {name: sources.open_source(folder / "outputs" / name) for name in names}
    found = []
    for name, output in outputs.items():
        rows = scoring.score(output, real, protocol, model=name, workers=workers)
        scoring.save(rows, root=folder)
        found += rows
    tables = leaderboard.tables(found)
    leaderboard.write(tables, folder / "leaderboard.csv", folder / "leaderboard.md")

    say("5/5  pictures")
    _draw(folder, protocol, real, outputs)
    return tables


def learners(protocol: protocols.Protocol) -> dict[str, str]:
    """Return the baselines that can be told what the protocol tells, each with its recipe for a few minutes."""
    found = {}
    for name in registry.names("baselines"):
        leaf = registry.load("baselines", name)
        there = recipes.files(name, leaf) if protocol.control in getattr(leaf, "CONTROLS", ()) else {}
        if recipe := next((recipe for recipe in (f"tiny-{protocol.control}", "tiny") if recipe in there), None):
            found[name] = recipe
    return found


def _draw(folder: Path, protocol: protocols.Protocol, real: sources.Source, outputs: dict[str, sources.Source]) -> None:
    """Draw what the models made of a few cases beside what really happened."""
    cases = pairing.cases(protocol, real)
    shown = [cases[at] for at in SHOWN]
    truth = [pairing.real_window(real, pairing.Pair(case.clip, (), case)) for case in shown]
    made = {name: [output.frames(f"{case.key}#0") for case in shown] for name, output in outputs.items()}
    rows = [("truth", truth), *made.items()]
    pictures.save(folder / "contact-sheet.png", pictures.sheet([(label, clips[0]) for label, clips in rows]))
    pictures.save_gif(folder / "contact-sheet.gif", pictures.grid_frames(rows), fps=6)
