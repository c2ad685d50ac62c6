"""What a GLASS recipe may set, and its schedules over the training steps. Defaults are the released W-Sprites values.

Source of all numbers: Araachie/glass:configs.
"""

from dataclasses import dataclass, fields

from vbench_ctl.errors import UsageError

# First value, last value, step at which it starts to change, steps it takes.
WholeRamp = tuple[int, int, int, int]
Ramp = tuple[float, float, int, int]

LEAST = {
    **dict.fromkeys(("codes", "code_width", "state_width", "compressed", "hidden", "masking_widths"), 1),
    **dict.fromkeys(("noise", "labels", "revive_every", "global_steps", "learning_rate", "weight_decay"), 0),
}


@dataclass(frozen=True)
class Settings:
    """Sizes, variants, schedules and loss weights of a GLASS model."""

    # Networks
    codes: int = 6  # local actions in the codebook
    code_width: int = 16
    state_width: int = 64  # channels of the encoder's state
    compressed: int = 8  # channels of the state that the dynamics sees
    hidden: int = 32  # channels of the recurrent memory
    noise: int = 0  # further input channels of the dynamics, always zero: the release never fills them
    masking_widths: tuple[int, int] = (64, 256)

    # Variants
    gumbel: bool = False  # soft codes by Gumbel softmax in place of the nearest code
    plain_direction: bool = False  # the difference of two states in place of the learnt direction
    joint_input: bool = False  # local and global action at every stage of the dynamics
    modulated: bool = True  # modulated convolutions in the dynamics
    enlarge_masks: bool = False  # inpaint one pixel more around the mask; the release has the switch without effect
    random_strokes: bool = False  # inpaint random strokes too; the release never switches it on
    render_change: bool = False  # render how the shifted last foreground changes, not, as released, all of it anew
    masked_feedback: bool = False  # feed back the rendered picture times its mask; the release feeds it unmasked
    reference_noise: bool = False  # Gumbel codes are drawn with noise in evaluation too, as released
    reference_decay: bool = False  # weight decay also on local networks while their losses are off, as released

    revive_every: int = 0  # steps after which idle codes begin again, at first all of them; 0: never, as released
    freeze_layers: bool = False  # masks, shifts and inpainting stay as they are once the local losses begin

    # True local actions that are counted beside the codes while training, from the track local_action, so that a model
    # can be told true ones; they train nothing. 0: none.
    labels: int = 0

    # Schedules
    global_steps: int = 3000  # steps at the start that train masks, shifts and inpainting only
    frames: WholeRamp = (6, 12, 50_000, 30_000)  # of a clip
    given: WholeRamp = (5, 1, 0, 25_000)  # real frames that the dynamics sees before it feeds on its own
    temperature: Ramp = (0.4, 0.4, 6000, 20_000)  # of the Gumbel softmax
    learning_rate: float = 4e-4
    rate_steps: tuple[int, ...] = (300_000, 1_000_000)
    rate_factor: float = 0.3333
    weight_decay: float = 1e-6

    # Losses of masks, shifts and inpainting
    mask_share: float = 0.06  # the share of a frame that its mask is drawn to
    weight_reconstruction: float = 1.0
    weight_foreground: float = 1.0
    weight_background: float = 2.0
    weight_background_perceptual: float = 0.02
    weight_binary_mask: float = 0.5
    weight_mask_size: float = 0.1

    # Losses of local actions and rendering
    weight_rendering: float = 1.0
    weight_rendering_local: float = 1.0
    weight_rendering_perceptual: float = 1.0
    weight_state: float = 0.2
    weight_codes: float = 0.1
    weight_rendered_mask: float = 0.2

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            found = value if isinstance(value, tuple) else (value,)
            if min(found) < least:
                words = ", ".join(map(str, found))
                raise UsageError(f"glass: {name} is {words}, expected at least {least}; change [model] {name}")
        if self.joint_input and not self.modulated:
            raise UsageError("glass: joint_input needs modulated convolutions; set modulated = true")
        if self.gumbel and self.revive_every:
            raise UsageError(
                f"glass: revive_every is {self.revive_every}, and Gumbel codes are never sought, so none is idle; set "
                "revive_every = 0 or gumbel = false"
            )
        if not 1 <= min(self.given[:2]) <= max(self.given[:2]) < min(self.frames[:2]):
            raise UsageError(
                f"glass: given {list(self.given[:2])} real frames of {list(self.frames[:2])}, expected at least 1 and "
                "fewer than there are frames; change [model] given or frames"
            )
        if min(self.temperature[:2]) <= 0:
            raise UsageError(
                f"glass: temperature {list(self.temperature[:2])}, expected above 0; change [model] temperature"
            )

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every loss term by its name."""
        start = "weight_"
        return {
            field.name.removeprefix(start): getattr(self, field.name)
            for field in fields(self)
            if field.name.startswith(start) and field.name != "weight_decay"
        }

    def frames_at(self, step: int) -> int:
        """Return how many frames of a clip are used at a step."""
        return _whole(self.frames, step)

    def given_at(self, step: int) -> int:
        """Return how many real frames the dynamics sees at a step."""
        return _whole(self.given, step)

    def temperature_at(self, step: int) -> float:
        """Return the Gumbel temperature at a step."""
        first, last, _, _ = self.temperature
        return first + _progress(self.temperature, step) * (last - first)

    def rate_at(self, step: int) -> float:
        """Return the factor on the learning rate at a step."""
        return self.rate_factor ** sum(step >= milestone for milestone in self.rate_steps)


def _progress(ramp: WholeRamp | Ramp, step: int) -> float:
    _, _, start, length = ramp
    if step < start:
        return 0.0
    return 1.0 if step > start + length else (step - start) / max(length, 1)


def _whole(ramp: WholeRamp, step: int) -> int:
    first, last, _, _ = ramp
    return first + int(_progress(ramp, step) * (last - first))  # towards the first value: whole frames only
