"""`framework.Trainer` with `ImageBatches`, against a loop written by hand.

Same network, images, batch size, augmentation, optimizer and cosine schedule, and the same running loss and accuracy,
kept on the device and read once per pass. The hand-written side is as fast as one would reasonably write it for one
experiment: the images lie normalised, padded and in both orientations on the device, so that cropping and flipping a
batch is one gather; nothing is masked, checked or reproducible.

Cases: the built-in `convnet` on scikit-learn's digits, plain and with `crop`; torchvision's ResNet-18 (ImageNet stem)
on 32×32 images with `crop` and `flip` (`--data FILE.npz`: uint8 NHWC `x_train`, and `y_train`; without, random
images); on CUDA the same in bfloat16 and channels-last, and once more compiled, with cuDNN's benchmark on both sides.
Where Lightning is installed, it runs the same step on the hand-written side's batches, uncompiled.

A pass of each side in turn; images/s is the median over the passes, the ratio the median of the rounds' ratios.

    python benchmarks/trainer.py [--data FILE.npz] [--repeats N] [--steps 8] [--only digits|resnet] [--cpu-time]
"""

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import clock, load, measured_in, parser, print_table, ratios, show, table, take_turns, verdict
from torch import Tensor, nn

from framework import ImageBatches, Trainer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPOCHS = 1000  # of the schedule; no run gets there


@dataclass
class Case:
    """One network on one dataset."""

    now: Callable[[], float]
    name: str
    model: nn.Module
    images: Tensor  # uint8, NCHW
    labels: Tensor
    batch_size: int
    augment: tuple[str, ...] = ()
    steps: int | None = None  # of a pass; None: all
    bfloat16: bool = False
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        self.images, self.labels = self.images.to(DEVICE), self.labels.to(DEVICE)
        scaled = self.images.float() / 255
        self.mean, self.std = scaled.mean((0, 2, 3)).cpu(), scaled.std((0, 2, 3)).cpu()
        self.in_a_pass = min(len(self.images), (self.steps or math.inf) * self.batch_size)

    def fresh(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = copy.deepcopy(self.model).to(DEVICE)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)


def ours(case: Case) -> Callable[[], float]:
    model, optimizer = case.fresh()
    batches = ImageBatches(
        case.images,
        case.labels,
        case.mean,
        case.std,
        batch_size=case.batch_size,
        augment=case.augment,
        seed=0,
        channels_last=case.channels_last,
    )
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        schedule=lambda step: (1 + math.cos(math.pi * step / len(batches) / EPOCHS)) / 2,
        precision="bfloat16" if case.bfloat16 else "float32",
        compile=case.compile,
        cudnn_benchmark=case.compile,
    )
    passes = count()
    return timed(case, lambda: trainer.epoch(islice(batches.epoch(next(passes)), case.steps)))


class HandmadeBatches:
    """Shuffled and augmented batches out of normalised images; `crop` and `flip` only."""

    def __init__(self, case: Case) -> None:
        pad = max(1, case.images.shape[2] // 8) if "crop" in case.augment else 0
        images = nn.functional.pad(case.images, [pad] * 4).float().div_(255)
        images = (images - case.mean.view(1, -1, 1, 1).to(DEVICE)) / case.std.view(1, -1, 1, 1).to(DEVICE)
        if "flip" in case.augment:
            images = torch.cat([images, images.flip(3)])
        self.images, self.case, self.shifts = images, case, 2 * pad + 1
        height, width = case.images.shape[2:]
        self.windows = images.unfold(2, height, 1).unfold(3, width, 1)

    def __len__(self) -> int:
        return math.ceil(len(self.case.labels) / self.case.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        case, count = self.case, len(self.case.labels)
        order = torch.randperm(count, device=DEVICE)
        labels = case.labels[order]
        if "flip" in case.augment:
            order = order + count * torch.randint(2, (count,), device=DEVICE)
        top, left = torch.randint(self.shifts, (2, count), device=DEVICE)
        for i in range(0, count, case.batch_size):
            b = slice(i, i + case.batch_size)
            images = self.windows[order[b], :, top[b], left[b]] if self.shifts > 1 else self.images[order[b]]
            if case.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            yield images, labels[b]


def by_hand(case: Case) -> Callable[[], float]:
    model, optimizer = case.fresh()
    batches, criterion, step = HandmadeBatches(case), nn.CrossEntropyLoss(), 0
    forward = torch.compile(model) if case.compile else model

    def epoch() -> tuple[float, float]:
        nonlocal step
        torch.backends.cudnn.benchmark = case.compile
        model.train()
        total_loss = torch.zeros((), device=DEVICE)
        correct = torch.zeros((), device=DEVICE, dtype=torch.int64)
        seen = 0
        for images, labels in islice(batches, case.steps):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / len(batches) / EPOCHS)) / 2
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=case.bfloat16):
                outputs = forward(images)
                loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.detach() * len(labels)
            correct += (outputs.detach().argmax(1) == labels).sum()
            seen += len(labels)
            step += 1
        return total_loss.item() / seen, correct.item() / seen

    return timed(case, epoch)


def lightning(case: Case) -> Callable[[], float]:
    """Raises ImportError where Lightning is not installed."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.optimizer = case.fresh()
            self.criterion = nn.CrossEntropyLoss()

        def on_train_epoch_start(self) -> None:
            self.began = case.now()
            self.total_loss = torch.zeros((), device=DEVICE)
            self.correct = torch.zeros((), device=DEVICE, dtype=torch.int64)
            self.seen = 0

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            images, labels = batch
            outputs = self.model(images)
            loss = self.criterion(outputs, labels)
            self.total_loss += loss.detach() * len(labels)
            self.correct += (outputs.detach().argmax(1) == labels).sum()
            self.seen += len(labels)
            return loss

        def on_train_epoch_end(self) -> None:
            self.log_dict({"loss": self.total_loss / self.seen, "accuracy": self.correct / self.seen})
            self.total_loss.item(), self.correct.item()
            self.seconds = case.now() - self.began

        def configure_optimizers(self) -> object:
            schedule = partial(torch.optim.lr_scheduler.LambdaLR, self.optimizer)
            cosine = schedule(lambda step: (1 + math.cos(math.pi * step / len(batches) / EPOCHS)) / 2)
            return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    module, batches = Module(), HandmadeBatches(case)
    trainer = lightning.Trainer(
        accelerator=DEVICE.type,
        devices=1,
        precision="bf16-mixed" if case.bfloat16 else "32-true",
        max_epochs=0,
        limit_train_batches=case.steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )

    def epoch() -> float:
        trainer.fit_loop.max_epochs += 1  # goes on where it was
        trainer.fit(module, batches)
        return case.in_a_pass / module.seconds  # without what `fit` needs to start

    return epoch


def timed(case: Case, epoch: Callable[[], object]) -> Callable[[], float]:
    def images_per_second() -> float:
        began = case.now()
        epoch()  # ends with reading numbers, so the device is done
        return case.in_a_pass / (case.now() - began)

    return images_per_second


def digits(now: Callable[[], float], augment: tuple[str, ...] = ()) -> Case:
    from framework_plugins.datasets.digits import digits as load_digits
    from framework_plugins.models.convnet import convnet

    data = load_digits()
    return Case(
        now,
        "convnet, digits" + (", crop" if augment else ""),
        convnet(data.shape, len(data.classes)),
        torch.from_numpy(data.train_images),
        torch.from_numpy(data.train_labels),
        batch_size=64,
        augment=augment,
    )


def resnet(now: Callable[[], float], data: Path | None, steps: int, **precision: bool) -> Case:
    from torchvision.models import resnet18

    if data:
        arrays = np.load(data)
        images, labels = arrays["x_train"], arrays["y_train"].reshape(-1).astype(np.int64)
    else:
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (5120, 32, 32, 3), dtype=np.uint8)
        labels = random.integers(0, 10, 5120)
    return Case(
        now,
        ", ".join(["ResNet-18, 32×32", *(name.replace("_", "-") for name in precision)]),
        resnet18(num_classes=int(labels.max()) + 1),
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels),
        batch_size=128,
        augment=("crop", "flip"),
        steps=steps,
        **precision,
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, help="npz with x_train (uint8 NHWC) and y_train")
    arguments.add_argument("--steps", type=int, help="of a pass of ResNet-18")
    arguments.add_argument("--only", choices=["digits", "resnet"])
    options = arguments.parse_args()

    now, cuda = clock(options), DEVICE.type == "cuda"
    cases: list[tuple[Callable[[], Case], int]] = []
    if options.only != "resnet":
        cases += [(partial(digits, now, augment), options.repeats or 100) for augment in ((), ("crop",))]
    if options.only != "digits":
        make = partial(resnet, now, options.data, options.steps or (100 if cuda else 4))
        cases.append((make, options.repeats or 20))
        if cuda:
            tuned = partial(make, bfloat16=True, channels_last=True)
            cases += [(case, options.repeats or 20) for case in (tuned, partial(tuned, compile=True))]

    load_before = load()
    result = table("Trainer against a hand-written loop", "case", "side", "images/s", "÷ by hand", "target")
    for build, repeats in cases:
        case = build()
        sides = {"by hand": by_hand(case), "Trainer": ours(case)}
        with suppress(ImportError):  # not a dependency
            sides["Lightning"] = lightning(case)
        measured = take_turns(sides, repeats, warmup=3)
        for name, values in measured.items():
            ratio = ratios(values, measured["by hand"])
            result.add_row(
                case.name if name == "by hand" else "",
                name,
                show(values, ",.0f"),
                show(ratio, ".3f"),
                verdict(median(ratio), 0.97, least=True) if name == "Trainer" else "",
            )
        result.add_section()
    print_table(result, load_before, measured_in(options))


if __name__ == "__main__":
    main()
