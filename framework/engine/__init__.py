"""Training and evaluation, usable on their own: any network, loss and optimizer."""

from framework.engine.batches import Augmentation, Batches
from framework.engine.precision import Precision, autocast
from framework.engine.tester import Tester, evaluate
from framework.engine.trainer import Trainer, trainable

__all__ = ["Augmentation", "Batches", "Precision", "Tester", "Trainer", "autocast", "evaluate", "trainable"]
