"""Plugins that do what no plugin should: one trial fails, with the reason and the plugin's name; the others go on."""

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import AfterValidator
from report.plans import make_plan
from running import framework, trials, write
from test_observers import SPEC, plan_of, registry_of
from test_trial import Reports
from torch import nn

from framework import SpecError, Stage, StageError, Trial, hookimpl
from framework._errors import Expired, PluginError, describe
from framework._executors.deadline import Deadline
from framework._executors.events import failure
from framework._executors.inline import attempt
from framework._plan.result import Result
from framework._registry import Registry
from framework._reported import plain_metrics
from framework._spec import load
from framework._store import Store
from framework._trial import prepare


class Own(BaseException):
    """Not even an Exception."""


class Mute(Exception):  # noqa: N818 - what it stands for is an exception
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818
    """Takes no notes, and no traceback."""

    why: str = "cold"


class Computed(Exception):  # noqa: N818
    """Answers to no name."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("__notes__", "__cause__", "add_note"):
            raise RuntimeError("no")
        return super().__getattribute__(name)


# What is raised, and the reason that is given.
RAISED: dict[str, tuple[BaseException, str]] = {
    "sys.exit": (SystemExit(3), "SystemExit: 3"),
    "sys.exit without an error": (SystemExit(0), "SystemExit: 0"),
    "GeneratorExit": (GeneratorExit(), "GeneratorExit"),
    "StopIteration": (StopIteration(1), "StopIteration: 1"),
    "a BaseException of its own": (Own("mine"), "Own: mine"),
    "one that cannot be shown": (Mute(), "Mute, of which no text can be had: str() of it raises RuntimeError"),
    "one that cannot be changed": (Frozen(), "FrozenInstanceError: "),  # by contextlib, as it is handed on
    "one that answers to no name": (Computed("x"), "Computed: x"),
    "a lone surrogate": (ValueError("\ud800 and \0"), "ValueError: \\ud800 and \\0"),
    "a text without end": (ValueError("x" * 10**6), f"ValueError: {'x' * 100}"),
}


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


class Hostile:
    """Raises in whatever it registers."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def register_stages(self) -> Any:
        fail = raising(self.error)

        @dataclass(frozen=True)
        class Broken(Stage):
            def run(self, trial: Trial) -> None:
                fail()

        return {"broken": Broken}

    @hookimpl
    def register_models(self) -> Any:
        fail = raising(self.error)

        class Broken(nn.Linear):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                if self.training:
                    fail()
                return super().forward(images.flatten(1))

        return {
            "unbuilt": lambda shape, classes: fail(),
            "broken": lambda shape, classes: Broken(math.prod(shape), classes),
        }

    @hookimpl
    def register_losses(self) -> Any:
        fail = raising(self.error)

        class Broken(nn.CrossEntropyLoss):
            def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
                fail()
                return super().forward(outputs, labels)

        return {"broken": Broken}

    @hookimpl
    def register_optimizers(self) -> Any:
        fail = raising(self.error)

        class Broken(torch.optim.SGD):
            def __init__(self, params: Any, lr: float = 0.1) -> None:
                super().__init__(params, lr)

            def step(self, closure: Any = None) -> None:  # type: ignore[override]
                fail()

        return {"broken": Broken}

    @hookimpl
    def register_schedules(self) -> Any:
        fail = raising(self.error)
        return {"broken": lambda epoch, epochs: fail()}

    @hookimpl
    def register_criteria(self) -> Any:
        fail = raising(self.error)
        return {"broken": lambda weight: fail()}

    @hookimpl
    def register_datasets(self) -> Any:
        return {"broken": raising(self.error)}


TRAIN = "  - train: {epochs: 2, batch_size: 8}\n"
PLACES = {
    "stage": (TRAIN, f"{TRAIN}  - broken\n"),
    "a model that cannot be built": ("{name: convnet, widths: [4], dropout: 0.2}", "unbuilt"),
    "model": ("{name: convnet, widths: [4], dropout: 0.2}", "broken"),
    "loss": ("batch_size: 8}", "batch_size: 8, loss: broken}"),
    "optimizer": (TRAIN, TRAIN.replace("}", ", optimizer: broken}")),
    "schedule": (TRAIN, TRAIN.replace("}", ", schedule: broken}")),
    "criterion": ("prune: {amount: 0.5}", "prune: {amount: 0.5, criterion: broken}"),
}


def result_of(registry: Registry, folder: Path, text: str = SPEC) -> Result:
    plan = plan_of(registry, folder, text)
    return attempt(plan, registry, prepare(plan.data, registry), Store(folder / "store"), Reports(), 300)


@pytest.mark.parametrize("raised", RAISED)
def test_whatever_a_stage_raises_its_trial_has_failed_and_says_of_which_plugin(raised: str, tmp_path: Path) -> None:
    error, reason = RAISED[raised]
    result = result_of(registry_of(Hostile(error)), tmp_path, SPEC.replace(*PLACES["stage"]))
    assert result.error is not None
    assert result.error.startswith(reason)
    if not isinstance(error, Computed):
        assert result.error.endswith(" (in stage 2, broken of third-0 1)")
    assert len(result.error) < 6000
    result.error.encode()
    assert result.traceback


@pytest.mark.parametrize("place", PLACES)
def test_whichever_component_ends_its_process_the_trial_has_failed_and_names_it(place: str, tmp_path: Path) -> None:
    text = SPEC.replace(*PLACES[place], 1)
    assert text != SPEC
    result = result_of(registry_of(Hostile(SystemExit("enough"))), tmp_path, text)
    assert result.error is not None
    assert result.error.startswith("SystemExit: enough (")
    assert "third-0 1" in result.error


def test_ctrl_c_still_interrupts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        result_of(registry_of(Hostile(KeyboardInterrupt())), tmp_path, SPEC.replace(*PLACES["stage"]))


def test_an_error_whose_class_computes_everything_can_be_told() -> None:
    class Odd(Exception):  # noqa: N818
        @property
        def __notes__(self) -> Any:
            raise RuntimeError

    assert failure(make_plan("train"), Odd("x"), 1.0).error == "Odd: x"
    assert describe(PluginError("ours explain themselves")) == "ours explain themselves"


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), Own("mine")], ids=lambda error: type(error).__name__)
def test_a_plugin_that_ends_its_process_while_it_registers_is_named(error: BaseException) -> None:
    class Plugin:
        register_models = hookimpl(lambda self: raising(error)())

    with pytest.raises(PluginError, match=f"^mine 1: register_models failed: {type(error).__name__}"):
        Registry([(Plugin(), "mine 1")])


@pytest.mark.parametrize("error", [SystemExit(1), Own("mine"), TypeError("odd")], ids=["exit", "own", "type"])
def test_a_parameter_whose_validator_ends_the_process_is_a_mistake_of_the_spec(
    error: BaseException, tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class Checked(Stage):
        size: Annotated[int, AfterValidator(lambda size: raising(error)())]

        def run(self, trial: Trial) -> None: ...

    class Plugin:
        register_stages = hookimpl(lambda self: {"checked": Checked})

    path = tmp_path / "spec.yaml"
    path.write_text("model: convnet\ndata: digits\nstages:\n  - checked: {size: 3}\n")
    with pytest.raises(SpecError) as told:
        load(path, registry_of(Plugin()))
    [problem] = [problem for problem in told.value.problems if problem.path.startswith("stages.0")]
    assert problem.line == 4
    said = f"stage 'checked' of third-0 1 cannot validate its parameters: {type(error).__name__}: "
    assert problem.message.startswith(said)


# --- metrics and artifacts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.array(2.5), 2.5),
        (torch.tensor(2.0), 2.0),
        (torch.tensor(7), 7.0),
        (float("inf"), float("inf")),
    ],
    ids=repr,
)
def test_numbers_of_all_kinds_are_metrics(value: Any, expected: float) -> None:
    plain = plain_metrics({"x": value})
    assert plain == {"x": expected}
    assert type(plain["x"]) is float


class NotANumber(float):
    def __float__(self) -> Any:
        raise OSError("no")


@pytest.mark.parametrize(
    "given",
    [
        {"x": "0.5"},
        {"\ud800": 0.5},
        {"x": b"1"},
        {"x": None},
        {"x": torch.ones(2)},
        {"x": np.ones(1)},
        {"x": 10**400},
        {"x": 10**5000},
        {"x": 1j},
        {"x": np.str_("1")},
        {"x": np.datetime64("2026-01-01")},
        {"x": NotANumber(1)},
        {"x" * 251: 1.0},
        {"": 1.0},
        {3: 1.0},
        [("x", 1.0)],
        3,
    ],
    ids=lambda given: str(type(given)) if isinstance(given, dict) else repr(given),
)
def test_what_is_no_metric_is_refused_where_it_is_reported(given: Any, make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    with pytest.raises(StageError, match=r"^trial\.report takes numbers by name: ") as error:
        trial.report(given)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("epoch", [10**30, -1, 1.5, "1", True])
def test_an_epoch_that_is_none_is_refused(epoch: Any, make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    trial.epoch = epoch
    with pytest.raises(StageError, match=r"^trial\.epoch must be a whole number"):
        trial.report({})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x" * 251, b""),
        ("ä" * 126, b""),
        ("/".join(["x" * 200] * 3), b""),
        ("\ud800", b""),
        (3, b""),
        ("x", "text"),
        ("x", 10**12),
        ("logged/inside", b""),
        ("folder", b""),
    ],
    ids=lambda value: str(value)[:12].encode("ascii", "replace").decode(),
)
def test_what_cannot_be_a_file_is_refused_where_it_is_logged(
    name: Any, content: Any, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial()
    trial.log_artifact("logged", b"")
    trial.log_artifact("folder/inside", bytearray(b"x"))
    with pytest.raises(StageError):
        trial.log_artifact(name, content)
    assert trial.artifacts == {"logged": b"", "folder/inside": b"x"}


# --- whole runs -------------------------------------------------------------------------------------------------------

# By what the stage `hostile` does, how its trial's reason begins; None if it only tries.
HOW = {
    "exit": "SystemExit: 3",
    "own": "Own: mine",
    "mute": "Mute, of which no text can be had",
    "surrogate": "ValueError: \\ud800",
    "text": "trial.report takes numbers by name: gave 'high' as 'x'",
    "artifact": "an artifact's name is a relative path",
    "clash": "the tracking store",
    "nan": None,
    "note": None,
}


def test_a_run_with_all_of_them_comes_to_its_end(gate: str, tmp_path: Path) -> None:
    stages = "".join(f"\n              - hostile: {{how: {how}}}" for how in HOW)
    text = f"""
        name: hostile
        model: convnet
        data: {{name: digits, validation: 0.5}}
        resources: {{retries: 0}}
        seeds: [0, 1]
        stages:
          - train: {{steps: 1, batch_size: 16}}
          - grid_search:{stages}
        """
    broken = text.replace("name: hostile", "name: unread", 1).replace("digits", "hostile").split("          - grid")[0]
    write(tmp_path, {"hostile.yaml": text, "unread.yaml": broken})
    command = ("run", "unread.yaml", "hostile.yaml", "--executor", "inline", "--root", "r")
    done = framework(*command, folder=tmp_path, PYTHONPATH=gate)
    assert (done.returncode, done.stderr) == (1, "")
    assert "Traceback" not in done.stdout
    for seed in (0, 1):
        assert f"failed: unread seed={seed}: SystemExit: 5 (in dataset hostile of gate 1.0)" in done.stdout
    runs = trials(tmp_path / "r", "hostile")
    assert len(runs) == 2 * len(HOW)
    for how, reason in HOW.items():
        for seed in (0, 1):
            run = runs[f"stages.1=hostile(how={how}) seed={seed}"]
            assert run.info.status == ("FINISHED" if reason is None else "FAILED"), how
            if reason is not None:
                told = run.data.tags["framework.reason"]
                assert told.startswith(reason)
                assert "gate 1.0" in told or how == "clash"
                assert f"failed: hostile stages.1=hostile(how={how}) seed={seed}: {told[:60]}" in done.stdout


# --- the timeout of a trial in this process ---------------------------------------------------------------------------


def test_a_trial_that_takes_too_long_is_ended_in_this_process_too(gate: str, tmp_path: Path) -> None:
    text = """
        name: late
        model: convnet
        data: {name: digits, validation: 0.5}
        resources: {retries: 0, timeout: 5}
        stages:
          - grid_search:
              - wait: {path: never}
              - freeze: {fraction: 0.5}
        """
    write(tmp_path, {"late.yaml": text})
    done = framework("run", "late.yaml", "--executor", "inline", "--root", "r", folder=tmp_path, PYTHONPATH=gate)
    reason = "it was ended after its timeout of 5 s (resources.timeout)"
    assert (done.returncode, done.stderr) == (1, "")
    assert f"failed: late stages.0=wait(path=never) seed=0: {reason}" in done.stdout
    statuses = sorted(run.info.status for run in trials(tmp_path / "r", "late").values())
    assert statuses == ["FAILED", "FINISHED"]


def test_a_deadline_waits_for_what_is_held_and_leaves_no_timer_behind() -> None:
    done = []

    def work() -> None:
        with Deadline(0.05) as deadline:
            with deadline.held():
                time.sleep(0.2)
                done.append("held")
            done.append("after")

    with pytest.raises(Expired):
        work()
    assert done == ["held"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_a_deadline_is_not_kept_outside_the_main_thread_and_says_so() -> None:
    kept = []
    thread = threading.Thread(target=lambda: kept.extend([Deadline(1.0).kept, Deadline(None).kept]))
    thread.start()
    thread.join()
    assert kept == [False, True]
