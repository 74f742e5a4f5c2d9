"""What it costs to keep a stage's result and to go on from it, against `torch.save` and `torch.load`.

The states are those of ResNet-18 (ImageNet stem, 32×32 images) after `prune` 20 % and twenty epochs of `train`, exactly
as a trial has them: network, masks, values before pruning, loss, and a record for every epoch. Three cases:
  stage           what is kept after every stage
  SGD, AdamW      a checkpoint within a `train` stage: the optimizer's state and all generators besides
Two sides, on the same tensors and the same folder:
  store           `capture` and `Store.save`, which checks a SHA-256 when it loads; `Store.load` and `restore`
  torch           `torch.save` and `fsync`; `torch.load(weights_only=True)` and `load_state_dict`
Restoring a checkpoint fills the optimizer too, on both sides. What is restored is checked to be what was saved, bit for
bit. Single calls in turn; the time is the median over the calls, the ratio the median of the rounds' ratios.

    python benchmarks/snapshot.py [--repeats 9] [--folder FOLDER] [--cpu-time]
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import clock, load, measured_in, parser, print_table, ratios, show, table, take_turns, timed
from torch import Tensor

from framework import Classification, Dataset, Trial
from framework._component import build
from framework._registry import installed
from framework._store import Store
from framework._trial.data import Images
from framework._trial.snapshot import (
    History,
    Record,
    capture,
    capture_progress,
    restore,
    restore_progress,
)
from framework_plugins.models.resnet import resnet18

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KEY = "0123456789abcdef" * 2
SGD = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
ADAMW = {"name": "adamw", "lr": 0.001}


def fresh_trial() -> Trial:
    """A trial at its start, on images that one step sees all of: what it learns does not matter here."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (32, 3, 32, 32), dtype=np.uint8), np.arange(32, dtype=np.int64) % 10
    data = Dataset(images, labels, images, labels, tuple("0123456789"))
    splits = {"train": (images, labels), "test": (images, labels)}
    arrays = Images(splits, Classification(data.classes), (0.5,) * 3, (0.25,) * 3)
    return Trial(resnet18((3, 32, 32), 10).to(DEVICE), arrays.open(DEVICE, ()), DEVICE)


@dataclass
class Case:
    """A state to keep: a pruned network, in the middle of a `train` stage or after it."""

    name: str
    folder: Path
    optimizer: dict[str, Any]
    within: bool
    progress: Any = None
    history: History = field(default_factory=lambda: History([], []))

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.trial, self.other = fresh_trial(), fresh_trial()
        self.trial.emit = lambda epoch, metrics: self.history.records.append(Record(epoch, 1, metrics, time.time()))
        self.store, self.file = Store(self.folder / self.name), self.folder / f"{self.name}.pt"
        stage("prune", amount=0.2).run(self.trial)
        self.trial.keep = self._keep
        stage("train", epochs=20, optimizer=self.optimizer).run(self.trial)
        self.history.ends += [0, self.trial.epoch]
        self.filled = self._optimizer(self.other)
        tensors, _ = self._captured()
        self.megabytes = sum(t.numel() * t.element_size() for t in tensors.values()) / 1e6

    def _keep(self, progress: Callable[[], Any]) -> None:
        self.progress = progress() if self.within else None

    def _optimizer(self, trial: Trial) -> torch.optim.Optimizer:
        return build(installed(), "optimizer", self.optimizer)(params=list(trial.model.parameters()))

    def _captured(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, metadata = capture(self.trial)
        metadata = {
            "experiment": "snapshot",
            "parent": KEY,
            "stages": ["prune", "train"],
            **self.history.plain(),
            **metadata,
        }
        if not self.within:
            return tensors, metadata
        more, plain = capture_progress(self.trial, self.progress)
        return {**tensors, **more}, {**metadata, "progress": plain}

    # --- the store's side --------------------------------------------------------------------------------------

    def save(self) -> None:
        self.store.save(KEY, *self._captured(), partial=self.within)

    def restore(self) -> None:
        tensors, snapshot = self.store.load(KEY, partial=self.within)
        restore(self.other, tensors, snapshot.metadata, installed())
        History.of(snapshot.metadata)
        if self.within:
            progress = restore_progress(self.other, tensors, snapshot.metadata["progress"])
            self.filled.load_state_dict(progress["trainer"]["optimizer"])

    # --- torch's side ------------------------------------------------------------------------------------------

    def torch_save(self) -> None:
        trial = self.trial
        state = {"model": trial.model.state_dict(), "masks": trial.masks, "before_pruning": trial.before_pruning}
        if self.within:
            state |= {"progress": self.progress, "generator": torch.get_rng_state()}
        with self.file.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def torch_load(self) -> None:
        state = torch.load(self.file, weights_only=True, map_location=DEVICE)
        self.other.model.load_state_dict(state["model"])
        self.other.masks, self.other.before_pruning = state["masks"], state["before_pruning"]
        if self.within:
            torch.set_rng_state(state["generator"].cpu())
            self.filled.load_state_dict(state["progress"]["trainer"]["optimizer"])

    def check(self, side: str) -> None:
        """What has been restored last must be what was saved."""
        wanted, found = self.trial.model.state_dict(), self.other.model.state_dict()
        equal = all(torch.equal(tensor, found[name]) for name, tensor in wanted.items())
        for part in ("masks", "before_pruning"):
            there = getattr(self.other, part)
            equal &= all(torch.equal(tensor, there[name]) for name, tensor in getattr(self.trial, part).items())
        if not equal:
            raise SystemExit(f"{side}: what was restored is not what was saved")
        self.other.model.load_state_dict(fresh_trial().model.state_dict())


def stage(name: str, **parameters: Any) -> Any:
    return build(installed(), "stage", {"name": name, **parameters})()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, help="where to save to: another disk, say")
    options = arguments.parse_args()
    now, repeats, load_before = clock(options), options.repeats or 9, load()
    title = "A snapshot of ResNet-18, 20 % pruned"
    costs = table(title, "state", "side", "MB", "save, ms", "÷ torch", "restore, ms", "÷ torch")
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as folder:
        for name, optimizer, within in (("stage", SGD, False), ("SGD", SGD, True), ("AdamW", ADAMW, True)):
            case = Case(name, Path(folder), optimizer, within)
            saves = {"torch": timed(now, case.torch_save), "store": timed(now, case.save)}
            loads = {
                "torch": timed(now, case.torch_load, lambda case=case: case.check("torch")),
                "store": timed(now, case.restore, lambda case=case: case.check("store")),
            }
            saved, loaded = take_turns(saves, repeats), take_turns(loads, repeats)
            for side in saves:
                costs.add_row(
                    {"stage": "after a stage"}.get(name, f"within one, {name}") if side == "torch" else "",
                    side,
                    f"{case.megabytes:.0f}" if side == "torch" else "",
                    show(saved[side], ".0f"),
                    show(ratios(saved[side], saved["torch"]), ".2f"),
                    show(loaded[side], ".0f"),
                    show(ratios(loaded[side], loaded["torch"]), ".2f"),
                    end_section=side == "store",
                )
    print_table(costs, load_before, measured_in(options))
    content = b"0" * round(case.megabytes * 1e6)
    hashed = timed(now, lambda: hashlib.sha256(content))
    print(f"a SHA-256 of {case.megabytes:.0f} MB takes {median(hashed() for _ in range(repeats)):.0f} ms of these")


if __name__ == "__main__":
    main()
