"""What the benchmarks share: taking turns, medians, and the table."""

import os
import platform
import resource
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from statistics import quantiles

from rich.console import Console
from rich.table import Table


def parser(doc: str | None) -> ArgumentParser:
    """With the options that all have."""
    made = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=int, help="rounds, instead of the default")
    made.add_argument(
        "--cpu-time", action="store_true", help="one thread, and its CPU seconds for seconds: steady on a busy machine"
    )
    return made


def clock(options: Namespace) -> Callable[[], float]:
    """What to measure time with, in seconds."""
    if not options.cpu_time:
        return time.perf_counter
    import torch

    if torch.cuda.is_available():
        raise SystemExit("--cpu-time says nothing about a GPU")
    torch.set_num_threads(1)
    return time.process_time


def timed(
    now: Callable[[], float], act: Callable[[], object], after: Callable[[], None] | None = None
) -> Callable[[], float]:
    """What measures how long something takes, in milliseconds, up to when the device is done.

    Args:
        now: what to measure with, see `clock`.
        act: what is measured.
        after: what follows and is not measured.
    """
    import torch

    def milliseconds() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = now()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken = 1e3 * (now() - began)
        if after:
            after()
        return taken

    return milliseconds


def take_turns(sides: Mapping[str, Callable[[], float]], repeats: int, warmup: int = 1) -> dict[str, list[float]]:
    """Measure all sides in every round, so that whatever else the machine does falls on all of them.

    Every round begins with another side and every other one goes backwards, so that none always follows the same one.

    Args:
        sides: by name, what measures once and returns what it measured.
        repeats: rounds that count.
        warmup: rounds before them.

    Returns:
        The measurements by side, in the order of the rounds.
    """
    names = list(sides)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmup, repeats):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        for name in order[:: -1 if turn % 2 else 1]:
            value = sides[name]()
            if turn >= 0:
                measured[name].append(value)
    return measured


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each round: steadier than the ratio of two medians, as a round's sides meet the same load."""
    return [a / b for a, b in zip(above, below, strict=True)]


def show(values: Sequence[float], form: str) -> str:
    """The median, and the quartiles around it."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    low, middle, high = quantiles(values, n=4)
    return f"{middle:{form}} [dim]({low:{form}}–{high:{form}})[/dim]"


def measured_in(options: Namespace) -> str:
    """For the table."""
    return "CPU time, 1 thread" if options.cpu_time else "wall time"


def verdict(value: float, target: float, *, least: bool) -> str:
    """Whether a ratio meets its target."""
    met = value >= target if least else value <= target
    return f"{'≥' if least else '≤'} {target:g} [{'green]met' if met else 'red]missed'}[/]"


def table(title: str, *columns: str, words: int = 2) -> Table:
    """A table for results: the first columns are words, the others numbers."""
    made = Table(title=title, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < words else "right", no_wrap=index < words)
    return made


def print_table(made: Table, load_before: float, unit: str = "wall time") -> None:
    """Print it, with the machine and its load (before, now) below: a loaded machine's figures are noisy."""
    made.caption = f"{machine()} · {unit} · load {load_before:.1f} → {load():.1f} · {date.today()}"
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(made)


def load() -> float:
    """How many processes have wanted to run, over the last minute."""
    return os.getloadavg()[0]


def peak() -> float:
    """Most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Accelerator, cores, and versions."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"
    return f"{device}, {os.cpu_count()} cores, torch {torch.__version__}"
