import subprocess
import sys
import types
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from framework import PluginError, Stage, hookimpl
from framework._component import build, usable
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


def test_two_plugins_of_one_name_are_an_error_that_names_both_where_the_name_is_used() -> None:
    plugins = [
        (plugin(register_stages={"nap": Nap}), "one 1"),
        (plugin(register_stages={"nap": Nap, "rest": Nap}), "two 2"),
    ]
    registry = Registry(plugins)
    with pytest.raises(PluginError) as error:
        registry.entry("stage", "nap")
    assert str(error.value) == (
        "stage 'nap' is registered by both one 1 and two 2: uninstall one, or leave it out with --disable-plugin"
    )
    assert registry.get("stage", "rest").source == "two 2"
    assert [entry.name for entry in usable(registry, "stage")[0]] == ["rest"]


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
        ({"nap": "x"}, "mine 1: stage 'nap' must be callable, not 'x', which is not of the form 'module:name'"),
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
for name in ("nap", "train"):
    try:
        print(installed(frozenset(DISABLED)).get("stage", name).source)
    except PluginError as error:
        print(error)
"""
BROKEN = {
    "import no_such_module": "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    "1 / 0": "cannot be imported: ZeroDivisionError: division by zero",
    "raise SystemExit(3)": "cannot be imported: SystemExit: 3",
}


def show(folder: Path, *disabled: str) -> list[str]:
    return python(folder, SHOW.replace("DISABLED", repr(disabled))).splitlines()


def test_a_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    install(tmp_path, "my-plugin", "its_module", NAP.replace("NAME", "nap"))
    assert show(tmp_path) == ["my-plugin 1.2", f"framework {version('framework')}"]


@pytest.mark.parametrize(("code", "text"), BROKEN.items())
def test_a_package_that_cannot_be_imported_is_named_and_takes_nothing_else_down(
    code: str, text: str, tmp_path: Path
) -> None:
    install(tmp_path, "my-plugin", "its_module", code)
    nap, train = show(tmp_path)
    assert nap.startswith("unknown stage 'nap' (")
    assert nap.endswith(f"; plugin 'extra' of my-plugin 1.2 (its_module) {text})")
    assert train == f"framework {version('framework')}"


def test_a_plugin_that_breaks_its_contract_is_registered_not_even_in_part(tmp_path: Path) -> None:
    code = NAP.replace("NAME", "nap") + "@hookimpl\ndef register_losses():\n    return []\n"
    install(tmp_path, "my-plugin", "its_module", code)
    nap, _ = show(tmp_path)
    assert nap.endswith("; my-plugin 1.2: register_losses must return a mapping of names, not list)")


def test_a_package_that_claims_a_built_in_name_is_named(tmp_path: Path) -> None:
    install(tmp_path, "my-plugin", "its_module", NAP.replace("NAME", "train"))
    _, train = show(tmp_path)
    assert train.startswith("stage 'train' is registered by both ")
    assert "my-plugin 1.2" in train
    assert "framework " in train


def test_a_package_can_be_left_out(tmp_path: Path) -> None:
    install(tmp_path, "my-plugin", "its_module", NAP.replace("NAME", "train"))
    nap, train = show(tmp_path, "My_Plugin")
    assert nap.endswith("; my-plugin 1.2 is disabled (--disable-plugin))")
    assert train == f"framework {version('framework')}"


def test_what_several_plugins_of_a_package_share_is_told_once() -> None:
    registry = Registry()
    for module in ("its_stages", "its_losses"):
        registry.reject("mine 1", module, "mine 1 is disabled", disabled=True)
    assert registry.broken == ["mine 1 is disabled"]


def test_leaving_out_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    install(tmp_path, "my-plugin", "its_module", NAP.replace("NAME", "nap"))
    text = "--disable-plugin: there are no plugins of 'my-plugins' (did you mean 'my-plugin'?)"
    assert show(tmp_path, "my-plugins") == [text, text]


@pytest.mark.parametrize(
    ("requires", "works"),
    [("framework>=99", False), ("Framework <0.1", False), ("framework>=0.1", True), ("???", True)],
)
def test_a_package_that_needs_another_framework_is_named(requires: str, works: bool, tmp_path: Path) -> None:
    install(tmp_path, "my-plugin", "its_module", NAP.replace("NAME", "nap"))
    with (tmp_path / "my_plugin-1.2.dist-info" / "METADATA").open("a") as metadata:
        metadata.write(f"Requires-Dist: {requires}\nRequires-Dist: torch\n")
    nap, train = show(tmp_path)
    if works:
        assert nap == "my-plugin 1.2"
    else:
        assert f"my-plugin 1.2 needs framework{requires[9:].strip()}, and this is {version('framework')}" in nap
    assert train == f"framework {version('framework')}"


# --- observers -----------------------------------------------------------------------------------------------------


def test_observers_are_told_and_their_answers_come_with_their_names() -> None:
    heard = []
    one = plugin(epoch_ended=lambda trial, metrics: {"norm": trial + metrics["loss"]})
    other = plugin(trial_started=lambda trial: heard.append(trial), epoch_ended=lambda metrics: None)
    registry = Registry([(one, "one 1"), (other, "other 2"), (plugin(register_stages={"nap": Nap}), "third 3")])
    assert registry.observers == ["one 1", "other 2"]
    answers = [(source, ask(trial=1, metrics={"loss": 2})) for source, ask in registry.implementations("epoch_ended")]
    assert sorted(answers) == [("one 1", {"norm": 3}), ("other 2", None)]
    [(_, tell)] = registry.implementations("trial_started")
    tell(trial=5)
    assert heard == [5]
    assert registry.observed("trial_started")
    assert not registry.observed("trial_ended")


def test_what_an_observer_raises_names_it() -> None:
    def fails(trial: Any) -> None:
        raise ZeroDivisionError("by nought")

    [(_, tell)] = Registry([(plugin(trial_ended=fails), "mine 1.2")]).implementations("trial_ended")
    with pytest.raises(ZeroDivisionError) as error:
        tell(trial=1)
    assert error.value.__notes__ == ["in trial_ended of mine 1.2"]


def test_an_observer_with_a_wrong_argument_is_named() -> None:
    text = error_of((plugin(trial_ended=lambda model: None), "mine 1.2"))
    assert text.startswith("mine 1.2: ")
    assert "model" in text


def test_a_hook_cannot_be_wrapped() -> None:
    class Wrapping:
        @hookimpl(wrapper=True)
        def trial_ended(self, trial: Any) -> Any:
            return (yield)

    text = error_of((Wrapping(), "mine 1.2"))
    assert text == "mine 1.2: trial_ended cannot be wrapped: implement it without wrapper=True"


def test_a_component_may_be_named_by_its_module_which_is_imported_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_import.py").write_text("def half(epoch: float, to: float = 0.5) -> float:\n    return to\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {"half": "slow_to_import:half", "none": "slow_to_import:none"}
    registry = Registry([(plugin(register_schedules=lambda: names), "mine 1")])
    assert "slow_to_import" not in sys.modules
    assert build(registry, "schedule", {"name": "half", "to": 0.25})(epoch=1) == 0.25
    with pytest.raises(PluginError, match=r"schedule 'none' of mine 1: slow_to_import:none cannot be imported: Attr"):
        _ = registry.get("schedule", "none").parameters
