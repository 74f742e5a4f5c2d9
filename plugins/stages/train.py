"""Train the network."""

from dataclasses import dataclass

from framework import Training


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train what is neither masked nor frozen, with a fresh optimizer, and measure on the validation set every epoch.

    Example:
        stages:
          - train:
              epochs: 20
              batch_size: 64
              loss: {name: cross_entropy, label_smoothing: 0.1}
              optimizer: {name: adamw, lr: 0.001}
              schedule: {name: cosine, warmup: 1}
              early_stopping: {metric: val/accuracy, patience: 3}
    """
