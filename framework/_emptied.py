"""Layers all of whose weights are pruned, as metrics tell them. Without torch, as figures ask for them too."""

from collections.abc import Mapping

EMPTY = "empty_layers"


def empty_layers(metrics: Mapping[str, float]) -> list[str]:
    """The layers all of whose weights are pruned, by what was reported last."""
    return [name.removeprefix(f"{EMPTY}/") for name, value in metrics.items() if name.startswith(f"{EMPTY}/") and value]
