"""`framework export`: what it writes is read by others, and gives the same logits."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import Study, here, trials
from test_tracking import Moody
from torch import Tensor, nn
from torch.nn.utils import prune

from framework._cli import export
from framework._component import build
from framework._masks import sparsity
from framework._plan import TrialPlan
from framework._registry import Registry
from framework._stage import Record
from framework._tracking import RunArtifacts, Tracker, load_model

TRIAL = "study/prune.amount=0.5 seed=1"
SHAPE = (1, 8, 8)
IMAGES = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def logits(study: Study) -> Tensor:
    """Of the network that the run has."""
    run = trials(study.root, "study")["prune.amount=0.5 seed=1"]
    network = load_model(f"runs:/{run.info.run_id}/model", f"sqlite:///{study.root / 'mlflow.db'}")
    with torch.no_grad():
        return network(IMAGES)


@pytest.fixture
def write(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Export the trial to a file."""
    monkeypatch.chdir(tmp_path)

    def run(format: str, *options: str, trial: str = TRIAL) -> Path:
        root = ["--root", str(study.root)]
        assert here("export", trial, "--format", format, *root, *options, monkeypatch=monkeypatch) == 0
        [file] = [file for file in tmp_path.rglob("*") if file.is_file()]
        return file

    return run


@pytest.fixture
def fresh(registry: Registry) -> nn.Module:
    """The trial's network before it has learned."""
    made: nn.Module = build(registry, "model", {"name": "convnet"})(shape=SHAPE, classes=10)
    return made


def assert_same(found: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-5)


def evaluated(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return network.eval()(IMAGES)


def test_a_state_dict_loads_into_a_new_network_with_exact_zeros(
    write: Callable[..., Path], fresh: nn.Module, logits: Tensor, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("state-dict")
    assert file.name == "study_prune.amount=0.5_seed=1.pt"
    assert f"{file.name}: {TRIAL} as state-dict, " in (said := capsys.readouterr().out)
    params = trials(study.root, "study")["prune.amount=0.5 seed=1"].data.params
    assert f"it takes images in [0, 1], less {params['data.mean']}, divided by {params['data.std']}" in said
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert_same(evaluated(fresh), logits)
    metrics = trials(study.root, "study")["prune.amount=0.5 seed=1"].data.metrics
    weights = {name: tensor for name, tensor in fresh.named_parameters() if f"sparsity/{name[:-7]}" in metrics}
    assert sparsity(weights)["sparsity"] == metrics["sparsity"] > 0.2


def test_torchs_own_pruning_goes_on_with_the_masks(
    write: Callable[..., Path], fresh: nn.Module, logits: Tensor
) -> None:
    file = write("torch-prune")
    assert file.name == "study_prune.amount=0.5_seed=1.prune.pt"
    state = torch.load(file, weights_only=True)
    masks = {name.removesuffix("_mask"): mask for name, mask in state.items() if name.endswith("_mask")}
    assert masks
    for name, mask in masks.items():
        layer, _, parameter = name.rpartition(".")
        prune.custom_from_mask(fresh.get_submodule(layer), parameter, mask)
    fresh.load_state_dict(state)
    assert_same(evaluated(fresh), logits)
    # In training torch holds what we held.
    fresh.train()(IMAGES).sum().backward()
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter -= 0.1 * parameter.grad
    evaluated(fresh)
    for name, mask in masks.items():
        layer, _, parameter = name.rpartition(".")
        weight = getattr(fresh.get_submodule(layer), parameter)
        assert torch.equal(weight[mask == 0], torch.zeros(int((mask == 0).sum())))
        prune.remove(fresh.get_submodule(layer), parameter)


def test_a_program_is_loaded_by_torch_export(write: Callable[..., Path], logits: Tensor) -> None:
    program = torch.export.load(write("torch-export"))
    assert_same(program.module()(IMAGES).detach(), logits)
    assert_same(program.module()(IMAGES[:2]).detach(), logits[:2])


def test_onnx_is_run_by_its_reference_for_any_number_of_images(write: Callable[..., Path], logits: Tensor) -> None:
    from onnx import checker, load
    from onnx.reference import ReferenceEvaluator

    file = write("onnx", "-o", "deep/net.onnx")
    assert file.parent.name == "deep"
    model = load(file)
    checker.check_model(model, full_check=True)
    [given] = model.graph.input
    assert given.name == "input"
    for images, expected in ((IMAGES, logits), (IMAGES[:1], logits[:1])):
        [found] = ReferenceEvaluator(model).run(None, {given.name: images.numpy()})
        assert_same(torch.from_numpy(np.array(found)), expected)
    if find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        assert_same(torch.from_numpy(session.run(None, {given.name: IMAGES.numpy()})[0]), logits)


def test_a_file_is_replaced_whole_or_not_at_all(
    write: Callable[..., Path], tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write("state-dict", "-o", "net.pt")
    content = before.read_bytes()

    def break_off(state: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", break_off)
        command = ["export", TRIAL, "--format", "state-dict", "-o", "net.pt", "--root", str(study.root)]
        assert here(*command, monkeypatch=patched) == 1
    assert [file for file in tmp_path.rglob("*") if file != before] == []
    assert before.read_bytes() == content


def test_without_the_packages_for_onnx_it_says_what_to_install(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    assert here("export", TRIAL, "--format", "onnx", "--root", str(study.root), monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err == (
        "error: --format onnx needs the packages onnx and onnxscript: pip install 'framework[onnx]'\n"
    )


# --- what not every trial has -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a trial that cannot be exported, of one that has failed, and of two of one name."""
    root = tmp_path_factory.mktemp("others")
    networks = {"moody": Moody(), "failed": None, "twin": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}
    with Tracker(f"sqlite:///{root / 'mlflow.db'}", root) as tracker:
        for name, network in networks.items():
            tracker.start(name, "", 1, "framework run it.yaml")
            for key in ("a", "b") if name == "twin" else ("a",):
                plan = TrialPlan(
                    experiment=name,
                    swept={},
                    seed=0,
                    model={"name": "it"},
                    data={"dataset": {"name": "digits"}},
                    stages=({"name": "train"},),
                    resources={},
                    keys=("initial", key),
                    stage_epochs=(1,),
                )
                tracker.trial_started(plan, "name: it\n")
                if network is None:
                    tracker.trial_ended(plan, "out of luck")
                    continue
                tracker.recorded(
                    plan, [Record(1, 0, {"sparsity": 0.0, "sparsity/linear": 0.0, "sparsity/1": 0.0}, 1.0)]
                )
                tracker.trial_ended(plan, None, artifacts=lambda run, net=network: RunArtifacts(model=net, shape=SHAPE))
    return root


def refused(root: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    assert here(*arguments, "--root", str(root), monkeypatch=monkeypatch) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("trial", "format", "why"),
    [
        ("twin/seed=0", "state-dict", "'twin/seed=0' may be any of 2 runs: "),
        ("failed/seed=0", "state-dict", "failed/seed=0 has no network: it is FAILED: out of luck"),
        ("moody/seed=0", "torch-prune", "moody/seed=0 holds no masks: nothing was pruned, or all was unpruned"),
        ("moody/seed=0", "torch-export", "has weights only: torch.export could not export the network"),
        ("moody/seed=0", "onnx", "has weights only: torch.export could not export the network"),
        ("moddy/seed=0", "onnx", "there is no run 'moddy/seed=0' (did you mean 'moody/seed=0'?)"),
        ("moody/seed=1", "onnx", "there is no run 'moody/seed=1' (did you mean 'moody/seed=0'?)"),
    ],
)
def test_what_cannot_be_had_is_said(
    trial: str,
    format: str,
    why: str,
    others: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(others, "export", trial, "--format", format, monkeypatch=monkeypatch, capsys=capsys)
    assert said.startswith("error: ")
    assert why in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_the_page_shows_reads_what_its_commands_write(write: Callable[..., Path], logits: Tensor) -> None:
    page = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
    # The one of another trial has whole filters pruned: test_export_compact.py.
    commands = re.findall(r"^framework export \"quickstart[^\"]+\" --format (\S+) -o (\S+)", page, re.MULTILINE)
    assert len(commands) == 4
    shown = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for (kind, name), source in zip(commands, shown, strict=True):
        file = write(kind, "-o", name)
        names: dict[str, Any] = {}
        exec(source, names)
        if kind == "onnx":
            assert names["logits"].shape == (2, 10)
        else:
            network = names["network"] if kind == "torch-export" else names["network"].eval()
            with torch.no_grad():
                assert_same(network(IMAGES), logits)
        file.unlink()
