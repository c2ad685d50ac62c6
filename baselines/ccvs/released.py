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
from vbench_ctl.baselines.ccvs import stages as building
from vbench_ctl.baselines.ccvs.autoencoder import Autoencoder
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.baselines.ccvs.synthesis import System
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import misfits
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
OPTIONS = {
    "q_use_ema": "True",
    "dataset": "bairhd",
    "x_p2p": "False",
    "x_n_head": "16",
}  # read here, as opt.txt has them
STFT: tuple[tuple[int, ...], str] = ((64, 16), "float32")  # a slice of the spectrogram, in tokens of 8 x 8


class Network(dict[str, np.ndarray]):
    """The tensors of one network by name; where they are not those of CCVS it says so."""

    def __init__(self, label: str, path: Path) -> None:
        super().__init__(weights.read(path))
        self.label, self.path = label, path

    def shape(self, key: str, sides: int) -> tuple[int, ...]:
        """Return the shape of a tensor with so many sides."""
        if key not in self or self[key].ndim != sides:
            found = f"{key} is {self[key].shape}" if key in self else f"it has no {key}"
            raise VbenchError(
                f"{self.path}: {found}, expected the {sides} sides that it has in a {self.label} of 16lemoing/ccvs; give that file"
            )
        return self[key].shape

    def last(self, start: str) -> int:
        """Return the highest number N of the tensors START.N.*, 0 if there are none."""
        found = (re.match(rf"{start}\.(\d+)\.", key) for key in self)
        return max((int(match[1]) for match in found if match), default=0)


class Told(dict[str, str]):
    """The options that a run of the release was started with."""

    def __init__(self, place: Path) -> None:
        """Read them from opt.txt, "NAME: VALUE [default: ...]"."""
        super().__init__()
        self.place = place
        for path in [place] if place.is_file() else sorted(place.rglob("opt.txt")):
            lines = (re.match(r"\s*(\w+)\s*:\s*(\S+)", line) for line in path.read_text(errors="replace").splitlines())
            for match in filter(None, lines):
                # One folder may hold the runs of several stages: what any of them switched on holds.
                if self.get(match[1]) in (None, "None", "False"):
                    self[match[1]] = match[2]

    def __missing__(self, name: str) -> str:
        lines = " and ".join(f'"{each}: {value}"' for each, value in OPTIONS.items())
        raise UsageError(
            f"{self.place}: {name} of this model is not in its weights, and no opt.txt says it; put the one of its training there, "
            f"or give a text file with lines such as {lines} as CONFIG"
        )

    def switched(self, name: str) -> bool:
        """Tell whether an option is on."""
        if self[name] not in ("True", "False"):
            raise UsageError(f"{self.place}: {name} is {self[name]}, expected True or False; mend that line")
        return self[name] == "True"

    def number(self, name: str) -> int:
        """Return a whole number, 1 or more."""
        if not re.fullmatch(r"[1-9]\d{0,5}", self[name]):
            raise UsageError(f"{self.place}: {name} is {self[name]}, expected a whole number from 1 on; mend that line")
        return int(self[name])


def imported(file: Path, config: Path | None) -> tuple[Settings, dict[str, dict[str, Tensor]], DataFacts]:
    """Read all networks of a folder (or beside a file), and what their shapes and opt.txt say of the model."""
    folder = file if file.is_dir() else file.parent
    options = Told(config or folder)
    found = {label: Network(label, path) for label, path in _files(folder, options).items()}
    if missing := [label for label in NEEDED if label not in found]:
        raise VbenchError(
            f"{folder}: no file of {', '.join(missing)} ({', '.join(found) or 'none of CCVS'}); expected files such as "
            f"{missing[0]}_latest_net_200000.pth, in it or in its folders"
        )
    settings, side = _settings(found, options, folder)
    stages: dict[str, dict[str, Tensor]] = {"autoencoder": {}, "control": {}}
    for label, tensors in found.items():
        stage, network = NETWORKS[label]
        if stage != "control" or settings.control in ("state", "sound"):
            state = {f"{network}.{key}": torch.from_numpy(np.array(value)) for key, value in _weights(tensors).items()}
            stages.setdefault(stage, {}).update(state)
    frozen = {f"autoencoder.{key}": value for key, value in stages["autoencoder"].items() if "discriminator" not in key}
    if settings.control == "state":
        stages["control"] |= frozen
    if "transformer" in stages:
        stages["transformer"] |= frozen | stages["control"]
    tracks = {"stft": STFT} if settings.control == "sound" else {}
    if settings.control == "sound" and "transformer_t" in found:
        slots = found["transformer_t"].shape("state_s_emb", 3)[1]
        if slots != 16:
            raise VbenchError(
                f"{folder}: the transformer has {slots} tokens of sound for a frame, expected the 16 of slices of 64x16; "
                "their size is nowhere in the files, so it cannot be imported"
            )
    facts = DataFacts(side, side, tracks=tracks, length=settings.frames)
    _check_whole(
        folder, settings, facts, stages.get("transformer", frozen | stages["control"]), "transformer" in stages
    )
    return settings, stages, facts


def _check_whole(
    folder: Path, settings: Settings, facts: DataFacts, held: Mapping[str, Tensor], transformer: bool
) -> None:
    """Refuse weights that the networks of these sizes cannot take."""
    with torch.device("meta"):
        frozen = Autoencoder(settings, facts.height, facts.width)
        control = building.controls(settings, frozen)
        system = System(settings, frozen, control, building.control_tokens(settings, facts))
    wanted = {
        name: value for name, value in system.state_dict().items() if transformer or not name.startswith("transformer.")
    }
    for name, found, expected in misfits(held, wanted):
        there, here = (
            ("nowhere" if found is None else found),
            ("nothing of that name" if expected is None else expected),
        )
        raise VbenchError(
            f"{folder}: {name} is {there}, expected {here} beside the other weights; put the files of one model of "
            "16lemoing/ccvs there"
        )


def _files(folder: Path, options: Told) -> dict[str, Path]:
    """Return the file of each network: of several kinds the averaged one, and the best."""
    named = [(match, path) for path in sorted(folder.rglob("*.pth")) if (match := NAME.fullmatch(path.name))]
    kinds = {(match[1], bool(match[2])) for match, _ in named}
    both = any((label, not averaged) in kinds for label, averaged in kinds)
    averaged = options.switched("q_use_ema") if both else True
    ranked: dict[str, list[tuple[tuple[bool, bool], Path]]] = {}
    for match, path in named:
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


def _weights(tensors: Network) -> dict[str, np.ndarray]:
    return {key: value for key, value in tensors.items() if not key.endswith(CONSTANTS)}


def _settings(found: Mapping[str, Network], options: Told, folder: Path) -> tuple[Settings, int]:
    """Return the settings and the side of a frame."""
    encoder, decoder = found["qvid_e"], found["qvid_g"]
    levels = encoder.last("blocks")
    widths = [encoder.shape("blocks.0.0.weight", 4)[0]]
    widths += [encoder.shape(f"blocks.{level}.conv2.1.weight", 4)[0] for level in range(1, levels)]
    codes, code_width = found["qvid_q"].shape("embedding.weight", 2)
    taken_over = (decoder.shape("inter_blocks.0.subpixel.convs.0.0.weight", 4)[1] - 3) // 2
    values: dict[str, Any] = {
        "widths": tuple(widths),
        "codes": codes,
        "code_width": code_width,
        "shared": taken_over / widths[-1],
    }
    if "qvid_di" in found:
        judge = found["qvid_di"]
        later = [judge.shape(f"convs.{level}.conv2.1.weight", 4)[0] for level in range(1, judge.last("convs") + 1)]
        values["discriminator_widths"] = (judge.shape("convs.0.0.weight", 4)[0], *later)
    values |= _of_control(found)
    tokens = 64
    if "transformer_t" in found:
        transformer = found["transformer_t"]
        tokens = transformer.shape("s_emb", 3)[1]
        values |= _of_transformer(transformer, values, options, folder)
    values["imagenet_range"] = "kinetics" in options["dataset"]
    return Settings(**values), math.isqrt(tokens) * 2 ** (levels - 1)


def _of_control(found: Mapping[str, Network]) -> dict[str, Any]:
    if "state_s" in found and "state_q" in found:
        numbers, width = found["state_s"].shape("fc.weight", 2)
        entries, _ = found["state_q"].shape("embedding.weight", 2)
        return {"control": "state", "state_numbers": numbers, "control_width": width, "control_codes": entries}
    if all(label in found for label in ("stft_e", "stft_d", "stft_q")):
        entries, width = found["stft_q"].shape("embedding.weight", 2)
        hidden = found["stft_e"].shape("convs.0.0.weight", 4)[0]
        sizes = {"control_width": hidden, "sound_code_width": width, "control_codes": entries}
        return {"control": "sound", "control_learning_rate": 2e-3, **sizes}
    return {}


def _of_transformer(transformer: Network, known: Mapping[str, Any], options: Told, folder: Path) -> dict[str, Any]:
    symbols, width = transformer.shape("tok_emb.weight", 2)
    _check_symbols(folder, "frames", known["codes"], symbols)
    frames, per_frame = transformer.shape("t_emb", 3)[1], transformer.shape("s_emb", 3)[1]
    if "state_tok_emb.weight" in transformer:
        _check_symbols(folder, "control", known.get("control_codes", 0), len(transformer["state_tok_emb.weight"]))
        per_frame += transformer.shape("state_s_emb", 3)[1]
    else:
        known = {**known, "control": "none"}
    mask = transformer.get("blocks.0.attn.mask")
    if mask is not None and mask.shape[-1:] != (frames * per_frame,):
        raise VbenchError(
            f"{folder}: the transformer sees {mask.shape[-1] if mask.ndim else 0} tokens, expected {frames} frames of "
            f"{per_frame}; this layout was never released and cannot be imported"
        )
    heads = options.number("x_n_head")
    if width % heads:
        raise UsageError(
            f"{options.place}: x_n_head is {heads}, and the transformer's width {width} is no multiple of it; mend that line"
        )
    return {
        "control": known.get("control", "none"),
        "layers": 1 + transformer.last("blocks"),
        "heads": heads,
        "width": width,
        "frames": frames,
        "unconditional": "start_tok_emb" in transformer,
        "ending": options.switched("x_p2p"),
    }


def _check_symbols(folder: Path, what: str, codebook: int, transformer: int) -> None:
    if codebook != transformer:
        raise VbenchError(
            f"{folder}: the codebook for {what} has {codebook} entries and the transformer knows {transformer}; they are of "
            "different models, put the files of one model into the folder"
        )
