"""Images that are read as they are needed: how fast, and in how much memory.

The first table compares the batches of the dataset `imagefolder`, with a loader, with those of torchvision's
`ImageFolder` in a plain `DataLoader` with the same transforms, in images per second over whole passes. Both end with
normalised batches on the device, and keep their workers from pass to pass.

The second one is of a training on a set of 20 GiB, as one `framework run`. The set is a sparse file, of which a disk
holds next to nothing, while reading it is as reading any other. Memory is that of the command and all processes that it
starts, where pages that several share count once; it is sampled every tenth of a second.
"""

import subprocess
import sys
import sysconfig
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import torch
from common import load, measured_in, parser, print_table, ratios, show, table, take_turns, verdict
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from framework._component import build
from framework._registry import installed

SIZE, BATCH, IMAGES = 224, 64, 512
TARGET, GIB = 0.95, 2**30
WHOLE, MOST = 20 * GIB, 2 * GIB
TRANSFORMS = [{"name": "RandomResizedCrop", "size": SIZE}, {"name": "RandomHorizontalFlip"}, {"name": "RandAugment"}]
SPEC = """
model: {name: convnet, widths: [8, 16]}
data:
  name: npy
  root: arrays
  validation: 0
  loader: {workers: 2, transforms: [RandomHorizontalFlip, RandAugment], mixup: 0.2}
stages:
  - train: {steps: 10, batch_size: 64}
resources: {cpu: 1}
"""


def write_images(root: Path) -> None:
    """JPEG files of about the size of ImageNet's."""
    generator = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("test", 2)):
        for i in range(count):
            file = root / split / f"class{i % 2}" / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            rough = Image.fromarray(generator.integers(0, 256, (38, 50, 3), dtype=np.uint8))
            rough.resize((500, 375), Image.Resampling.BICUBIC).save(file, quality=95)


def ours(root: Path, workers: int, device: torch.device) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """Passes over the batches that a trial would train on."""
    loader = {"workers": workers, "transforms": TRANSFORMS}
    dataset = build(installed(), "dataset", {"name": "imagefolder", "root": str(root), "size": SIZE, "loader": loader})
    batches = dataset(validation=0.0).open(device, ()).batches("train", BATCH, seed=0)
    numbers = iter(range(10**6))
    return lambda: batches.epoch(next(numbers))


def plain(root: Path, workers: int, device: torch.device) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """Passes over the batches that one would train on otherwise."""
    made = [getattr(v2, one["name"])(**{k: v for k, v in one.items() if k != "name"}) for one in TRANSFORMS]
    normalised = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    data = ImageFolder(str(root / "train"), v2.Compose([v2.PILToTensor(), *made, *normalised]))
    cuda = device.type == "cuda"
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=True, pin_memory=cuda)

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader:
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return one_pass


def speed(one_pass: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Callable[[], float]:
    """What measures the images per second of a pass."""

    def measure() -> float:
        began = time.perf_counter()
        seen = sum(len(labels) for _, labels in one_pass())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return seen / (time.perf_counter() - began)

    return measure


def throughput(options: Namespace, folder: Path) -> None:
    """Print the first table."""
    before = load()
    write_images(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = ", ".join(transform["name"] for transform in TRANSFORMS)
    title = f"{IMAGES} JPEG files of 500×375 to batches of {BATCH} × {SIZE}×{SIZE}: {names}"
    made = table(title, "workers", "DataLoader, images/s", "ours, images/s", "ours ÷ DataLoader", "target", words=1)
    for workers in (1, 2):
        sides = {"plain": speed(plain(folder, workers, device)), "ours": speed(ours(folder, workers, device))}
        seen = take_turns(sides, options.repeats or 9)
        ratio = ratios(seen["ours"], seen["plain"])
        median = float(np.median(ratio))
        made.add_row(
            *(str(workers), show(seen["plain"], ",.0f"), show(seen["ours"], ",.0f"), show(ratio, ".3f")),
            verdict(median, TARGET, least=True),
        )
    print_table(made, before, measured_in(options))


def write_arrays(root: Path) -> None:
    """Arrays of 20 GiB; what is never written takes no place on a disk."""
    root.mkdir()
    count = WHOLE // (SIZE * SIZE * 3)
    for split, images in (("train", count), ("test", 64)):
        file = root / f"x_{split}.npy"
        np.lib.format.open_memmap(file, "w+", np.uint8, (images, SIZE, SIZE, 3))
        np.save(root / f"y_{split}.npy", np.arange(images) % 10)


def memory(process: psutil.Process) -> dict[str, int]:
    """Bytes of a process and of all that it has started: that of itself, and of all together."""
    sizes = {}
    for one in [process, *process.children(recursive=True)]:
        try:
            sizes[one.pid] = one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return {"the command": sizes.get(process.pid, 0), "all processes": sum(sizes.values()), "processes": len(sizes)}


def peak(folder: Path) -> None:
    """Print the second table."""
    before = load()
    write_arrays(folder / "arrays")
    (folder / "large.yaml").write_text(SPEC)
    script = str(Path(sysconfig.get_path("scripts"), "framework"))
    command = [script, "run", "large.yaml", "--executor", "inline", "--root", "results"]
    began = time.perf_counter()
    process = psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    most: dict[str, int] = {}
    while process.poll() is None:
        now = memory(process)
        most = {name: max(value, most.get(name, 0)) for name, value in now.items()}
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the run has failed: {process.returncode}")
    made = table("10 steps of 64 images on 20 GiB of mapped arrays", "memory of", "peak, GiB", "target", words=1)
    made.add_row("the command", f"{most['the command'] / GIB:.2f}", "")
    together = verdict(most["all processes"] / GIB, MOST / GIB, least=False)
    made.add_row(f"all processes, {most['processes']} at most", f"{most['all processes'] / GIB:.2f}", together)
    print_table(made, before, f"{time.perf_counter() - began:.0f} s")


def main() -> None:
    options = parser(__doc__).parse_args()
    if options.cpu_time:
        raise SystemExit("--cpu-time would leave out what the workers do")
    with TemporaryDirectory() as folder:
        throughput(options, Path(folder, "images"))
        peak(Path(folder))


if __name__ == "__main__":
    main()
