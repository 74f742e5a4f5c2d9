"""Training and evaluation, usable on their own: any network, loss and optimizer."""

from framework._engine.batches import Batches
from framework._engine.constraints import trainable
from framework._engine.precision import Precision, autocast
from framework._engine.tester import Tester, evaluate
from framework._engine.trainer import Trainer

__all__ = ["Batches", "Precision", "Tester", "Trainer", "autocast", "evaluate", "trainable"]
