"""What scores cost: those of ResNet-18 (ImageNet stem, 3×32×32) by a criterion, and the passes that they need by hand.

By hand means a plain loop on a network that is there already: forward and backward passes over batches that lie ready,
and what is added up of the gradients. Ours draws the batches, copies the network, and checks the scores besides.
`fisher` takes single images, `synflow` one of ones in float64; `grasp` differentiates twice.

Each round measures both sides of a criterion one after the other; the ratio is the median of the rounds' ratios.

    python benchmarks/scoring.py [--repeats N] [--images N] [--cpu-time]
"""

from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from common import clock, load, measured_in, parser, print_table, ratios, show, table, take_turns, timed, verdict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from framework import Split, scores
from framework._component import build
from framework._registry import installed
from framework.testing import tiny_data, tiny_trial
from framework_plugins.models.resnet import resnet18

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Batch = tuple[Tensor, Tensor]


def snip(model: nn.Module, weights: list[Tensor], batches: list[Batch]) -> None:
    model.train()
    for images, labels in batches:
        gradients = torch.autograd.grad(cross_entropy(model(images), labels), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        (weight * gradient).abs_()


def grasp(model: nn.Module, weights: list[Tensor], batches: list[Batch]) -> None:
    model.train()
    [(images, labels)] = batches
    first = torch.autograd.grad(cross_entropy(model(images) / 200, labels), weights)
    again = torch.autograd.grad(cross_entropy(model(images) / 200, labels), weights, create_graph=True)
    product = sum((a * b).sum() for a, b in zip(first, again, strict=True))
    for weight, flow in zip(weights, torch.autograd.grad(product, weights), strict=True):
        weight * flow


def synflow(model: nn.Module, weights: list[Tensor], batches: list[Batch]) -> None:
    [(images, _)] = batches
    for weight, flow in zip(weights, torch.autograd.grad(model(images).sum(), weights), strict=True):
        (weight * flow).abs_()


def squares(model: nn.Module, weights: list[Tensor], batches: list[Batch]) -> None:
    sums = [torch.zeros_like(weight) for weight in weights]
    for images, labels in batches:
        gradients = torch.autograd.grad(cross_entropy(model(images), labels), weights)
        for total, gradient in zip(sums, gradients, strict=True):
            total.addcmul_(gradient, gradient)
    for weight, total in zip(weights, sums, strict=True):
        weight.square() * total / len(batches)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=128, help="per batch, instead of 128")
    options = arguments.parse_args()
    repeats, images, now = options.repeats or 7, options.images, clock(options)

    torch.manual_seed(0)
    trial = tiny_trial(model=resnet18((3, 32, 32), 10).to(DEVICE), data=tiny_data((3, 32, 32), classes=10, train=2000))
    trial.device = DEVICE
    parts = {name: Split(*(tensor.to(DEVICE) for tensor in getattr(trial.data, name))) for name in ("train", "test")}
    trial.data = replace(trial.data, **parts, mean=trial.data.mean.to(DEVICE), std=trial.data.std.to(DEVICE))
    names = list(trial.weights())
    by_hand = resnet18((3, 32, 32), 10).to(DEVICE)
    weights: list[Tensor] = [by_hand.get_parameter(name) for name in names]
    positive = resnet18((3, 32, 32), 10).to(DEVICE).double().eval()
    flow: list[Tensor] = [positive.get_parameter(name) for name in names]
    with torch.no_grad():
        for tensor in (*positive.parameters(), *positive.buffers()):
            tensor.abs_()
    batch = next(iter(trial.batches("train", images).epoch(0)))
    singles = list(zip(batch[0].split(1), batch[1].split(1), strict=True))
    per_class = max(1, images * 10 // 128)  # with 128 images, GraSP's 10
    balanced = [(batch[0][: 10 * per_class], batch[1][: 10 * per_class])]
    ones = [(torch.ones(1, 3, 32, 32, dtype=torch.float64, device=DEVICE), batch[1])]

    sides: dict[str, tuple[dict[str, int], Callable[[], object]]] = {
        "snip": ({"images": images}, lambda: snip(by_hand, weights, [batch])),
        "grasp": ({"per_class": per_class}, lambda: grasp(by_hand, weights, balanced)),
        "synflow": ({}, lambda: synflow(positive, flow, ones)),
        "taylor": ({"images": images, "batches": 3}, lambda: squares(by_hand.train(), weights, [batch] * 3)),
        "fisher": ({"images": len(singles)}, lambda: squares(by_hand.eval(), weights, singles)),
    }
    began = load()
    result = table(
        f"Scores of ResNet-18, batches of {images}",
        "criterion",
        "by hand, ms",
        "ours, ms",
        "ours ÷ by hand",
        "target",
        words=1,
    )
    for name, (parameters, passes) in sides.items():
        criterion = build(installed(), "criterion", {"name": name, **parameters})
        ours = timed(now, lambda criterion=criterion: scores(criterion, trial, names))
        measured = take_turns({"by hand": timed(now, passes), "ours": ours}, repeats)
        ratio = ratios(measured["ours"], measured["by hand"])
        shown = [show(measured[side], ".0f") for side in ("by hand", "ours")]
        result.add_row(name, *shown, show(ratio, ".3f"), verdict(median(ratio), 1.05, least=False))
    print_table(result, began, measured_in(options))


if __name__ == "__main__":
    main()
