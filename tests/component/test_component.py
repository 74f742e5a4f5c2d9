from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from framework import Interval, Loss, Optimizer, PluginError, Schedule, Stage, Unkeyed, hookimpl
from framework._component import KINDS, Entry, build, plain
from framework._component.parameters import parameters_of, validate
from framework._registry import Registry


@dataclass(frozen=True)
class Stopping:
    metric: str = "val/loss"
    patience: Annotated[int, Interval(ge=1)] = 5


@dataclass(frozen=True)
class Full(Stage):
    """A parameter of every type.

    And more about it.
    """

    count: Annotated[int, Interval(ge=1)]
    rate: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    bound: Annotated[float, Interval(ge=0, le=1)] | None = None
    flag: bool = False
    which: Literal["a", "b"] = "a"
    text: str = ""
    file: Path = Path("data")
    names: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.9, 0.99)
    table: Mapping[str, int] | None = None
    numbers: Sequence[int] = ()
    listed: list[float] | None = None
    stopping: Stopping | None = None
    optimizer: Optimizer = "sgd"
    second: Optimizer | None = None
    several: tuple[Optimizer, ...] = ()
    schedule: Schedule = "flat"
    copy: int = 0  # pydantic's models have a method of that name
    inexpressible: torch.Tensor | None = None

    def run(self, trial: Any) -> None: ...


@dataclass(frozen=True)
class Picky(Stage):
    """Checks itself."""

    a: int = 0
    b: int = 0

    def __post_init__(self) -> None:
        if self.a and self.b:
            raise ValueError("give either a or b")

    def run(self, trial: Any) -> None: ...


@dataclass(frozen=True)
class Aware(Stage):
    """Takes a loss."""

    loss: Loss = "cross_entropy"

    def run(self, trial: Any) -> None: ...


class Old(torch.optim.SGD):
    def __init__(self, params: Any, lr: Union[float, torch.Tensor] = 0.1, fused: Optional[bool] = None) -> None:  # noqa: UP007, UP045
        if fused:
            raise RuntimeError("not on this device")
        super().__init__(params, lr)


def net(shape: tuple[int, int, int], classes: int, width: int = 4, *layers: Any, **options: Any) -> torch.nn.Module:
    """A network."""
    return torch.nn.Linear(shape[0] * width, classes)


def flat(epoch: float, epochs: float) -> float:
    return 1.0


def halved(epoch: float, factor: float = 0.5) -> float:
    return factor * epoch


class Plugin:
    @hookimpl
    def register_stages(self) -> Any:
        return {"full": Full, "picky": Picky, "aware": Aware}

    @hookimpl
    def register_optimizers(self) -> Any:
        return {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "old": Old}

    @hookimpl
    def register_schedules(self) -> Any:
        return {"flat": flat, "halved": halved}

    @hookimpl
    def register_models(self) -> Any:
        return {"net": net}

    @hookimpl
    def register_losses(self) -> Any:
        return {"cross_entropy": torch.nn.CrossEntropyLoss}


CATALOG = Registry([(Plugin(), "test 1")])
PARAMETERS = (
    "bound, copy, count, file, flag, listed, names, numbers, optimizer, pair, rate, schedule, second, several, "
    "stopping, table, text, which"
)


def full(**parameters: Any) -> Any:
    return build(CATALOG, "stage", {"name": "full", "count": 1, **parameters})


def errors(value: Any, kind: str = "stage") -> dict[tuple[Any, ...], str]:
    with pytest.raises(ValidationError) as error:
        build(CATALOG, kind, value)
    return {e["loc"]: e["msg"] for e in error.value.errors()}


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("count", "1", "must be an integer, not '1'"),
        ("count", 1.0, "must be an integer, not 1.0"),
        ("count", True, "must be an integer, not true"),
        ("count", None, "must be an integer, not null"),
        ("count", 0, "must be >= 1, not 0"),
        ("rate", "5e-4", "must be a number, not '5e-4'"),
        ("rate", True, "must be a number, not true"),
        ("rate", 0, "must be > 0, not 0"),
        ("rate", 1.5, "must be < 1, not 1.5"),
        ("rate", float("nan"), "must be a finite number, not nan"),
        ("rate", float("inf"), "must be a finite number, not inf"),
        ("bound", -0.5, "must be >= 0, not -0.5"),
        ("bound", 2, "must be <= 1, not 2"),
        ("bound", "x", "must be a number, not 'x'"),
        ("flag", "yes", "must be true or false, not 'yes'"),
        ("flag", 1, "must be true or false, not 1"),
        ("which", "c", "must be 'a' or 'b', not 'c'"),
        ("text", 3, "must be a string, not 3"),
        ("file", 3, "must be a path, not 3"),
        ("names", "abc", "must be a list, not 'abc'"),
        ("names", {"a": 1}, "must be a list, not {'a': 1}"),
        ("pair", [1, 2, 3], "must have at most 2 items, not 3"),
        ("table", [1], "must be a mapping, not [1]"),
        ("numbers", 3, "must be a list, not 3"),
        ("listed", 0.5, "must be a list, not 0.5"),
        ("stopping", 3, "must be a mapping of metric, patience, not 3"),
        ("optimizer", "sdg", "unknown optimizer 'sdg' (did you mean 'sgd'?)"),
        ("optimizer", 3, "must be the name of an optimizer or a mapping with its name (valid: adamw, old, sgd)"),
        (
            "second",
            {"lr": 1},
            "must be the name of an optimizer or a mapping with its name (valid: adamw, old, sgd)",
        ),
        ("optimizer", {"name": "sgd", "lr": -1}, "optimizer 'sgd': Invalid learning rate: -1.0"),
        (
            "optimizer",
            {"name": "sgd", "nesterov": True},
            "optimizer 'sgd': Nesterov momentum requires a momentum and zero dampening",
        ),
        ("second", "adamv", "unknown optimizer 'adamv' (did you mean 'adamw'?)"),
        ("schedule", "zigzag", "unknown schedule 'zigzag' (valid: flat, halved)"),
        ("counts", 1, "stage 'full' has no parameter 'counts' (did you mean 'count'?)"),
        ("zzz", 1, f"stage 'full' has no parameter 'zzz' (valid: {PARAMETERS})"),
        ("inexpressible", 1, f"stage 'full' has no parameter 'inexpressible' (valid: {PARAMETERS})"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(parameter: str, value: Any, message: str) -> None:
    assert errors({"name": "full", "count": 1, parameter: value}) == {(parameter,): message}


@pytest.mark.parametrize(
    ("parameter", "value", "location", "message"),
    [
        ("names", ["a", 1], (1,), "must be a string, not 1"),
        ("pair", [0.9], (1,), "must have more than 1 items"),
        ("pair", [0.9, "1"], (1,), "must be a number, not '1'"),
        ("table", {"a": "x"}, ("a",), "must be an integer, not 'x'"),
        ("numbers", [1, 2.5], (1,), "must be an integer, not 2.5"),
        ("stopping", {"patience": 0}, ("patience",), "must be >= 1, not 0"),
        (
            "stopping",
            {"patiense": 1},
            ("patiense",),
            "this mapping has no parameter 'patiense' (did you mean 'patience'?)",
        ),
        ("optimizer", {"name": "adamv"}, ("name",), "unknown optimizer 'adamv' (did you mean 'adamw'?)"),
        ("optimizer", {"name": "sgd", "lr": "5e-4"}, ("lr",), "must be a number, not '5e-4'"),
        (
            "optimizer",
            {"name": "sgd", "lrr": 1},
            ("lrr",),
            "optimizer 'sgd' has no parameter 'lrr' (did you mean 'lr'?)",
        ),
        ("optimizer", {"name": "adamw", "betas": [0.9, "x"]}, ("betas", 1), "must be a number, not 'x'"),
        ("several", ["sgd", "adam"], (1,), "unknown optimizer 'adam' (did you mean 'adamw'?)"),
    ],
)
def test_a_mistake_inside_a_value_is_located_there(
    parameter: str, value: Any, location: tuple[Any, ...], message: str
) -> None:
    assert errors({"name": "full", "count": 1, parameter: value}) == {(parameter, *location): message}


Share = Annotated[float, Interval(ge=0, le=1)]


def either(amount: Share | dict[str, Share] | Literal["all"]) -> None:
    """Takes a number, a mapping or a word."""


@pytest.mark.parametrize(
    ("amount", "location", "message"),
    [
        (1.5, (), "must be <= 1, not 1.5"),
        ({"fc": 2}, ("fc",), "must be <= 1, not 2"),
        ({"fc": "x", "conv": 0.1}, ("fc",), "must be a number, not 'x'"),
        ("some", (), "must be a number or a mapping or 'all', not 'some'"),
        ([0.5], (), "must be a number or a mapping or 'all', not [0.5]"),
    ],
)
def test_a_value_of_several_types_is_told_of_once(amount: Any, location: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        validate(parameters_of(either, (), "either"), {"amount": amount}, lambda kind, value: value, "either")
    assert [(e["loc"], e["msg"]) for e in error.value.errors()] == [(("amount", *location), message)]


def test_all_mistakes_are_reported_at_once() -> None:
    found = errors({"name": "full", "rate": 2, "optimizer": {"name": "sgd", "lr": "x", "momentum": "y"}, "flagg": 1})
    assert found == {
        ("count",): "stage 'full' needs parameter 'count'",
        ("rate",): "must be < 1, not 2",
        ("optimizer", "lr"): "must be a number, not 'x'",
        ("optimizer", "momentum"): "must be a number, not 'y'",
        ("flagg",): "stage 'full' has no parameter 'flagg' (did you mean 'flag'?)",
    }


@pytest.mark.parametrize(
    ("value", "location", "message"),
    [
        ("ful", (), "unknown stage 'ful' (did you mean 'full'?)"),
        ({"name": "ful"}, ("name",), "unknown stage 'ful' (did you mean 'full'?)"),
        (None, (), "must be the name of a stage or a mapping with its name (valid: aware, full, picky)"),
        (["full"], (), "must be the name of a stage or a mapping with its name (did you mean 'full'?)"),
        ({"name": 3}, (), "must be the name of a stage or a mapping with its name (valid: aware, full, picky)"),
        ({"name": "picky", "a": 1, "b": 1}, (), "stage 'picky': give either a or b"),
    ],
)
def test_a_component_that_cannot_be_named_or_made_is_an_error(value: Any, location: Any, message: str) -> None:
    assert errors(value) == {location: message}


def test_no_component_of_a_kind_is_said_so() -> None:
    assert errors("magnitude", "criterion") == {(): "unknown criterion 'magnitude' (none is valid here)"}


def test_values_arrive_with_their_types() -> None:
    stage = full(
        rate=0.25,
        bound=1,
        file="a/b",
        names=["x", "y"],
        pair=[0, 0.5],
        table={"k": 3},
        numbers=[1, 2],
        listed=[1],
        stopping={"patience": 2},
        second={"name": "adamw", "betas": [0.8, 0.9]},
        several=["sgd", {"name": "old", "lr": 1}],
        copy=4,
    )()
    assert (stage.count, stage.rate, stage.bound, stage.file) == (1, 0.25, 1.0, Path("a/b"))
    assert (stage.names, stage.pair, stage.table, stage.numbers, stage.listed) == (
        ("x", "y"),
        (0.0, 0.5),
        {"k": 3},
        (1, 2),
        [1.0],
    )
    assert stage.stopping == Stopping(patience=2)
    assert (stage.copy, stage.inexpressible) == (4, None)
    assert [o.name for o in (stage.optimizer, stage.second, *stage.several)] == ["sgd", "adamw", "sgd", "old"]
    made = stage.second(params=[torch.zeros(1, requires_grad=True)])
    assert isinstance(made, torch.optim.AdamW)
    assert made.defaults["betas"] == (0.8, 0.9)


def test_references_have_default_components_ready_to_be_called() -> None:
    stage = full()()
    assert stage.schedule(epoch=0, epochs=3) == 1.0
    optimizer = stage.optimizer(params=[torch.zeros(1, requires_grad=True)])
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.defaults["lr"] == 1e-3


def test_only_the_inputs_that_a_component_asks_for_are_given() -> None:
    assert full(schedule={"name": "halved", "factor": 0.25})().schedule(epoch=2, epochs=9) == 0.5
    made = build(CATALOG, "model", {"name": "net", "width": 2})(shape=(3, 8, 8), classes=5)
    assert tuple(made.weight.shape) == (5, 6)


def test_inputs_and_variable_arguments_are_no_parameters() -> None:
    assert list(CATALOG.get("model", "net").parameters.model_fields) == ["width"]
    assert "params" not in CATALOG.get("optimizer", "adamw").parameters.model_fields


def test_what_yaml_cannot_express_of_a_union_is_left_out() -> None:
    assert list(CATALOG.get("optimizer", "old").parameters.model_fields) == ["lr", "fused"]
    assert errors({"name": "old", "lr": "x"}, "optimizer") == {("lr",): "must be a number, not 'x'"}


def test_what_only_fails_on_this_device_is_left_to_the_run() -> None:
    assert build(CATALOG, "optimizer", {"name": "old", "fused": True}).params["fused"] is True


def test_plain_data_validates_to_itself_again() -> None:
    component = full(
        file="a/b", names=["x"], stopping={"patience": 2}, second="adamw", several=["old"], optimizer={"name": "adamw"}
    )
    data = component.plain()
    assert build(CATALOG, "stage", data) == component
    assert build(CATALOG, "stage", data).plain() == data
    assert data["stopping"] == {"metric": "val/loss", "patience": 2}
    assert data["file"] == "a/b"
    assert data["names"] == ["x"]
    assert data["optimizer"]["name"] == "adamw"
    assert data["optimizer"]["lr"] == 1e-3


@given(
    rate=st.floats(0, 1, exclude_min=True, exclude_max=True),
    names=st.lists(st.text(max_size=5), max_size=3),
    table=st.none() | st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
    lr=st.floats(1e-6, 1),
)
def test_plain_round_trips_for_any_values(rate: float, names: list[str], table: Any, lr: float) -> None:
    component = full(rate=rate, names=names, table=table, optimizer={"name": "sgd", "lr": lr})
    assert build(CATALOG, "stage", component.plain()) == component


def test_a_built_component_is_taken_as_it_is() -> None:
    component = build(CATALOG, "optimizer", "adamw")
    assert build(CATALOG, "optimizer", component) is component
    assert full(optimizer=component).params["optimizer"] is component


def test_identity_leaves_out_defaults_however_they_are_written() -> None:
    assert full().plain(identity=True) == {"name": "full", "source": "test 1", "count": 1}
    spelled_out = full(rate=0.5, names=[], pair=[0.9, 0.99], file="data", optimizer={"name": "sgd", "lr": 1e-3})
    assert spelled_out.plain(identity=True) == full().plain(identity=True)


def test_identity_names_where_each_component_comes_from_and_what_differs() -> None:
    component = full(optimizer={"name": "sgd", "momentum": 0.9}, schedule="halved", rate=0.1)
    assert component.plain(identity=True) == {
        "name": "full",
        "source": "test 1",
        "count": 1,
        "rate": 0.1,
        "optimizer": {"name": "sgd", "source": "test 1", "momentum": 0.9},
        "schedule": {"name": "halved", "source": "test 1"},
    }


def test_plain_leaves_plain_data_alone() -> None:
    data = {"a": [1, 2.5, None, True, "x"], "b": {"c": []}}
    assert plain(data) == data
    assert plain((Path("a"), (1,))) == ["a", [1]]


def test_the_schema_has_types_bounds_and_defaults() -> None:
    found = CATALOG.get("stage", "full").parameters.model_json_schema()
    assert found["required"] == ["count"]
    assert found["additionalProperties"] is False
    properties = found["properties"]
    assert properties["count"]["minimum"] == 1
    assert (properties["rate"]["exclusiveMinimum"], properties["rate"]["exclusiveMaximum"]) == (0, 1)
    assert properties["rate"]["default"] == 0.5
    assert properties["which"]["enum"] == ["a", "b"]
    assert properties["optimizer"]["x-component"] == "optimizer"
    assert properties["stopping"]["anyOf"][0]["properties"]["patience"]["minimum"] == 1


def test_the_doc_is_the_first_paragraph() -> None:
    assert CATALOG.get("stage", "full").doc == "A parameter of every type."
    assert CATALOG.get("schedule", "flat").doc == ""


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (lambda weight: weight, None),
        (lambda weight, amount: weight, "parameter 'amount' has no default and is annotated with nothing, "),
    ],
)
def test_a_parameter_without_annotation_needs_a_default(factory: Any, said: str | None) -> None:
    entry = Entry("criterion", "c", factory, "test 1")
    if said is None:
        assert list(entry.parameters.model_fields) == []
        return
    with pytest.raises(PluginError) as error:
        _ = entry.parameters
    assert str(error.value) == (
        f"criterion 'c' of test 1: {said}which YAML cannot express: annotate it with str, int, float, bool, Path, "
        "Literal, list, tuple, dict or a dataclass of these"
    )


def test_a_required_parameter_of_a_type_that_yaml_lacks_is_the_plugins_error() -> None:
    def score(weight: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return weight * by

    with pytest.raises(PluginError) as error:
        _ = Entry("criterion", "c", score, "test 1").parameters
    assert str(error.value).startswith(
        "criterion 'c' of test 1: parameter 'by' has no default and is annotated <class 'torch.Tensor'>, "
    )


def test_a_default_that_a_dataclass_makes_anew_is_no_part_of_the_identity() -> None:
    @dataclass(frozen=True)
    class Made(Stage):
        names: list[str] = field(default_factory=lambda: ["a"])
        stopping: Stopping = field(default_factory=Stopping)

        def run(self, trial: Any) -> None: ...

    class Plugin:
        @hookimpl
        def register_stages(self) -> Any:
            return {"made": Made}

    registry = Registry([(Plugin(), "test 1")])
    default = build(registry, "stage", "made")
    assert default() == Made()
    assert default.plain() == {"name": "made", "names": ["a"], "stopping": {"metric": "val/loss", "patience": 5}}
    written = build(registry, "stage", {"name": "made", "names": ["a"]})
    assert written.plain(identity=True) == default.plain(identity=True) == {"name": "made", "source": "test 1"}
    assert build(registry, "stage", {"name": "made", "names": ["b"]}).params["names"] == ["b"]


def test_an_annotation_that_cannot_be_resolved_is_the_plugins_error() -> None:
    def score(weight: torch.Tensor, by: "Missing" = 1) -> torch.Tensor:  # type: ignore[name-defined]  # noqa: F821
        return weight * by

    with pytest.raises(PluginError) as error:
        _ = Entry("criterion", "c", score, "test 1").parameters
    assert str(error.value) == (
        "criterion 'c' of test 1: its signature cannot be read: NameError: name 'Missing' is not defined"
    )


def test_every_kind_has_a_hook() -> None:
    from framework import _hookspecs as hookspecs

    assert {kind.hook for kind in KINDS.values()} == {n for n in vars(hookspecs) if n.startswith("register_")}


def test_a_mapping_without_a_name_sets_parameters_of_the_default_component():
    optimizer = build(CATALOG, "stage", {"name": "full", "count": 1, "optimizer": {"lr": 0.25}}).params["optimizer"]
    assert (optimizer.name, optimizer.given) == ("sgd", {"lr": 0.25})


class Mode(Enum):
    NEAREST = "nearest"


def test_a_parameter_whose_default_yaml_cannot_write_keeps_it() -> None:
    def resized(size: int, mode: Mode | str = Mode.NEAREST) -> None: ...

    assert [*parameters_of(resized, (), "this").model_fields] == ["size"]


@dataclass(frozen=True)
class Reading:
    ahead: Annotated[int, Unkeyed()] = 2
    share: float = 0.5
    rates: tuple[Schedule, ...] = ()


@dataclass(frozen=True)
class Slow(Stage):
    """Takes what results do not depend on."""

    threads: Annotated[int, Interval(ge=1), Unkeyed()] = 1
    reading: Reading | None = None

    def run(self, trial: Any) -> None: ...


class Slows:
    @hookimpl
    def register_stages(self) -> Any:
        return {"slow": Slow}


class Rates:
    @hookimpl
    def register_schedules(self) -> Any:
        return {"steady": lambda epoch: 1.0}


def test_what_results_do_not_depend_on_is_in_the_plan_and_in_no_key() -> None:
    registry = Registry([(Slows(), "test 1"), (Rates(), "test 2")])
    reading = {"ahead": 3, "share": 0.25, "rates": ["steady"]}
    made = build(registry, "stage", {"name": "slow", "threads": 4, "reading": reading})
    inside = {"share": 0.25, "rates": [{"name": "steady", "source": "test 2"}]}
    assert made.plain(identity=True) == {"name": "slow", "source": "test 1", "reading": inside}
    assert made.plain() == {
        "name": "slow",
        "threads": 4,
        "reading": {"ahead": 3, "share": 0.25, "rates": [{"name": "steady"}]},
    }
    assert made.sources == {"test 1", "test 2"}
