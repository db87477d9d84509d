"""Trainer: the loop, and what makes it safe to interrupt."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from .. import backend, no_grad, ops, random
from ..data import DataLoader
from ..nn import BatchNorm2d, Module
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from .callbacks import Callback
from .checkpoint import Checkpoint, CheckpointError, save_checkpoint
from .interruption import Interrupted, Interruption
from .log import CsvLog, Progress

STEP_COLUMNS = ("step", "epoch", "lr", "loss")
EPOCH_COLUMNS = (
    "step", "epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds", "test_top5",
)  # fmt: skip


class TrainingError(RuntimeError):
    """Training cannot go on: a loss or a parameter is not finite."""


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of images it does not learn from.

    Attributes:
        loss: mean cross entropy, without label smoothing.
        accuracy: the part of images, 0 … 1, whose class has the largest logit.
        top5: the part whose class is among the five largest.
        predictions: int64 (n,), the class with the largest logit.
    """

    loss: float
    accuracy: float
    top5: float
    predictions: np.ndarray


class Trainer:
    """Trains a classifier with cross entropy.

    With a `folder`, it writes there ``steps.csv`` (each step's loss), ``metrics.csv`` (each epoch's) and
    ``checkpoints/``: one after every epoch, one every `save_every` steps, and one when Ctrl-C or SIGTERM stops it
    (:class:`Interrupted`, exit codes 130 and 143). A run resumed from any of them ends with the same bits as one
    that was never stopped.

    A batch norm layer whose weight requires no gradient is frozen: it stays in evaluation mode.

    Args:
        model: maps images (n, C, H, W) to logits (n, classes); while training it may return a tuple of logits and auxiliary
            logits.
        optimizer: over the model's parameters.
        train_loader, test_loader: batches to learn from and to measure on.
        epochs: how often to go through the training data.
        scheduler: sets the learning rate, one step of it a training step; :class:`~pycnn.optim.lr_scheduler.ReduceLROnPlateau`
            goes by epochs and by the test loss. Left out, the optimizer's rate stays.
        folder: where to write; left out, nothing is written.
        save_every: steps between checkpoints within an epoch; 0 for none.
        config: what to store in each checkpoint for whoever reads it (JSON values).
        progress: where to report; left out, a bar on a terminal and lines elsewhere.
        callbacks: are called in this order; their state is in the checkpoints.
        label_smoothing: this part of each training label is spread evenly over all classes.
        aux_weight: of each auxiliary output's cross entropy in the loss (Szegedy et al. 2014, section 5).
        clip_grad_norm: the largest common 2-norm of all gradients; longer ones are scaled down to it.
        fast_dev_run: one batch of training and one of test images, then stop; nothing is written.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        train_loader: DataLoader,
        test_loader: DataLoader,
        epochs: int,
        *,
        scheduler: LRScheduler | ReduceLROnPlateau | None = None,
        folder: str | Path | None = None,
        save_every: int = 0,
        config: dict | None = None,
        progress: Progress | None = None,
        callbacks: Sequence[Callback] = (),
        label_smoothing: float = 0.0,
        aux_weight: float = 0.3,
        clip_grad_norm: float | None = None,
        fast_dev_run: bool = False,
    ):
        self.model, self.optimizer = model, optimizer
        self.train_loader, self.test_loader, self.epochs = train_loader, test_loader, epochs
        self.scheduler = scheduler
        self.folder = Path(folder) if folder is not None and not fast_dev_run else None
        self.save_every, self.config = save_every, config or {}
        self.progress = progress or Progress(epochs, len(train_loader))
        self.callbacks = list(callbacks)
        self.label_smoothing, self.aux_weight, self.clip_grad_norm = label_smoothing, aux_weight, clip_grad_norm
        self.fast_dev_run = fast_dev_run
        self.step = 0
        self.sums: dict = {"loss": 0.0, "correct": 0, "images": 0}  # over this epoch's training batches so far
        self.best: dict = {"step": 0, "accuracy": 0.0}
        self.last_checkpoint: Path | None = None
        self.saved = True  # whether the latest attempt to write a checkpoint succeeded
        self._steps: CsvLog | None = None
        self._epochs: CsvLog | None = None
        self._versions_before: dict[str, list[str]] = {}
        self._stop_reason = ""

    # ---- the loop ----

    def fit(self) -> dict:
        """Train to the end of the last epoch; returns its row of ``metrics.csv``, empty if nothing was left to do.

        Raises:
            TrainingError: a loss or a parameter became NaN or infinite; the message names step and layer.
            Interrupted: a signal asked to stop; everything is saved.
        """
        row: dict = {}
        self._stop_reason = ""
        self._open_logs()
        try:
            with Interruption() as interruption, self.progress:
                self._call("on_fit_start")
                while self.train_loader.epoch < self.epochs and not self._stop_reason:
                    row = self._train_epoch(interruption)
                    if interruption.signal:
                        self._leave(interruption.signal)
                    self.save()
                if self._stop_reason:
                    self.progress.say(f"stopped: {self._stop_reason}")
                self._call("on_fit_end", row)
            return row
        finally:
            self._close_logs()

    def stop(self, reason: str) -> None:
        """End the training after this epoch; `reason` is reported. For callbacks."""
        self._stop_reason = reason

    def _call(self, event: str, *values) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *values)

    def _train_epoch(self, interruption: Interruption) -> dict:
        epoch, start = self.train_loader.epoch, time.perf_counter()
        self._learn()
        for images, labels in self.train_loader:
            loss = self._train_step(images, labels)
            self._log_step(epoch, loss)
            self._call("on_step_end", loss)
            if interruption.signal:
                self._leave(interruption.signal)
            epoch_over = self.train_loader.position == len(self.train_loader.dataset)
            if self.fast_dev_run:
                self.stop("this was one batch only")
                break
            if self.save_every and self.step % self.save_every == 0 and not epoch_over:
                self.save()

        test = self.evaluate()
        n = self.sums["images"]
        train_loss, train_accuracy = self.sums["loss"] / n, self.sums["correct"] / n
        seconds = time.perf_counter() - start
        values = (
            self.step, epoch, self.optimizer.lr, train_loss, train_accuracy, test.loss, test.accuracy, seconds, test.top5,
        )  # fmt: skip
        row = dict(zip(EPOCH_COLUMNS, values, strict=True))
        self._log_epoch(row)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(test.loss)
        if math.isfinite(test.loss) and test.accuracy > self.best["accuracy"]:
            self.best = {"step": self.step, "accuracy": test.accuracy}
        self.sums = {"loss": 0.0, "correct": 0, "images": 0}
        self._call("on_epoch_end", row)
        return row

    def _learn(self) -> None:
        """Training mode, but for frozen batch norm."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, BatchNorm2d) and module.affine and not module.weight.requires_grad:
                module.training = False

    def _train_step(self, images, labels) -> float:
        """One update; returns the batch's mean loss before it."""
        if self.step and isinstance(self.scheduler, LRScheduler):
            self.scheduler.step()  # before the update, so that logs and checkpoints hold the rate of their step
        outputs = self.model(images)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = ops.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        for other in auxiliary:
            more = ops.cross_entropy(other, labels, label_smoothing=self.label_smoothing)
            loss = ops.add(loss, ops.mul(more, self.aux_weight))
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(self._why_not_finite(value, images))
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        self.step += 1
        self.sums["loss"] += value * len(labels)
        self.sums["correct"] += int((logits.numpy().argmax(axis=1) == labels.numpy()).sum())
        self.sums["images"] += len(labels)
        return value

    def evaluate(self, loader: DataLoader | None = None) -> Evaluation:
        """Measure the model on the images of `loader`, left out those of the test loader."""
        loader = loader or self.test_loader
        loss, correct, among_five, predictions = 0.0, 0, 0, []
        self.model.eval()
        with no_grad():
            for images, labels in loader:
                logits = self.model(images)
                loss += ops.cross_entropy(logits, labels).item() * len(labels)
                largest = np.argsort(-logits.numpy(), axis=1, kind="stable")[:, :5]
                right = largest == labels.numpy()[:, None]
                correct, among_five = correct + int(right[:, 0].sum()), among_five + int(right.sum())
                predictions.append(largest[:, 0])
                if self.fast_dev_run:
                    break
        self._learn()
        found = np.concatenate(predictions)
        return Evaluation(loss / len(found), correct / len(found), among_five / len(found), found)

    # ---- saving and resuming ----

    def snapshot(self) -> Checkpoint:
        """Everything needed to go on from here with the same bits."""
        state = {
            "step": self.step,
            "loader": self.train_loader.state_dict(),
            "sums": dict(self.sums),
            "best": dict(self.best),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "random": random.get_state(),
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks],
            "kernels": self.kernels(),
            "config": self.config,
            "made_by": {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()},
        }
        return Checkpoint(self.model.state_dict(), self.optimizer.state_dict(), state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a :meth:`snapshot`.

        Raises:
            CheckpointError: it is of another model, optimizer, scheduler or data, or of other callbacks.
        """
        state = checkpoint.state
        try:
            self.model.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.train_loader.load_state_dict(state["loader"])
            random.set_state(state["random"])
            if self.scheduler:
                self.scheduler.load_state_dict(state["scheduler"])
            stored = state.get("callbacks", [])  # absent: saved before there were any
            names = [type(callback).__name__ for callback in self.callbacks]
            if [name for name, _ in stored] != names:
                raise ValueError(f"it has callbacks {[name for name, _ in stored]}, this run {names}")
            for callback, (_, callback_state) in zip(self.callbacks, stored, strict=True):
                callback.load_state_dict(callback_state)
            self.step, self.sums, self.best = state["step"], state["sums"], state["best"]
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{checkpoint.path} does not fit this run: {error}") from error
        self.last_checkpoint = checkpoint.path
        self._versions_before = state["kernels"]

    def save(self) -> bool:
        """Write a checkpoint; returns whether it is there. A full disk is reported, and the older checkpoints stay.

        Raises:
            TrainingError: a parameter is not finite; nothing is written.
        """
        if self.folder is None:
            return True
        snapshot = self.snapshot()
        for name, array in snapshot.model.items():
            if array.dtype.kind not in "iu" and not np.isfinite(array.astype(np.float64)).all():
                raise TrainingError(f"step {self.step}: {name} is not finite after the update; {self._advice()}")
        try:
            for log in (self._steps, self._epochs):
                if log is not None:
                    log.sync()
            self.last_checkpoint = save_checkpoint(self.folder / "checkpoints", snapshot, keep_step=self.best["step"])
        except (CheckpointError, OSError) as error:
            self.progress.say(f"not saved: {error}")
            self.saved = False
        else:
            self.saved = True
        return self.saved

    def _leave(self, number: int) -> NoReturn:
        if self.save() and self.last_checkpoint:
            command = f"; go on with: pycnn train --resume {self.folder}" if self.config else ""
            self.progress.say(f"saved {self.last_checkpoint}{command}")
        raise Interrupted(number)

    def kernels(self) -> dict[str, list[str]]:
        """The kernel versions that ran: op -> names, those of before the run was resumed included."""
        both = self._versions_before, backend.versions_used()
        return {op: sorted({*both[0].get(op, ()), *both[1].get(op, ())}) for op in sorted({*both[0], *both[1]})}

    def changed_versions(self) -> list[str]:
        """Kernels that run in other versions than before the run was resumed, so that bits may differ."""
        now = backend.versions_used()
        return [
            f"{op}: {', '.join(before)} before, {', '.join(now[op])} now"
            for op, before in self._versions_before.items()
            if op in now and now[op] != before
        ]

    # ---- reporting ----

    def _open_logs(self) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._steps = CsvLog(self.folder / "steps.csv", STEP_COLUMNS, self.step)
            # An epoch's row is written before its checkpoint; resuming from an earlier step of that epoch writes it again.
            done = self.step if self.train_loader.state_dict()["position"] == 0 else self.step - 1
            self._epochs = CsvLog(self.folder / "metrics.csv", EPOCH_COLUMNS, done)

    def _close_logs(self) -> None:
        for log in (self._steps, self._epochs):
            if log is not None:
                log.close()
        self._steps = self._epochs = None

    def _log_step(self, epoch: int, loss: float) -> None:
        if self._steps is not None:
            self._write(self._steps, (self.step, epoch, self.optimizer.lr, loss))
        self.progress.step(epoch, self.step, loss)

    def _log_epoch(self, row: dict) -> None:
        if self._epochs is not None:
            self._write(self._epochs, tuple(row.values()))
        self.progress.say(
            f"epoch {row['epoch'] + 1:3d}/{self.epochs}   loss {row['train_loss']:.4f}   "
            f"train {100 * row['train_accuracy']:6.2f} %   test {100 * row['test_accuracy']:6.2f} %   "
            f"top 5 {100 * row['test_top5']:6.2f} %   {row['seconds']:.1f} s"
        )

    def _write(self, log: CsvLog, values: tuple) -> None:
        failed_before = log.failed
        log.write(*values)
        if log.failed and not failed_before:
            self.progress.say(f"{log.path.name} cannot be written ({log.failed.strerror}); its rows wait in memory")

    # ---- when numbers go wrong ----

    def _why_not_finite(self, loss: float, images) -> str:
        place = f"step {self.step + 1} (epoch {self.train_loader.epoch + 1}): the loss is {loss}"
        return f"{place}; {first_not_finite(self.model, images)}; {self._advice()}"

    def _advice(self) -> str:
        last = f"the last finite checkpoint is {self.last_checkpoint}" if self.last_checkpoint else "nothing has been saved yet"
        return f"{last}; a smaller learning rate may help"


def first_not_finite(model: Module, images) -> str:
    """Say where NaN or infinity first appears: in the input, a parameter, or a layer's output (by a forward pass)."""
    if not np.isfinite(images.numpy()).all():
        return "the input images are not finite"
    for name, parameter in model.named_parameters():
        if not np.isfinite(parameter.numpy().astype(np.float64)).all():
            return f"the parameter {name} is not finite, since the update before"
    found: list[str] = []

    def watch(name: str) -> Callable:
        def hook(layer, inputs, outputs):
            for tensor in outputs if isinstance(outputs, tuple) else (outputs,):
                if not found and not np.isfinite(tensor.numpy().astype(np.float64)).all():
                    found.append(f"the first layer with a non-finite output is {name or 'the model'} = {layer}")

        return hook

    removers = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with no_grad():
            model(images)
    finally:
        for remove in removers:
            remove()
    return found[0] if found else "every layer's output is finite, only the loss is not"
