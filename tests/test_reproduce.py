"""What the notes of runs say works."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from running import SCRIPT, Study, environment, parents, state, trials
from test_tracking import SHAPE, Moody, begin, make_plan

from framework._plan.result import Result
from framework._report.notes import RunLinks, trial_note
from framework._tracking import RunArtifacts, Tracker

RUN = "prune.amount=0.5 seed=1"


def block(study: Study, language: str) -> str:
    return block_of(trials(study.root, "study")[RUN], language)


def block_of(run: Any, language: str) -> str:
    note = run.data.tags["mlflow.note.content"]
    [found] = re.findall(rf"^```{language}\n(.*?)^```", note, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_python_of_a_trials_note_loads_its_network(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = block(study, "python") + "\nimport torch; torch.save(network.state_dict(), 'state.pt')"
    subprocess.run([sys.executable, "-c", source], cwd=tmp_path, env=environment(), check=True)
    loaded = torch.load(tmp_path / "state.pt")
    ours = state(study.root, trials(study.root, "study")[RUN], monkeypatch)
    assert loaded.keys() == ours.keys()
    assert all(torch.equal(loaded[name], value) for name, value in ours.items())


def test_the_python_of_a_note_loads_the_weights_of_a_network_without_a_graph(tmp_path: Path) -> None:
    plan = make_plan("moody", stages=({"name": "train"},), stage_epochs=(1,))
    network, uri = Moody(), f"sqlite:///{tmp_path / 'mlflow.db'}"

    def artifacts(run_id: str) -> RunArtifacts:
        kept = RunLinks(run_id, [], "framework run moody.yaml", uri)
        note = partial(
            trial_note, Result(plan, {}, 1, 1.0, None), None, kept, {"data.mean": (0.5,), "data.std": (0.25,)}
        )
        return RunArtifacts(model=network, shape=SHAPE, note=note)

    with Tracker(uri, tmp_path) as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None, artifacts=artifacts)
    source = block_of(trials(tmp_path, "moody")[plan.name], "python")
    source += "import torch; torch.save(state_dict, 'state.pt')"
    subprocess.run([sys.executable, "-c", source], cwd=tmp_path, env=environment(), check=True)
    assert torch.equal(torch.load(tmp_path / "state.pt")["linear.weight"], network.linear.weight)


def test_the_commands_of_a_trials_note_reproduce_it(study: Study, tmp_path: Path) -> None:
    commands = block(study, "sh").replace("framework run", "framework run --executor inline")
    path = f"{Path(SCRIPT).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env=environment(PATH=path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [again] = trials(tmp_path / "reproduced", "study").values()
    once = trials(study.root, "study")[RUN]
    for metric in ("test/accuracy", "test/loss", "sparsity", "train/loss"):
        assert again.data.metrics[metric] == once.data.metrics[metric]


def test_the_command_of_an_invocations_note_is_its_own(study: Study) -> None:
    [parent] = parents(study.root, "study")
    note = parent.data.tags["mlflow.note.content"]
    assert note.endswith(f"### Reproduce\n\n`{parent.data.tags['framework.command']}`")
