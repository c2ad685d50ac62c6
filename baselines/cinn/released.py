"""Folders of released models: CompVis/image2video-synthesis-using-cINNs:models/DATASET[/TEXTURE].

Such a folder holds the video encoder (best_PFVD_ENC), the decoder (best_PFVD_GEN), the frame encoder (Encoder_stage2)
and the flow (cINN), in folders of their own. BAIR's has two flows, so there one names the flow's own folder.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from vbench_ctl import weights
from vbench_ctl.baselines.cinn.flow_stage import FlowStage
from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import misfits
from vbench_ctl.training import DataFacts

Tensors = Mapping[str, np.ndarray]

# What the files are called up to the first dot; training and the release spell them in different cases.
FILES = {
    "encoder": "best_pfvd_enc",
    "decoder": "best_pfvd_gen",
    "frame encoder": "encoder_stage2",
    "flow": "cinn",
}
DISCRIMINATORS = {"temporal": "latest_checkpoint_disc_t", "patch": "latest_checkpoint_disc_s"}
CONFIG = "config_stage1"

# What the weights don't show, by the decoder's width: all released models of 64 pixels have 64, those of 128 have 32.
STRIDES: dict[int, dict[str, Any]] = {
    64: {},
    32: {
        "upsample_space": (2, 2),
        "encoder_strides_space": (2, 2, 2, 2),
        "temporal_strides_space": (1, 2, 2, 2),
    },
}
# Where BAIR's end effector may be: stage2_cINN/modules of the release.
BAIR_CONTROL: dict[str, Any] = {
    "control": "state",
    "control_offset": (0.42638585, -0.3080245, 0.19146784),
    "control_range": (0.42850533, 0.54029283, 0.12564658),
}

_SPECTRAL = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0.u",
    "weight_v": "parametrizations.weight.0.v",
}
_LINEAR = re.compile(r"sub_layers\.(\d+)\.coupling\.s\.([01])\.main\.(\d+)\.(weight|bias)")
_NORM = re.compile(r"sub_layers\.(\d+)\.norm_layer\.(loc|scale|initialized)")
_SHUFFLE = re.compile(r"sub_layers\.(\d+)\.shuffle\.(forward|backward)_shuffle_idx")
_MAP = re.compile(r"conditioning_layers\.(\d+)\.(weight|bias)")


# Names


def video_state(tensors: Tensors) -> dict[str, Tensor]:
    """Return the state dict of our video encoder, decoder or discriminators."""
    state = {}
    for name, value in tensors.items():
        stem, _, last = name.rpartition(".")
        state[f"{stem}.{_SPECTRAL.get(last, last)}".removeprefix(".")] = _tensor(value)
    return state


def frame_state(tensors: Tensors) -> dict[str, Tensor]:
    """Return the state dict of our frame encoder; its last layer is a convolution of one place there, linear here."""
    state = {name.replace("fc.sub_layers.0.", "fc."): _tensor(value) for name, value in tensors.items()}
    return {name: value.flatten(1) if name == "model.fc.weight" else value for name, value in state.items()}


def flow_state(tensors: Tensors) -> dict[str, Tensor]:
    """Return the state dict of our flow, where the networks of log-scale and shift lie side by side."""
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if found := _LINEAR.fullmatch(name):
            block, half, place, kind = found.groups()
            pair = torch.stack([_tensor(value), _tensor(tensors[name.replace(".coupling.s.", ".coupling.t.")])])
            ours = f"blocks.{block}.coupling.{('first', 'second')[int(half)]}.layers.{int(place) // 2}.{kind}"
            state[ours] = pair.mT.contiguous() if kind == "weight" else pair.unsqueeze(1)
        elif found := _NORM.fullmatch(name):
            state[f"blocks.{found[1]}.norm.{found[2]}"] = _tensor(value.reshape(value.shape[:2]))
        elif found := _SHUFFLE.fullmatch(name):
            state[f"blocks.{found[1]}.{'order' if found[2] == 'forward' else 'back'}"] = _tensor(value)
        elif found := _MAP.fullmatch(name):
            state[f"maps.{found[1]}.{found[2]}"] = _tensor(value.reshape(value.shape[:2]))
    return state


def _tensor(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(value))


# Reading


def imported(folder: Path, config: Path | None = None) -> tuple[Settings, dict[str, dict[str, Tensor]], DataFacts]:
    """Return settings, weights by stage and facts of the data of a released folder.

    Of the first two stages it holds what generating needs, and their discriminators where training left them.
    """
    held = _files(folder)
    config = config or held.get(CONFIG)
    tensors = {part: weights.read(held[name]) for part, name in FILES.items()}
    settings = _settings(tensors, folder, _read_config(config) if config else {})
    video = _prefixed("encoder", video_state(tensors["encoder"])) | _prefixed(
        "decoder", video_state(tensors["decoder"])
    )
    frame = _prefixed("encoder", frame_state(tensors["frame encoder"]))
    system = FlowStage(settings)
    system.take({"video": video, "frame": frame})
    _load(system.flow, flow_state(tensors["flow"]), held[FILES["flow"]])
    if all(name in held for name in DISCRIMINATORS.values()):
        for part, name in DISCRIMINATORS.items():
            video |= _prefixed(part, video_state(weights.read(held[name])))
    tracks: dict[str, tuple[tuple[int, ...], str]] = {}
    if settings.control:
        tracks[settings.control] = ((len(settings.control_range),), "float32")
    facts = DataFacts(settings.side, settings.side, tracks=tracks, length=settings.frames + 1)
    return settings, {"video": video, "frame": frame, "flow": system.state_dict()}, facts


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a model by their names up to the first dot; what a flow's folder lacks lies beside it."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; cinn's release is one of several files, such as models/bair/stage2")
    wanted = {*FILES.values(), *DISCRIMINATORS.values(), CONFIG}
    found: dict[str, Path] = {}
    for place in (folder, folder.parent):
        there: dict[str, list[Path]] = {}
        for path in sorted(place.rglob("*")):
            name = path.name.partition(".")[0].lower()
            if name in wanted and name not in found and path.is_file():
                there.setdefault(name, []).append(path)
        for name, paths in there.items():
            if len(paths) > 1 and name in FILES.values():
                raise VbenchError(
                    f"{place}: has {' and '.join(str(path.relative_to(place)) for path in paths)}, expected one model; name "
                    "the folder of its flow"
                )
            found[name] = paths[0]
        if found.keys() >= set(FILES.values()):
            return found
    lacking = [f"{name} ({part})" for part, name in FILES.items() if name not in found]
    raise VbenchError(
        f"{folder}: lacks {', '.join(lacking)}, whatever their case and ending; give the folder of a released model, or "
        "of its flow with the others beside it"
    )


def _settings(tensors: Mapping[str, Tensors], folder: Path, known: Mapping[str, Any]) -> Settings:
    """Return the settings that the sizes of the weights and the configuration show."""
    encoder, decoder, embedder, flow = (tensors[part] for part in FILES)
    try:
        code, embedding = len(encoder["conv_mu.weight"]), len(embedder["model.fc.sub_layers.0.weight"]) // 2
        first = flow["sub_layers.0.coupling.s.0.main.0.weight"]
        condition = first.shape[1] - code // 2
        width = decoder["conv_img.weight"].shape[1]
        sizes = {
            "code": code,
            "encoder_widths": (
                len(encoder["conv1.weight"]),
                *(len(encoder[f"layer.{number}.0.conv1.weight"]) for number in range(4)),
            ),
            "decoder_width": width,
            "spade_width": len(decoder["head_0.norm_0.conv.weight"]),
            "embedding": embedding,
            "frame_norm": "batch" if "model.bn1.weight" in embedder else "instance",
            "flow_blocks": sum(name.endswith("norm_layer.loc") for name in flow),
            "flow_width": len(first),
            "flow_depth": sum(
                bool(re.fullmatch(r"sub_layers\.0\.coupling\.s\.0\.main\.\d+\.bias", name)) for name in flow
            )
            - 2,
        }
        codes = {"decoder": decoder["fc.weight"].shape[1], "flow": flow["sub_layers.0.norm_layer.loc"].shape[1]}
    except (KeyError, IndexError) as error:
        raise VbenchError(f"{folder}: its files lack the tensor {error}; they are not those of a cINN") from error
    for part, found in codes.items():
        if found != code:
            raise VbenchError(
                f"{folder}: the {part} is for codes of {found}, the encoder makes {code}; they are of different models"
            )
    blind = sizes["flow_blocks"] > 1 and flow["sub_layers.1.coupling.s.0.main.0.weight"].shape[1] == condition
    control = BAIR_CONTROL if blind else {}
    wanted = embedding + 10 * len(control.get("control_range", ()))
    if condition != wanted:
        raise VbenchError(
            f"{folder}: the flow takes a condition of {condition}, the frame encoder makes one of {wanted}; they are of "
            "models of different datasets"
        )
    if width not in STRIDES and not known:
        raise VbenchError(
            f"{folder}: the strides of a decoder of width {width} are not known; give its config_stage1.yaml"
        )
    return Settings(**{**STRIDES.get(width, {}), **known, **sizes, **control})


def _read_config(file: Path) -> dict[str, Any]:
    """Return what config_stage1.yaml says of strides and losses."""
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        encoder, decoder = config["Encoder"], config["Decoder"]
        temporal, training = config["Discriminator_Temporal"], config["Training"]
        return {
            "encoder_strides_time": tuple(encoder["stride_t"]),
            "encoder_strides_space": tuple(encoder["stride_s"]),
            "upsample_time": tuple(decoder["upsample_t"]),
            "upsample_space": tuple(decoder["upsample_s"]),
            "temporal_widths": tuple(temporal["channels"]),
            "temporal_strides_time": tuple(temporal["stride_t"]),
            "temporal_strides_space": tuple(temporal["stride_s"]),
            "weight_pixels": float(training["w_recon"]),
            "weight_perceptual": float(training["w_percep"]),
            "weight_kl": float(training["w_kl"]),
        }
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise VbenchError(
            f"{file}: is no config_stage1.yaml of cINN ({error!r}); give the one it was trained with"
        ) from error


def _load(module: torch.nn.Module, state: dict[str, Tensor], file: Path) -> None:
    for name, *shapes in misfits(state, module.state_dict()):
        found, expected = ("nothing" if shape is None else list(shape) for shape in shapes)
        raise VbenchError(f"{file}: {name} is {found}, expected {expected}; the file is of another model or cut short")
    module.load_state_dict(state)


def _prefixed(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in state.items()}
