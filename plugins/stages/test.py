"""Measure on the test set."""

from dataclasses import dataclass

from framework import Stage, Trial, evaluate


@dataclass(frozen=True)
class Test(Stage):
    """Measure loss and accuracy on the test set now, and not only at the trial's end.

    Example:
        stages:
          - train: {epochs: 5}
          - test
          - prune: {amount: 0.5}
    """

    def run(self, trial: Trial) -> None:
        trial.report(evaluate(trial, "test"))
