"""Which calls of a training step wait for the GPU: none should.

`Trainer` on the ResNet-18 of `trainer.py`, in bfloat16, channels-last and compiled. Torch warns of every call that
waits, and a profile counts the waiting calls of CUDA itself. Passes of two lengths tell what belongs to a step: what a
pass does once, such as reading its loss at the end, is in both. Needs a GPU.

    python benchmarks/waiting.py [--steps 20]
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch
from common import load, parser, print_table, table
from torch.profiler import ProfilerActivity, profile
from trainer import ours, resnet

_WAITING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def warned(one_pass: Callable[[], object]) -> Counter[str]:
    """Where torch says that a call waits, and how often."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            one_pass()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{w.filename}:{w.lineno}" for w in found if "synchronizing" in str(w.message))


def profiled(one_pass: Callable[[], object]) -> Counter[str]:
    """How often CUDA's own waiting calls are made."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        one_pass()
    return Counter({event.key: event.count for event in found.key_averages() if event.key in _WAITING})


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--steps", type=int, default=20, help="of the shorter pass; the longer one has twice as many"
    )
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this needs a GPU: on CPUs nothing is waited for; tests/engine/test_waiting.py is for them")
    before = load()
    short = resnet(perf_counter, None, options.steps, bfloat16=True, channels_last=True, compile=True)
    passes = [ours(case) for case in (short, replace(short, steps=2 * options.steps))]
    for one_pass in passes:
        one_pass()  # compiles
    shown = table("Calls that wait for the GPU", "where", f"{options.steps} steps", "twice as many", "per step")
    for count in (warned, profiled):
        few, many = (count(one_pass) for one_pass in passes)
        for where in {**few, **many}:
            per_step = (many[where] - few[where]) / options.steps
            shown.add_row(where, str(few[where]), str(many[where]), f"{per_step:g}")
    print_table(shown, before, "wall time")


if __name__ == "__main__":
    main()
