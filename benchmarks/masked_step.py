"""What masks cost: one training step of ResNet-18 (ImageNet stem), batches of 128 images of 32×32, SGD with momentum.

The sides, each with its own copy of the network:
  plain loop            zero_grad, forward, backward, step
  plain loop + hooks    the same after `torch.nn.utils.prune.global_unstructured` (20 %, L1)
  Trainer               `framework.Trainer.step`
  Trainer, masked       the same with exactly those masks
  RigL, gradual         the same with a change of masks in each step, of which one in a hundred is charged

Single steps in turn; the time is the median over the steps, the ratio (masked to dense, each in its own kind of loop)
the median of the rounds' ratios. At the end the masked weights are checked to be exactly 0.

    python benchmarks/masked_step.py [--repeats N] [--bfloat16] [--optimizer SGD|AdamW] [--cpu-time]
"""

import copy
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from common import clock, load, measured_in, parser, print_table, ratios, show, table, take_turns, timed, verdict
from torch import Tensor, nn
from torch.nn.utils import prune

from framework import Step as Moment
from framework import Trainer
from framework._component import build
from framework._registry import installed
from framework_plugins.models.resnet import resnet18

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Step = Callable[[Tensor, Tensor], object]


def pruned(model: nn.Module) -> nn.Module:
    """A copy with torch's own masks, as hooks."""
    model = copy.deepcopy(model)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    prune.global_unstructured([(layer, "weight") for layer in layers], pruning_method=prune.L1Unstructured, amount=0.2)
    return model


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The masks that the hooks hold, by the parameter's name before they were there."""
    return {name.removesuffix("_mask"): mask.bool() for name, mask in model.named_buffers() if name.endswith("_mask")}


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, bfloat16: bool) -> Step:
    criterion = nn.CrossEntropyLoss()
    model.train()

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bfloat16):
            loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bfloat16", action="store_true")
    arguments.add_argument("--optimizer", choices=["SGD", "AdamW"], default="SGD")
    options = arguments.parse_args()
    repeats = options.repeats or (300 if DEVICE.type == "cuda" else 40)
    now = clock(options)

    torch.manual_seed(0)
    base = resnet18((3, 32, 32), 10).to(DEVICE)
    images, labels = torch.randn(128, 3, 32, 32, device=DEVICE), torch.randint(10, (128,), device=DEVICE)
    hooked = pruned(base)
    masks = masks_of(hooked)
    dense, masked = copy.deepcopy(base), copy.deepcopy(base)
    with torch.no_grad():
        for name, mask in masks.items():
            masked.get_parameter(name).mul_(mask)

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        if options.optimizer == "AdamW":
            return torch.optim.AdamW(model.parameters(), lr=1e-3)
        return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def trainer(model: nn.Module, masks: dict[str, Tensor]) -> Trainer:
        precision = "bfloat16" if options.bfloat16 else "float32"
        model.train()
        return Trainer(model, nn.CrossEntropyLoss(), optimizer(model), masks=masks, precision=precision)

    def updated(**chosen: Any) -> Step:
        """A step in which masks change: each of them, here, and from the same masks every time."""
        model = copy.deepcopy(masked)
        parameters = {name: model.get_parameter(name) for name in masks}
        trained, sparsifier = trainer(model, masks), build(installed(), "sparsifier", {**chosen, "every": 1})()

        def before_step() -> bool:
            moment = Moment(1000, 10_000, parameters, masks, seed=0)
            changed = sparsifier.update(moment)
            assert changed is not None
            trained.set_masks(changed)
            return not moment.skipped

        return lambda images, labels: trained.step(images, labels, before_step)

    steps = {
        "plain loop": plain(base, optimizer(base), options.bfloat16),
        "plain loop + hooks": plain(hooked, optimizer(hooked), options.bfloat16),
        "Trainer": trainer(dense, {}).step,
        "Trainer, masked": trainer(masked, masks).step,
        "RigL": updated(name="rigl"),
        "gradual": updated(name="gradual", amount=0.9),
    }
    load_before = load()
    measured = take_turns(
        {name: timed(now, partial(step, images, labels)) for name, step in steps.items()}, repeats, warmup=5
    )

    precision = "bfloat16" if options.bfloat16 else "float32"
    title = f"A masked step (20 % pruned): ResNet-18, batch 128, 32×32, {options.optimizer}, {precision}"
    result = table(title, "loop", "weights", "ms per step", "masked ÷ dense", "÷ plain loop", "target")
    for name, against in (
        ("plain loop", None),
        ("plain loop + hooks", "plain loop"),
        ("Trainer", None),
        ("Trainer, masked", "Trainer"),
    ):
        ratio = ratios(measured[name], measured[against]) if against else None
        result.add_row(
            name.split(" + ")[0].split(",")[0],
            {"plain loop + hooks": "nn.utils.prune", "Trainer, masked": "masked"}.get(name, "dense"),
            show(measured[name], ".2f"),
            show(ratio, ".3f") if ratio else "",
            show(ratios(measured[name], measured["plain loop"]), ".3f"),
            verdict(median(ratio), 1.02, least=False) if ratio and against == "Trainer" else "",
            end_section=against is not None,
        )
    for name in ("RigL", "gradual"):
        amortised = [1 + (ratio - 1) / 100 for ratio in ratios(measured[name], measured["Trainer, masked"])]
        result.add_row(
            "Trainer",
            f"{name}, update every 100",
            "",
            f"{show(amortised, '.3f')} × masked",
            "",
            verdict(median(amortised), 1.03, least=False),
        )
    print_table(result, load_before, measured_in(options))

    moved = sum(int(masked.get_parameter(name)[~mask].count_nonzero()) for name, mask in masks.items())
    count = sum(int((~mask).sum()) for mask in masks.values())
    print(f"{count:,} masked weights, {moved} of them not exactly 0 after {repeats + 5} steps")


if __name__ == "__main__":
    main()
