"""Training: the loop, checkpoints, logs, and what ``pycnn train`` does."""

from .checkpoint import Checkpoint, CheckpointError, list_checkpoints, load_checkpoint, newest_checkpoint, save_checkpoint
from .interruption import Interrupted, Interruption
from .run import Config, RunError, train
from .trainer import Trainer, TrainingError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Config",
    "Interrupted",
    "Interruption",
    "RunError",
    "Trainer",
    "TrainingError",
    "list_checkpoints",
    "load_checkpoint",
    "newest_checkpoint",
    "save_checkpoint",
    "train",
]
