"""How long it takes to plan 10,000 trials of 6 stages, step by step.

Three search spaces: five grids in a row, two at the ends, and values drawn at random.
"""

import io
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from common import clock, load, measured_in, parser, peak, print_table, show, table, verdict
from rich.console import Console

from framework._cli.plan import print_plans
from framework._executors.ray_tune.space import expand
from framework._plan import make_plans
from framework._registry import installed
from framework._spec import load as load_spec
from framework._store import Store

STEPS = ("load", "expand (Ray)", "make plans", "merge, draw")
TARGET = 5.0


def grid(low: int, count: int, scale: float = 1) -> dict[str, Any]:
    return {"grid_search": [round(scale * number, 4) for number in range(low, low + count)]}


def spec(first: Any, second: Any, third: Any, fourth: Any, fifth: Any, **more: Any) -> dict[str, Any]:
    """Train ``first`` epochs, prune, train in batches of ``third`` images, prune, train, prune."""
    return {
        "model": "convnet",
        "data": "digits",
        "stages": [
            {"train": {"epochs": first}},
            {"prune": {"amount": second}},
            {"train": {"epochs": 2, "batch_size": third}},
            {"prune": {"amount": fourth}},
            {"train": {"epochs": 2}},
            {"prune": {"amount": fifth}},
        ],
        **more,
    }


SPECS = {
    "2 × 5 × 10 × 10 × 10": spec(grid(1, 2), grid(1, 5, 0.1), grid(16, 10), grid(1, 10, 0.01), grid(1, 10, 0.02)),
    "100 × 100 at the ends": spec(grid(1, 100), 0.1, 128, 0.2, grid(1, 100, 0.001)),
    "10,000 drawn": spec(2, 0.1, 128, 0.2, {"uniform": [0.1, 0.9]}, search={"samples": 10_000}),
}


def measure(file: Path, now: Callable[[], float]) -> list[float]:
    """The seconds of each step, and of all."""
    loaded: list[Any] = []
    console = Console(file=io.StringIO(), width=200)
    times = [now()]
    for step in (
        lambda: load_spec(file, installed()),
        lambda: list(expand(loaded[0].tree, loaded[0].search.samples, loaded[0].search.seed)),
        lambda: make_plans(loaded[0], lambda *_: loaded[1]),
        lambda: print_plans([loaded[0]], {loaded[0].name: loaded[2]}, console, (), Store(file.parent)),
    ):
        loaded.append(step())
        times.append(now())
    return [*(after - before for before, after in pairwise(times)), times[-1] - times[0]]


def main() -> None:
    options = parser(__doc__).parse_args()
    now = clock(options)
    before = peak()
    load_before = load()
    result = table("Planning 10,000 trials of 6 stages: seconds", "search space", *STEPS, "all", "target", words=1)
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, content) in enumerate(SPECS.items()):
            file = Path(folder, f"{index}.yaml")
            file.write_text(yaml.safe_dump(content))
            rounds = [measure(file, now) for _ in range(options.repeats or 5)]
            columns = [list(column) for column in zip(*rounds, strict=True)]
            result.add_row(
                name, *(show(column, ".2f") for column in columns), verdict(median(columns[-1]), TARGET, least=False)
            )
    print_table(result, load_before, measured_in(options))
    print(f"{peak():,.0f} MiB at most, {before:,.0f} of them after the imports")


if __name__ == "__main__":
    main()
