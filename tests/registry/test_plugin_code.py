"""The code of plugins that may be edited without a new version is part of the keys."""

import sys
from pathlib import Path

import pytest

from framework._plan import as_it_stands, make_plans
from framework._registry import code, installed
from framework._spec import load

STAGE = """
from dataclasses import dataclass
from framework import Stage, hookimpl
from nap.helper import FACTOR

@dataclass(frozen=True)
class Nap(Stage):
    def run(self, trial):
        ...  # FACTOR

@hookimpl
def register_stages():
    return {"nap": Nap}
"""
INDEX, EDITABLE = {"INSTALLER": "pip\n"}, {"INSTALLER": "pip\n", "direct_url.json": '{"dir_info": {"editable": true}}'}
FOLDER, PATH = {"INSTALLER": "uv\n", "direct_url.json": '{"url": "file:///x", "dir_info": {}}'}, {}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a stage, and a spec that uses it."""
    (tmp_path / "nap").mkdir()
    (tmp_path / "nap" / "__init__.py").touch()
    (tmp_path / "nap" / "stage.py").write_text(STAGE)
    (tmp_path / "nap" / "helper.py").write_text("FACTOR = 1\n")
    (tmp_path / "beside.py").write_text("x = 1\n")
    (tmp_path / "spec.yaml").write_text("model: convnet\ndata: digits\nstages: [train: {epochs: 1}, nap]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "nap"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def keys(package: Path, installation: dict[str, str], version: str = "1.2") -> tuple[list[str], list[str], list[str]]:
    """Of the spec's trial, as a process that begins now makes them."""
    info = package / "nap-1.0.dist-info"
    info.mkdir(exist_ok=True)
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: nap\nVersion: {version}\n",
        "entry_points.txt": "[framework]\nnap = nap.stage\n",
        "top_level.txt": "beside\nnap\nnot_there\n",
        **installation,
    }
    for name, text in files.items():
        (info / name).write_text(text)
    code._digest.cache_clear()
    [plan] = make_plans(load("spec.yaml", installed.__wrapped__()), as_it_stands)
    return list(plan.keys), list(plan.plugins), list(plan.origins)


@pytest.mark.parametrize("installation", [EDITABLE, FOLDER, PATH], ids=["editable", "folder", "path"])
def test_an_edited_plugin_has_other_keys_from_its_stage_on(package: Path, installation: dict[str, str]) -> None:
    before, plugins, origins = keys(package, installation)
    assert plugins[1] == "nap 1.2"
    assert origins[0] == "framework"
    assert origins[1].startswith("nap 1.2 ")
    assert keys(package, installation)[0] == before
    (package / "nap" / "helper.py").write_text("FACTOR = 2\n")
    edited = keys(package, installation)[0]
    assert [one == other for one, other in zip(before, edited, strict=True)] == [True, True, False]
    (package / "nap" / "helper.py").write_text("FACTOR = 1\n")
    (package / "nap" / "notes.txt").write_text("Not code.")
    (package / "nap" / "__pycache__").mkdir()
    (package / "nap" / "__pycache__" / "x.py").write_text("cached")
    assert keys(package, installation)[0] == before


def test_other_modules_of_the_distribution_count_too(package: Path) -> None:
    before = keys(package, EDITABLE)[0]
    (package / "beside.py").write_text("x = 2\n")
    assert keys(package, EDITABLE)[0] != before


def test_what_comes_out_of_an_index_counts_by_its_version(package: Path) -> None:
    before, _, origins = keys(package, INDEX)
    assert origins == ["framework", "nap 1.2"]
    (package / "nap" / "helper.py").write_text("FACTOR = 2\n")
    assert keys(package, INDEX)[0] == before
    assert keys(package, INDEX, version="1.3")[0] != before
