"""What a flow of cINN has learned of W-Sprites: its likelihood beside Gaussians', and where its samples go.

OMP_NUM_THREADS=1 python benchmarks/cinn_wsprites.py RUN... OUTPUTS...
python benchmarks/cinn_wsprites.py                   write the page from the numbers again

The numbers go to results/cinn-wsprites.json, and from there into results/reproduced/README.md.

The likelihood is that of codes of held-out windows, in nats with all constants; the Gaussians have a mean that is linear in
what the flow is conditioned on, and one covariance, both fitted to codes of training windows. OUTPUTS are of the protocols
wsprites-samples-small or wsprites-endpoint-small; where a clip ends is read from what differs between its first and last frame.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import files, pairing, protocols, runs, store, training
from vbench_ctl.frames import normalised
from vbench_ctl.sources import FolderSource, StoreSource
from vbench_ctl.windows import Windows

FITTED, HELD = 4000, 1000  # windows
BATCH = 50
FRAMES = 9  # of a case of the protocols
HALF = 16  # pixels from the corner of the sprite's cell to its middle, in frames of 64x48
NOTHING = 24  # levels: what scrolls differs less
STILL = 3.0  # pixels: what moves less stands
DIRECTIONS = ("still", "left", "right", "up", "down")
ROOT = Path(__file__).resolve().parent.parent
NUMBERS, PAGE = ROOT / "results/cinn-wsprites.json", ROOT / "results/reproduced/README.md"
BEGIN, END = "<!-- measured by cinn_wsprites.py -->", "<!-- end of what it measured -->"


@torch.no_grad()
def codes(system, windows: Windows, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes (N, D) of windows, drawn as in training, and what the flow is told of each (N, C), in float64."""
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[Tensor, Tensor]] = []
    for start in range(0, count, BATCH):
        batch = windows.batch(range(start, start + BATCH))
        frames = normalised(batch["frames"])
        mean, logvar = system.encoder(frames[:, 1:])
        noise = torch.randn(mean.shape, generator=generator)
        told = system.condition(frames[:, 0], system.endpoint(batch))
        found.append((mean + (0.5 * logvar).exp() * noise, told))
    code, told = (torch.cat(parts).double().numpy() for parts in zip(*found, strict=True))
    return code, told


def of_gaussian(fitted: tuple[np.ndarray, np.ndarray], held: tuple[np.ndarray, np.ndarray], full: bool) -> np.ndarray:
    """Return the negative log-likelihood (N,) of held-out codes under a Gaussian that is linear in the condition."""
    (code, told), (held_code, held_told) = fitted, held
    weights = np.linalg.lstsq(np.c_[told, np.ones(len(told))], code, rcond=None)[0]
    rest = code - np.c_[told, np.ones(len(told))] @ weights
    covariance = rest.T @ rest / len(rest)
    if not full:
        covariance = np.diag(np.diag(covariance))
    error = held_code - np.c_[held_told, np.ones(len(held_told))] @ weights
    distance = (error * np.linalg.solve(covariance, error.T).T).sum(1)
    return 0.5 * (distance + np.linalg.slogdet(2 * np.pi * covariance)[1])


@torch.no_grad()
def of_flow(system, held: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the negative log-likelihood (N,) of held-out codes under the flow."""
    noise, logdet = system.double().flow(*map(torch.from_numpy, held))
    return (0.5 * noise.square().sum(1) - logdet).numpy() + 0.5 * noise.shape[1] * np.log(2 * np.pi)


def likelihoods(run: Path) -> dict[str, Any]:
    """Return the negative log-likelihoods of held-out codes, each with its standard error."""
    system = training.load(run).system
    data = runs.open_run(run).recipe.data["flow"]
    parts = []
    for split, count in ((data.split, FITTED), (data.validation, HELD)):
        source = training.open_data(data, split)
        windows = Windows(source, data.length, data.stride, tracks=data.tracks, size=data.size, seed=1)
        parts.append(codes(system, windows, count))
    fitted, held = parts
    found = {
        "flow": of_flow(system, held),
        "full": of_gaussian(fitted, held, full=True),
        "diagonal": of_gaussian(fitted, held, full=False),
    }
    nats = {name: [float(values.mean()), float(values.std() / len(values) ** 0.5)] for name, values in found.items()}
    return {"numbers": fitted[0].shape[1], "told": fitted[1].shape[1], "held_out": len(held[0]), "nats": nats}


# Where the sprite ends, read from what changed: a blur that the sprite probe does not know still shows where it is


def changes(first: np.ndarray, last: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return where frames (N, 48, 64, 3) differ, the sprite of the first one in the middle: shares (N, 16 * 16) and a one."""
    differ = np.abs(last.astype(np.float32) - first).mean(-1)
    centred = np.zeros((len(differ), 96, 128), np.float32)
    for map_, each, (x, y) in zip(centred, differ, np.rint(start).astype(int), strict=True):
        map_[48 - HALF - y : 96 - HALF - y, 64 - HALF - x : 128 - HALF - x] = each
    centred = np.maximum(centred - NOTHING, 0)
    shares = centred.reshape(len(centred), 16, 6, 16, 8).mean((2, 4)).reshape(len(centred), -1)
    return np.c_[shares / shares.sum(1, keepdims=True).clip(1e-6), np.ones(len(shares))]


def reader(real: StoreSource) -> np.ndarray:
    """Fit how far the sprite went, linear in what changed, to real training windows; return the weights (257, 2)."""
    windows = Windows(real, FRAMES, tracks=("position",), seed=5)
    batch = windows.batch(range(FITTED))
    frames, places = batch["frames"].numpy(), batch["position"].numpy()
    seen = changes(frames[:, 0], frames[:, -1], places[:, 0])
    return np.linalg.solve(seen.T @ seen + 1e-3 * np.eye(seen.shape[1]), seen.T @ (places[:, -1] - places[:, 0]))


def movements(outputs: Path) -> dict[str, Any]:
    """Return how far from the true end points clips end, in pixels, and how often each direction is taken."""
    fake = FolderSource(outputs)
    protocol = protocols.load(fake.manifest["protocol"])
    real = pairing.find_real(protocol)
    weights = reader(StoreSource(store.Store(real.store.folder, "train")))
    pairs = pairing.pairs(protocol, real, fake, alone=False)
    windows = np.stack([pairing.real_window(real, pair) for pair in pairs])
    made = np.stack([np.stack([fake.frames(name) for name in pair.fakes]) for pair in pairs])  # cases, samples
    places = np.stack([real.tracks_of(str(pair.real), ["position"], 0, FRAMES, 1)["position"] for pair in pairs])
    start, true = places[:, 0], places[:, -1] - places[:, 0]
    read = changes(windows[:, 0], windows[:, -1], start) @ weights
    found = np.stack([changes(each[:, 0], each[:, -1], start) @ weights for each in made.swapaxes(0, 1)], 1)
    apart = np.linalg.norm((start + found[:, 0])[:, None] - places[None, :, -1], axis=2)
    shares = {
        who: {name: float(np.mean(named_of(moved) == name)) for name in DIRECTIONS}
        for who, moved in (("real", read), ("made", found))
    }
    return {
        "from_its_end": float(np.diag(apart).mean()),
        "from_other_ends": float(apart[~np.eye(len(apart), dtype=bool)].mean()),
        "reading_is_off": float(np.linalg.norm(read - true, axis=1).mean()),
        "standing_still": float(np.linalg.norm(true, axis=1).mean()),
        "directions": shares,
    }


def named_of(moved: np.ndarray) -> np.ndarray:
    """Name movements (..., 2) in pixels, flat."""
    x, y = moved.reshape(-1, 2).T
    named = np.where(np.abs(x) > np.abs(y), np.where(x > 0, "right", "left"), np.where(y > 0, "down", "up"))
    return np.where(np.hypot(x, y) < STILL, "still", named)


# The page


def lines(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the lines of the table."""
    for name, each in found["likelihoods"].items():
        flow, full, diagonal = (f"{mean:.1f} (standard error {error:.2f})" for mean, error in each["nats"].values())
        what = (
            f"{name}: negative log-likelihood of {each['held_out']:,} held-out codes of {each['numbers']} numbers, nats"
        )
        yield [what, flow, f"Gaussian with a mean linear in the condition: full covariance {full}, diagonal {diagonal}"]
    for name, each in found["movements"].items():
        beside = (
            f"{each['standing_still']:.1f} standing still, {each['from_other_ends']:.1f} from the ends of other clips; "
        )
        beside += f"this way of reading is itself {each['reading_is_off']:.1f} off"
        yield [f"{name}: from the true end, px", f"{each['from_its_end']:.1f}", beside]
        made, real = (
            ", ".join(f"{share:.2f}" for share in each["directions"][who].values()) for who in ("made", "real")
        )
        yield [f"{name}: samples that {', '.join(DIRECTIONS)}", made, f"{real} of the real clips"]


def rendered(page: str, found: dict[str, Any]) -> str:
    """Return the page with the table in it."""
    head, _, rest = page.partition(BEGIN)
    table = "\n".join(
        "| " + " | ".join(line) + " |" for line in (["what", "value", "beside"], ["---"] * 3, *lines(found))
    )
    return f"{head}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Measure what is given and write the page."""
    given = [Path(word) for word in sys.argv[1:]]
    if given:
        told = [folder for folder in given if (folder / "run.json").is_file()]
        found = {
            "likelihoods": {folder.name: likelihoods(folder) for folder in told},
            "movements": {folder.name: movements(folder) for folder in given if folder not in told},
        }
        files.write_json(NUMBERS, found)
    files.write_text(PAGE, rendered(PAGE.read_text("utf-8"), json.loads(NUMBERS.read_text("utf-8"))))


if __name__ == "__main__":
    main()
