"""DataLoader: shuffled batches, and the place in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import backend
from ..tensor import Tensor
from .dataset import Dataset

ORDER, SHIFT = 0, 1  # what a random stream is for


class DataLoader:
    """Cuts a data set into batches ``(images, labels)``: float32 (n, C, H, W) and int64 (n,) Tensors.

    Order and shifts are functions of seed and epoch alone, drawn from Philox's raw 64-bit numbers, which NumPy keeps
    unchanged between versions. Every ``for`` over the loader is one epoch; after its last batch `epoch` goes up by one.

    Args:
        dataset: what to cut.
        batch_size: images per batch; the last one may hold fewer.
        shuffle: a new order each epoch, instead of the data set's own.
        seed: of the order and the shifts.
        shift: move each image by up to this many pixels in x and y, anew each epoch; what moves in is 0.
        device: where the Tensors live; left out, the default device.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        shift: int = 0,
        device: str | None = None,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not 0 <= shift < min(dataset.images.shape[2:]):
            raise ValueError(f"shift must be between 0 and the image's size, got {shift}")
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.shift, self.device = shift, device or backend.get_default_device()
        self.epoch = 0
        self.position = 0  # images of this epoch already handed out
        self._start = 0  # where the next `for` begins

    def __len__(self):
        """Batches per epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.position, self._start = self._start, 0
        order = self._order()
        shifts = self._shifts()
        while self.position < len(order):
            chosen = order[self.position : self.position + self.batch_size]
            # Counted before it is handed out: a state saved while this batch is in use resumes behind it.
            self.position += len(chosen)
            yield self._batch(chosen, shifts)
        self.epoch, self.position = self.epoch + 1, 0

    def _random(self, purpose: int, count: int) -> np.ndarray:
        return np.random.Philox(key=self.seed, counter=[0, 0, purpose, self.epoch]).random_raw(count)

    def _order(self) -> np.ndarray:
        n = len(self.dataset)
        return np.argsort(self._random(ORDER, n), kind="stable") if self.shuffle else np.arange(n)

    def _shifts(self) -> np.ndarray | None:
        """(n, 2) moves in y and x, by the image's place in the data set."""
        if not self.shift:
            return None
        numbers = self._random(SHIFT, 2 * len(self.dataset)) >> np.uint64(32)
        return (numbers % np.uint64(2 * self.shift + 1)).astype(np.intp).reshape(-1, 2) - self.shift

    def _batch(self, chosen: np.ndarray, shifts: np.ndarray | None) -> tuple[Tensor, Tensor]:
        images = self.dataset.images[chosen]
        if shifts is not None:
            images = shift_images(images, shifts[chosen])
        x = Tensor(self.dataset.normalize(images), device=self.device, layout="image")
        return x, Tensor(self.dataset.labels[chosen], device=self.device)

    def state_dict(self) -> dict:
        """Where it is: everything `load_state_dict` needs to go on with the next batch of the same epoch."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "shift": self.shift,
            "size": len(self.dataset),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken; the next ``for`` yields the rest of that epoch.

        Raises:
            ValueError: the state is of a loader over other data or with other settings.
        """
        own = self.state_dict()
        for name in ("seed", "batch_size", "shuffle", "shift", "size"):
            if state[name] != own[name]:
                raise ValueError(f"the stored place is of a loader with {name} = {state[name]}, this one has {own[name]}")
        self.epoch, self._start = state["epoch"], state["position"]
        self.position = self._start


def shift_images(images: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Move each image (N, C, H, W) by its (dy, dx) of `shifts` (N, 2); what comes in is 0."""
    N, C, H, W = images.shape
    reach = int(np.abs(shifts).max(initial=0))
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    rows = reach - shifts[:, :1] + np.arange(H)
    columns = reach - shifts[:, 1:] + np.arange(W)
    n, c = np.arange(N)[:, None, None, None], np.arange(C)[:, None, None]
    return padded[n, c, rows[:, None, :, None], columns[:, None, None, :]]
