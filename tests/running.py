"""The command line as a user meets it: real processes, real Ray, and what they leave read back from MLflow."""

import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fork_server
import pytest
import torch

from framework._cli import main
from framework._plan.splits import COURSE
from framework._store import Store

SCRIPT = str(Path(sysconfig.get_path("scripts"), "framework"))

# Two variants of two seeds that go through every stage, a trial that ends pruned, and the same one again.
STUDY = {
    "study.yaml": """
        name: study
        description: Prune, train, unprune.
        model: convnet
        data: {name: digits, validation: 0.5}
        seeds: [0, 1]
        defaults: {train: {epochs: 1, batch_size: 64}}
        stages:
          - train: {epochs: 2}
          - prune: {amount: {grid_search: [0.2, 0.5]}}
          - train
          - unprune: {fraction: 0.5}
          - train
        """,
    "single.yaml": """
        extends: study.yaml
        name: single
        seeds: [3]
        stages:
          - train: {optimizer: {name: adamw, lr: 0.003}}
          - prune: {amount: 0.3}
        """,
    "twin.yaml": """
        extends: single.yaml
        name: twin
        """,
}

# A plugin package, installed as far as Python can tell: one stage waits for a file, one kills its process, one does
# what no stage should, as the dataset does.
GATE = {
    "gate.py": """
        import logging, math, os, signal, sys, time
        from dataclasses import dataclass
        from pathlib import Path
        from framework import Stage, hookimpl

        @dataclass(frozen=True)
        class Wait(Stage):
            path: str  # what is at a Path would be part of its key

            def run(self, trial):
                while not Path(self.path).exists():
                    time.sleep(0.05)

        @dataclass(frozen=True)
        class Die(Stage):
            def run(self, trial):
                os.kill(os.getpid(), signal.SIGKILL)

        class Own(BaseException):
            pass

        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        def fail(error):
            raise error

        HOW = {
            "exit": lambda trial: sys.exit(3),
            "own": lambda trial: fail(Own("mine")),
            "mute": lambda trial: fail(Mute()),
            "surrogate": lambda trial: fail(ValueError(chr(0xD800))),
            "text": lambda trial: trial.report({"x": "high"}),
            "artifact": lambda trial: trial.log_artifact("x" * 300, b""),
            "clash": lambda trial: trial.log_artifact("spec.yaml/x", b""),
            "nan": lambda trial: trial.report({"test/accuracy": math.nan, "train/loss": math.inf, "lr": -math.inf}),
            "note": lambda trial: logging.getLogger("framework").warning(chr(0xD800)),
        }

        @dataclass(frozen=True)
        class Hostile(Stage):
            how: str

            def run(self, trial):
                HOW[self.how](trial)

        @hookimpl
        def register_stages():
            return {"wait": Wait, "die": Die, "hostile": Hostile}

        @hookimpl
        def register_datasets():
            return {"hostile": lambda: sys.exit(5)}
        """,
    "gate-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: gate\nVersion: 1.0\n",
    "gate-1.0.dist-info/entry_points.txt": "[framework]\ngate = gate\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files; those that begin with an empty line are indented by eight spaces."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("\n        ", "\n").lstrip())


def environment(**more: str) -> dict[str, str]:
    """The environment of a user who has set nothing; one thread for each process, as the machine is shared."""
    ours = ("MLFLOW_", "RAY_", "FRAMEWORK_", "PYTHONPATH", "COLUMNS")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Without it, Ray opens its ports to the network.
    return {**inherited, "OMP_NUM_THREADS": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **more}


def framework(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, without a terminal; it has been forked, with what takes long imported.

    Not for what is read as Python, torch or Ray is imported: for that there is `framework_afresh`.
    """
    return fork_server.run([SCRIPT, *arguments], folder, environment(**more))


def framework_started(*arguments: str, folder: Path, output: Path, **more: str) -> fork_server.Command:
    """Start the command as `framework` does, and do not wait for it.

    Args:
        output: takes what it writes.
    """
    with output.open("w") as file:
        return fork_server.Command([SCRIPT, *arguments], folder, environment(**more), file, file)


def framework_afresh(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `framework` does, in a process that starts with nothing."""
    return subprocess.run(
        [SCRIPT, *arguments], cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=300
    )


def here(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command in this process, which has imported what takes long; it must not come to start Ray here.

    Returns:
        The exit code.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("sys.argv", ["framework", *arguments])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as ended:
        main()
    torch.set_num_threads(threads)
    return int(ended.value.code or 0)


def stages_ended(store: Store) -> int:
    """How many states after stages are stored; those at splits within stages are left out."""
    return len([key for key in store.stored() if len(key) == COURSE])


def client(root: Path) -> Any:
    """Of the database in a folder of results."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def all_runs(root: Path, experiment: str) -> list[Any]:
    """All live runs of an experiment, the newest first."""
    found = client(root).get_experiment_by_name(experiment)
    return list(client(root).search_runs([found.experiment_id])) if found else []


def trials(root: Path, experiment: str) -> dict[str, Any]:
    """The runs of an experiment's trials by name; there must be one of each."""
    runs = [run for run in all_runs(root, experiment) if "mlflow.parentRunId" in run.data.tags]
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs), "two runs of one trial"
    return by_name


def parents(root: Path, experiment: str) -> list[Any]:
    """The runs of an experiment's invocations, the newest first."""
    return [run for run in all_runs(root, experiment) if "mlflow.parentRunId" not in run.data.tags]


def history(root: Path, run: Any, metric: str) -> list[tuple[int, float]]:
    """The values of a metric with their epochs, in the order in which they were reported."""
    values = sorted(client(root).get_metric_history(run.info.run_id, metric), key=lambda value: value.timestamp)
    return [(value.step, value.value) for value in values]


def state(root: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The state dict of the model that a run has logged."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    import mlflow.pytorch

    return mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model").state_dict()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with the plugin package."""
    folder = tmp_path_factory.mktemp("gate")
    write(folder, GATE)
    return str(folder)


@pytest.fixture(scope="session")
def cluster(gate: str) -> Iterator[str]:
    """The address of a Ray cluster that was started where there was no token, and asks for none."""
    with ray_cluster(PYTHONPATH=gate, RAY_AUTH_MODE="disabled") as address:
        yield address


@contextmanager
def ray_cluster(**more: str) -> Iterator[str]:
    """The address of a Ray cluster of two CPUs on the loopback interface, started somewhere else."""
    # Not pytest's folder: the paths of Ray's sockets must be short.
    folder = tempfile.mkdtemp(prefix="ray-")
    address = f"127.0.0.1:{free_port()}"
    command = [str(Path(SCRIPT).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--num-cpus", "2", "--num-gpus", "0", "--include-dashboard", "false", "--temp-dir", f"{folder}/t"]
    command += ["--node-ip-address", "127.0.0.1", "--port", address.partition(":")[2]]
    command += ["--object-store-memory", str(200 * 2**20)]
    log = Path(folder, "log")
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(PYTHONUNBUFFERED="1", **more),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield address
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@dataclass(frozen=True)
class Study:
    """Two specs that have been run by one command, in a process of its own, on Ray.

    Attributes:
        folder: where the specs lie and the command was given.
        root: the results.
        done: how the command ended.
    """

    folder: Path
    root: Path
    done: subprocess.CompletedProcess[str]

    def copy(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Copy specs and results, and go there.

        Returns:
            The results.
        """
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        return folder / "results"


@pytest.fixture(scope="session")
def study(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    write(folder, STUDY)
    done = framework(
        "run", "study.yaml", "single.yaml", "twin.yaml", "--root", "results", "--address", cluster, folder=folder
    )
    return Study(folder, folder / "results", done)
