"""What the README shows works."""

import re
import shlex
import types
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from framework import Data, Split, Trial
from framework._cli import app
from framework._component import build
from framework._registry import Registry, installed
from framework._spec import load

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text()
PAGES = [README, *(page.read_text() for page in sorted((PROJECT / "docs").glob("*.md")))]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    shown = [block for page in PAGES for block in blocks("sh", page)]
    lines = [line.partition("  #")[0].strip() for block in shown for line in block.splitlines()]
    return [line for line in lines if line.startswith("framework ")]


def test_the_spec_is_valid(tmp_path):
    (tmp_path / "my.yaml").write_text(blocks("yaml")[0])
    spec = load(tmp_path / "my.yaml", installed())
    assert spec.name == "unprune"
    assert [space.path for space in spec.spaces] == [("stages", 1, "prune", "amount")]


def test_the_search_that_is_explained_is_valid(tmp_path):
    sampled = "model: convnet\ndata: digits\nstages: [{prune: {amount: {uniform: [0.1, 0.2]}}}]\n"
    (tmp_path / "my.yaml").write_text(sampled + blocks("yaml", (PROJECT / "docs" / "search.md").read_text())[0])
    search = load(tmp_path / "my.yaml", installed()).search
    assert (search.algorithm, search.samples, search.scheduler.name) == ("optuna", 20, "asha")


def test_the_plugin_registers_and_does_what_it_says():
    source = next(block for block in blocks("python") if "hookimpl" in block)
    plugin = types.ModuleType("readme_plugin")
    exec(compile(source, "README.md", "exec"), plugin.__dict__)
    stage = build(Registry([(plugin, "readme 1")]), "stage", {"name": "shrink", "factor": 0.25})()
    images = Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    data = Data(images, None, images, ("a", "b"), torch.zeros(1), torch.ones(1))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    before = network[1].weight.detach().clone()
    stage.run(Trial(network, data, torch.device("cpu")))
    assert torch.equal(network[1].weight, before * 0.25)


@pytest.mark.parametrize("command", commands())
def test_commands_and_their_options_exist(command):
    words = shlex.split(command.partition(" > ")[0])[1:]
    verbs = [
        word
        for word in words
        if word in ("run", "plan", "validate", "plugins", "show", "schema", "ui", "store", "list", "size", "gc")
    ]
    shown = CliRunner().invoke(app, [*verbs, "--help"])
    assert shown.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


def test_there_are_commands_to_check():
    assert len(commands()) >= 14


def test_the_tree_is_the_one_that_plan_draws(monkeypatch, capsys):
    page = (PROJECT / "docs" / "sharing.md").read_text()
    command, *shown = blocks("text", page)[0].splitlines()
    monkeypatch.chdir(PROJECT)
    words = shlex.split(command.removeprefix("$ framework "))
    assert CliRunner().invoke(app, [*words, "--root", "/nowhere"]).output.splitlines()[: len(shown)] == shown


def test_the_stage_that_can_be_interrupted_goes_on_where_it_was():
    page = (PROJECT / "docs" / "sharing.md").read_text()
    source = blocks("python", page)[0].replace("        ...", "        seen.append(round)")
    seen = []
    scope = {"Trial": Trial, "seen": seen}
    exec(compile(source, "sharing.md", "exec"), scope)
    images = Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    data = Data(images, None, images, ("a", "b"), torch.zeros(1), torch.ones(1))
    kept = []
    trial = Trial(nn.Linear(2, 2), data, torch.device("cpu"), keep=lambda progress: kept.append(progress()))
    stage = types.SimpleNamespace(rounds=3)
    scope["run"](stage, trial)
    trial.recall = lambda: kept[1]
    scope["run"](stage, trial)
    assert seen == [0, 1, 2, 2]
