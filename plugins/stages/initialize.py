"""Draw the network's weights anew."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from framework import Stage, Trial

_SCHEMES: dict[str, Callable[[torch.Tensor], Any]] = {
    "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "kaiming_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}


@dataclass(frozen=True)
class Initialize(Stage):
    """Draw the network's weights anew; what is pruned stays so, what is frozen too.

    At the beginning of a trial it chooses the initialisation. After pruning it is the control of lottery tickets
    (Frankle & Carbin 2019, arXiv:1803.03635): the same masks with other weights.

    All else is as in a new network: biases, normalisation and its statistics. A model that loads weights, loads them
    again. `rewind` to ``initial`` goes back to the network before this stage; give this stage a label to go back to it.

    Attributes:
        weights: how those of convolutions, linear and recurrent layers and attention are drawn: as the ``model`` draws
            them by itself, or by a scheme of `torch.nn.init` for ReLU (Kaiming's with fan-in; Xavier's is also called
            Glorot's), with the biases beside them at 0.

    Example:
        stages:
          - initialize: {weights: xavier_normal}
            as: start
          - train: {epochs: 5}
          - prune: {amount: 0.8}
          - rewind: {to: start}
          - train: {epochs: 5}
    """

    weights: Literal["model", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "orthogonal"] = (
        "model"
    )

    def run(self, trial: Trial) -> None:
        state = dict(trial.initial_state(trial.seed))
        if self.weights != "model":
            for name in trial.weights():
                state[name] = _SCHEMES[self.weights](torch.empty_like(state[name]))
                layer, dot, attribute = name.rpartition(".")
                bias = f"{layer}{dot}{attribute.replace('weight', 'bias')}"
                if bias in state:
                    state[bias] = torch.zeros_like(state[bias])
        trial.set_state(state)
