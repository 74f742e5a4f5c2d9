"""The JSON schema of specs, for editors."""

from collections.abc import Callable
from typing import Any

from framework._code import PATTERN
from framework._component import KINDS, Catalog, Entry, usable
from framework._paths import MOST_BYTES
from framework._spec.node import SPACES
from framework._spec.resolve import AUGMENTATIONS, LABEL, METRICS
from framework._spec.resources import LEAST, MOST_CPUS, MOST_PROCESSES, RESOURCES, SECONDS
from framework._spec.search import ALGORITHMS, LEAST_FACTOR, MODES, MOST_SEED, SCHEDULERS, SchedulerSpec, SearchSpec

JSON = dict[str, Any]

_SPACE = {"$ref": "#/$defs/space"}
_STAGES = {"$ref": "#/$defs/stages"}
_LISTED: JSON = {"type": "array", "minItems": 1}
_FILES: JSON = {
    "description": "Something in a file: ./mine.py:Net; or in a module.",
    "type": "string",
    "pattern": PATTERN,
}
_NAME = r"^[^/\\\n]*[^/\\\s][^/\\\n]*$"
_FILED_STAGE: JSON = {"type": ["object", "null"]}
_RANGE: JSON = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_INTEGERS: JSON = {**_RANGE, "items": {"type": "integer"}}


def schema(catalog: Catalog) -> JSON:
    """Describe the specs that can be written with these components.

    Editors complete and check with it. It lets pass what only the whole spec can tell: a missing parameter may come
    from ``defaults``, a missing name from a base.

    Args:
        catalog: the components, such as the registry.

    Returns:
        A JSON schema, draft 2020-12.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Experiment",
        **_object(_top()),
        "anyOf": [{"required": ["model", "data", "stages"]}, {"required": ["extends"]}],
        "$defs": {
            **{kind: _kind(catalog, kind) for kind in KINDS if kind not in ("stage", "dataset", "metric")},
            "metric": _kind(catalog, "metric", {LABEL: _text("What it is called in runs; its name unless given.")}),
            "data": _kind(catalog, "dataset", _data_options()),
            "space": _space(),
            "stages": _or_space({**_LISTED, "items": _stage_item(catalog)}),
            "defaults": {
                **_object({e.name: _nullable(_component(e)) for e in _entries(catalog, "stage")}),
                "patternProperties": {PATTERN: _FILED_STAGE},
            },
        },
    }


def _top() -> JSON:
    return {
        "extends": _text("Path of the spec that this one changes, relative to this file."),
        "name": {
            **_text("The experiment's name; the file's unless given."),
            "pattern": _NAME,
            "maxLength": MOST_BYTES,
        },
        "description": _text("What the experiment is for."),
        "plugins": {
            "description": "What it needs: packages as pip names them (framework-lion>=1.2), and files (./mine.py).",
            "type": "array",
            "items": {"type": "string"},
        },
        "model": {"$ref": "#/$defs/model"},
        "data": {"$ref": "#/$defs/data"},
        METRICS: {
            "description": "By what trials are measured, the primary one first; as the data's task says unless given.",
            **_LISTED,
            "items": {"$ref": "#/$defs/metric"},
        },
        "seeds": {
            "description": "One replicate of every variant for each.",
            **_LISTED,
            "items": {"type": "integer", "minimum": 0},
            "uniqueItems": True,
        },
        "defaults": _or_space({"$ref": "#/$defs/defaults"}),
        "stages": _STAGES,
        "search": _search(),
        "resources": _object(
            {
                "cpu": {
                    "description": "CPUs of one trial, of all its processes; auto: its share of those that are there.",
                    "anyOf": [{"const": "auto"}, {"type": "number", "minimum": LEAST, "maximum": MOST_CPUS}],
                },
                "gpu": {
                    "description": "GPUs of one trial; a fraction shares one, and each of several has a process.",
                    "anyOf": [
                        {"const": "auto"},
                        {"const": 0},
                        {"type": "number", "minimum": LEAST, "maximum": 1},
                        {"type": "integer", "minimum": 2, "maximum": MOST_PROCESSES},
                    ],
                },
                "processes": {
                    "description": "How many processes train one trial together, each on its part of every batch.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_PROCESSES,
                    "default": RESOURCES["processes"],
                },
                "timeout": {
                    "description": "Seconds after which a trial is ended.",
                    "anyOf": [{"type": "number", "minimum": SECONDS[0], "maximum": SECONDS[1]}, {"type": "null"}],
                },
                "retries": {
                    "description": "How often a failed trial is tried again, from its last checkpoint.",
                    "type": "integer",
                    "minimum": 0,
                    "default": RESOURCES["retries"],
                },
                "threads": {
                    "description": "CPU threads of each stage; the last number counts for all stages that follow.",
                    "anyOf": [
                        {"const": "auto"},
                        {
                            "type": "array",
                            "items": {"type": "integer", "minimum": 1, "maximum": MOST_CPUS},
                            "minItems": 1,
                        },
                    ],
                },
            }
        ),
    }


def _search() -> JSON:
    scheduler = {
        "name": {"enum": list(SCHEDULERS)},
        "grace_period": {
            "description": "Epochs after which trials are compared for the first time.",
            **_counted(1),
            "default": SchedulerSpec.grace_period,
        },
        "reduction_factor": {
            "description": "One of so many goes on, and is compared again after so many times the epochs.",
            "type": "number",
            "minimum": LEAST_FACTOR,
            "default": SchedulerSpec.reduction_factor,
        },
    }
    return _object(
        {
            "samples": {"description": "How many points to try of the random search spaces.", **_counted(1)},
            "seed": {"description": "What they are drawn or suggested with.", **_counted(0), "maximum": MOST_SEED},
            "algorithm": {
                "description": "random draws all points beforehand; optuna suggests each by the results of others.",
                "enum": list(ALGORITHMS),
                "default": SearchSpec.algorithm,
            },
            "metric": {
                "description": "What tells good trials from bad ones; null: the primary one, on the validation set.",
                "type": ["string", "null"],
            },
            "mode": {
                "description": "Whether the metric should be high or low; as it says of itself unless given.",
                "enum": list(MODES),
            },
            "scheduler": {
                "description": "Stops those trials early that do worse than others of their seed.",
                "anyOf": [
                    {"enum": list(SCHEDULERS)},
                    {**_object(scheduler), "required": ["name"]},
                    {"type": "null"},
                ],
            },
        }
    )


def _data_options() -> JSON:
    augment = {"type": "array", "items": {"enum": list(AUGMENTATIONS)}, "uniqueItems": True}
    fraction = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    return {
        "validation": {"description": "Fraction of the training set to hold out.", **_or_space(fraction)},
        "augment": {"description": "What to do to training batches.", **_or_space(augment)},
    }


def _entries(catalog: Catalog, kind: str) -> list[Entry]:
    return usable(catalog, kind)[0]


def _kind(catalog: Catalog, kind: str, options: JSON | None = None) -> JSON:
    """A component by its bare name, as a mapping with its name, or as one whose name is inherited."""
    entries = _entries(catalog, kind)
    nameless = {"type": "object", "not": {"anyOf": [{"required": [key]} for key in ("name", *SPACES)]}}
    named = [_component(entry, {"name": {"const": entry.name}, **(options or {})}) for entry in entries]
    # Of what is in a file, no schema knows the parameters.
    filed = {"type": "object", "properties": {"name": _FILES}, "required": ["name"]}
    return _or_space({"enum": [entry.name for entry in entries]}, *named, _FILES, filed, nameless)


def _component(entry: Entry, more: JSON | None = None) -> JSON:
    generated = entry.parameters.model_json_schema()
    parameters = {name: _parameter(value) for name, value in generated.get("properties", {}).items()}
    described = _object({**(more or {}), **parameters}, entry.doc)
    return {**described, "required": ["name"]} if more else described


def _parameter(value: JSON) -> JSON:
    """A parameter's schema, in which a search space may stand for it and for every value inside."""
    kept: JSON = {key: value[key] for key in ("description", "default") if key in value}
    inner = {key: v for key, v in value.items() if key not in ("description", "default", "title")}
    return {**kept, **_or_space(_inside(inner))}


def _inside(value: JSON) -> JSON:
    if "x-component" in value:
        return {"$ref": f"#/$defs/{value['x-component']}"}
    return {key: _CHILDREN[key](child) if key in _CHILDREN else child for key, child in value.items()}


def _each(children: list[JSON]) -> list[JSON]:
    return [_parameter(child) for child in children]


_CHILDREN: dict[str, Callable[[Any], Any]] = {
    "properties": lambda children: {name: _parameter(child) for name, child in children.items()},
    "additionalProperties": lambda child: _parameter(child) if isinstance(child, dict) else child,
    "items": lambda child: _parameter(child) if isinstance(child, dict) else child,
    "prefixItems": _each,
    "anyOf": lambda children: [_inside(child) for child in children],
}


def _stage_item(catalog: Catalog) -> JSON:
    entries = _entries(catalog, "stage")
    repeat = {
        **_object({"times": _or_space({"type": "integer", "minimum": 0}), "stages": _STAGES}),
        "description": "Do these stages several times over; 0 leaves them out.",
        "required": ["times", "stages"],
    }
    named = {entry.name: {"description": entry.doc, **_nullable(_component(entry))} for entry in entries}
    label = _text("A label, by which later stages can name the state after this one.")
    labelled = {"maxProperties": 2, "required": [LABEL]}
    item = {
        **_object({**named, "repeat": repeat, LABEL: label}),
        "patternProperties": {PATTERN: _FILED_STAGE},
        "minProperties": 1,
        "anyOf": [{"maxProperties": 1, "not": {"required": [LABEL]}}, {**labelled, "not": {"required": ["repeat"]}}],
    }
    return _or_space({"enum": [entry.name for entry in entries]}, item, _FILES)


def _space() -> JSON:
    shapes = {"grid_search": _LISTED, "choice": _LISTED, "randint": _INTEGERS}
    return {
        **_object({kind: shapes.get(kind, _RANGE) for kind in SPACES}, "A search space."),
        "minProperties": 1,
        "maxProperties": 1,
    }


def _object(properties: JSON, description: str = "") -> JSON:
    described = {"description": description} if description else {}
    return {**described, "type": "object", "properties": properties, "additionalProperties": False}


def _nullable(value: JSON) -> JSON:
    return {"anyOf": [value, {"type": "null"}, _SPACE]}


def _or_space(*alternatives: JSON) -> JSON:
    return {"anyOf": [*alternatives, _SPACE]}


def _counted(least: int) -> JSON:
    return {"type": "integer", "minimum": least}


def _text(description: str) -> JSON:
    return {"description": description, "type": "string"}
