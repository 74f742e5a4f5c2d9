"""What twenty rounds of pruning, rewinding and training leave in the stage store, and how long saving takes.

The state is that of ResNet-18 (ImageNet stem, 32×32 images). After some training, whose result is labelled, each round
prunes 20 % of what remains (`prune`), goes back (`rewind`) and trains; what is saved is what a trial saves after each
of these stages. Training is simulated: each weight that is not masked changes, and so do the statistics of the
normalisation. Two sides, on the same tensors and the same disk:
  whole    all tensors of a snapshot in one safetensors file, values before pruning for masked weights only, with a
           SHA-256 and a JSON file: what the store did before it shared tensors
  store    `Store.save`
Both write the file beside, sync it, rename it and sync the folder. Every snapshot of the store is loaded again and
compared, bit for bit. The sides take turns in going first. Medians over the rounds; bytes are the files' sizes.

    python benchmarks/rounds.py [--rounds 20] [--folder FOLDER] [--cpu-time]
"""

import hashlib
import json
import tempfile
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import clock, load, measured_in, parser, print_table, ratios, show, table, timed
from safetensors.torch import save
from snapshot import fresh_trial, stage

from framework import Trial
from framework._store import Store
from framework._store.backend import LocalBackend
from framework._trial.snapshot import capture

STAGES = ("prune", "rewind", "train")


def train(trial: Trial) -> None:
    """Change what training would change."""
    for name, parameter in trial.model.named_parameters():
        step = torch.randn_like(parameter) * 0.01
        parameter.data += step.masked_fill(~trial.masks[name], 0.0) if name in trial.masks else step
    for _, buffer in trial.model.named_buffers():
        if buffer.is_floating_point():
            buffer.mul_(0.9).add_(torch.rand_like(buffer))
        else:
            buffer.add_(1)


class Sides:
    """Saves the same snapshots in both ways."""

    def __init__(self, folder: Path, now: Any) -> None:
        self.whole, self.store, self.now = LocalBackend(folder / "whole"), Store(folder / "store"), now
        self.keys: list[str] = []
        self.times: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.bytes: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.loads: list[float] = []

    def keep(self, what: str, trial: Trial) -> None:
        tensors, metadata = capture(trial)
        about = {"parent": self.keys[-1] if self.keys else None, "stages": [what], **metadata}
        self.keys.append(f"{len(self.keys):032x}")
        calls = {
            "whole": timed(self.now, lambda: self._save_whole(trial, about)),
            "store": timed(self.now, lambda: self.store.save(self.keys[-1], capture(trial)[0], about)),
        }
        for side in sorted(calls, reverse=len(self.keys) % 2 == 0):
            before = self._size(side)
            self.times[what, side].append(calls[side]())
            self.bytes[what, side].append(self._size(side) - before)
        again = Store(self.store.uri)
        self.loads.append(timed(self.now, lambda: again.load(self.keys[-1]))())
        for name, tensor in again.load(self.keys[-1])[0].items():
            if not torch.equal(tensor.view(-1).view(torch.uint8), tensors[name].reshape(-1).view(torch.uint8)):
                raise SystemExit(f"{name} of {what} {len(self.keys)} has not come back as it was")

    def _save_whole(self, trial: Trial, about: dict[str, Any]) -> None:
        tensors, _ = capture(trial)
        values = {  # of masked weights only
            name: tensor[~trial.masks[name.removeprefix("before_pruning.")]]
            for name, tensor in tensors.items()
            if name.startswith("before_pruning.")
        }
        content = save({name: tensor.contiguous() for name, tensor in {**tensors, **values}.items()})
        about = {"digest": hashlib.sha256(content).hexdigest(), **about}
        self.whole.write(f"{self.keys[-1]}.safetensors", content)
        self.whole.write(f"{self.keys[-1]}.json", json.dumps(about).encode())

    def _size(self, side: str) -> int:
        folder = self.whole.folder if side == "whole" else Path(self.store.uri)
        return sum(path.stat().st_size for path in folder.glob("*.*"))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--folder", type=Path, help="where to save to: another disk, say")
    options = arguments.parse_args()
    load_before = load()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) if not options.folder else nullcontext(options.folder) as folder
    ):
        sides = Sides(Path(folder), clock(options))
        torch.manual_seed(0)
        trial = fresh_trial()
        train(trial)
        early = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
        trial.earlier_state = lambda label: early
        sides.keep("train, dense", trial)
        train(trial)
        sides.keep("train, dense", trial)
        for _ in range(options.rounds):
            stage("prune", amount=0.2).run(trial)
            sides.keep("prune", trial)
            stage("rewind", to="early").run(trial)
            sides.keep("rewind", trial)
            train(trial)
            sides.keep("train", trial)
    title = f"{options.rounds} rounds of ResNet-18"
    costs = table(title, "after", "whole, MB", "store, MB", "÷ whole", "whole, ms", "store, ms", "÷ whole")
    for what in ("train, dense", *STAGES, "a round"):
        sizes, times = (
            {side: _of(found, what, side) for side in ("whole", "store")} for found in (sides.bytes, sides.times)
        )
        mean = {side: sum(sizes[side]) / len(sizes[side]) / 1e6 for side in sizes}
        costs.add_row(
            what,
            f"{mean['whole']:.1f}",
            f"{mean['store']:.1f}",
            f"{mean['store'] / mean['whole']:.3f}",
            show(times["whole"], ".0f"),
            show(times["store"], ".0f"),
            show(ratios(times["store"], times["whole"]), ".2f"),
        )
    print_table(costs, load_before, measured_in(options))
    print(f"loading from the store: median {median(sides.loads):.0f} ms, after the last round {sides.loads[-1]:.0f} ms")


def _of(found: dict[tuple[str, str], list[Any]], what: str, side: str) -> list[Any]:
    """By round; for a round, its stages together."""
    if what != "a round":
        return found[what, side]
    return [sum(parts) for parts in zip(*(found[name, side] for name in STAGES), strict=True)]


if __name__ == "__main__":
    main()
