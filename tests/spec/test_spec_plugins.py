"""The plugin packages that a spec says it needs."""

from importlib.metadata import version
from pathlib import Path

import pytest

from framework import SpecError
from framework._registry import installed
from framework._spec import load

SPEC = "model: convnet\ndata: digits\nstages: [test]\nplugins: "


def told(plugins: str, folder: Path) -> list[str]:
    path = folder / "spec.yaml"
    path.write_text(SPEC + plugins)
    try:
        load(path, installed())
    except SpecError as error:
        return [f"{p.line}:{p.column} {p.path}: {p.message}" for p in error.problems]
    return []


@pytest.mark.parametrize("plugins", ["[]", "[framework, torch>=2]", f"['framework=={version('framework')}']"])
def test_what_is_installed_is_fine(plugins: str, tmp_path: Path) -> None:
    assert told(plugins, tmp_path) == []


def test_what_is_missing_is_told_with_its_place_and_how_to_get_it(tmp_path: Path) -> None:
    assert told("[no-such-plugin>=1.2, framework>=99]", tmp_path) == [
        "4:11 plugins.0: the plugin package 'no-such-plugin' is not installed: pip install 'no-such-plugin>=1.2'",
        f"4:32 plugins.1: framework {version('framework')} is installed, and this spec needs >=99: "
        "pip install 'framework>=99'",
    ]


@pytest.mark.parametrize(
    ("plugins", "text"),
    [
        (
            "lion",
            "4:10 plugins: must be a list of packages and files, such as [framework-lion>=1.2, ./mine.py], not 'lion'",
        ),
        ("[3]", "4:11 plugins.0: must be a package as pip names it (framework-lion>=1.2) or a file (./mine.py), not 3"),
        (
            "['a b']",
            "4:11 plugins.0: must be a package as pip names it (framework-lion>=1.2) or a file (./mine.py), not 'a b'",
        ),
    ],
)
def test_what_is_no_package_is_a_mistake(plugins: str, text: str, tmp_path: Path) -> None:
    assert told(plugins, tmp_path) == [text]
