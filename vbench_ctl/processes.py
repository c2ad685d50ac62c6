"""The processes and the device that a training runs on: one, or several that were launched together."""

import atexit
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn

from vbench_ctl.errors import UsageError, VbenchError, unknown

BUCKET = 8 << 20  # numbers that the processes average in one go: 32 MB of float32


@dataclass(frozen=True)
class Processes:
    """The processes of one training; they see different clips and hold the same weights."""

    device: torch.device
    rank: int = 0
    count: int = 1
    group: Any = None  # talks over the processors, so that nothing waits for a GPU

    @property
    def main(self) -> bool:
        return self.rank == 0

    def say(self, text: str) -> None:
        if self.main:
            print(text, file=sys.stderr)

    def wait(self) -> None:
        """Let all processes come to this point."""
        if self.count > 1:
            dist.barrier(group=self.group)

    def any(self, flag: bool) -> bool:
        """Tell whether it is so in any process."""
        return any(self.gather(flag)) if self.count > 1 else flag

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each process."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def fail(self, error: VbenchError) -> None:
        """End all processes with an error that all of them have come upon; the first one says it."""
        raise error if self.main else SystemExit(error.exit_code)

    def average_gradients(self, weights: Sequence[Tensor]) -> None:
        """Average gradients; where a weight took part in some processes only, the others count as zero."""
        if self.count == 1:
            return
        took_part = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
        dist.all_reduce(took_part, dist.ReduceOp.MAX, group=self.group)
        used = [weight for weight, flag in zip(weights, took_part.tolist(), strict=True) if flag]
        for weight in used:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for bucket in _buckets([weight.grad for weight in used if weight.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            _scatter(flat / self.count, bucket)

    @torch.no_grad()
    def share_buffers(self, system: nn.Module) -> None:
        """Give all processes the first one's buffers, those which a checkpoint holds."""
        if self.count == 1:
            return
        for bucket in _buckets([buffer for buffer in system.buffers() if buffer.numel()]):
            flat = torch.cat([buffer.flatten() for buffer in bucket])
            dist.broadcast(flat, 0)
            _scatter(flat, bucket)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Cut a list into runs of one type and about BUCKET numbers."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(each.numel() for each in bucket) + tensor.numel() > BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _scatter(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, values in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))


def joined(device: str) -> Processes:
    """Join the processes that were launched together, each with its device; usually there is one."""
    wanted = chosen_device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what PyTorch asks for to be deterministic
    fresh = not dist.is_initialized()
    state = PartialState(cpu=wanted.type == "cpu")
    if state.num_processes == 1:
        return Processes(wanted)
    if fresh:
        atexit.register(dist.destroy_process_group)
    return Processes(state.device, state.process_index, state.num_processes, dist.new_group(backend="gloo"))


def chosen_device(device: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda", "cuda:1" or "mps" means here."""
    kinds = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(kind for kind, there in kinds.items() if there))
    kind, _, index = device.partition(":")
    if kind not in kinds or (index and not index.isdecimal()):
        raise unknown("device", device, ["auto", *kinds])
    if not kinds[kind] or (kind == "cuda" and index and int(index) >= torch.cuda.device_count()):
        raise UsageError(f'no device "{device}" on this machine; leave --device away, or use --device cpu')
    return torch.device(device)


def kind_of_many(count: int, device: str) -> str:
    """Return the kind of device, as PyTorch names it, that several processes can have one each of."""
    kind = chosen_device(device).type
    if kind == "cuda" and count > torch.cuda.device_count():
        raise UsageError(f"--num-gpus {count}: this machine has {torch.cuda.device_count()}")
    if kind == "mps":
        raise UsageError("--num-gpus: an Apple GPU is one; leave it away")
    if kind == "cpu" != device:
        raise UsageError(f"--num-gpus {count}: this machine has none; {count} processes without GPUs take --device cpu")
    return kind


def launch(out: Path, words: Sequence[str], count: int, kind: str) -> None:
    """Train the run `out` on several GPUs of this machine (or processes, with the kind cpu), a process for each."""
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.CRITICAL)  # the processes say themselves why they end
    command = ["-m", "vbench_ctl", "train", "--resume", str(out), "--device", kind, *words]
    try:
        torchrun(["--standalone", "--nproc-per-node", str(count), *command])
    except ChildFailedError as error:
        raise SystemExit(error.get_first_failure()[1].exitcode) from None
    except SignalException:
        raise SystemExit(1) from None
