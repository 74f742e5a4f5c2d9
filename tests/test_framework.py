import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import framework
from framework._errors import nearest

# Whoever changes this changes what plugins may count on: see docs/stability.md.
PUBLIC = """
    Arrays Batches Classification Criterion Data DataError Dataset Distribution EarlyStopping Filters FrameworkError
    ImageBatches ImageData Interval LoaderBatches Loss Masks Metric Mode Model Multilabel Network Objective
    Optimizer PluginError Precision Record Regression Results Schedule Source Sparsifier SpecError Split Stage
    StageError StageLabel Step StoreError Task TensorBatches Tester TrackingError Trainer Training Transform Trial
    Unkeyed apportion eval_mode evaluate fit hookimpl largest_remainder load_model load_model_state lowest nearest
    remove_lowest results run scores select spread trainable
"""


def test_what_is_public_is_these_names():
    assert framework.__all__ == PUBLIC.split()


def test_all_names_are_listed_sorted_and_can_be_had():
    assert framework.__all__ == sorted(framework._HOME)
    for name in framework.__all__:
        assert getattr(framework, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'framework' has no attribute 'Nothing'"):
        _ = framework.Nothing


@pytest.mark.parametrize("heavy", ["torch", "ray", "mlflow", "pluggy", "pydantic"])
def test_importing_it_imports_nothing_heavy(heavy):
    code = f"import sys, framework; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("name", "valid", "text"),
    [
        ("trian", ["train", "prune"], "did you mean 'train'?"),
        ("x", ["train", "prune"], "valid: prune, train"),
        (3, ["train"], "valid: train"),
        ("x", [], "none is valid here"),
        ("x", [f"layer{i:02}" for i in range(21)], f"valid: {', '.join(f'layer{i:02}' for i in range(20))}, …"),
    ],
)
def test_the_nearest_name_or_the_valid_ones(name, valid, text):
    assert nearest(name, valid) == text


def test_a_spec_error_holds_its_problems_once_and_in_the_order_of_the_file():
    problems = [
        framework._errors.Problem("b.yaml", 1, 1, "x", "wrong"),
        framework._errors.Problem("a.yaml", 10, 3, "y.0", "wrong too"),
        framework._errors.Problem("a.yaml", 9, 5, "", "bad"),
        framework._errors.Problem("a.yaml", 9, 5, "", "bad"),
        framework._errors.Problem("--set", 0, 0, "z", "unknown"),
    ]
    error = framework.SpecError(problems)
    assert str(error) == "--set z: unknown\na.yaml:9:5: bad\na.yaml:10:3 y.0: wrong too\nb.yaml:1:1 x: wrong"
    assert len(error.problems) == 4
    assert isinstance(error, framework.FrameworkError)


def test_every_package_is_installed():
    project = Path(__file__).parent.parent
    listed = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    homes = {"framework": project / "framework", "framework_plugins": project / "plugins"}
    found = {
        ".".join([name, *file.parent.relative_to(home).parts])
        for name, home in homes.items()
        for file in home.rglob("__init__.py")
        if "_scaffold" not in file.parts
    }
    assert found == set(listed)
