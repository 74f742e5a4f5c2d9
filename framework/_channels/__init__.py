"""Channels: what goes of a network when a filter goes.

A filter is an output channel of a convolution or a linear layer. Filters of layers whose outputs are added are tied to
each other, and more layers have numbers for a filter: normalisation, and the layers that it feeds. Torch-Pruning's
dependency graph (Fang et al. 2023, arXiv:2301.12900) says which; it is imported only when something asks for it.
"""

from framework._channels.graph import OUTPUTS, channel_groups, list_reasons, missing_package
from framework._channels.group import ChannelGroup
from framework._channels.removal import remove_channels, zero_channels

__all__ = [
    "OUTPUTS",
    "ChannelGroup",
    "channel_groups",
    "list_reasons",
    "missing_package",
    "remove_channels",
    "zero_channels",
]
