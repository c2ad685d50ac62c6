"""Networks compute as they are defined, whatever the program around them has set for its own."""

from contextlib import contextmanager

import numpy as np
import pytest
import tiny
import torch
import torchvision
from tiny import noise

import vbench_ctl
from vbench_ctl import inverse, networks
from vbench_ctl.inverse import Lesson
from vbench_ctl.networks import Features, Place

PROBE = Features("sprite_probe", "sprite-probe", "frame")  # its weights are in the package
SQUEEZENET = Features("lpips_net", "lpips-squeeze", "pair", (("net", "squeeze"),))


@contextmanager
def default(kind: torch.dtype):
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default(torch.float64),
    "device": lambda: torch.device("meta"),
    "no gradients": torch.inference_mode,
}


@pytest.fixture
def random_squeezenet(monkeypatch):
    """LPIPS on a trunk of random weights."""
    torch.manual_seed(0)
    trunk = torchvision.models.squeezenet1_1(weights=None).state_dict()
    tensors = {name: value.numpy() for name, value in trunk.items()}
    held = networks._tensors
    monkeypatch.setattr(networks, "_tensors", lambda net, *at: tensors if net == "lpips_net" else held(net, *at))
    monkeypatch.setattr(networks, "missing", lambda features: "")
    monkeypatch.setattr(networks, "_sha256", lambda *asked: "0123456789abcdef")


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_program_around_moves_no_score(name, random_squeezenet, tmp_path):
    """Nor what is kept for later: the second score of each reads that."""
    real, fake = noise(2, 0, 3, (32, 40)), noise(2, 1, 3, (32, 40))

    def found(root) -> tuple:
        networks._extractor.cache_clear()  # networks are loaded there, too
        rows = vbench_ctl.score(fake, real, ["lpips-squeeze", "psnr"], root=root, device="cpu")
        networks.use(Place(str(root)))
        read = networks.of(PROBE, list(real))
        return [row.value for row in rows], read.tolist()

    with SURROUNDINGS[name]():
        inside = found(tmp_path / "inside")
    assert inside == found(tmp_path / "inside") == found(tmp_path / "outside")
    assert inside[0][0] is not None


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_program_around_changes_nothing_that_is_learned(name, tmp_path):
    """What tells actions is learned once and kept."""
    built = tiny.built(tmp_path / "store", train=tiny.work("train"), test=tiny.work("test"))
    lesson = Lesson("global_action", steps=2, batch=4, clips=4)
    expected = inverse.learned(built, lesson, tmp_path / "outside").state
    with SURROUNDINGS[name](), networks.undisturbed():
        found = inverse.learned(built, lesson, tmp_path / "inside").state
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def settings() -> list:
    return [getattr(part, name) for part, name, _ in networks._precisions()]


def test_float32_is_float32_meanwhile_and_what_it_was_afterwards():
    """By default an Ampere GPU convolves in TF32, which moves features by about 1e-3."""
    before = settings()
    convolutions = torch.backends.cudnn.conv
    try:
        for precision in ("tf32", "ieee", "none"):
            convolutions.fp32_precision = precision
            with networks.undisturbed():
                assert set(settings()) == {"ieee"}
            assert settings() == [precision, *before[1:]]
        convolutions.fp32_precision = before[0]
        torch.set_float32_matmul_precision("medium")  # products of matrices in TF32, on the processor in bfloat16
        with pytest.raises(ZeroDivisionError), networks.undisturbed():
            assert set(settings()) == {"ieee"} and torch.get_default_dtype() == torch.float32
            _ = 1 / 0
        assert torch.get_float32_matmul_precision() == "medium" and torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
        for (part, name, _), precision in zip(networks._precisions(), before, strict=True):
            setattr(part, name, precision)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_gpu_has_the_features_of_a_processor(random_squeezenet, tmp_path):
    found = []
    for device in ("cpu", "cuda"):
        networks.use(Place(str(tmp_path / device), device))
        found.append(networks.between(SQUEEZENET, *noise(2, 0, 8, (64, 64))))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
