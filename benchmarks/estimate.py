"""How near `framework plan` comes to what runs then take, with what an earlier run took as its only knowledge.

A first run has seed 0. Then the time and the room are told for other seeds, run, and compared: wall time of the process
`framework run`, and bytes by which the store has grown.

    python benchmarks/estimate.py [SPEC] [--set PATH=VALUE …] [--seeds 1,2] [--repeats 2]
"""

import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

from common import load, parser, print_table, table

from framework._executors.estimate import Estimator
from framework._executors.session import plan_all, share_here
from framework._registry import installed
from framework._spec import load_specs
from framework._store import Store

SCRIPT = str(Path(sysconfig.get_path("scripts"), "framework"))
TARGET = 0.25


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    made = parser(__doc__)
    made.add_argument("spec", nargs="?", default="experiments/quickstart.yaml")
    made.add_argument("--set", action="append", default=[], dest="sets")
    made.add_argument("--seeds", default="1,2,3,4")
    options = made.parse_args()
    before, seeds = load(), [int(seed) for seed in options.seeds.split(",")]
    columns = ("round", "seeds", "told, s", "took, s", "÷", "told, MB", "grew, MB", "÷")
    shown = table("what plan told, and what it took", *columns, words=1)
    for number in range(options.repeats or 1):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder, "stages"))
            words = ["run", options.spec, "--root", folder, *(word for one in options.sets for word in ("--set", one))]
            subprocess.run([SCRIPT, *words, "--seeds", "0"], check=True, capture_output=True)
            specs = load_specs([Path(options.spec)], options.sets, seeds, installed())
            settled, slots = share_here(specs, plan_all(specs))
            told = Estimator([plan for plans in settled.values() for plan in plans], store.stored(), store)(slots)
            assert told is not None
            there, began = size(Path(folder, "stages")), time.perf_counter()
            subprocess.run([SCRIPT, *words, "--seeds", options.seeds], check=True, capture_output=True)
            took, grew = time.perf_counter() - began, size(Path(folder, "stages")) - there
        shown.add_row(
            *(str(number + 1), options.seeds, f"{told.seconds:.1f}", f"{took:.1f}", ratio(told.seconds, took)),
            *(f"{told.size / 1e6:.2f}", f"{grew / 1e6:.2f}", ratio(told.size, grew)),
        )
    print_table(shown, before)


def ratio(told: float, found: float) -> str:
    met = abs(told / found - 1) <= TARGET
    return f"{told / found:.2f} [{'green]met' if met else 'red]missed'}[/]"


if __name__ == "__main__":
    main()
