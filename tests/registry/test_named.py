"""What specs name in files and modules must be able to be of the kind that it is named as."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework._component import Entry, build
from framework._component.described import described
from framework._errors import PluginError
from framework._registry import installed

CODE = """\
import torch
from dataclasses import dataclass
from framework import Dataset, Stage, Sparsifier
from torch import Tensor, nn

class Net(nn.Module):
    def __init__(self, width=8, deep=False, name="x", lr=0.1, other=None): super().__init__()
def net(shape, classes): return nn.Linear(1, classes)
made = nn.Linear(1, 1)
number = 3
def square(outputs, targets): return (outputs - targets).square().mean()
def power(outputs: Tensor, targets: Tensor, /, exponent: float = 2.0): return ((outputs - targets) ** exponent).mean()
def weighted(scale: float = 1.0): return nn.MSELoss()
class Sgd(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1): super().__init__(params, lr)
def sgd(params, lr=0.1): return torch.optim.SGD(params, lr)
def falling(epoch, epochs, to=0.0): return 1 - epoch / epochs
def nothing(x: float = 1.0): return x
def score(weight): return weight.abs()
def even(shapes, count, candidates): return {}
def data(): return Dataset(...)
class Holder:
    class Net(nn.Module): ...
class Late(Stage):
    std: float = 1.0
    def run(self, trial): ...
@dataclass
class Zeros(Sparsifier):
    every: int = 1
    def update(self, step): ...
class Lost(Sparsifier):
    every: int = 1
    def update(self, step): ...
"""


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Entry]:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)

    def find(kind: str, name: str) -> Entry:
        name = name if ":" in name else f"./mine.py:{name}"
        return installed().with_files((), [name]).get(kind, name)

    return find


GOOD = [
    ("model", "Net"),
    ("model", "net"),
    ("model", "Holder.Net"),
    ("loss", "weighted"),
    ("optimizer", "Sgd"),
    ("optimizer", "sgd"),
    ("schedule", "falling"),
    ("criterion", "score"),
    ("distribution", "even"),
    ("dataset", "data"),
    ("sparsifier", "Zeros"),
    ("model", "torchvision.models:resnet18"),
    ("loss", "torch.nn:HuberLoss"),
    ("optimizer", "torch.optim:Adagrad"),
    ("schedule", "framework_plugins.schedules:cosine"),
]


@pytest.mark.parametrize(("kind", "name"), GOOD)
def test_any_callable_that_can_be_of_its_kind_is_a_component(kind: str, name: str, entry: Any) -> None:
    found = entry(kind, name)
    assert found.parameters
    assert found.place.startswith("./mine.py:") == (":" not in name)


BAD = {
    ("model", "made"): r"\./mine\.py: made is Linear\(.*\), and a model is a class that derives from torch\.nn\.Module",
    ("model", "number"): r"\./mine\.py: number is 3",
    ("model", "Sgd"): r"\./mine\.py:14: Sgd is no model",
    ("stage", "net"): r"\./mine\.py:8: net is no stage: that is a class that derives from framework\.Stage",
    ("stage", "Net"): r"\./mine\.py:6: Net is no stage",
    (
        "stage",
        "Late",
    ): r"\./mine\.py:\d+: Late has parameters but is no dataclass: write @dataclass\(frozen=True\) above",
    ("sparsifier", "Lost"): r"\./mine\.py:\d+: Lost has parameters but is no dataclass",
    ("schedule", "nothing"): r"\./mine\.py:18: nothing is no schedule: it asks for none of epoch, epochs, steps",
    ("criterion", "nothing"): r"nothing is no criterion: it asks for none of weight, gradient, generator, network",
    ("model", "Holder.Nett"): r"\./mine\.py has no 'Holder\.Nett'",
    # A spec alone must not be able to call whatever is installed.
    (
        "model",
        "os:system",
    ): r"os: system is a function that a spec alone names: it must be annotated to return a Module",
    ("dataset", "pathlib:Path"): r"pathlib: Path is no dataset",
    ("loss", "subprocess:run"): r"subprocess: run is a function that a spec alone names",
    ("optimizer", "torch:load"): r"torch: load is a function that a spec alone names",
    ("schedule", "pip._internal:main"): r"pip\._internal: main is no schedule",
    ("model", "mine:Net"): r"there is no module 'mine' among what is installed",
    ("model", "nowhere.to:Net"): r"a file is named by its path, \./nowhere/to\.py:Net",
    ("model", "torch.nowhere:Net"): r"torch\.nowhere cannot be imported: ModuleNotFoundError",
}


@pytest.mark.parametrize(("kind", "name"), BAD)
def test_what_cannot_be_of_its_kind_is_refused(kind: str, name: str, entry: Any) -> None:
    with pytest.raises(PluginError, match=BAD[kind, name]):
        entry(kind, name)


def test_a_default_says_what_a_parameter_without_annotation_may_be(entry: Any) -> None:
    parameters = {one.name: (one.type, one.default) for one in described(entry("model", "Net"))}
    assert parameters == {
        "width": ("integer", "8"),
        "deep": ("boolean", "false"),
        "name": ("string", '"x"'),
        "lr": ("number", "0.1"),
    }


def test_a_function_of_outputs_and_targets_is_a_loss(entry: Any, tmp_path: Path) -> None:
    outputs, targets = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])
    registry = installed().with_files((), ["./mine.py:power"])
    loss = build(registry, "loss", {"name": "./mine.py:power", "exponent": 4})()
    assert loss(outputs, targets).item() == (1 + 16) / 2
    assert repr(loss) == "FunctionLoss(power, exponent=4.0)"
    square = build(registry, "loss", "./mine.py:square")()
    assert (square(outputs, targets).item(), square.state_dict()) == ((1 + 4) / 2, {})
    of_torch = installed().with_files((), ["torch.nn.functional:mse_loss"])
    assert build(of_torch, "loss", "torch.nn.functional:mse_loss")()(outputs, targets).item() == (1 + 4) / 2


def test_stored_states_name_files_by_their_content(entry: Any, tmp_path: Path) -> None:
    (tmp_path / "renamed.py").write_text(CODE)
    registry = installed().with_files((), ["./mine.py:power"])
    stored = build(registry, "loss", {"name": "./mine.py:power", "exponent": 4.0}).plain(stored=True)
    assert stored["name"].startswith("file ")
    elsewhere = build(installed().with_files((), ["./renamed.py:power"]), "loss", stored)
    assert elsewhere.params == {"exponent": 4.0}
    assert elsewhere.plain(stored=True) == stored
