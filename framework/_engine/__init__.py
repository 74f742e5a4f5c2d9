"""Training and evaluation, usable on their own: any network, loss and optimizer."""

from framework._engine.allocation import apportion, largest_remainder, remove_lowest, spread
from framework._engine.constraints import trainable
from framework._engine.filters import Filters
from framework._engine.loop import EarlyStopping, fit
from framework._engine.network import Mode, Network, scores
from framework._engine.precision import Precision
from framework._engine.speed import gpu_flags
from framework._engine.tester import Tester, evaluate
from framework._engine.trainer import Objective, Trainer
from framework._engine.training import Training

__all__ = [
    "EarlyStopping",
    "Filters",
    "Mode",
    "Network",
    "Objective",
    "Precision",
    "Tester",
    "Trainer",
    "Training",
    "apportion",
    "evaluate",
    "fit",
    "gpu_flags",
    "largest_remainder",
    "remove_lowest",
    "scores",
    "spread",
    "trainable",
]
