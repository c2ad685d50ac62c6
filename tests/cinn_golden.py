"""Golden numbers of the released cINN (the shared golden/cinn), and released weights placed into our networks."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from recorded import Golden
from torch import Tensor, nn

from vbench_ctl.baselines.cinn import released
from vbench_ctl.baselines.cinn.perceptual import Perceptual
from vbench_ctl.features import lpips_net

# golden/cinn/README.md: of the array's maximum, where weights are stored, at paper size, and through several networks
LAYER, PAPER, PIPELINE = 2e-5, 1e-4, 1e-3

# The release's frame decoder is in no released file; its names there and here.
DECODER = (
    (r"^decoder\.map_to_class_embedding\.main\.", "class_head."),
    (r"^decoder\.decoder\.", "generator."),
    (r"GBlock\.", "blocks."),
    (r"HyperBN_1\.", "norm1."),
    (r"HyperBN\.", "norm0."),
    (r"\bbn\.", "norm."),
    (r"gamma_embed", "gamma"),
    (r"beta_embed", "beta"),
    (r"conv_sc", "skip"),
    (r"o_conv", "out"),
    (r"ScaledCrossReplicaBN", "norm"),
    (r"G_linear", "seed"),
    (r"module\.", ""),
    (r"weight_bar", "parametrizations.weight.original"),
    (r"weight_u", "parametrizations.weight.0.u"),
)


def golden(shared: Path, name: str) -> Golden:
    return Golden(np.load(shared / "golden/cinn" / f"{name}.npz"))


def keys(shared: Path, name: str) -> dict:
    return json.loads((shared / "golden/cinn" / f"keys_{name}.json").read_text())


def close(found: Tensor, wanted: Tensor, tolerance: float = LAYER) -> None:
    assert tuple(found.shape) == tuple(wanted.shape)
    far = (found.detach().double() - wanted.double()).abs().max()
    assert far <= tolerance * max(wanted.abs().max().item(), 1e-6), f"{far} of {wanted.abs().max()}"


def checks(value: Tensor) -> Tensor:
    """Sum, sum of absolute values, sum of squares."""
    value = value.detach().double()
    return torch.stack([value.sum(), value.abs().sum(), value.square().sum()])


def close_checks(value: Tensor, wanted: Tensor, tolerance: float = LAYER) -> None:
    """Compare sums; that of the values themselves may cancel, so it is measured by that of their sizes."""
    found = checks(value)
    assert abs(found[0] - wanted[0]) <= tolerance * wanted[1]
    assert (found[1:] - wanted[1:]).abs().le(2 * tolerance * wanted[1:]).all()


def drawn(listed: dict) -> dict[str, np.ndarray]:
    """Draw the weights that a list of keys describes (golden/cinn/README.md says how)."""
    rng, out = np.random.RandomState(listed["recipe_seed"]), {}
    right = np.zeros(0)
    for key, shape, dtype, op, mean, std in listed["keys"]:
        if op == "const":
            value = np.full(shape, mean)
        elif op == "invperm":
            value = np.argsort(out[key.replace("backward", "forward")])
        elif op == "sn_v":
            value = right
        elif op == "keep":
            value = lpips_net.build("vgg").scaling_layer.state_dict()[key.rpartition(".")[2]].numpy()
        else:
            g = rng.standard_normal(int(np.prod(shape))).reshape(shape)
            if op == "sn_u":
                matrix = out[key.replace("weight_u", "weight_orig")].reshape(shape[0], -1).astype(np.float64)
                value, right = iterated(matrix, g, listed["sn_iters"])
            else:
                value = made(op, g, mean, std)
        out[key] = np.asarray(value).astype(dtype).reshape(shape)
    return out


def iterated(matrix: np.ndarray, g: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    left = g / np.linalg.norm(g)
    for _ in range(times):
        right = matrix.T @ left
        right /= np.linalg.norm(right)
        left = matrix @ right
        left /= np.linalg.norm(left)
    return left, right


def made(op: str, g: np.ndarray, mean: float, std: float) -> np.ndarray:
    return {
        "normal": lambda: mean + std * g,
        "abs": lambda: mean + std * np.abs(g),
        "signed": lambda: np.sign(g) * (mean + std * np.abs(g)),
        "unit": lambda: g / np.linalg.norm(g),
        "perm": lambda: np.argsort(g, kind="stable"),
    }[op]()


def given(op: str, seed: int, shape: list[int]) -> Tensor:
    """Draw an input."""
    g = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy((g if op == "normal" else (g / 2).clip(-1, 1)).astype(np.float32))


def inputs(golden: Golden, name: str) -> dict[str, Tensor]:
    """Draw the inputs that a file lists for a network."""
    return {key: given(*how) for key, how in golden.config()["inputs"][name].items() if how[0] in ("normal", "clip")}


def placed(module: nn.Module, tensors: dict[str, np.ndarray], state=released.video_state) -> nn.Module:
    """Load released tensors into one of our networks."""
    module.load_state_dict(state(tensors))
    return module.eval()


def without(tensors: dict[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    """Keep the tensors under a prefix, without it."""
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def decoder_state(tensors: dict[str, np.ndarray], attention: bool) -> dict[str, Tensor]:
    """Name the tensors of the frame decoder as ours; v of its spectral norms is never used there and not kept here.

    Nor is the attention where pictures of 64 never meet it.
    """
    state = {}
    for name, value in tensors.items():
        if not name.endswith("weight_v") and (attention or "attention." not in name):
            for pattern, ours in DECODER:
                name = re.sub(pattern, ours, name)
            state[name] = torch.from_numpy(np.array(value))
    return state


def perceptual(shared: Path) -> Perceptual:
    """Return the perceptual distance with the golden files' random weights."""
    network = lpips_net.build("vgg")
    network.load_state_dict(lpips_net.convert(drawn(keys(shared, "lpips_vgg")), "vgg"), assign=True)
    return Perceptual(network)


def stepped(updates, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, float]:
    """Do what the training loop does with the updates of a step; return the losses and logs by name."""
    logs = {}
    for update in updates:
        optimizer = optimizers[update.optimizer]
        optimizer.zero_grad()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        update.loss.backward(inputs=weights)
        optimizer.step()
        logs[update.optimizer] = update.loss.item()
        logs |= {f"{update.optimizer}/{name}": float(value) for name, value in update.logs.items()}
    return logs
