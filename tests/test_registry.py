import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from framework import PluginError, Stage, hookimpl
from framework._registry import Registry, installed


@dataclass(frozen=True)
class Nap(Stage):
    """Do nothing."""

    def run(self, trial: Any) -> None: ...


def plugin(**hooks: Any) -> Any:
    """A plugin with these hooks, each returning what is given."""
    module = types.ModuleType("a_plugin")
    for name, value in hooks.items():
        setattr(module, name, hookimpl(value if callable(value) else lambda value=value: value))
    return module


def error_of(*plugins: tuple[Any, str]) -> str:
    with pytest.raises(PluginError) as error:
        Registry(plugins)
    return str(error.value)


def test_components_are_found_by_kind_and_name_with_their_source() -> None:
    registry = Registry([(plugin(register_stages={"nap": Nap}), "mine 1.2")])
    entry = registry.get("stage", "nap")
    assert (entry.kind, entry.name, entry.factory, entry.source) == ("stage", "nap", Nap, "mine 1.2")
    assert registry.entry("stage", "nap") == entry
    assert registry.entry("stage", "sleep") is None


def test_names_are_sorted_over_all_plugins() -> None:
    registry = Registry(
        [(plugin(register_stages={"z": Nap, "b": Nap}), "one 1"), (plugin(register_stages={"a": Nap}), "two 1")]
    )
    assert registry.names("stage") == ["a", "b", "z"]
    assert registry.names("loss") == []


def test_the_same_name_may_stand_for_components_of_two_kinds() -> None:
    registry = Registry([(plugin(register_stages={"x": Nap}, register_schedules={"x": abs}), "mine 1")])
    assert registry.get("stage", "x").factory is Nap
    assert registry.get("schedule", "x").factory is abs


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("stage", "nip", "unknown stage 'nip' (did you mean 'nap'?)"),
        ("loss", "l", "unknown loss 'l' (none is valid here)"),
        ("stages", "nap", "unknown kind 'stages' (did you mean 'stage'?)"),
    ],
)
def test_what_there_is_not_is_an_error_that_names_the_nearest(kind: str, name: str, text: str) -> None:
    registry = Registry([(plugin(register_stages={"nap": Nap}), "mine 1")])
    with pytest.raises(PluginError) as error:
        registry.get(kind, name)
    assert str(error.value) == text


def test_two_plugins_of_one_name_are_an_error_that_names_both() -> None:
    plugins = [(plugin(register_stages={"nap": Nap}), source) for source in ("one 1", "two 2")]
    assert error_of(*plugins) in (
        "stage 'nap' is registered by both one 1 and two 2",
        "stage 'nap' is registered by both two 2 and one 1",
    )


def test_a_misspelled_hook_is_an_error_that_names_the_plugin_and_the_hook() -> None:
    text = error_of((plugin(register_stage={"nap": Nap}), "mine 1.2"))
    assert text == "mine 1.2: there is no hook 'register_stage' (did you mean 'register_stages'?)"


def test_a_hook_with_arguments_is_an_error_that_names_the_plugin_and_the_hook() -> None:
    text = error_of((plugin(register_stages=lambda manager: {}), "mine 1.2"))
    assert text.startswith("mine 1.2: ")
    assert "register_stages" in text
    assert "manager" in text


def test_a_plugin_given_twice_is_an_error() -> None:
    mine = plugin(register_stages={"nap": Nap})
    text = error_of((mine, "mine 1"), (mine, "again 1"))
    assert text == "again 1 registers the same plugin as mine 1: <module 'a_plugin'>"


@pytest.mark.parametrize(
    ("registered", "text"),
    [
        ([Nap], "mine 1: register_stages must return a mapping of names, not list"),
        (None, "mine 1: register_stages must return a mapping of names, not NoneType"),
        ({"nap": 3}, "mine 1: stage 'nap' must be callable, not int"),
    ],
)
def test_what_is_no_component_is_an_error(registered: Any, text: str) -> None:
    assert error_of((plugin(register_stages=lambda: registered), "mine 1")) == text


def test_a_hook_that_fails_is_an_error_that_names_the_plugin() -> None:
    def fails() -> None:
        raise ZeroDivisionError("by nought")

    text = error_of((plugin(register_stages=fails), "mine 1"))
    assert text == "mine 1: register_stages failed: ZeroDivisionError: by nought"


def test_a_class_can_be_a_plugin_and_what_is_not_marked_is_no_hook() -> None:
    class Plugin:
        @hookimpl
        def register_stages(self) -> dict[str, type[Stage]]:
            return {"nap": Nap}

        def register_losses(self) -> None:
            raise AssertionError("not marked")

    assert Registry([(Plugin(), "mine 1")]).names("loss") == []


# --- installed packages --------------------------------------------------------------------------------------------


def test_the_built_ins_come_through_the_same_door() -> None:
    registry = installed()
    assert {"train", "freeze", "unfreeze", "prune", "unprune", "test"} <= set(registry.names("stage"))
    assert registry.get("stage", "train").source.startswith("framework ")
    assert installed() is registry


def install(folder: Path, name: str, module: str, code: str) -> None:
    """What an installed package leaves on disk: a module, and its metadata with one entry point."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[framework]\nextra = {module}\n")


def python(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


NAP = """
from dataclasses import dataclass
from framework import Stage, hookimpl

@dataclass(frozen=True)
class Nap(Stage):
    def run(self, trial): ...

@hookimpl
def register_stages():
    return {"NAME": Nap}
"""
SHOW = """
from framework._errors import PluginError
from framework._registry import installed
try:
    print(installed().get("stage", "nap").source, installed().get("stage", "train").source.split()[0])
except PluginError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (NAP.replace("NAME", "nap"), "my-plugin 1.2 framework"),
        (
            "import no_such_module",
            "plugin 'extra' of my-plugin 1.2 (its_module) cannot be imported: "
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            "1 / 0",
            "plugin 'extra' of my-plugin 1.2 (its_module) cannot be imported: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_package_is_found_by_its_entry_point_and_named_where_it_cannot_be_imported(
    code: str, text: str, tmp_path: Path
) -> None:
    install(tmp_path, "my-plugin", "its_module", code)
    assert python(tmp_path, SHOW) == text


def test_a_package_that_claims_a_built_in_name_is_named(tmp_path: Path) -> None:
    install(tmp_path, "my-plugin", "its_module", NAP.replace("NAME", "train"))
    text = python(tmp_path, SHOW)
    assert text.startswith("stage 'train' is registered by both ")
    assert "my-plugin 1.2" in text
    assert "framework " in text
