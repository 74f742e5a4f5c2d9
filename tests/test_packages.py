"""Plugin packages of others: each is a package of its own that imports nothing of ours but `framework`.

They lie in tests/packages. They are built as wheels and installed into an environment beside that of the tests, and
run there: in one process, and on the second node of a Ray cluster, the only one that has a CPU, and has the packages.
"""

import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from installing import Environment, install
from running import client, environment, history, trials, write

from framework._store import Store

PACKAGES = sorted(path for path in Path(__file__).with_name("packages").iterdir() if path.is_dir())

# All of them at once; the observer needs no name.
SPECS = {
    "together.yaml": """
        name: together
        description: What many packages bring, in one experiment.
        plugins: [framework-balanced, framework-norms, framework-sam>=1, framework-shapes, framework-saliency]
        model: {name: convnet, widths: [8, 16]}
        data: {name: shapes, count: 400, size: 12, imbalance: 4, validation: 0.1}
        seeds: [0, 1]
        defaults: {train: {batch_size: 32, loss: balanced, optimizer: {name: sam, lr: 0.1}}}
        stages:
          - train: {epochs: 10}
          - prune: {amount: {grid_search: [0.3, 0.6]}, criterion: saliency}
          - train: {epochs: 2}
        """,
}
NAMES = {f"prune.amount={amount} seed={seed}" for amount in (0.3, 0.6) for seed in (0, 1)}

# `ray start` adds no second node on the loopback interface, Ray's own tests do it so. The workers of a node run the
# interpreter that started it: those of the first would not find the packages.
TWO_NODES = """
import sys
from ray.cluster_utils import Cluster
memory = {"object_store_memory": 100 * 2**20}
cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": sys.argv[1], **memory},
)
sys.executable = sys.argv[2]
cluster.add_node(num_cpus=2, **memory)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(PACKAGES, tmp_path_factory.mktemp("installed"))


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster of two nodes.

    Attributes:
        address: of the first.
        token: what its processes show each other; Ray takes one by itself only if all of it starts at once.
    """

    address: str
    token: dict[str, str]


@pytest.fixture(scope="module")
def two_nodes(installed: Environment) -> Iterator[Cluster]:
    # Not pytest's folder: the paths of Ray's sockets must be short.
    folder = tempfile.mkdtemp(prefix="ray-")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_NODES, f"{folder}/t", str(installed.python)],
        cwd=folder,
        env=environment(**token),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        yield Cluster(address, token)
    finally:
        try:
            process.communicate(timeout=30)  # ends its input, and by that itself
        finally:
            process.kill()
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Ran:
    """The first spec, run.

    Attributes:
        folder: where the command was given.
        done: how it ended.
    """

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def root(self) -> Path:
        return self.folder / "results"

    def snapshots(self) -> dict[str, tuple[dict[str, torch.Tensor], list[Any]]]:
        """The state after each stage and its records, by stage key."""
        store = Store(self.root / "stages")
        found = {}
        for key in store.stored():
            tensors, snapshot = store.load(key)
            found[key] = (
                tensors,
                [
                    (record["epoch"], record["stage"], timeless(record["metrics"]))
                    for record in snapshot.metadata["records"]
                ],
            )
        return found


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    """All but what depends on how fast the machine is."""
    return {name: value for name, value in metrics.items() if "second" not in name}


@pytest.fixture(scope="module")
def inline(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("inline")
    write(folder, SPECS)
    arguments = ["together.yaml", "--root", "results", "--executor", "inline"]
    return Ran(folder, installed.framework("run", *arguments, folder=folder))


@pytest.fixture(scope="module")
def on_ray(installed: Environment, two_nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("on_ray")
    write(folder, SPECS)
    arguments = ["together.yaml", "--root", "results", "--address", two_nodes.address]
    return Ran(folder, installed.framework("run", *arguments, folder=folder, **two_nodes.token))


# --- installed -----------------------------------------------------------------------------------------------------


def test_they_import_nothing_of_ours_but_what_is_public() -> None:
    for file in (file for package in PACKAGES for file in package.rglob("*.py")):
        found = re.findall(r"^\s*(?:from|import) (framework[\w.]*)", file.read_text(), re.MULTILINE)
        own = file.relative_to(Path(__file__).with_name("packages")).parts[0].replace("-", "_")
        allowed = {"framework", "framework.testing", own, f"{own}.figures"}
        assert set(found) <= allowed, file


def test_each_is_listed_with_its_distribution_version_and_hooks(installed: Environment, tmp_path: Path) -> None:
    done = installed.framework("plugins", "list", "-v", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for distribution, what in {
        "framework-balanced 1.2": "register_losses",
        "framework-norms 1.5": "stage_started",
        "framework-sam 1.1": "register_optimizers",
        "framework-shapes 1.4": "register_datasets",
        "framework-saliency 1.3": "register_criteria",
    }.items():
        name, version = distribution.split()
        assert any(name in line and version in line and what in line for line in lines), done.stdout


def test_their_own_tests_pass(installed: Environment) -> None:
    done = installed.test(*installed.sources)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert "skipped" not in done.stdout


# --- run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["inline", "on_ray"])
def test_all_run_together(where: str, request: pytest.FixtureRequest) -> None:
    ran: Ran = request.getfixturevalue(where)
    assert (ran.done.returncode, ran.done.stderr) == (0, ""), ran.done.stdout
    runs = trials(ran.root, "together")
    assert runs.keys() == NAMES
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.metrics["sparsity"] == pytest.approx(0.3 if "0.3" in name else 0.6, abs=1e-3)
        # Better than one in four, by one of the classes; ten epochs are few.
        assert run.data.metrics["test/accuracy"] > 0.3
        assert run.data.params["data.dataset"] == "shapes"
        assert run.data.params["stages.0.train.optimizer"] == "sam"
        assert run.data.params["stages.1.prune.criterion"] == "saliency"


def test_workers_on_another_node_compute_the_same_bit_for_bit(inline: Ran, on_ray: Ran) -> None:
    here, there = inline.snapshots(), on_ray.snapshots()
    # Two seeds, each trained once, pruned twice, and trained on; and where a longer training would go on.
    assert here.keys() == there.keys()
    assert len(here) == 2 + 4 + 4 + 4
    for key, (tensors, records) in here.items():
        assert tensors.keys() == there[key][0].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, there[key][0][name]), name
        assert records == there[key][1]
    both = [trials(ran.root, "together") for ran in (inline, on_ray)]
    for name in NAMES:
        metrics = [timeless(runs[name].data.metrics) for runs in both]
        assert metrics[0] == metrics[1]


def test_the_loss_has_learnt_how_often_each_class_comes(inline: Ran) -> None:
    for tensors, _ in inline.snapshots().values():
        frequencies = tensors["loss.frequencies"]
        assert frequencies.sum().item() == pytest.approx(1, abs=1e-4)
        assert frequencies[0] > 2 * frequencies[3]  # there are four times as many squares as rings


def test_what_the_observer_measures_is_in_every_run(inline: Ran, on_ray: Ran) -> None:
    for ran in (inline, on_ray):
        for run in trials(ran.root, "together").values():
            for metric in ("norm/features.0", "distance/fc", "stage_seconds"):
                # Once more at the end of the stage that prunes.
                assert [epoch for epoch, _ in history(ran.root, run, metric)] == [*range(1, 11), 10, 11, 12]
            distances = [value for _, value in history(ran.root, run, "distance/fc")]
            assert 0 < distances[0] < distances[3]


def test_the_last_norm_is_that_of_the_weights_that_are_kept(inline: Ran) -> None:
    for tensors, records in inline.snapshots().values():
        assert records[-1][2]["norm/fc"] == pytest.approx(tensors["model.fc.weight"].norm().item(), rel=1e-6)


def test_the_observers_figures_are_in_every_run_also_of_shared_stages(inline: Ran, on_ray: Ran, tmp_path: Path) -> None:
    names = {"norms/0-train.png", "norms/1-prune.png", "norms/2-train.png", "norms/norms.png"}
    for ran in (inline, on_ray):
        for run in trials(ran.root, "together").values():
            found = client(ran.root).list_artifacts(run.info.run_id, "norms")
            assert {artifact.path for artifact in found} == names
        for name in names:
            path = client(ran.root).download_artifacts(run.info.run_id, name, str(tmp_path))
            assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_a_package_draws_its_figure_of_the_sweep(installed: Environment, inline: Ran) -> None:
    done = installed.framework("figures", "together", "--root", "results", "-o", "drawn", folder=inline.folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "drawn/distances.png" in done.stdout
    text = (inline.folder / "drawn" / "distances.svg").read_text()
    for words in ("features.0", "prune.amount=0.3", "prune.amount=0.6", "epoch"):
        assert f">{words}</text>" in text
    assert (inline.folder / "drawn" / "accuracy-against-sparsity.svg").exists()


def test_what_was_used_is_told_by_each_run(inline: Ran) -> None:
    for run in trials(inline.root, "together").values():
        told = " ".join(f"{key}={value}" for key, value in [*run.data.tags.items(), *run.data.params.items()])
        for used in ("balanced", "norms", "sam", "shapes", "saliency"):
            assert f"framework-{used}" in told
