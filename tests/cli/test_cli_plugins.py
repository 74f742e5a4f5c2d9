"""What the command line makes of third parties' plugins: good ones, broken ones, and such as are left out."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from running import client, framework, history, trials, write

GOOD = """
        import torch
        from dataclasses import dataclass
        from framework import Stage, hookimpl

        @dataclass(frozen=True)
        class Shrink(Stage):
            \"""Multiply all weights by a factor.\"""
            factor: float = 0.5

            def run(self, trial):
                for weight in trial.weights().values():
                    weight.data.mul_(self.factor)

        class Unreadable:
            def __init__(self, callback): ...

        @hookimpl
        def register_stages():
            return {"shrink": Shrink}

        @hookimpl
        def register_losses():
            return {"unreadable": Unreadable}

        @hookimpl
        def epoch_ended(trial, metrics):
            return {"norm": sum(weight.norm() ** 2 for weight in trial.weights().values()).sqrt().item()}

        @hookimpl
        def stage_ended(trial, name):
            trial.log_artifact(f"notes/{name}.txt", f"{name} at {trial.epoch}".encode())
        """
# Importing it leaves a trace.
BAD = """
        import os
        open(os.environ["TRACE"], "a").write("imported ")
        raise OSError("no such device")
        """
SPEC = """
        model: {name: convnet, widths: [4]}
        data: {name: digits, validation: 0.5}
        stages: [{train: {steps: 2}}, {shrink: {factor: 0.25}}]
        """


def package(name: str, code: str) -> dict[str, str]:
    """What an installed package leaves on disk."""
    module = name.replace("-", "_")
    return {
        f"{module}.py": code,
        f"{module}-1.5.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n",
        f"{module}-1.5.dist-info/entry_points.txt": f"[framework]\nits = {module}\n",
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with a good and a bad plugin package."""
    folder = tmp_path_factory.mktemp("installed")
    write(folder, {**package("good-one", GOOD), **package("bad-one", BAD)})
    return str(folder)


def test_plugins_list_shows_what_there_is_and_what_cannot_be_used(installed: str, tmp_path: Path) -> None:
    done = framework("plugins", "list", folder=tmp_path, PYTHONPATH=installed, TRACE="trace")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "stage shrink Multiply all weights by a factor good-one 1.5" in lines
    assert any(line.startswith("stage train ") for line in lines)
    faults = [line for line in lines if line.startswith("cannot be used: ")]
    assert faults[0] == (
        "cannot be used: plugin 'its' of bad-one 1.5 (bad_one) cannot be imported: OSError: no such device"
    )
    assert faults[1].startswith(
        "cannot be used: loss 'unreadable' of good-one 1.5: parameter 'callback' has no default and is annotated"
    )
    assert len(faults) == 2


def test_plugins_list_v_shows_the_distributions(installed: str, tmp_path: Path) -> None:
    done = framework("plugins", "list", "-v", folder=tmp_path, PYTHONPATH=installed, TRACE="trace")
    [line] = [" ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("good-one")]
    assert line.startswith("good-one 1.5 good_one epoch_ended, register_losses, register_stages, stage_ended ")
    assert "loss unreadable" in line
    assert "stage shrink" in line
    assert line.endswith(" ms")
    assert "bad-one 1.5" in done.stdout


def test_the_schema_has_what_can_be_used(installed: str, tmp_path: Path) -> None:
    done = framework("schema", folder=tmp_path, PYTHONPATH=installed, TRACE="trace")
    text = json.dumps(json.loads(done.stdout)["$defs"])
    assert '"shrink"' in text
    assert "unreadable" not in text


def test_a_spec_that_misses_something_is_told_of_the_plugins_that_cannot_be_used(
    installed: str, tmp_path: Path
) -> None:
    write(tmp_path, {"spec.yaml": SPEC.replace("shrink", "grow")})
    done = framework("validate", "spec.yaml", folder=tmp_path, PYTHONPATH=installed, TRACE="trace")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("spec.yaml:3:32 stages.1.grow: unknown stage 'grow' (")
    assert line.endswith("; plugin 'its' of bad-one 1.5 (bad_one) cannot be imported: OSError: no such device)")


def test_a_run_says_which_plugins_it_does_without(installed: str, tmp_path: Path) -> None:
    write(tmp_path, {"spec.yaml": SPEC.replace(", {shrink: {factor: 0.25}}", "")})
    command = ("run", "spec.yaml", "--root", "results", "--executor", "inline")
    done = framework(*command, folder=tmp_path, PYTHONPATH=installed, TRACE="trace")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == [
        "left out: plugin 'its' of bad-one 1.5 (bad_one) cannot be imported: OSError: no such device",
        "1 trial to run",
    ]


def test_a_trial_is_observed_in_ray_workers_which_leave_out_what_the_driver_does(
    installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"spec.yaml": SPEC})
    trace = tmp_path / "trace"
    command = ("run", "spec.yaml", "--root", "results", "--disable-plugin", "bad-one")
    done = framework(*command, folder=tmp_path, PYTHONPATH=installed, TRACE=str(trace))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not trace.exists()
    root = tmp_path / "results"
    run = trials(root, "spec")["seed=0"]
    assert run.data.tags["framework.plugins"] == f"framework {version('framework')}, good-one 1.5"
    (_, trained), (_, shrunk) = history(root, run, "norm")
    assert shrunk == pytest.approx(trained / 4)
    folder = Path(client(root).download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (folder / "notes" / "train.txt").read_text() == "train at 1"
    assert (folder / "notes" / "shrink.txt").read_text() == "shrink at 1"
    written = yaml.safe_load((folder / "spec.yaml").read_text())
    assert written["plugins"] == ["good-one==1.5"]
    # Where the package is not installed, the spec that the run has kept says what it needs.
    done = framework("validate", str(folder / "spec.yaml"), folder=tmp_path)
    assert done.returncode == 2
    assert "the plugin package 'good-one' is not installed: pip install 'good-one==1.5'" in done.stderr
    assert "unknown stage 'shrink'" in done.stderr
