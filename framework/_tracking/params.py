"""A trial's plan as MLflow shows it: flat names, short strings."""

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework._plan import TrialPlan

_LONGEST, _LONGEST_NAME, _LONGEST_VALUE = 6000, 250, 200
_CUT = " … (cut; whole in spec.yaml)"


def parameters(plan: "TrialPlan", notes: Mapping[str, Any]) -> dict[str, str]:
    """Everything that determines a trial, by its path in the spec; what is swept also by its short name; and notes."""
    from framework._plan import flat, short

    tree: dict[str, Any] = {"model": plan.model, "data": plan.data, "seed": plan.seed}
    for index, stage in enumerate(plan.stages):
        given = {key: value for key, value in stage.items() if key != "name"}
        tree[f"stages.{index}"] = {"name": stage["name"], stage["name"]: given}
    swept = {name: short(value) for name, value in plan.swept.items()}
    return {
        valid_name(name): _cut(_text(value))
        for name, value in {**swept, **dict(flat(tree)), **dict(flat(notes))}.items()
    }


def comparable(value: Any) -> Any:
    """A swept value as it can be compared: a number or a text, short enough for a tag."""
    from framework._plan import short

    return value if isinstance(value, bool | int | float | None) else short(value)[:_LONGEST_VALUE]


def valid_name(name: str) -> str:
    """The name as MLflow takes it: other characters become underscores, and it is a path in its shortest form.

    Of one that is too long, such as that of a deeply nested layer, the end becomes a digest of the whole.
    """
    valid = posixpath.normpath(re.sub(r"[^\w./ :-]", "_", name, flags=re.ASCII)).strip("./") or "_"
    if len(valid) <= _LONGEST_NAME:
        return valid
    digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:12]
    return f"{valid[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def run_name(name: str) -> str:
    """A trial's name as every database takes it: of a long one the beginning, and the seed at its end."""
    name = fit(name, len(name))
    variant, _, seed = name.rpartition(" ")
    return f"{variant[: _LONGEST_NAME - len(seed) - 2]}… {seed}" if len(name) > _LONGEST_NAME else name


def fit(text: str, longest: int) -> str:
    """A text as every database takes it: cut, and without what PostgreSQL or UTF-8 cannot hold."""
    return text.replace("\0", "�").encode(errors="replace").decode()[:longest]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _cut(value: str) -> str:
    return fit(value, _LONGEST) if len(value) <= _LONGEST else fit(value, _LONGEST - len(_CUT)) + _CUT
