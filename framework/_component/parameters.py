"""From a callable's signature to a pydantic model of the parameters that YAML can set."""

import dataclasses
import inspect
import os
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    create_model,
)
from pydantic.types import PathType
from pydantic_core import PydanticCustomError, core_schema

from framework._component.content import Folder
from framework._component.docstring import meanings
from framework._component.messages import explain, mistakes
from framework._errors import PluginError
from framework._paths import expand_home

# Validates a value to a component of a kind; travels as pydantic's validation context.
Build: TypeAlias = Callable[[str, Any], Any]


class Reference:
    """Marks a parameter as a component of another kind; validates to a `Component`."""

    def __init__(self, kind: str, default: str | None = None) -> None:
        self.kind = kind
        self.default = default

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def check(value: Any, info: core_schema.ValidationInfo) -> Any:
            if self.default and isinstance(value, Mapping) and "name" not in value:
                value = {"name": self.default, **value}
            return info.context(self.kind, value)  # type: ignore[misc]

        return core_schema.with_info_plain_validator_function(check)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"x-component": self.kind}  # the schema of specs puts a reference here


class Nested:
    """Validates a mapping to a dataclass, by the same rules as a component's parameters."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.model = parameters_of(cls, (), cls.__name__)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def check(value: Any, info: core_schema.ValidationInfo) -> Any:
            if isinstance(value, self.cls):
                return value
            if not isinstance(value, Mapping):
                expected = f"a mapping of {', '.join(self.model.model_fields)}"
                raise PydanticCustomError("nested_type", "{expected}", {"expected": expected})
            model = validate(self.model, value, info.context, "this mapping")  # type: ignore[arg-type]
            return self.cls(**{field: getattr(model, field) for field in self.model.model_fields})

        return core_schema.with_info_plain_validator_function(check)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return self.model.model_json_schema()


# What a parameter is annotated with to take another component; its default is a name.
Loss = Annotated[Any, Reference("loss")]
"""A loss: ``self.loss()`` makes the module; `Trial.use_loss` does, and makes it what evaluation reports."""
Model = Annotated[Any, Reference("model")]
"""Another network than the trial's, such as a teacher: ``trial.make_model(self.teacher)`` makes it."""
Optimizer = Annotated[Any, Reference("optimizer")]
"""An optimizer: ``self.optimizer(params=trainable(…), model=trial.model)`` makes it."""
Schedule = Annotated[Any, Reference("schedule")]
"""A schedule: ``self.schedule(epoch=…, epochs=…, steps=…)`` is the factor on the learning rate."""
Criterion = Annotated[Any, Reference("criterion")]
"""A pruning criterion: what scores the weights; see `framework.scores`."""
Distribution = Annotated[Any, Reference("distribution")]
"""How an amount of pruning is spread over the layers; see `framework.spread`."""
SparsifierParameter = Annotated[Any, Reference("sparsifier")]
"""A sparsifier: ``self.sparsifier()`` makes it."""
Transform = Annotated[Any, Reference("transform")]
"""What is done to an image: ``transform()`` makes the module; calling that transforms an image."""


def _from_home(value: Any) -> Any:
    try:
        return expand_home(str(value)) if isinstance(value, str | Path) else value
    except ValueError as error:
        raise _mistake(str(error)) from None


def _reachable(path: Path) -> Path:
    """Check that the file system accepts a path, whether or not there is something at it."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _mistake(f"the file system refuses this path: {reason}") from None
    return path


def _mistake(text: str) -> PydanticCustomError:
    return PydanticCustomError("mistake", "{text}", {"text": text})


_HOME, _REACHABLE = BeforeValidator(_from_home), AfterValidator(_reachable)


class _Labelled:
    """Marks a parameter as the label of an earlier stage."""


StageLabel = Annotated[str, _Labelled()]
"""An earlier state of a trial: ``initial``, or the label (``as:``) of a stage before; see `Trial.earlier_state`."""


class Unkeyed:
    """Annotates a parameter that results do not depend on, so that it is in no key: ``Annotated[int, Unkeyed()]``."""


_FOLDER = AfterValidator(lambda path: Folder(path))
_PLAIN = (str, int, float, bool)
_CONFIG = ConfigDict(extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, protected_namespaces=())


def parameters_of(factory: Callable[..., Any], inputs: Sequence[str], owner: str) -> type[BaseModel]:
    """Make a pydantic model with a field for each parameter that YAML can set.

    Args:
        factory: the callable.
        inputs: the parameters to leave out.
        owner: whose they are, for messages.

    Raises:
        PluginError: a parameter without a default has a type that YAML cannot express.
    """
    try:
        hinted = factory.__init__ if inspect.isclass(factory) and not is_dataclass(factory) else factory
        hints = get_type_hints(hinted, include_extras=True)
        signature = inspect.signature(factory)
    except Exception as error:  # annotations are code, which may raise anything
        raise PluginError(f"{owner}: its signature cannot be read: {type(error).__name__}: {error}") from error
    # In a dataclass's signature, something else stands for these.
    factories = {f.name: f.default_factory for f in dataclasses.fields(factory)} if is_dataclass(factory) else {}
    said = meanings(factory)
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name in inputs or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        # Without an annotation, a default says what else there may be.
        hint = hints.get(name, type(parameter.default) if type(parameter.default) in _PLAIN else None)
        expressible = None if hint is None else _expressible(hint)
        if expressible is None and required:
            raise PluginError(
                f"{owner}: parameter {name!r} has no default and is annotated {hints.get(name, 'with nothing')}, "
                "which YAML cannot express: annotate it with str, int, float, bool, Path, Literal, "
                "list, tuple, dict or a dataclass of these"
            )
        if isinstance(parameter.default, Enum) and not isinstance(parameter.default, str | int):
            continue  # YAML could not write the default
        reference = _reference(hints.get(name))
        if reference and isinstance(parameter.default, str):
            # {lr: 0.1} alone is then the default optimizer with that lr.
            expressible = Annotated[Any, Reference(reference.kind, parameter.default)]
        if expressible is not None:
            made = factories.get(name, dataclasses.MISSING)
            default = {"default": parameter.default} if made is dataclasses.MISSING else {"default_factory": made}
            fields[name] = (expressible, Field(**({} if required else default), description=said.get(name)))
    with warnings.catch_warnings():
        # A parameter may well be called like something that pydantic's models have, such as copy.
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
        return create_model(getattr(factory, "__name__", owner), __config__=_CONFIG, **fields)


def labels_in(model: type[BaseModel]) -> tuple[str, ...]:
    """The parameters that are labels of earlier stages."""
    return _marked(model, _Labelled)


def unkeyed_in(model: type[BaseModel]) -> tuple[str, ...]:
    """The parameters that results do not depend on."""
    return _marked(model, Unkeyed)


@cache
def unkeyed_fields(cls: type) -> tuple[str, ...]:
    """The same of a dataclass among the parameters."""
    return unkeyed_in(parameters_of(cls, (), cls.__name__))


def _marked(model: type[BaseModel], mark: type) -> tuple[str, ...]:
    fields = model.model_fields.items()
    return tuple(name for name, info in fields if any(isinstance(m, mark) for m in info.metadata))


def _reference(hint: Any) -> Reference | None:
    return next((m for m in get_args(hint)[1:] if isinstance(m, Reference)), None)


def _expressible(hint: Any) -> Any:
    """Return the part of a type that YAML can express, as pydantic should validate it; None if there is none."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if _reference(hint):
            return hint
        inner = _expressible(args[0])
        folder = [_FOLDER] if PathType("dir") in args[1:] else []
        return None if inner is None else Annotated[(inner, *args[1:], *folder)]
    if origin in (Union, types.UnionType):
        kept = [inner for inner in map(_expressible, args) if inner is not None]
        if not any(inner is not type(None) for inner in kept):
            return None
        return Union[tuple(kept)]  # noqa: UP007 - made at run time
    if origin is Literal or hint in (*_PLAIN, type(None)):
        return hint
    if hint is Path:
        return Annotated[Path, Field(strict=False), _HOME, _REACHABLE]
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
        return Annotated[Any, Nested(hint)]
    return None


def validate(model: type[BaseModel], value: Mapping[str, Any], build: Build, owner: str) -> BaseModel:
    """Validate the parameters that a spec gives.

    Raises:
        ValidationError: every mistake, in readable words.
    """
    try:
        return model.model_validate(dict(value), context=build)
    except ValidationError as error:
        raise mistakes(explain(error.errors(), value, model.model_fields, owner)) from None
