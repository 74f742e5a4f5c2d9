"""Torchvision's networks without half of their filters: what that saves, and whether they compute the same.

Each network has random weights, and its batch normalisations have the statistics of random images. The half of the
filters of each layer with the smallest L1 norms is pruned (`granularity: filters`, `distribution: layer`) wherever
Torch-Pruning can remove filters. Then the network with zeros and the one without these filters are exported, as
`framework export --format compact` does it, read back, and measured in turn on batches of random images.

    python benchmarks/compact.py [NETWORK …] [--repeats N] [--batch N] [--cpu-time]
"""

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from common import clock, load, measured_in, parser, print_table, ratios, show, table, take_turns, timed
from torch import nn
from torchvision.models import get_model

from framework._channels import OUTPUTS, list_reasons
from framework._report.anatomy import dissect
from framework._report.compact import checked_difference, compacted
from framework._tracking import save_program
from framework.testing import run_stage, tiny_data, tiny_trial

NETWORKS = ("resnet18", "vgg11_bn", "mobilenet_v2", "densenet121", "vit_b_16")
SHAPE = (3, 224, 224)


class Pair(NamedTuple):
    """A network with zeros, the same one without its filters, and how they compare."""

    dense: nn.Module
    compact: nn.Module
    filters: int
    difference: float
    kept: str


def pair(name: str) -> Pair:
    """Prune half of a network's filters, and make it compact."""
    torch.manual_seed(0)
    network = get_model(name, weights=None)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # as ViT's head, by which all outputs would be 0
                parameter.normal_(std=0.02)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(torch.randn(16, *SHAPE))
    trial = tiny_trial(model=network.eval(), data=tiny_data(SHAPE, train=8, test=4))
    run_stage("prune", trial, granularity="filters", amount=0.5, distribution="layer")
    small = compacted(trial.model, SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        dense, compact = (
            save_program(model, SHAPE, Path(folder, f"{i}.pt2")).module()
            for i, model in enumerate((trial.model, small.network))
        )
    kept = {weight: why for weight, why in small.kept.items() if why != OUTPUTS}
    return Pair(dense, compact, small.filters, checked_difference(dense, compact, SHAPE), list_reasons(kept))


def forward(network: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            network(images)

    return run


def main() -> None:
    made = parser(__doc__)
    made.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of torchvision; default: {' '.join(NETWORKS)}")
    made.add_argument("--batch", type=int, default=8, help="images at once")
    options = made.parse_args()
    now, before = clock(options), load()
    logging.getLogger("framework").setLevel(logging.ERROR)  # what keeps its filters is said below the table
    warnings.simplefilter("ignore")
    title = f"half of the filters; batches of {options.batch}, 3×224×224"
    columns = (
        "filters removed",
        "parameters",
        "GFLOPs",
        "ms, with zeros",
        "ms, compact",
        "ratio",
        "largest difference",
    )
    rows, notes = table(title, "network", *columns, words=1), []
    for name in options.networks or NETWORKS:
        found = pair(name)
        images = torch.randn(options.batch, *SHAPE)
        sides = {"dense": found.dense, "compact": found.compact}
        times = take_turns(
            {side: timed(now, forward(network, images)) for side, network in sides.items()}, options.repeats or 9
        )
        with torch.no_grad():
            largest = float(found.dense(images).abs().max())
        dense, compact = (dissect(network, {}, SHAPE) for network in sides.values())
        rows.add_row(
            name,
            f"{found.filters:,}",
            f"{dense.parameters / 1e6:.2f} M → {compact.parameters / 1e6:.2f} M",
            f"{(dense.flops or 0) / 1e9:.2f} → {(compact.flops or 0) / 1e9:.2f}",
            show(times["dense"], ".0f"),
            show(times["compact"], ".0f"),
            show(ratios(times["compact"], times["dense"]), ".2f"),
            f"{found.difference:.1g} of {largest:.2g}",
        )
        if found.kept:
            notes.append(f"{name} keeps all filters of {found.kept}")
    print_table(rows, before, measured_in(options))
    print(*notes, sep="\n")


if __name__ == "__main__":
    main()
