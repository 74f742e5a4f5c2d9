"""What is written of a spec reads back as what it was: any trial's YAML is a spec that runs it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec_catalog import CATALOG

from framework._executors.recorder import _as_spec
from framework._plan import as_it_stands, make_plans
from framework._spec import dump, load
from framework._spec.document import parse

# What one reader or another takes for something else than a string.
ODD = ["25921e05", "1e3", "0o7", " 0o7", "0x1F", "-.inf", ".NaN", "null", "Null", "~", "", " ", "<<", "=", "true", "NO"]
ODD += ["on", "yes", "1_000", "1:30", "2020-01-01", "2020-01-01 10:00:00", "1.", ".5", "+1", "- a", "a: b", "a #b", "#"]
ODD += ["*a", "&a", "!x", "|", ">", "%", "@", "`", "'", '"', "\\", "{", "[", ",", "? a", "---", "...", "a\nb", "\ta"]
ODD += ["a  b " * 40, "é", "名前", "\u2028", "\x85", "\ufeff", "\U0001f600", "\u202e", "x" * 200, "a\r\nb\n", " a "]
TEXT = st.one_of(
    st.sampled_from(ODD), st.from_regex(r"[-+]?[0-9]{1,6}[.eE_:x]?[-+]?[0-9]{0,4}", fullmatch=True), st.text()
)
WRITABLE = TEXT.filter(lambda text: not yaml.reader.Reader.NON_PRINTABLE.search(text))
LEAF = st.one_of(WRITABLE, st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
DATA = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WRITABLE, inner, max_size=3))


@given(DATA)
def test_what_is_written_reads_back(data: Any) -> None:
    found: list[Any] = []
    text = dump({"x": data})
    assert parse(text, "test", found)(()).plain() == {"x": data}
    assert not found
    assert yaml.safe_load(text) == {"x": data}  # and by readers that know YAML 1.1 only


@pytest.mark.parametrize("text", ODD)
def test_what_looks_like_something_else_is_quoted(text: str) -> None:
    assert yaml.safe_load(dump({text: text})) == {text: text} == parse(dump({text: text}), "test", [])(()).plain()


NAME = WRITABLE.filter(
    lambda name: name.strip() and len(name.encode()) < 250 and name.isprintable() and not {*name} & {*"/\\"}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    NAME,
    WRITABLE,
    st.lists(WRITABLE, max_size=3),
    st.floats(1e-300, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**63 - 1),
    st.floats(1e-3, 1e9),
)
def test_a_trials_own_spec_has_its_keys(
    tmp_path: Path, name: str, path: str, layers: list[str], amount: float, validation: float, seed: int, timeout: float
) -> None:
    spec = {
        "name": name,
        "model": {"name": "mlp", "hidden": [seed]},
        "data": {"name": "npz", "path": path, "validation": validation, "augment": ["flip"]},
        "seeds": [seed],
        "stages": ["unprune", {"prune": {"amount": amount, "layers": layers}}, {"train": {"steps": 3}}],
        "resources": {"cpu": 0.5, "gpu": 1, "timeout": timeout, "retries": 0, "threads": [4, 1], "processes": 1},
    }
    file = tmp_path / "s.yaml"
    file.write_text(dump(spec), encoding="utf-8")
    [plan] = make_plans(load(file, CATALOG), as_it_stands)
    # Where its plugins come from is said too, and the tests' are of no package that could be installed.
    written = "".join(line for line in _as_spec(plan).splitlines(keepends=True) if "test==1" not in line)
    file.write_text(written.replace("plugins:\n", ""), encoding="utf-8")
    [again] = make_plans(load(file, CATALOG), as_it_stands)
    assert again == plan
    assert plan.keys == again.keys
    assert plan.data["dataset"]["path"] == path
