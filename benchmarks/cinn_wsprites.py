"""What a flow of cINN has learned of W-Sprites: its likelihood beside Gaussians', and where its samples go.

OMP_NUM_THREADS=1 python benchmarks/cinn_wsprites.py RUN [OUTPUTS]...

The likelihood is that of codes of held-out windows, in nats with all constants; the Gaussians have a mean that is linear in
what the flow is conditioned on, and one covariance, both fitted to codes of training windows. OUTPUTS are of the protocols
wsprites-samples-small or wsprites-endpoint-small; where a clip ends is read from what differs between its first and last frame.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import pairing, protocols, runs, store, training
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


def likelihoods(run: Path) -> None:
    """Print the likelihoods."""
    system = training.load(run).system
    data = runs.open_run(run).recipe.data["flow"]
    parts = []
    for split, count in ((data.split, FITTED), (data.validation, HELD)):
        source = training.open_data(data, split)
        windows = Windows(source, data.length, data.stride, tracks=data.tracks, size=data.size, seed=1)
        parts.append(codes(system, windows, count))
    fitted, held = parts
    print(
        f"{fitted[0].shape[1]} numbers, {fitted[1].shape[1]} told; {len(fitted[0])} windows to fit, {len(held[0])} held out"
    )
    for name, values in {
        "the flow": of_flow(system, held),
        "Gaussian, full covariance": of_gaussian(fitted, held, full=True),
        "Gaussian, diagonal covariance": of_gaussian(fitted, held, full=False),
    }.items():
        print(f"{name}: {values.mean():.2f} nats, standard error {values.std() / len(values) ** 0.5:.2f}")


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


def movements(outputs: Path) -> None:
    """Print how far from the true end points clips end, and how often each direction is taken."""
    fake = FolderSource(outputs)
    protocol = protocols.load(fake.manifest["protocol"])
    real = pairing.find_real(protocol)
    weights = reader(StoreSource(store.Store(real.store.folder, "train")))
    pairs = pairing.pairs(protocol, real, fake, alone=False)
    windows = np.stack([pairing.real_window(real, pair) for pair in pairs])
    made = np.stack(
        [np.stack([fake.frames(name) for name in pair.fakes]) for pair in pairs]
    )  # (cases, samples, T, ...)
    places = np.stack([real.tracks_of(str(pair.real), ["position"], 0, FRAMES, 1)["position"] for pair in pairs])
    start, true = places[:, 0], places[:, -1] - places[:, 0]
    read = changes(windows[:, 0], windows[:, -1], start) @ weights
    found = np.stack([changes(each[:, 0], each[:, -1], start) @ weights for each in made.swapaxes(0, 1)], 1)
    apart = np.linalg.norm((start + found[:, 0])[:, None] - places[None, :, -1], axis=2)
    others = apart[~np.eye(len(apart), dtype=bool)].mean()
    print(
        f"{outputs.name}: {np.diag(apart).mean():.2f} px from the true end point, {others:.2f} from those of other clips"
    )
    still = np.linalg.norm(true, axis=1).mean()
    print(
        f"of real clips the reading is {np.linalg.norm(read - true, axis=1).mean():.2f} off, standing still {still:.2f}"
    )
    real_shares, shares = (
        np.mean([named == name for name in DIRECTIONS], 1) for named in (named_of(read), named_of(found))
    )
    for who, each in (("real", real_shares), ("made", shares)):
        print(who, ", ".join(f"{name} {share:.2f}" for name, share in zip(DIRECTIONS, each, strict=True)))
    distinct = np.mean([len(set(row)) for row in named_of(found).reshape(len(pairs), -1)])
    print(f"total variation {0.5 * np.abs(real_shares - shares).sum():.2f}; {distinct:.2f} directions from one frame")


def named_of(moved: np.ndarray) -> np.ndarray:
    """Name movements (..., 2) in pixels, flat."""
    x, y = moved.reshape(-1, 2).T
    named = np.where(np.abs(x) > np.abs(y), np.where(x > 0, "right", "left"), np.where(y > 0, "down", "up"))
    return np.where(np.hypot(x, y) < STILL, "still", named)


if __name__ == "__main__":
    likelihoods(Path(sys.argv[1]))
    for folder in sys.argv[2:]:
        movements(Path(folder))
