"""What protocols ask of `score` besides clips and frames: several runs, another size, whole batches."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
from tiny import Named, colours, noise

from vbench_ctl import pairing, protocols, scoring
from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import mse
from vbench_ctl.protocols import Select
from vbench_ctl.rows import Row
from vbench_ctl.sources import ArraySource
from vbench_ctl.statistics.frechet import frechet
from vbench_ctl.statistics.resampling import bootstrap_mean

RUNS = 3
TRUTH = noise(9, 0)
REAL = Named({f"test/{n}": clip for n, clip in enumerate(TRUTH)})


def made(samples: int) -> dict[str, np.ndarray]:
    return {f"test/{n}@0#{k}": noise(1, 1000 + 100 * n + k)[0] for n in range(len(TRUTH)) for k in range(samples)}


def protocol(**changes) -> protocols.Protocol:
    return tiny.protocol(**{"metric_frames": {}, "metrics": ("fvd", "mse")} | changes)


# Runs


def check_runs(row: Row, values: list[float]) -> None:
    """A row says the mean, the standard deviation and each of some values."""
    assert row.value == pytest.approx(np.mean(values), rel=1e-4)
    assert [row.low, row.high] == pytest.approx(
        [np.mean(values) - np.std(values, ddof=1), np.mean(values) + np.std(values, ddof=1)], rel=1e-4
    )
    assert row.provenance["runs"] == pytest.approx(values, rel=1e-4)
    assert row.note.startswith(f"mean of {len(values)} runs ({row.provenance['runs'][0]:.6g}, ")


def test_a_score_of_runs_is_their_mean_and_deviation(toy):
    clips = made(RUNS)
    by_run = [np.stack([clips[f"test/{n}@0#{k}"] for n in range(9)]) for k in range(RUNS)]
    fvd, error = scoring.score(Named(clips), REAL, protocol(runs=RUNS))
    check_runs(fvd, [frechet(colours(TRUTH), colours(one)) for one in by_run])
    errors = [[mse.values(a, b) for a, b in zip(TRUTH, one, strict=True)] for one in by_run]
    check_runs(error, [float(np.mean(one)) for one in errors])
    assert error.per_frame == pytest.approx(np.mean(errors, axis=(0, 1)))
    assert fvd.signature.split("|")[4] == error.signature.split("|")[4] == "9x1:3runs" and fvd.n == 9
    assert toy.seen == 9 * (1 + RUNS)  # the reals once


def test_one_run_of_several_is_what_it_would_be_alone(toy):
    clips = made(2 * RUNS)
    second = {f"test/{n}@0#{k}": clips[f"test/{n}@0#{k + 2}"] for n in range(9) for k in range(2)}
    together = scoring.score(Named(clips), REAL, protocol(runs=RUNS, samples=2, aggregate="best"))
    alone = scoring.score(Named(second), REAL, protocol(samples=2, aggregate="best"))
    for row, one in zip(together, alone, strict=True):
        assert row.provenance["runs"][1] == one.value and row.floor == one.floor
        assert row.signature.replace(":3runs|", "|") == one.signature and ":3runs|" in row.signature


def test_a_run_without_a_value_says_so_for_all():
    """In the first run the squared error doubles, in the second it does not."""
    real = {f"test/{n}": np.full((6, 4, 4, 3), 100, np.uint8) for n in range(9)}
    worse = [[0, 0, 1, 2, 4, 8], [0, 0, 3, 3, 3, 3]]
    clips = {
        f"{name}@0#{run}": clip + np.uint8(worse[run])[:, None, None, None]
        for name, clip in real.items()
        for run in range(2)
    }
    (row,) = scoring.score(Named(clips), Named(real), protocol(runs=2, metrics=("drift-halflife",)))
    assert row.value is None and row.note.startswith("n/a: the squared error does not double")


def test_runs_without_given_frames_are_consecutive(toy):
    fakes = noise(10, 5)
    free = protocol(context=0, predict=6, generated=5, runs=2, metrics=("fvd",))
    (row,) = scoring.score(ArraySource(fakes), REAL, free)
    check_runs(row, [frechet(colours(TRUTH), colours(part)) for part in (fakes[:5], fakes[5:])])
    with pytest.raises(VbenchError, match="5 clips, tiny-c2-p4@1 asks for 10"):
        scoring.score(ArraySource(fakes[:5]), REAL, free)


def test_the_samples_of_all_runs_must_be_there():
    with pytest.raises(
        VbenchError, match='9 of the 27 clips that tiny-c2-p4@1 asks for are missing, the first is "test/0@0#2"'
    ):
        scoring.score(Named(made(2)), REAL, protocol(runs=RUNS))


def test_a_real_set_of_its_own_counts_once(toy):
    other = protocol(runs=2, reals=Select("first", "head", cases=6), metrics=("fvd",))
    clips = made(2)
    (row,) = scoring.score(Named(clips), REAL, other)
    runs = [np.stack([clips[f"test/{n}@0#{k}"] for n in range(9)]) for k in range(2)]
    check_runs(row, [frechet(colours(TRUTH[:6]), colours(one)) for one in runs])
    assert "|9x1/6:2runs|" in row.signature


@pytest.mark.parametrize("name", ["bair64-c1-p15-debiased@1", "k600-64-c5-p11-magvit@1"])
def test_protocols_of_several_runs_pair_all_their_clips(name):
    """Their real numbers of cases, on as small a set of clips as they allow."""
    known = protocols.load(name)
    assert known.runs == known.answers == 4 and dict(protocols.card(known))["runs"].startswith(
        "4, each takes the next 1"
    )
    few = replace(known, select=replace(known.select, cases=6, clips=0), reals=replace(known.reals, clips=0))
    real = Named({f"c{n}": clip for n, clip in enumerate(noise(3, 0, 17, (6, 8)))})
    cases = protocols.cases(few, [(c, 17) for c in real.ids])
    names = {f"{case.key}#{k}": np.zeros((16, 1, 1, 3), np.uint8) for case in cases for k in range(4)}
    pairs = pairing.pairs(few, real, Named(names), alone=False)
    answered = [pair for pair in pairs if pair.fakes]
    assert [pair.run for pair in answered] == [0, 1, 2, 3] * 6
    assert len({pair.fakes for pair in answered}) == 24 and not any(pair.counts_as_real for pair in answered)
    assert sum(pair.counts_as_real for pair in pairs) == len(protocols.real_cases(few, [(c, 17) for c in real.ids]))


# Another size


def halved(clips: np.ndarray) -> np.ndarray:
    """The middle squares of clips (N, T, 8, 12, 3) at half the size: bilinear between pixel centres is a mean of four."""
    middle = clips[:, :, :, 2:10].astype(np.float64)
    means = sum(middle[:, :, i::2, j::2] for i in range(2) for j in range(2)) / 4
    return np.round(means).astype(np.uint8)


def test_clips_are_cut_and_scaled_before_they_are_scored(toy):
    truth, fakes = (noise(6, seed, size=(8, 12)) for seed in range(2))
    real, fake = (Named({f"test/{n}": clip for n, clip in enumerate(clips)}) for clips in (truth, fakes))
    fvd, error = scoring.score(fake, real, protocol(resize=4))
    small = [Named({f"test/{n}": clip for n, clip in enumerate(halved(clips))}) for clips in (fakes, truth)]
    for row, expected in zip((fvd, error), scoring.score(*small, protocol()), strict=True):
        assert (row.value, row.low, row.per_frame) == (expected.value, expected.low, expected.per_frame)
        assert row.signature == expected.signature.removesuffix("|v1") + ",square4|v1"


def test_generated_clips_must_have_the_size_before_scaling():
    real, fake = (Named({"test/0": noise(1, 0, size=(side, side))[0]}) for side in (8, 4))
    with pytest.raises(VbenchError, match="is 4x4, the real one 8x8"):
        scoring.score(fake, real, protocol(resize=4), ["mse"])


# Whole batches of frames


def test_whole_batches_of_frames_cut_the_last_clip():
    """9 clips of 6 frames are 54, of which a release with batches of 10 sees 50: four frames of the last clip are left out."""
    clips = {name.partition("#")[0]: clip for name, clip in made(1).items()}
    errors = np.stack([mse.values(a, b) for a, b in zip(TRUTH, clips.values(), strict=True)])
    cut, whole, fewer = (
        scoring.score(Named(clips), REAL, protocol(metric_batches={"mse": f"{number} frames"}), ["mse"])[0]
        for number in (10, 27, 50)
    )
    assert cut.value == pytest.approx(errors.ravel()[:50].mean(), rel=1e-12) == fewer.value
    assert whole.value == pytest.approx(errors.mean(), rel=1e-12)
    owners = np.repeat(np.arange(9), 6)[:50]
    assert (cut.low, cut.high) == bootstrap_mean(errors.ravel()[:50], owners)
    (none,) = scoring.score(Named(clips), REAL, protocol(metric_batches={"mse": "55 frames"}), ["mse"])
    assert none.note == "n/a: mse: 54 frames make no batch of 55, the least of tiny-c2-p4@1"


def test_whole_batches_of_frames_cut_the_rows_of_sets(toy):
    clips = {name.partition("#")[0]: clip for name, clip in made(1).items()}
    (row,) = scoring.score(Named(clips), REAL, protocol(metrics=("fid",), metric_batches={"fid": "10 frames"}))
    rows = [colours(np.concatenate(list(part))[:50]) for part in (TRUTH, clips.values())]
    assert row.value == pytest.approx(frechet(*rows), rel=1e-4)
