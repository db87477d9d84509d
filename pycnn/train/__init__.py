"""Training: the loop, checkpoints, logs, and what ``pycnn train`` does."""

from .callbacks import Callback, EarlyStopping
from .checkpoint import Checkpoint, CheckpointError, list_checkpoints, load_checkpoint, newest_checkpoint, save_checkpoint
from .config import Config, RunError
from .evaluation import Scores, evaluate
from .interruption import Interrupted, Interruption
from .recipes import RECIPES, Recipe
from .run import train
from .trainer import Evaluation, Trainer, TrainingError

__all__ = [
    "RECIPES",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Config",
    "EarlyStopping",
    "Evaluation",
    "Interrupted",
    "Interruption",
    "Recipe",
    "RunError",
    "Scores",
    "Trainer",
    "TrainingError",
    "evaluate",
    "list_checkpoints",
    "load_checkpoint",
    "newest_checkpoint",
    "save_checkpoint",
    "train",
]
