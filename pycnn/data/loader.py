"""DataLoader: shuffled batches, made ahead by worker threads if asked for, and the place in them."""

from __future__ import annotations

import re
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from .. import backend
from ..tensor import Tensor
from .dataset import CorruptImage, DataError, Dataset, LabeledImages
from .streams import AT_ONCE, first_numbers, image_stream, order_numbers

AHEAD = 2  # batches that each worker may be ahead


class DataLoader:
    """Cuts a data set into batches ``(images, labels)``: float32 (n, C, H, W) and int64 (n,) Tensors.

    The order is a function of seed and epoch alone, what `transform` draws for an image of seed, epoch and the image's index:
    workers change nothing. Every ``for`` over the loader is one epoch; after its last batch `epoch` goes up by one.

    Workers are threads: Pillow and NumPy decode, scale and copy without holding Python's lock. They end with the loop, also when
    it is left early. What goes wrong in one is raised in the loop.

    Args:
        dataset: what to cut: a :class:`Dataset`, an :class:`ImageFolder` or a :class:`LabeledImages` of one's own.
        batch_size: images per batch; the last one may hold fewer.
        shuffle: a new order each epoch, instead of the data set's own.
        seed: of the order and the transform.
        transform: ``transform(image, rng)`` of an image uint8 (C, H, W) and a NumPy Generator gives the image to use, uint8 or
            float32 (C, H, W) with pixels of 0 … 255, which is normalized then; see :mod:`pycnn.data.transforms`. If it gives a
            list of k images, as TenCrop does, the batch has k·n images, those of one image side by side, and n labels.
        device: where the Tensors live; left out, the default device.
        workers: threads that make batches ahead; 0 makes each when it is asked for.
        drop_last: leave out the last batch if it is not full.

    Attributes:
        epoch: of the next or current ``for``.
        position: images of this epoch already handed out.
        skipped: index -> why, of the images that an :class:`ImageFolder` with ``on_error="skip"`` could not decode so far.

    Raises:
        ValueError: a number is too small.
        CorruptImage: in the loop: a file is no image that can be used.
        DataError: in the loop: a file cannot be read, the transform failed, or images of one batch differ in size.
    """

    def __init__(
        self,
        dataset: LabeledImages,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        transform: Callable[[np.ndarray, np.random.Generator], Any] | None = None,
        device: str | None = None,
        workers: int = 0,
        drop_last: bool = False,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if workers < 0:
            raise ValueError(f"workers must be at least 0, got {workers}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.transform, self.workers, self.drop_last = transform, workers, drop_last
        self.device = device or backend.get_default_device()
        self.epoch = 0
        self.position = 0
        self.skipped: dict[int, str] = {}
        self._start = 0  # where the next `for` begins

    def __len__(self):
        """Batches per epoch."""
        return -(-self._end() // self.batch_size)

    def _end(self) -> int:
        """Images per epoch."""
        n = len(self.dataset)
        return n - n % self.batch_size if self.drop_last else n

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.position, self._start = self._start, 0
        order = self._order()[: self._end()]
        chunks = [order[at : at + self.batch_size] for at in range(self.position, len(order), self.batch_size)]
        with closing(self._batches(chunks)) as batches:
            for chunk, (images, labels) in zip(chunks, batches, strict=True):
                # Counted before it is handed out: a state saved while this batch is in use resumes behind it.
                self.position += len(chunk)
                if self.position == len(order):
                    self.position = len(self.dataset)  # the epoch is over, with what is dropped
                if len(labels):
                    yield Tensor(images, device=self.device, layout="image"), Tensor(labels, device=self.device)
        self.epoch, self.position = self.epoch + 1, 0

    def _order(self) -> np.ndarray:
        n = len(self.dataset)
        return np.argsort(order_numbers(self.seed, self.epoch, n), kind="stable") if self.shuffle else np.arange(n)

    def _batches(self, chunks: list[np.ndarray]) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """Images and labels of each chunk of indices, in that order."""
        stop = threading.Event()
        if isinstance(self.dataset, Dataset) and self._whole_batches():
            numbers = first_numbers(self.seed, self.epoch, len(self.dataset)) if self.transform else None
            make: Callable = partial(self._whole_batch, self.dataset, numbers)
        else:
            make = partial(self._batch_of_each, self.epoch, stop)
        if not self.workers:
            yield from map(make, chunks)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="pycnn-data")
        pending: deque[Future] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(make, chunk))
                if len(pending) > AHEAD * self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _whole_batches(self) -> bool:
        draws = 0 if self.transform is None else getattr(self.transform, "draws", None)
        return draws is not None and draws <= AT_ONCE

    def _whole_batch(self, dataset: Dataset, numbers: np.ndarray | None, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = dataset.images[chunk]
        if numbers is not None:
            images = self.transform.batch(images, numbers[chunk])
        return dataset.normalize(images), dataset.labels[chunk]

    def _batch_of_each(self, epoch: int, stop: threading.Event, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images: list[np.ndarray] = []
        used: list[int] = []
        for i in chunk.tolist():
            if stop.is_set():
                break  # nobody waits for this batch any more
            try:
                made = self._image(epoch, i)
            except CorruptImage as error:
                if getattr(self.dataset, "on_error", "raise") == "raise":
                    raise
                if i not in self.skipped:
                    warnings.warn(f"skipped {error}", stacklevel=2)
                self.skipped[i] = str(error)
                continue
            used.append(i)
            for image in made if isinstance(made, list) else [made]:
                if images and image.shape != images[0].shape:
                    raise DataError(
                        f"{self.dataset.where(i)}: its shape is {image.shape}, others of its batch have {images[0].shape}; give "
                        "the loader a transform that makes them equal, such as Compose([Resize(256), CenterCrop(224)])"
                    )
                images.append(image)
        if not images:
            return np.empty((0, 1, 1, 1), np.float32), self.dataset.labels[:0]
        C, H, W = images[0].shape
        batch = np.empty((len(images), H, W, C), images[0].dtype).transpose(0, 3, 1, 2)  # as Tensors keep images
        for n, image in enumerate(images):
            batch[n] = image
        return self.dataset.normalize(batch), self.dataset.labels[used]

    def _image(self, epoch: int, i: int) -> Any:
        image = self.dataset.image(i)
        if self.transform is None:
            return image
        try:
            return self.transform(image, image_stream(self.seed, epoch, i))
        except Exception as error:
            raise DataError(f"{self.dataset.where(i)}: the transform failed: {type(error).__name__}: {error}") from error

    def state_dict(self) -> dict:
        """Where it is: everything `load_state_dict` needs to go on with the next batch of the same epoch."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "transform": re.sub(r" at 0x[0-9a-f]+", "", repr(self.transform)),
            "drop_last": self.drop_last,
            "size": len(self.dataset),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state` was taken; the next ``for`` yields the rest of that epoch.

        Raises:
            ValueError: the state is of a loader over other data or with other settings.
        """
        own = self.state_dict()
        for name in ("seed", "batch_size", "shuffle", "transform", "drop_last", "size"):
            if state[name] != own[name]:
                raise ValueError(f"the stored place is of a loader with {name} = {state[name]}, this one has {own[name]}")
        self.epoch, self._start = state["epoch"], state["position"]
        self.position = self._start
