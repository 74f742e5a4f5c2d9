"""From a callable's signature to validated parameters and JSON schema.

A component is any callable with typed keyword parameters. Those that its kind supplies (`KINDS`) come from the
framework, the rest are its parameters in YAML. A parameter whose type YAML cannot express keeps its default.
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from framework.errors import PluginError, nearest


class Kind(NamedTuple):
    """A kind of component: the hook that registers it, and what the framework calls it with."""

    hook: str
    inputs: tuple[str, ...] = ()


KINDS = {
    "stage": Kind("register_stages"),
    "model": Kind("register_models", ("shape", "classes")),
    "dataset": Kind("register_datasets"),
    "loss": Kind("register_losses"),
    "optimizer": Kind("register_optimizers", ("params",)),
    "schedule": Kind("register_schedules", ("epoch", "epochs")),
    "criterion": Kind("register_criteria", ("weight", "gradient", "generator")),
}


@dataclass(frozen=True)
class Entry:
    """A registered component.

    Attributes:
        kind: one of `KINDS`.
        name: what specs call it.
        factory: the callable.
        source: the distribution that registered it, with its version.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    source: str

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Those of the kind's inputs that this component asks for."""
        asked = inspect.signature(self.factory).parameters
        return tuple(name for name in KINDS[self.kind].inputs if name in asked)

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """A pydantic model of the YAML parameters.

        Raises:
            PluginError: a parameter without a default has a type that YAML cannot express.
        """
        return _parameters(
            self.factory, KINDS[self.kind].inputs, f"{self.kind} {self.name!r} of {self.source}"
        )

    @property
    def doc(self) -> str:
        """The first paragraph of its docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n\n")[0].replace("\n", " ")


class Catalog(Protocol):
    """Where components are looked up; the registry is one."""

    def entry(self, kind: str, name: str) -> Entry | None:
        """The component of that kind and name, or None."""

    def names(self, kind: str) -> Sequence[str]:
        """All names of that kind."""


@dataclass(frozen=True)
class Component:
    """A component with its validated parameters, ready to be called.

    Attributes:
        entry: the registered component.
        params: every parameter that YAML can set, defaults filled in.
        given: the parameters that differ from their defaults.
    """

    entry: Entry
    params: Mapping[str, Any]
    given: Mapping[str, Any]

    def __call__(self, **inputs: Any) -> Any:
        """Call it with its parameters and those inputs that it asks for."""
        return self.entry.factory(**{k: inputs[k] for k in self.entry.inputs}, **self.params)

    @property
    def name(self) -> str:
        """What specs call it."""
        return self.entry.name

    def plain(self, *, defaults: bool = True) -> dict[str, Any]:
        """Itself as plain data that validates to itself again; without defaults, what its key is made of."""
        chosen = self.params if defaults else self.given
        return {"name": self.name, **{k: plain(v, defaults=defaults) for k, v in chosen.items()}}


def plain(value: Any, *, defaults: bool = True) -> Any:
    """A validated value as JSON-able data."""
    if isinstance(value, Component):
        return value.plain(defaults=defaults)
    if is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v, defaults=defaults) for k, v in vars(value).items()}
    if isinstance(value, Mapping):
        return {k: plain(v, defaults=defaults) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v, defaults=defaults) for v in value]
    return str(value) if isinstance(value, Path) else value


def build(catalog: Catalog, kind: str, value: Any) -> Component:
    """Validate ``name`` or ``{name: ..., parameter: ...}`` to a component.

    Raises:
        ValidationError: every mistake, each with its location inside ``value`` and a readable message.
    """
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        message = f"must be the name of a {kind} or a mapping with its name"
        raise _mistakes([((), f"{message} ({nearest(name, catalog.names(kind))})", value)])
    entry = catalog.entry(kind, name)
    if entry is None:
        at = ("name",) if isinstance(value, Mapping) else ()
        raise _mistakes([(at, f"unknown {kind} {name!r} ({nearest(name, catalog.names(kind))})", value)])
    given = {k: v for k, v in value.items() if k != "name"} if isinstance(value, Mapping) else {}
    model = _validate(entry.parameters, given, catalog, f"{kind} {name!r}")
    params = {field: getattr(model, field) for field in entry.parameters.model_fields}
    default = {
        field: _default(entry.parameters, field, catalog)
        for field, info in entry.parameters.model_fields.items()
        if not info.is_required()
    }
    component = Component(
        entry, params, {k: v for k, v in params.items() if k not in default or v != default[k]}
    )
    _probe(component)
    return component


def _default(model: type[BaseModel], field: str, catalog: Catalog) -> Any:
    info = model.model_fields[field]
    references = [m for m in info.metadata if isinstance(m, _Reference)]
    if references and info.default is not None:
        return build(catalog, references[0].kind, info.default)
    return info.default


def _probe(component: Component) -> None:
    """Let an optimizer or a loss check its own parameters: torch's do so when they are made, and making one is cheap."""
    kind = component.entry.kind
    if kind not in ("optimizer", "loss"):
        return
    import torch

    try:
        component(params=[torch.zeros(2, 2, requires_grad=True)])
    except (ValueError, TypeError) as error:
        raise _mistakes([((), f"{kind} {component.name!r}: {error}", dict(component.params))]) from None
    except RuntimeError:
        # What only holds on another device (fused=True) shows when the trial runs.
        return


# --- annotations -----------------------------------------------------------------------------------------------


class _Reference:
    """Marks a parameter as a component of another kind; validates to a `Component`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def validate(value: Any, info: core_schema.ValidationInfo) -> Any:
            return value if isinstance(value, Component) else build(info.context["catalog"], self.kind, value)

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"x-component": self.kind}  # the schema of specs puts a reference here


class _Nested:
    """Validates a mapping to a dataclass, by the same rules as a component's parameters."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.model = _parameters(cls, (), cls.__name__)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def validate(value: Any, info: core_schema.ValidationInfo) -> Any:
            if isinstance(value, self.cls):
                return value
            if not isinstance(value, Mapping):
                raise _mistakes([((), f"must be a mapping of {', '.join(self.model.model_fields)}", value)])
            model = _validate(self.model, value, info.context["catalog"], "this mapping")
            return self.cls(**{field: getattr(model, field) for field in self.model.model_fields})

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return self.model.model_json_schema()


# What a stage's field is annotated with to take another component; called with the inputs of its kind.
Loss = Annotated[Any, _Reference("loss")]
Optimizer = Annotated[Any, _Reference("optimizer")]
Schedule = Annotated[Any, _Reference("schedule")]
Criterion = Annotated[Any, _Reference("criterion")]

_CONFIG = ConfigDict(
    extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
)


def _parameters(factory: Callable[..., Any], inputs: Sequence[str], owner: str) -> type[BaseModel]:
    try:
        hinted = factory.__init__ if inspect.isclass(factory) and not is_dataclass(factory) else factory
        hints = get_type_hints(hinted, include_extras=True)
        signature = inspect.signature(factory)
    except (NameError, TypeError, ValueError) as error:
        raise PluginError(f"{owner}: its signature cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name in inputs or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        expressible = _expressible(hints[name]) if name in hints else None
        required = parameter.default is parameter.empty
        if expressible is None and required:
            raise PluginError(
                f"{owner}: parameter {name!r} has no default and is annotated {hints.get(name, 'with nothing')}, "
                "which YAML cannot express: annotate it with str, int, float, bool, Path, Literal, "
                "list, tuple, dict or a dataclass of these"
            )
        if expressible is not None:
            fields[name] = (expressible, ... if required else parameter.default)
    return create_model(getattr(factory, "__name__", owner), __config__=_CONFIG, **fields)


def _expressible(hint: Any) -> Any:
    """The part of a type that YAML can express, as pydantic should validate it; None if there is none."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if any(isinstance(m, _Reference) for m in args[1:]):
            return hint
        inner = _expressible(args[0])
        return None if inner is None else Annotated[(inner, *args[1:])]
    if origin in (Union, types.UnionType):
        kept = [inner for inner in map(_expressible, args) if inner is not None]
        if not any(inner is not type(None) for inner in kept):
            return None
        return Union[tuple(kept)]  # noqa: UP007 - made at run time
    if origin is Literal or hint in (str, int, float, bool, type(None)):
        return hint
    if hint is Path:
        return Annotated[Path, Field(strict=False)]
    if origin in (list, tuple, dict, Sequence, Mapping):
        inners = [inner if inner is ... else _expressible(inner) for inner in args]
        if any(inner is None for inner in inners):
            return None
        concrete = {Sequence: tuple, Mapping: dict}.get(origin, origin)
        if origin is Sequence:
            inners.append(...)
        # YAML knows lists only; strictness would refuse them as tuples.
        return Annotated[concrete[tuple(inners)], Field(strict=False)]
    if inspect.isclass(hint) and is_dataclass(hint):
        return Annotated[Any, _Nested(hint)]
    return None


# --- messages --------------------------------------------------------------------------------------------------


def _validate(model: type[BaseModel], value: Mapping[str, Any], catalog: Catalog, owner: str) -> BaseModel:
    try:
        return model.model_validate(dict(value), context={"catalog": catalog})
    except ValidationError as error:
        raise _mistakes([(e["loc"], _message(e, model, owner), e["input"]) for e in error.errors()]) from None


def _mistakes(found: Sequence[tuple[tuple[int | str, ...], str, Any]]) -> ValidationError:
    return ValidationError.from_exception_data(
        "mistakes",
        [
            InitErrorDetails(
                type=PydanticCustomError("mistake", "{text}", {"text": text}), loc=at, input=value
            )
            for at, text, value in found
        ],
    )


_COMPARISONS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_TYPES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "path": "a path",
    "none": "null",
    "finite": "a finite number",
}


def _message(error: Any, model: type[BaseModel], owner: str) -> str:
    """One of pydantic's errors in the words of a spec."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "mistake":
        return str(error["msg"])
    if kind == "extra_forbidden":
        return (
            f"{owner} has no parameter {error['loc'][-1]!r} ({nearest(error['loc'][-1], model.model_fields)})"
        )
    if kind == "missing":
        return f"{owner} needs parameter {error['loc'][-1]!r}"
    if kind in _COMPARISONS:
        bound, sign = _COMPARISONS[kind]
        return f"must be {sign} {context[bound]:g}, not {value!r}"
    if kind == "literal_error":
        return f"must be {context['expected']}, not {value!r}"
    expected = _TYPES.get(kind.split("_")[0])
    if expected and kind.split("_", 1)[1] in ("type", "parsing", "from_float", "number"):
        return f"must be {expected}, not {value!r}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {value!r}"
