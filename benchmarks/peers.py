"""Scores from arrays to numbers, end to end: vbench-ctl beside cd-fvd, pytorch-fid, lpips and scikit-image.

OMP_NUM_THREADS=1 python benchmarks/peers.py --peer-python PATH [--clips 16] [--runs 3] [--only fvd]

PATH is the Python of an environment with torch, cd-fvd, pytorch-fid, lpips and scikit-image. Each side works in a process
of its own, with its network loaded and both with the same weights; the runs of both take turns. Needs the weights:
vbench-ctl weights fetch i3d-k400 inception-2015 lpips-alex.

JunyaoHu/common_metrics_on_video_quality is no package. Its way, both sets through the network for every model, is done
here with cd-fvd's network, which is its own "videogpt" one.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import argparse
import contextlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

FRAMES, SIZE, MODELS = 16, 128, 5  # cd-fvd makes files 128x128, and so do we; it takes arrays as they are
Work = Callable[[Path], dict[str, float]]


def cpu_seconds() -> float:
    """Return the CPU seconds, user and system, of this process and of those it has waited for."""
    return sum(os.times()[:4])


# Clips and weights, made once for both sides


def write_clips(folder: Path, count: int) -> None:
    """Write smooth random clips and five noisy copies, uint8 (N, T, H, W, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, FRAMES, SIZE // 8, SIZE // 8, 3))
    real = coarse.repeat(8, axis=2).repeat(8, axis=3)
    np.save(folder / "real.npy", real.astype(np.uint8))
    for model in range(MODELS):
        fake = (real + rng.normal(0, 10 + 10 * model, real.shape)).clip(0, 255)
        np.save(folder / f"fake{model}.npy", fake.astype(np.uint8))


def write_weights(folder: Path, root: Path | None) -> None:
    """Make a root with the weights and no cache, and write the three networks' under the names that the peers load."""
    import torch

    from vbench_ctl import files, weights
    from vbench_ctl.features import i3d, inception, lpips_net

    def tensors(name: str) -> dict[str, np.ndarray]:
        return weights.read(weights.path(name, root))

    (folder / "root").mkdir()
    (folder / "root/weights").symlink_to(files.home(root).resolve() / "weights", target_is_directory=True)
    state = i3d.convert(tensors("i3d-k400"))
    state |= {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in state if "_mean" in name}
    torch.save(state, folder / "i3d.pt")
    head = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}  # FID does not look at it
    torch.save(inception.convert(tensors("inception-2015")) | head, folder / "inception.pt")
    torch.save(lpips_net.convert(tensors("lpips-alex")), folder / "lpips.pt")


def loaded(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy")


# Ours


def ours(root: Path) -> dict[str, Work]:
    """Return our way of each task; `root` has the weights. Features are kept, so every run begins with an empty cache."""
    import vbench_ctl
    from vbench_ctl import networks, tokens
    from vbench_ctl.networks import Place

    def score(folder: Path, metrics: list[str], models: int = 1) -> dict[str, float]:
        shutil.rmtree(root / "cache", ignore_errors=True)
        found: dict[str, float] = {}
        for model in range(models):
            fake, real = loaded(folder, f"fake{model}"), loaded(folder, "real")
            rows = vbench_ctl.score(fake, real, metrics, device="cpu", root=root)
            found |= {f"{row.metric.partition('-')[0]} {model}": float(row.value or 0) for row in rows}
        return found

    networks.use(Place(str(root)))
    for token in ("fvd-cdfvd-i3d", "fid", "lpips"):
        features = tokens.metric(token).features
        assert features
        networks.extractor(features)
    # cd-fvd's pipeline, so that the values can be compared
    return {
        "fvd": lambda folder: score(folder, ["fvd-cdfvd-i3d"]),
        "models": lambda folder: score(folder, ["fvd-cdfvd-i3d"], MODELS),
        "all": lambda folder: score(folder, ["fvd-cdfvd-i3d", "fid", "lpips", "psnr", "ssim"]),
    }


# The peers


def peers(folder: Path) -> dict[str, Work]:
    """Return the peers' way of each task, their networks loaded."""
    cdfvd_fvd = cd_fvd(folder)
    fid, lpips_distance = pytorch_fid(folder), lpips_package(folder)

    def fvd(folder: Path, model: int = 0) -> dict[str, float]:
        cdfvd_fvd.empty_real_stats()
        cdfvd_fvd.empty_fake_stats()
        return {f"fvd {model}": float(cdfvd_fvd.compute_fvd(loaded(folder, "real"), loaded(folder, f"fake{model}")))}

    def every_model_anew(folder: Path) -> dict[str, float]:
        return {name: value for model in range(MODELS) for name, value in fvd(folder, model).items()}

    def reals_once(folder: Path) -> dict[str, float]:
        cdfvd_fvd.empty_real_stats()
        cdfvd_fvd.add_real_stats(loaded(folder, "real"))
        found = {}
        for model in range(MODELS):
            cdfvd_fvd.empty_fake_stats()
            cdfvd_fvd.add_fake_stats(loaded(folder, f"fake{model}"))
            found[f"fvd {model}"] = float(cdfvd_fvd.compute_fvd_from_stats())
        return found

    def one_after_another(folder: Path) -> dict[str, float]:
        real, fake = loaded(folder, "real"), loaded(folder, "fake0")
        found = fvd(folder) | {"fid 0": fid(real, fake), "lpips 0": lpips_distance(real, fake)}
        return found | scikit_image(real, fake)

    return {"fvd": fvd, "models": reals_once, "models, reals anew": every_model_anew, "all": one_after_another}


def cd_fvd(folder: Path) -> Any:
    """Return cd-fvd's object with the weights given."""
    from cdfvd import fvd

    return fvd.cdfvd("i3d", n_real="full", n_fake="full", ckpt_path=str(folder / "i3d.pt"), device="cpu")


def pytorch_fid(folder: Path) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return pytorch-fid of frames in memory, in batches of 50 as it has them; it would fetch its weights."""
    import torch
    from pytorch_fid import fid_score, inception

    inception.load_state_dict_from_url = lambda *asked, **how: torch.load(folder / "inception.pt", weights_only=True)
    network = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()

    @torch.no_grad()
    def activations(clips: np.ndarray) -> np.ndarray:
        frames = torch.from_numpy(clips.reshape(-1, *clips.shape[2:])).movedim(-1, 1)
        return np.concatenate([network(part / 255)[0].flatten(1).numpy() for part in frames.split(50)])

    def fid(real: np.ndarray, fake: np.ndarray) -> float:
        moments = [(rows.mean(0), np.cov(rows, rowvar=False)) for rows in map(activations, (real, fake))]
        return float(fid_score.calculate_frechet_distance(*moments[0], *moments[1]))

    return fid


def lpips_package(folder: Path) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return lpips of frames in memory, a clip at a time; it would fetch its trunk."""
    import lpips
    import torch

    network = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False).eval()
    network.load_state_dict(torch.load(folder / "lpips.pt", weights_only=True))

    @torch.no_grad()
    def distance(real: np.ndarray, fake: np.ndarray) -> float:
        scaled = [torch.from_numpy(clips).movedim(-1, 2) / 127.5 - 1 for clips in (real, fake)]
        return float(torch.cat([network(x, y).flatten() for x, y in zip(*scaled, strict=True)]).mean())

    return distance


def scikit_image(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Return scikit-image's PSNR and SSIM (Wang 2004 in its words), a frame at a time."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    pairs = [(x, y) for a, b in zip(real, fake, strict=True) for x, y in zip(a, b, strict=True)]
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    psnr = np.mean([peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs])
    ssim = np.mean([structural_similarity(x, y, data_range=255, **wang) for x, y in pairs])
    return {"psnr 0": float(psnr), "ssim 0": float(ssim)}


# Both sides, each in a process of its own


def serve(side: str, folder: Path) -> None:
    """Answer the task named on each line of the input by its CPU seconds and values; nothing else goes to the output."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        tasks = ours(folder / "root") if side == "ours" else peers(folder)
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            start = cpu_seconds()
            values = tasks[line.strip()](folder)
            spent = cpu_seconds() - start
        print(json.dumps({"seconds": spent, "values": values}), flush=True)


class Side:
    """One side's process, and what it has answered."""

    def __init__(self, python: str, side: str, folder: Path) -> None:
        words = [python, str(Path(__file__).resolve()), "--serve", side, "--folder", str(folder)]
        self.side, self.log = side, folder / f"{side}.log"
        with open(self.log, "w") as errors:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.answers: dict[str, list[dict]] = {}

    def ask(self, task: str, keep: bool = True) -> None:
        """Let it do a task and wait for the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f'{self.side} did not do "{task}":\n{self.log.read_text()[-2000:]}')
        if keep:
            self.answers.setdefault(task, []).append(json.loads(line))

    def seconds(self, task: str) -> float:
        return median(answer["seconds"] for answer in self.answers[task])

    def values(self, task: str) -> dict[str, float]:
        return self.answers[task][-1]["values"]


# What of ours stands beside what of theirs, and how many clips pass through I3D in our way
TASKS = {
    "fvd": [("fvd", "FVD of one model, cd-fvd")],
    "models": [
        ("models", f"FVD of {MODELS} models, cd-fvd keeping the reals' statistics"),
        ("models, reals anew", f"FVD of {MODELS} models, the reals anew each time as common_metrics does"),
    ],
    "all": [("all", "FVD, FID, LPIPS, PSNR and SSIM, the peers one after another")],
}


def machine() -> str:
    """Describe the machine and what decides the speed."""
    import torch

    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    name = models[0] if models else platform.processor()
    return (
        f"{name}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, one thread"
    )


def compare(first: Side, second: Side, tasks: list[str], clips: int, runs: int) -> None:
    """Print, for each task, the CPU seconds of both sides (medians of runs that take turns) and how far values differ."""
    for task in tasks:
        for run in range(runs):
            sides = [(first, task), *((second, theirs) for theirs, _ in TASKS[task])]
            for side, name in sides if run % 2 == 0 else reversed(sides):
                side.ask(name)
        for theirs, title in TASKS[task]:
            mine, other = first.seconds(task), second.seconds(theirs)
            print(f"{title}: {mine:.1f} s and {other:.1f} s, {other / mine:.2f} x ours")
            if task == "fvd":
                print(f"  {2 * clips / mine:.3f} and {2 * clips / other:.3f} clips per CPU second")
            for name, value in first.values(task).items():
                difference = abs(second.values(theirs)[name] / value - 1)
                print(f"  {name}: {value:.6g} and {second.values(theirs)[name]:.6g}, off by {difference:.1e}")


def main() -> None:
    """Make the clips, start both sides and let them take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="Python of the environment with the peers")
    parser.add_argument("--clips", type=int, default=16, help="of each set")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=TASKS, action="append", help="one of the tasks; may be repeated")
    parser.add_argument("--root", type=Path, help="where the weights are")
    parser.add_argument("--serve", choices=("ours", "peers"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.serve:
        serve(words.serve, words.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_clips(folder, words.clips)
        write_weights(folder, words.root and words.root.resolve())
        print(f"{words.clips} clips {FRAMES}x{SIZE}x{SIZE}x3 in each set, median of {words.runs} runs")
        print(machine(), flush=True)
        first, second = Side(sys.executable, "ours", folder), Side(words.peer_python, "peers", folder)
        try:
            compare(first, second, words.only or list(TASKS), words.clips, words.runs)
        finally:
            first.process.kill()
            second.process.kill()


if __name__ == "__main__":
    main()
