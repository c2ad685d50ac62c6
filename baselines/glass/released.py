"""Checkpoints and configurations as Araachie/glass releases them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from vbench_ctl import weights
from vbench_ctl.baselines.glass.networks import SHRINK
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.errors import VbenchError

_LOCAL = "local_action_separator."
_DYNAMICS = _LOCAL + "dynamics_network."
# Names of the losses there and here.
LOSSES = {
    "reconstruction_loss": "reconstruction",
    "foreground_loss": "foreground",
    "background_loss": "background",
    "background_perceptual_loss": "background_perceptual",
    "binary_mask_loss": "binary_mask",
    "mask_size_loss": "mask_size",
    "multiscale_global_reconstruction_loss": "rendering",
    "multiscale_local_reconstruction_loss": "rendering_local",
    "multiscale_local_perceptual_loss": "rendering_perceptual",
    "local_state_reconstruction_loss": "state",
    "local_action_vq_loss": "codes",
    "mask_reconstruction_loss": "rendered_mask",
}
# The words of tensors' names there, each after those that its module lists before it.
_WORDS = (
    *("local_action_separator", "representation_network", "state_compressor", "action_network", "dynamics_network"),
    *("rendering_network", "masking_network", "foreground_transform_predictor", "background_shift_predictor"),
    *("inpainting_network", "motion_predictor", "inpainting_network_down", "inpainting_network_up", "backbone"),
    *(
        "initial_hidden_state",
        "initial_hidden_cell_state",
        "cell",
        "input_gate",
        "forget_gate",
        "output_gate",
        "cell_gate",
    ),
    *("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "affine"),
    *("conv", "norm", "conv1", "bn1", "conv2", "bn2", "downsample", "residuals", "upsample_blocks", "final_blocks"),
    *("recurrent_layers_blocks", "non_recurrent_blocks", "la_projection", "ga_projection"),
    *("mapping", "projections", "affines", "bns_acts", "final_mlp", "action_codes_quantizer", "embedding"),
)
_RAMPS = {
    "frames": ("num_observations", "increase_start"),
    "given": ("gt_observations", "decrease_start"),
    "temperature": ("gumbel_temperature", "decrease_start"),
}


def read(file: Path) -> dict[str, np.ndarray]:
    """Return the model's tensors of a released checkpoint in the model's order, whatever theirs is in the file."""
    tensors = {
        name.removeprefix("module."): value for name, value in weights.read(file).items()
    }  # of several processes
    if _LOCAL + "state_compressor.0.weight" not in tensors or any(map(_strange, tensors)):
        some = ", ".join([*filter(_strange, tensors), *tensors][:3])
        raise VbenchError(
            f"{file}: the tensors are named {some} and so on, which is no checkpoint of GLASS; expected a step_*.pth of Araachie/glass"
        )
    return {name: tensors[name] for name in sorted(tensors, key=_rank)}


def _strange(name: str) -> bool:
    return any(word not in _WORDS and not word.isdecimal() for word in name.split("."))


def _rank(name: str) -> list[int]:
    return [int(word) if word.isdecimal() else _WORDS.index(word) for word in name.split(".")]


def settings(tensors: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Return the settings of a checkpoint: sizes by its tensors, what they don't show by its configuration."""
    known = _read_config(config) if config else {}
    return Settings(**{**known, **_sizes(tensors)})


def frame_size(tensors: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width of the frames a checkpoint is for."""
    _, height, width = tensors[_DYNAMICS + "recurrent_layers_blocks.0.0.initial_hidden_state"].shape
    return height * SHRINK, width * SHRINK


def placed(module: nn.Module, tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return released tensors as the state dict of our module: both list the same tensors in the same order."""
    ours = module.state_dict()
    if len(ours) != len(tensors):
        raise VbenchError(
            f"glass: the checkpoint has {len(tensors)} tensors, expected {len(ours)} for its settings; it is of another "
            "model, give its configuration too"
        )
    state = {}
    for (name, wanted), (theirs, value) in zip(ours.items(), tensors.items(), strict=True):
        if tuple(wanted.shape) != value.shape or _buffer(name) != _buffer(theirs):
            raise VbenchError(
                f"glass: {theirs} {value.shape} stands where {name} {tuple(wanted.shape)} is expected; it is of another "
                "model, give its configuration too"
            )
        state[name] = torch.from_numpy(np.array(value)).to(wanted.dtype)
    return state


def _buffer(name: str) -> str:
    """Return which buffer of a batch norm a name is of, if any."""
    last = name.rpartition(".")[2]
    return last if last in ("running_mean", "running_var", "num_batches_tracked") else ""


def _sizes(tensors: Mapping[str, Any]) -> dict[str, Any]:
    actions = _LOCAL + "action_network."
    codes, code_width = tensors[actions + "action_codes_quantizer.embedding.weight"].shape
    compressed, state_width = tensors[_LOCAL + "state_compressor.0.weight"].shape[:2]
    hidden = tensors[_LOCAL + "rendering_network.backbone.upsample_blocks.0.0.conv.weight"].shape[1]
    modulated = _DYNAMICS + "non_recurrent_blocks.0.affine.weight" in tensors
    block = tensors[
        _DYNAMICS + ("non_recurrent_blocks.0.weight" if modulated else "non_recurrent_blocks.0.conv1.weight")
    ]
    noise = block.shape[1] - hidden - (0 if modulated else compressed)
    gate = tensors[_DYNAMICS + "recurrent_layers_blocks.0.0.cell.input_gate.weight"]
    return {
        "codes": codes,
        "code_width": code_width,
        "state_width": state_width,
        "compressed": compressed,
        "hidden": hidden,
        "noise": noise,
        "modulated": modulated,
        "joint_input": gate.shape[1] - hidden - noise - compressed == 2 * compressed,
        "gumbel": actions + "final_mlp.weight" in tensors,
        "masking_widths": (
            tensors["masking_network.backbone.conv1.weight"].shape[0],
            tensors["masking_network.backbone.residuals.0.conv1.weight"].shape[0],
        ),
    }


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        training, network = config["training"], config["model"]["action_separator"]["action_network"]
        found = {
            "plain_direction": network.get("use_plain_direction", False),
            "global_steps": training["pretraining_steps_gma"],
            "learning_rate": training["optimizer"]["learning_rate"],
            "weight_decay": training["optimizer"]["weight_decay"],
            "rate_steps": tuple(training["lr_schedule"]),
            "rate_factor": training["lr_gamma"],
            "mask_share": training["loss_params"]["mask_size"],
        }
        for name, (key, start) in _RAMPS.items():
            words = (f"{key}_start", f"{key}_end", f"{key}_{start}", f"{key}_steps")
            found[name] = tuple(training[word] for word in words)
        loaded = training["batching"]["observations_count"]
        first, last, *when = found["frames"]
        # Six ablations load 6 frames and let 12 be asked for, which stays at 6.
        found["frames"] = (min(first, loaded), min(last, loaded), *when)
        return found | {f"weight_{LOSSES[name]}": weight for name, weight in training["loss_weights"].items()}
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VbenchError(
            f"{file}: is no configuration of GLASS ({error}); give the YAML file it was trained with"
        ) from error
