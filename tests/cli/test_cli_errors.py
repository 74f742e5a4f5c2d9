"""What the command line says when something is wrong, and what it does not import before it must."""

import subprocess
import sys
from pathlib import Path

import pytest
from running import Study, environment, here, parents, trials, write

SPEC = "name: {name}\nmodel: convnet\ndata: {{name: digits, validation: 0.5}}\nstages: [{stages}]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "x.yaml", "--executor", "slurm"),
        ("run", "x.yaml", "--seeds", "0,one"),
        ("run", "x.yaml", "--max-concurrent", "0"),
        ("rnu",),
        ("ui", "--port", "none"),
    ],
)
def test_bad_usage_ends_with_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here(*arguments, monkeypatch=monkeypatch) == 2
    told = capsys.readouterr()
    assert "Usage: framework" in told.err
    assert "Error: " in told.err


def test_every_mistake_of_every_file_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        {
            "one.yaml": "model: convnet\ndata: digits\nstages:\n  - prun: {amount: 0.1}\n  - train: {epochs: 0}\n",
            "two.yaml": "model: convnot\ndata: digits\nstages: [unprune]\n",
        },
    )
    for command in ("run", "plan", "validate"):
        assert here(command, "one.yaml", "two.yaml", "three.yaml", monkeypatch=monkeypatch) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.splitlines() == [
            "one.yaml:4:5 stages.0.prun: unknown stage 'prun' (did you mean 'prune'?)",
            "one.yaml:5:21 stages.1.train.epochs: must be >= 1, not 0",
            "three.yaml: there is no such file",
            "two.yaml:1:8 model: unknown model 'convnot' (did you mean 'convnet'?)",
        ]
    assert not Path("mlruns").exists()


def test_two_specs_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {f"{name}.yaml": SPEC.format(name="twin", stages="test") for name in "ab"})
    assert here("run", "a.yaml", "b.yaml", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == (
        "b.yaml name: 'twin' is the name of a.yaml too: their runs would mix in MLflow\n"
    )


def test_several_processes_are_refused_where_trials_run_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a.yaml": "model: convnet\ndata: digits\nstages: [train: {epochs: 1}]\nresources: {gpu: 2}\n"})
    assert here("run", "a.yaml", "--executor", "inline", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == (
        "a.yaml resources: 2 processes train a trial together, which needs --executor ray: take it, or ask for one "
        "process and one GPU\n"
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tracking-uri", "http://127.0.0.1:9"), "the tracking store http://127.0.0.1:9 refuses: "),
        (("--root", "a.yaml/results"), "cannot list "),
        (("--root", "a.yaml/results", "--store", "stages"), "the tracking store sqlite:///"),
    ],
)
def test_a_store_that_cannot_be_had_is_one_sentence(
    options: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a.yaml": SPEC.format(name="a", stages="test")})
    assert here("run", "a.yaml", *options, "--executor", "inline", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr()
    assert told.out == ""
    [line] = told.err.splitlines()
    assert line.startswith(f"error: {reason}")


def test_a_download_that_cannot_be_had_fails_its_trials_and_no_other(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study.copy(tmp_path, monkeypatch)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody is there, whatever the network
    text = SPEC.format(name="far", stages="prune: {amount: 0.1}").replace("digits", "cifar10, root: images")
    write(tmp_path, {"far.yaml": f"{text}seeds: [0, 1]\n"})
    options = ("--root", "results", "--executor", "inline")
    assert here("run", "far.yaml", "single.yaml", *options, monkeypatch=monkeypatch) == 1
    told = capsys.readouterr()
    assert told.err == ""
    sentence = "cifar10 is not in images/cifar-10-batches-py, and cannot be downloaded from https://"
    assert f"[1/2] far seed=0: FAILED: {sentence}" in told.out
    assert f"\nfailed: far seed=1: {sentence}" in told.out
    runs = trials(root, "far")
    assert {name: run.info.status for name, run in runs.items()} == {"seed=0": "FAILED", "seed=1": "FAILED"}
    assert runs["seed=0"].data.tags["framework.reason"].startswith(sentence)
    assert parents(root, "far")[0].info.status == "FAILED"


# --- what is imported ----------------------------------------------------------------------------------------------


def imported(commands: list[list[str]], folder: Path) -> set[str]:
    """Which of the heavy packages a process has imported after these commands."""
    code = f"""
import contextlib, io, sys
from framework._cli import main
for arguments in {commands!r}:
    sys.argv = ["framework", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as exit:
        assert not exit.code, (arguments, exit.code)
heavy = {{"matplotlib", "mlflow", "pandas", "ray", "sklearn", "torch", "torch._dynamo", "torchvision", "triton"}}
print(*heavy & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    commands = [[], ["run"], ["plan"], ["validate"], ["plugins"], ["plugins", "list"], ["plugins", "show"]]
    commands += [["schema"], ["ui"]]
    assert imported([[*command, "--help"] for command in commands], tmp_path) == set()


def test_looking_at_specs_and_plugins_imports_neither_ray_nor_mlflow_nor_torchvision(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": SPEC.format(name="a", stages="prune: {amount: 0.1}")})
    commands = [["plan", "a.yaml"], ["validate", "a.yaml"], ["plugins", "show", "stage", "prune"]]
    assert imported(commands, tmp_path) <= {"torch", "matplotlib"}


def test_listing_all_plugins_imports_neither_ray_nor_mlflow(tmp_path: Path) -> None:
    # What torchvision's transforms take is in torchvision, which imports torch's compiler.
    assert not imported([["plugins"], ["schema"]], tmp_path) & {"ray", "mlflow", "pandas", "sklearn"}


def test_checking_and_planning_a_grid_imports_nothing_heavy_but_torch(tmp_path: Path) -> None:
    stages = "train: {epochs: 1, optimizer: {name: adamw, lr: {grid_search: [0.1, 0.2]}}, loss: bce}"
    write(tmp_path, {"a.yaml": SPEC.format(name="a", stages=stages)})
    assert imported([["validate", "a.yaml"], ["plan", "a.yaml"]], tmp_path) == {"torch"}
