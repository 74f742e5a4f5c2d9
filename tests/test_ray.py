"""Trials under Ray: failures, deaths, interruptions, clusters, and what a terminal shows of it."""

import fcntl
import os
import pty
import re
import secrets
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from running import (
    SCRIPT,
    Study,
    all_runs,
    client,
    environment,
    framework,
    framework_afresh,
    here,
    parents,
    ray_cluster,
    trials,
    wait_for,
    write,
)

FAILING = """
        name: failing
        model: convnet
        data: {name: digits, validation: 0.5}
        defaults: {train: {batch_size: 16}}
        stages:
          - train: {steps: 2}
          - grid_search:
              - die
              - hostile: {how: exit}
              - hostile: {how: own}
              - unprune
              - train: {steps: 3, optimizer: {name: sgd, lr: 1e30}}
              - prune: {amount: 0.5}
        """
SHORT = """
        name: short
        model: convnet
        data: digits
        stages: [prune: {amount: 0.5}]
        """
WAITING = """
        name: waiting
        model: convnet
        data: {name: digits, validation: 0.5}
        stages:
          - train: {steps: 1, batch_size: 16}
          - grid_search:
              - test
              - wait: {path: gate.flag}
        """


@pytest.fixture(scope="module")
def failing(gate: str, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A run of which five trials fail, on the Ray that the command starts by itself."""
    folder = tmp_path_factory.mktemp("failing")
    write(folder, {"failing.yaml": FAILING})
    done = framework_afresh("run", "failing.yaml", "--root", "results", folder=folder, PYTHONPATH=gate)
    return Study(folder, folder / "results", done)


REASONS = {
    "stages.1=die": "its worker process died: it was killed, ran out of memory, or crashed in native code",
    "stages.1=hostile(how=exit)": "SystemExit: 3 (in stage 2, hostile of gate 1.0)",
    "stages.1=hostile(how=own)": "Own: mine (in stage 2, hostile of gate 1.0)",
    "stages.1=unprune": "there is nothing to unprune: no weight is masked here that is not frozen (prune first) "
    f"(in stage 2, unprune of framework {version('framework')})",
    "stages.1=train(steps=3, optimizer=sgd(lr=1e+30))": "the training loss became nan: lower the learning rate or clip "
    f"gradients (in stage 2, train of framework {version('framework')})",
}
FINE = "stages.1=prune(amount=0.5)"


def test_failed_trials_are_named_with_their_reasons_and_the_others_finish(failing: Study) -> None:
    assert failing.done.returncode == 1
    assert failing.done.stderr == ""
    lines = failing.done.stdout.splitlines()
    for variant, reason in REASONS.items():
        assert f"failed: failing {variant} seed=0: {reason}" in lines
        assert any(re.match(rf"\[\d/6\] failing {re.escape(variant)} seed=0: FAILED: ", line) for line in lines)
        [row] = [line for line in lines if line.startswith(f"   {variant} ")]
        assert row.split()[-1] == "1"  # failed
    assert any(re.match(rf"\[\d/6\] failing {re.escape(FINE)} seed=0: test accuracy ", line) for line in lines)
    assert not [line for line in lines if "raylet" in line or "Traceback" in line]


def test_failed_trials_are_failed_runs_that_hold_the_reason_and_none_is_left_running(failing: Study) -> None:
    runs = trials(failing.root, "failing")
    assert runs.keys() == {f"{variant} seed=0" for variant in (*REASONS, FINE)}
    for variant, reason in REASONS.items():
        run = runs[f"{variant} seed=0"]
        assert run.info.status == "FAILED"
        assert run.data.tags["framework.reason"] == reason
        assert run.data.tags["mlflow.note.content"].startswith(f"**Failed:** {reason}\n")
    assert runs[f"{FINE} seed=0"].info.status == "FINISHED"
    [parent] = parents(failing.root, "failing")
    assert parent.info.status == "FAILED"
    note = parent.data.tags["mlflow.note.content"]
    assert f"| {FINE} | 1 |" in note
    assert all(f"\n- {variant} seed=0: {reason[:100]}" in note for variant, reason in REASONS.items())
    assert parent.data.metrics == {
        "trials": 6,
        "failed": 5,
        "stages/executed": 2,  # train, and prune of the one that finishes
        "stages/shared": 5,
        "stages/restored": 0,
        "epochs/executed": 1,
        "epochs/shared": 5,
        "epochs/restored": 0,
    }


def test_what_a_failed_trial_reported_is_kept(failing: Study) -> None:
    run = trials(failing.root, "failing")["stages.1=unprune seed=0"]
    assert run.data.metrics["sparsity"] == 0
    assert "train/loss" in run.data.metrics


def test_why_a_worker_died_is_kept_as_ray_tells_it(failing: Study, tmp_path: Path) -> None:
    run = trials(failing.root, "failing")["stages.1=die seed=0"]
    kept = client(failing.root).download_artifacts(run.info.run_id, "traceback.txt", str(tmp_path))
    assert "ActorDiedError" in Path(kept).read_text() or "actor is dead" in Path(kept).read_text()


# --- a terminal, and Ctrl-C ----------------------------------------------------------------------------------------


def at_the_keyboard() -> None:
    """Make the terminal at standard input the new process's own, with Ctrl-C as a login shell leaves it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Under nohup, and in the background of a script, processes are born deaf to it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def in_a_terminal(*arguments: str, folder: Path, until: Sequence[str], **more: str) -> tuple[int, str]:
    """Run the command in a terminal of 30 lines of 120 characters, and press Ctrl-C once all these patterns have come.

    Returns:
        The exit code, and all that the terminal was sent.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    shown = b""

    def read() -> str:
        nonlocal shown
        while select.select([ours], [], [], 0)[0]:
            try:
                shown += os.read(ours, 2**16)
            except OSError:  # all have hung up
                break
        return shown.decode(errors="replace")

    with subprocess.Popen(
        [SCRIPT, *arguments],
        cwd=folder,
        env=environment(TERM="xterm", **more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=at_the_keyboard,
    ) as process:
        os.close(theirs)
        try:
            wait_for(lambda: all(re.search(text, read()) for text in until) or process.poll() is not None)
            assert process.poll() is None, read()
            os.write(ours, b"\x03")
            wait_for(lambda: [read()] and process.poll() is not None)
            return process.returncode, read()
        finally:
            process.kill()
            os.close(ours)


ROW = r"waiting stages\.1=wait\(path=gate\.flag\) seed=0 +wait +1 +\d\.\d{4} +\d\.\d{4} +0\.0000 +[\d,]+"


def test_ctrl_c_keeps_what_is_finished_leaves_none_running_and_the_same_command_goes_on(
    cluster: str, gate: str, tmp_path: Path
) -> None:
    write(tmp_path, {"waiting.yaml": WAITING})
    command = ("run", "waiting.yaml", "--root", "results")
    code, shown = in_a_terminal(
        *command, "--address", cluster, folder=tmp_path, until=("1/2 trials", ROW), PYTHONPATH=gate
    )
    assert code == 130, shown
    assert "[1/2] waiting stages.1=test seed=0: test accuracy" in shown
    # The live view: a heading, a row for what runs, and how far all are.
    assert re.search(r"trial.*stage.*epoch.*loss.*accuracy.*sparsity.*images/s", shown)
    assert re.search(ROW, shown)
    assert "interrupted; what is finished is kept, and the same command goes on from there" in shown
    assert "Traceback" not in shown

    root = tmp_path / "results"
    before = trials(root, "waiting")
    statuses = {name: run.info.status for name, run in before.items()}
    assert statuses == {"stages.1=test seed=0": "FINISHED", "stages.1=wait(path=gate.flag) seed=0": "KILLED"}
    assert [parent.info.status for parent in parents(root, "waiting")] == ["KILLED"]

    (tmp_path / "gate.flag").touch()
    done = framework(*command, "--executor", "inline", folder=tmp_path, PYTHONPATH=gate)
    assert done.returncode == 0
    assert "1 trial to run, 1 finished earlier" in done.stdout
    after = trials(root, "waiting")
    assert {name: run.info.run_id for name, run in after.items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert [parent.info.status for parent in parents(root, "waiting")] == ["FINISHED", "KILLED"]


# --- clusters ------------------------------------------------------------------------------------------------------


def test_more_than_any_machine_has_is_one_sentence(
    cluster: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = study.copy(tmp_path, monkeypatch)
    options = ("--root", "results", "--address", cluster, "--set", "resources.cpu=64", "--force")
    done = framework("run", "single.yaml", *options, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: single: resources.cpu asks for 64, but no machine here has more than 2: "
        "lower it with --set resources.cpu=…\n"
    )
    assert {run.info.status for run in all_runs(root, "single")} == {"FINISHED", "KILLED"}


@pytest.mark.long  # two more clusters
def test_a_token_is_sent_only_to_a_cluster_that_asks_for_one(cluster: str, tmp_path: Path) -> None:
    write(tmp_path, {"short.yaml": SHORT})
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with ray_cluster(**token) as asking:
        for address in (asking, cluster):
            done = framework_afresh(
                "run", "short.yaml", "--root", address, "--address", address, folder=tmp_path, **token
            )
            assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_no_cluster_at_the_address_is_one_sentence(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study.copy(tmp_path, monkeypatch)
    options = ("--root", "results", "--address", "127.0.0.1:9", "--force")
    assert here("run", "single.yaml", *options, monkeypatch=monkeypatch) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no Ray cluster answers at --address 127.0.0.1:9: start one with `ray start --head`")
