"""What help and documentation say of a component's parameters."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import DirectoryPath, FilePath
from torch import optim

from framework import Interval, Loss
from framework._component import Entry
from framework._component.described import Parameter, described
from framework._component.docstring import items, sections


@dataclass(frozen=True)
class Rule:
    """When to stop.

    Attributes:
        patience: epochs without
            improvement.
    """

    patience: Annotated[int, Interval(ge=1)] = 5
    metric: str = "val/loss"


def everything(
    weight: Any,
    amount: Annotated[float, Interval(gt=0, le=1)],
    scope: Literal["global", "layer"] = "global",
    widths: tuple[Annotated[int, Interval(ge=1)], ...] = (1, 2),
    betas: tuple[float, float] | None = None,
    rule: Rule | None = None,
    loss: Loss = "cross_entropy",
    file: FilePath | None = None,
    folder: DirectoryPath | None = None,
    path: Path = Path("data"),
) -> None:
    """Takes one of each.

    More of it.

    Args:
        weight: supplied.
        amount: how much (a fraction): of all,
            or of one.
        scope (str, optional): as torch
            writes it.

    Raises:
        ValueError: never.
    Goes on here.
    """


def test_parameters_in_the_words_of_yaml() -> None:
    assert described(Entry("criterion", "everything", everything, "here 1")) == [
        Parameter("amount", "number", "> 0, <= 1", "(required)", "how much (a fraction): of all, or of one."),
        Parameter("scope", "global | layer", "", '"global"', "as torch writes it."),
        Parameter("widths", "list of integer", ">= 1", "[1, 2]", ""),
        Parameter("betas", "list of number, number or null", "", "null", ""),
        Parameter("rule", "mapping or null", "", "null", ""),
        Parameter("rule.patience", "integer", ">= 1", "5", "epochs without improvement."),
        Parameter("rule.metric", "string", "", '"val/loss"', ""),
        Parameter("loss", "loss", "", '"cross_entropy"', ""),
        Parameter("file", "file or null", "", "null", ""),
        Parameter("folder", "folder or null", "", "null", ""),
        Parameter("path", "path", "", '"data"', ""),
    ]


def test_torchs_own_docstrings_are_read_too() -> None:
    meanings = {p.name: p.meaning for p in described(Entry("optimizer", "sgd", optim.SGD, "here 1"))}
    assert meanings["momentum"].startswith("momentum factor")


def test_a_docstring_falls_into_sections() -> None:
    parts = sections(everything)
    assert list(parts) == ["", "Args", "Raises"]
    assert parts[""] == "Takes one of each.\n\nMore of it.\n\nGoes on here."
    assert items(parts["Raises"]) == {"ValueError": "never."}


def test_no_docstring_has_no_sections() -> None:
    assert sections(lambda: None) == {"": ""}


@dataclass(frozen=True)
class Made:
    """Its defaults are made anew each time."""

    widths: list[int] = field(default_factory=lambda: [1, 2])
    rule: Rule = field(default_factory=Rule)


def test_defaults_that_are_made_are_shown() -> None:
    defaults = {p.name: p.default for p in described(Entry("stage", "made", Made, "here 1"))}
    assert defaults["widths"] == "[1, 2]"
    assert defaults["rule"] == '{"patience": 5, "metric": "val/loss"}'
