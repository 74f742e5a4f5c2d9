"""What the notes of runs say works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import SCRIPT, Study, environment, parents, state, trials

RUN = "prune.amount=0.5 seed=1"


def block(study: Study, language: str) -> str:
    note = trials(study.root, "study")[RUN].data.tags["mlflow.note.content"]
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
