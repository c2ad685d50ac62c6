"""Checkpoints as 16lemoing/ccvs releases them: a folder of files LABEL_latest_net_STEPS.pth, bare state dicts."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import weights
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.errors import VbenchError
from vbench_ctl.training import DataFacts

# Label there -> stage and network here; `_ema` behind a label is the averaged network.
NETWORKS = {
    "qvid_e": ("autoencoder", "encoder"),
    "qvid_q": ("autoencoder", "quantiser"),
    "qvid_g": ("autoencoder", "decoder"),
    "qvid_di": ("autoencoder", "image_discriminator"),
    "qvid_dv": ("autoencoder", "video_discriminator"),
    "state_s": ("control", "control.estimator"),
    "state_q": ("control", "control.quantiser"),
    "stft_e": ("control", "control.encoder"),
    "stft_d": ("control", "control.decoder"),
    "stft_q": ("control", "control.quantiser"),
    "transformer_t": ("transformer", "transformer"),
}
NEEDED = ("qvid_e", "qvid_q", "qvid_g")
NAME = re.compile(rf"({'|'.join(NETWORKS)})(_ema)?_(latest_|best_)?net_(\w+)\.pth")
CONSTANTS = (".kernel", ".attn.mask")  # blur filters and causal masks
HEAD = 64  # width of a head of the released transformers
STFT: tuple[tuple[int, ...], str] = ((64, 16), "float32")  # a slice of the spectrogram, in tokens of 8 x 8

Tensors = Mapping[str, np.ndarray]


def imported(file: Path, config: Path | None) -> tuple[Settings, dict[str, dict[str, Tensor]], DataFacts]:
    """Read all networks of a folder (or beside a file), and what their shapes and opt.txt say of the model."""
    folder = file if file.is_dir() else file.parent
    options = _options(config or folder)
    found = {label: weights.read(path) for label, path in _files(folder, options.get("q_use_ema") != "False").items()}
    if missing := [label for label in NEEDED if label not in found]:
        raise VbenchError(
            f"{folder}: no file of {', '.join(missing)} ({', '.join(found) or 'none of CCVS'}); expected files such as "
            f"{missing[0]}_latest_net_200000.pth, in it or in its folders"
        )
    settings, side = _settings(found, options, folder)
    stages: dict[str, dict[str, Tensor]] = {"autoencoder": {}, "control": {}}
    for label, tensors in found.items():
        stage, network = NETWORKS[label]
        state = {f"{network}.{key}": torch.from_numpy(np.array(value)) for key, value in _weights(tensors).items()}
        stages.setdefault(stage, {}).update(state)
    frozen = {f"autoencoder.{key}": value for key, value in stages["autoencoder"].items() if "discriminator" not in key}
    if settings.control == "state":
        stages["control"] |= frozen
    if "transformer" in stages:
        stages["transformer"] |= frozen | stages["control"]
    tracks = {"stft": STFT} if settings.control == "sound" else {}
    if settings.control == "sound":
        slots = found["transformer_t"]["state_s_emb"].shape[1]
        if slots != 16:
            raise VbenchError(
                f"{folder}: the transformer has {slots} tokens of sound for a frame, expected the 16 of slices of 64x16; "
                "their size is nowhere in the files, so it cannot be imported"
            )
    return settings, stages, DataFacts(side, side, tracks=tracks, length=settings.frames)


def _files(folder: Path, averaged: bool) -> dict[str, Path]:
    """Return the file of each network: of several kinds the averaged one, and the best."""
    ranked: dict[str, list[tuple[tuple[bool, bool], Path]]] = {}
    for path in sorted(folder.rglob("*.pth")):
        if match := NAME.fullmatch(path.name):
            rank = (bool(match[2]) != averaged, match[3] != "best_")
            ranked.setdefault(match[1], []).append((rank, path))
    chosen = {}
    for label, candidates in ranked.items():
        best = [path for rank, path in candidates if rank == min(candidates)[0]]
        if len(best) > 1:
            raise VbenchError(
                f"{folder}: {label} is in {' and in '.join(str(path.relative_to(folder)) for path in best)}; keep one of them"
            )
        chosen[label] = best[0]
    return chosen


def _weights(tensors: Tensors) -> dict[str, np.ndarray]:
    return {key: value for key, value in tensors.items() if not key.endswith(CONSTANTS)}


def _settings(found: Mapping[str, Tensors], options: Mapping[str, str], folder: Path) -> tuple[Settings, int]:
    """Return the settings and the side of a frame."""
    encoder, decoder = found["qvid_e"], found["qvid_g"]
    levels = 1 + max(int(key.split(".")[1]) for key in encoder) - 1
    widths = [encoder["blocks.0.0.weight"].shape[0]]
    widths += [encoder[f"blocks.{level}.conv2.1.weight"].shape[0] for level in range(1, levels)]
    codes, code_width = found["qvid_q"]["embedding.weight"].shape
    taken_over = (decoder["inter_blocks.0.subpixel.convs.0.0.weight"].shape[1] - 3) // 2
    values: dict[str, Any] = {
        "widths": tuple(widths),
        "codes": codes,
        "code_width": code_width,
        "shared": taken_over / widths[-1],
        "imagenet_range": "kinetics" in options.get("dataset", ""),
    }
    if "qvid_di" in found:
        judge = found["qvid_di"]
        deepest = max(int(key.split(".")[1]) for key in judge if key.startswith("convs."))
        later = [judge[f"convs.{level}.conv2.1.weight"].shape[0] for level in range(1, deepest + 1)]
        values["discriminator_widths"] = (judge["convs.0.0.weight"].shape[0], *later)
    values |= _of_control(found)
    tokens = 64
    if "transformer_t" in found:
        transformer = found["transformer_t"]
        tokens = transformer["s_emb"].shape[1]
        values |= _of_transformer(transformer, values, options, folder)
    return Settings(**values), math.isqrt(tokens) * 2 ** (levels - 1)


def _of_control(found: Mapping[str, Tensors]) -> dict[str, Any]:
    if "state_s" in found and "state_q" in found:
        numbers, width = found["state_s"]["fc.weight"].shape
        entries = len(found["state_q"]["embedding.weight"])
        return {"control": "state", "state_numbers": numbers, "control_width": width, "control_codes": entries}
    if all(label in found for label in ("stft_e", "stft_d", "stft_q")):
        entries, width = found["stft_q"]["embedding.weight"].shape
        hidden = found["stft_e"]["convs.0.0.weight"].shape[0]
        sizes = {"control_width": hidden, "sound_code_width": width, "control_codes": entries}
        return {"control": "sound", "control_learning_rate": 2e-3, **sizes}
    return {}


def _of_transformer(
    transformer: Tensors, known: Mapping[str, Any], options: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    symbols, width = transformer["tok_emb.weight"].shape
    _check_symbols(folder, "frames", known["codes"], symbols)
    frames = transformer["t_emb"].shape[1]
    if "state_tok_emb.weight" in transformer:
        _check_symbols(folder, "control", known.get("control_codes", 0), len(transformer["state_tok_emb.weight"]))
    else:
        known = {**known, "control": "none"}
    mask = transformer.get("blocks.0.attn.mask")
    per_frame = transformer["s_emb"].shape[1] + transformer.get("state_s_emb", np.zeros((1, 0))).shape[1]
    if mask is not None and mask.shape[-1] != frames * per_frame:
        raise VbenchError(
            f"{folder}: the transformer sees {mask.shape[-1]} tokens, expected {frames} frames of {per_frame}; "
            "this layout was never released and cannot be imported"
        )
    layers = 1 + max(int(key.split(".")[1]) for key in transformer if key.startswith("blocks."))
    return {
        "control": known.get("control", "none"),
        "layers": layers,
        "heads": int(options.get("x_n_head", max(1, width // HEAD))),
        "width": width,
        "frames": frames,
        "unconditional": "start_tok_emb" in transformer,
        "ending": options.get("x_p2p") == "True",
    }


def _check_symbols(folder: Path, what: str, codebook: int, transformer: int) -> None:
    if codebook != transformer:
        raise VbenchError(
            f"{folder}: the codebook for {what} has {codebook} entries and the transformer knows {transformer}; they are of "
            "different models, put the files of one model into the folder"
        )


def _options(place: Path) -> dict[str, str]:
    """Read the options that a run of the release was started with from its opt.txt, "NAME: VALUE [default: ...]"."""
    files = [place] if place.is_file() and place.suffix == ".txt" else sorted(place.rglob("opt.txt"))
    found: dict[str, str] = {}
    for path in files:
        lines = (re.match(r"\s*(\w+)\s*:\s*(\S+)", line) for line in path.read_text(errors="replace").splitlines())
        for match in filter(None, lines):
            # One folder may hold the runs of several stages: what any of them switched on holds.
            if found.get(match[1]) in (None, "None", "False"):
                found[match[1]] = match[2]
    return found
