"""A trial's plan as MLflow shows it: flat names, short strings."""

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework._plan import TrialPlan

_LONGEST, _LONGEST_NAME, _LONGEST_VALUE = 6000, 250, 200
_CUT = " … (cut; whole in spec.yaml; {})"
_DIGITS = 8


def parameters(plan: "TrialPlan", notes: Mapping[str, Any]) -> dict[str, str]:
    """Everything that determines a trial, by its path in the spec; what is swept also by its short name; and notes."""
    from framework._plan import flat, short

    tree: dict[str, Any] = {"model": plan.model, "data": plan.data, "seed": plan.seed}
    tree |= {f"metrics.{name}": metric for name, metric in plan.metrics.items()}
    for index, stage in enumerate(plan.stages):
        given = {key: value for key, value in stage.items() if key != "name"}
        tree[f"stages.{index}"] = {"name": stage["name"], stage["name"]: given}
    swept = {name: short(value) for name, value in plan.swept.items()}
    return {
        valid_name(name): _cut(_text(value))
        for name, value in {**swept, **dict(flat(tree)), **dict(flat(notes))}.items()
    }


def variant(swept: Mapping[str, Any], longest: int) -> str:
    """The swept values as JSON, by short name: long ones are cut, and told apart all the same.

    Args:
        swept: the values.
        longest: how many characters it may have.
    """
    for length in (_LONGEST_VALUE, _LONGEST_VALUE // 4, 0):
        text = json.dumps({name: comparable(value, length) for name, value in swept.items()})
        if len(text) <= longest:
            return text
    return json.dumps({"variant": comparable(swept, _LONGEST_VALUE)})  # more names than a tag takes


def comparable(value: Any, longest: int = _LONGEST_VALUE) -> Any:
    """A swept value as it can be compared: a number, or a text that ends in a digest where it does not say all."""
    from framework._plan import short

    if isinstance(value, bool | int | float | None):
        return value
    text = short(value)
    if len(text) <= longest and _says_all(value):
        return text
    return f"{text[:longest]}… {digest(value)}" if longest else digest(value)


def digest(value: Any) -> str:
    """What tells a value from others that begin alike."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return "#" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]


def _says_all(value: Any) -> bool:
    """Whether its short form has all digits of its numbers."""
    from framework._plan import short

    if isinstance(value, Mapping):
        return all(map(_says_all, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_says_all, value))
    return not isinstance(value, float) or float(short(value)) == value or isnan(value)


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
    """A trial's name as every database takes it: of a long one the beginning, a digest, and the seed at its end."""
    if len(name) <= _LONGEST_NAME:
        return fit(name, _LONGEST_NAME)
    values, _, seed = name.rpartition(" ")
    end = f"… {digest(values)} {seed}"
    return fit(values, _LONGEST_NAME - len(end)) + end


def fit(text: str, longest: int) -> str:
    """A text as every database takes it: cut, and without what PostgreSQL or UTF-8 cannot hold."""
    return text.replace("\0", "�").encode(errors="replace").decode()[:longest]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _cut(value: str) -> str:
    if len(value) <= _LONGEST:
        return fit(value, _LONGEST)
    end = _CUT.format(digest(value))
    return fit(value, _LONGEST - len(end)) + end
