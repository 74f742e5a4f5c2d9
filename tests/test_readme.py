"""What the README shows works."""

import re
import shlex
import types
from pathlib import Path

import torch
from running import here, trials
from torch import nn
from typer.testing import CliRunner

from framework import ImageData, Split, Trial
from framework._cli import app
from framework._component import build
from framework._registry import Registry, installed
from framework._spec import load

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def test_the_spec_is_valid(tmp_path):
    (tmp_path / "my.yaml").write_text(blocks("yaml")[0])
    spec = load(tmp_path / "my.yaml", installed())
    assert spec.name == "unprune"
    assert [space.path for space in spec.spaces] == [("stages", 1, "prune", "amount")]


def test_the_plugin_registers_and_does_what_it_says():
    source = next(block for block in blocks("python") if "hookimpl" in block)
    plugin = types.ModuleType("readme_plugin")
    exec(compile(source, "README.md", "exec"), plugin.__dict__)
    stage = build(Registry([(plugin, "readme 1")]), "stage", {"name": "shrink", "factor": 0.25})()
    images = Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    data = ImageData(images, None, images, torch.zeros(1), torch.ones(1))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    before = network[1].weight.detach().clone()
    stage.run(Trial(network, data, torch.device("cpu")))
    assert torch.equal(network[1].weight, before * 0.25)


def test_a_file_of_ones_own_runs_with_one_command(tmp_path, monkeypatch):
    for language in ("python", "yaml"):
        block = next(block for block in blocks(language) if block.startswith("# mine."))
        (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block)
    monkeypatch.chdir(tmp_path)
    assert here("run", "mine.yaml", "--executor", "inline", monkeypatch=monkeypatch) == 0
    assert [run.info.status for run in trials(tmp_path / "mlruns", "mine").values()] == ["FINISHED"] * 2


def test_the_tree_is_the_one_that_plan_draws(monkeypatch, capsys):
    page = (PROJECT / "docs" / "sharing.md").read_text()
    command, *shown = blocks("text", page)[0].splitlines()
    monkeypatch.chdir(PROJECT)
    words = shlex.split(command.removeprefix("$ framework "))
    assert CliRunner().invoke(app, [*words, "--root", "/nowhere"]).output.splitlines()[: len(shown)] == shown
