"""Windows of clips for training: a torch data set in which draw n is a function of the seed and n alone.

Draws go on for ever: each epoch is another permutation of the same items. So a training that goes on at step s needs no
more than s, and neither the number of processes nor that of workers changes what is drawn.
"""

import fnmatch
import itertools
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vbench_ctl import augment as augmentations
from vbench_ctl.augment import Augmentation, Resize
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.sources import Source, StoreSource

STARTS = ("random", "first", "centre", "all")
EPOCH, AUGMENTATION = 1, 2  # last word of a seed, so that the same number means something else

Batch = dict[str, Tensor]


class Place(NamedTuple):
    """Where a window lies: its frames are start, start + stride, ... of a clip."""

    clip: str
    start: int
    stride: int


class _Epoch(NamedTuple):
    number: int
    order: np.ndarray  # position -> item
    chances: np.ndarray  # (position, 2) in [0, 1): where each window's stride and start come from


class Windows(Dataset[Batch]):
    """Windows of `length` frames, `stride` frames apart: {"frames": uint8 (length, H, W, 3), track: (length, ...)}.

    An epoch holds one window of each clip, or with start="all" every window of every clip; `repeats` lists clips more
    often, by patterns of their ids: {"*/2": 3}. Of several strides each window draws one that its clip is long enough
    for. Frames are resized to `size` (height, width or one number), then augmented: augment.py says by what. Clips that
    are too short are left out with a warning. Without `shuffle` each epoch has the order of the source.

    Only `loader` goes on to the next epoch's draws: in a DataLoader of your own every epoch has those of the first.
    """

    def __init__(
        self,
        source: Source,
        length: int,
        stride: int | Sequence[int] = 1,
        *,
        start: str = "random",
        tracks: Sequence[str] = (),
        size: int | tuple[int, int] | None = None,
        augment: Sequence[str | Augmentation] = (),
        repeats: Mapping[str, int] | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ):
        self.source, self.length, self.start, self.shuffle, self.seed = source, length, start, shuffle, seed
        self.strides = sorted({stride} if isinstance(stride, int) else set(stride))
        self.tracks = tuple(tracks)
        self._check()
        resize = [Resize((size, size) if isinstance(size, int) else (size[0], size[1]))] if size else []
        self._augment: list[Augmentation] = [*resize, *augmentations.ready(augment, self.tracks)]
        lengths = np.array([source.length(clip_id) for clip_id in source.ids], np.int64)
        self._clips = np.flatnonzero(lengths >= self._span(self.strides[0]))
        self._lengths = lengths[self._clips]
        self._report_short(lengths)
        items = self._starts_of(self._lengths) if start == "all" else np.ones_like(self._lengths)
        self._ends = np.cumsum(items * self._times(repeats or {}))  # of each clip's items in an unshuffled epoch
        if not len(self):
            raise UsageError(f"{source.name}: no clip is left by repeats {dict(repeats or {})}")
        self._epoch: _Epoch | None = None  # that of the last draw
        # A store's frames that stay as they are go from the file into the batch.
        self._straight = source.store if isinstance(source, StoreSource) and not self._augment else None

    def __len__(self) -> int:
        """Count the items of an epoch."""
        return int(self._ends[-1])

    def __getitem__(self, draw: int) -> Batch:
        """Return the window of a draw of the first epoch, so that a `for` loop over the windows ends."""
        if not 0 <= draw < len(self):
            raise IndexError(draw)
        return {name: values[0] for name, values in self.batch([draw]).items()}

    def batch(self, draws: Sequence[int]) -> Batch:
        """Return the windows of several draws, {"frames": (B, length, H, W, 3), ...}; len(self) begins the second epoch."""
        batch: dict[str, np.ndarray] = {}
        if self._straight is not None:
            batch["frames"] = np.empty((len(draws), self.length, *self._straight.size, 3), np.uint8)
        for at, draw in enumerate(draws):
            window = self._window(draw, batch["frames"][at] if self._straight is not None else None)
            for name, values in window.items():
                if name not in batch:
                    batch[name] = np.empty((len(draws), *values.shape), values.dtype)
                if values.shape != batch[name].shape[1:]:
                    raise VbenchError(
                        f"{self.source.name}: {name} of clip {self.place(draw).clip} are {values.shape}, of another clip in its "
                        f"batch {batch[name].shape[1:]}; a batch has one size, so give the size to resize them to"
                    )
                if not (self._straight is not None and name == "frames"):
                    batch[name][at] = values
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def loader(self, batch: int, epoch: int = 0, workers: int = 0) -> "Epochs":
        """Return batches of one epoch for a `for` loop; a second loop over them gives the next epoch."""
        return Epochs(self, batch, epoch, workers)

    def place(self, draw: int) -> Place:
        """Return where the window of a draw lies."""
        if draw < 0:
            raise IndexError(draw)
        number, position = divmod(draw, len(self))
        if self._epoch is None or self._epoch.number != number:
            self._epoch = self._begin(number)
        item = int(self._epoch.order[position])
        stride_chance, start_chance = self._epoch.chances[position].tolist()
        at = int(self._ends.searchsorted(item, "right"))
        length = int(self._lengths[at])
        fitting = [stride for stride in self.strides if self._span(stride) <= length]
        stride = fitting[int(stride_chance * len(fitting))]
        starts = length - self._span(stride) + 1
        if self.start == "random":
            start = int(start_chance * starts)
        elif self.start == "all":
            start = (item - (int(self._ends[at - 1]) if at else 0)) % starts
        else:
            start = (starts - 1) // 2 if self.start == "centre" else 0
        return Place(self.source.ids[self._clips[at]], start, stride)

    def _begin(self, epoch: int) -> _Epoch:
        """Draw for a whole epoch at once: a generator for each window would take as long as reading it."""
        rng = np.random.default_rng([self.seed, epoch, EPOCH])
        order = rng.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return _Epoch(epoch, order, rng.random((len(self), 2)))

    def _window(self, draw: int, out: np.ndarray | None) -> dict[str, np.ndarray]:
        place = self.place(draw)
        cut = place.start, place.start + self._span(place.stride), place.stride
        if self._straight is not None:
            frames = self._straight.frames(self._straight.index(place.clip), *cut, out=out)
        else:
            frames = self.source.frames(place.clip, *cut)
        window = {"frames": frames, **{name: self.source.track(name, place.clip, *cut) for name in self.tracks}}
        if self._augment:
            rng = np.random.default_rng([self.seed, draw, AUGMENTATION])
            for change in self._augment:
                window = change(window, rng)
        return window

    def _span(self, stride: int) -> int:
        """Return how many frames of a clip a window reaches over."""
        return (self.length - 1) * stride + 1

    def _starts_of(self, lengths: np.ndarray) -> np.ndarray:
        return lengths - self._span(self.strides[0]) + 1

    def _times(self, repeats: Mapping[str, int]) -> np.ndarray:
        """Return how often each clip is listed: the first pattern that fits its id decides."""

        def times(clip_id: str) -> int:
            fitting = (number for pattern, number in repeats.items() if fnmatch.fnmatchcase(clip_id, pattern))
            return next(fitting, 1)

        return np.array([times(self.source.ids[at]) for at in self._clips], np.int64)

    def _check(self) -> None:
        if self.length < 1:
            raise UsageError(f"windows of {self.length} frames: expected at least 1")
        if not self.strides or self.strides[0] < 1:
            raise UsageError(f"stride {self.strides}: expected whole numbers of at least 1")
        if self.start not in STARTS:
            raise unknown("start", self.start, STARTS)
        if self.start == "all" and len(self.strides) > 1:
            raise UsageError(f'start "all" lists the windows of one stride, found {self.strides}; choose one')
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: expected at least 0")
        for name in self.tracks:
            if name not in self.source.tracks:
                raise unknown(f"track in {self.source.name}", name, self.source.tracks)

    def _report_short(self, lengths: np.ndarray) -> None:
        needed, short = self._span(self.strides[0]), len(lengths) - len(self._clips)
        if not len(self._clips):
            raise VbenchError(
                f"{self.source.name}: none of its {len(lengths)} clips has the {needed} frames that a window of {self.length} "
                f"at stride {self.strides[0]} needs, the longest has {max(lengths, default=0)}; take fewer or a smaller stride"
            )
        if short:
            warnings.warn(
                f"{self.source.name}: {short} of {len(lengths)} clips have fewer than {needed} frames and are left out",
                stacklevel=3,
            )


# Batches


def loader(
    windows: Windows,
    batch: int,
    first_draw: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    steps: int | None = None,
) -> Iterator[Batch]:
    """Return batches for one of `world` processes, for ever or so many steps: {"frames": uint8 (batch, T, H, W, 3), ...}.

    Step s takes the draws first_draw + s * batch * world and so on, of which process `rank` gets its `batch`. The number
    of workers changes nothing. Batches are pinned for copying to a GPU where there is one.
    """
    _check_loader(batch, workers)
    numbers = itertools.count() if steps is None else range(steps)
    begins = (first_draw + (step * world + rank) * batch for step in numbers)
    draws = (range(begin, begin + batch) for begin in begins)
    return _batches(_data_loader(windows, _Draws(draws), workers))


class Epochs:
    """Batches of an epoch, the last one smaller; each loop over them is the next epoch and uses the same workers."""

    def __init__(self, windows: Windows, batch: int, epoch: int, workers: int):
        _check_loader(batch, workers)
        self.windows, self.batch, self.epoch = windows, batch, epoch
        self._draws = _Draws(())
        self._loader = _data_loader(windows, self._draws, workers)

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        size = len(self.windows)
        first, stop = self.epoch * size, (self.epoch + 1) * size
        self.epoch += 1
        self._draws.draws = (range(at, min(at + self.batch, stop)) for at in range(first, stop, self.batch))
        return _batches(self._loader)


class _Draws:
    """The draws of each batch, as a DataLoader asks for them."""

    def __init__(self, draws: Iterable[Sequence[int]]):
        self.draws = draws

    def __iter__(self) -> Iterator[Sequence[int]]:
        return iter(self.draws)


class _Excused(Dataset[Any]):
    """Windows whose errors are handed over: a DataLoader would put a worker's traceback into their message."""

    def __init__(self, windows: Windows):
        self.windows = windows

    def __getitems__(self, draws: Sequence[int]) -> Batch | VbenchError:
        try:
            return self.windows.batch(draws)
        except VbenchError as error:
            return error


def _data_loader(windows: Windows, draws: _Draws, workers: int) -> DataLoader:
    if workers:
        _check_sendable(windows)
    return DataLoader(
        _Excused(windows),
        batch_sampler=draws,  # type: ignore[arg-type]  # any iterable does
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        # Spawned, not forked: a fork copies HDF5's locks and torch's threads in whatever state they are.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else each loop would take a number from torch's own
    )


def _batches(loader: DataLoader) -> Iterator[Batch]:
    try:
        for batch in loader:
            if isinstance(batch, VbenchError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise VbenchError(
            "a worker that reads clips was killed, most often for lack of memory; use fewer workers or smaller batches"
        ) from error


def _as_it_is(batch: Any) -> Any:
    return batch


def _check_loader(batch: int, workers: int) -> None:
    if not (isinstance(batch, Integral) and isinstance(workers, Integral)) or batch < 1 or workers < 0:
        raise UsageError(f"batches of {batch!r} by {workers!r} workers: expected whole numbers, at least 1 and 0")


def _check_sendable(windows: Windows) -> None:
    """Refuse what cannot reach a worker."""
    try:
        pickle.dumps(windows._augment)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"an augmentation cannot be sent to workers ({error}); define it at the top level of a module, or use no workers"
        ) from error
