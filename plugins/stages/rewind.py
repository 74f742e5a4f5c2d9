"""Set the network back to an earlier state."""

from dataclasses import dataclass

from framework import Stage, StageLabel, Trial


@dataclass(frozen=True)
class Rewind(Stage):
    """Set the network back to a state that it had earlier in the trial; what is pruned stays so, what is frozen too.

    Biases and the statistics of normalisation go back as well. With ``initial``, prune and rewind find lottery tickets
    (Frankle & Carbin 2019, arXiv:1803.03635); with the state after some training, as Frankle et al. 2020
    (arXiv:1912.05671), let the schedule of what follows begin there: ``schedule_from``. A schedule that depends on its
    length, as ``cosine`` does, is cut by ``schedule_until`` in the stage before.

    Attributes:
        to: ``initial``, the network that the trial began with; or the label of an earlier stage, the network after it
            (the latest one of that label).

    Example:
        stages:
          - train: {epochs: 1}
            as: early
          - train: {epochs: 9, schedule_from: 1}
          - repeat:
              times: 3
              stages:
                - prune: {amount: 0.2}
                - rewind: {to: early}
                - train: {epochs: 9, schedule_from: 1}
    """

    to: StageLabel = "initial"

    def run(self, trial: Trial) -> None:
        trial.set_state(trial.earlier_state(self.to))
