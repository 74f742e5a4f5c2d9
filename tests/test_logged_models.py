"""Networks of unusual kinds, from the run that logs them to whoever loads them: each keeps what can be kept."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import here
from test_tracking import make_plan
from torch import Tensor, nn
from torch.nn.utils import prune

from framework._masks import Masks, eval_mode, prunable, sparsity
from framework._report.anatomy import anatomy
from framework._stage import Record
from framework._tracking import MASKS, RunArtifacts, Tracker, encode_masks, load_model, load_model_state
from framework._trial.snapshot import fill

SHAPE = (1, 8, 8)
IMAGES = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))


class Flat(nn.Module):
    """One layer, and what subclasses do with its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.linear(x.flatten(1)), x)

    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        return outputs


class ByLen(Flat):
    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        return outputs.reshape(len(x), -1)


class ByInt(Flat):
    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        return outputs + torch.zeros(int(x.shape[0]), 1)


class ByCount(Flat):
    """Computes something else for one image, so that a graph made with two is wrong for it."""

    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        return outputs * 2 if x.shape[0] == 1 else outputs


class ByNumPy(Flat):
    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        return outputs if self.training else torch.from_numpy(outputs.numpy() * 2)


class Failing(Flat):
    """Fails whenever it is asked for anything."""

    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        raise ArithmeticError("no eval\nat all")


class Drawing(Flat):
    """Draws numbers when it evaluates."""

    def then(self, outputs: Tensor, x: Tensor) -> Tensor:
        return nn.functional.dropout(outputs, 0.5, training=True)


class Versioned(Flat):
    """Refuses a state without its version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError(f"version should be set to 2 instead of {local_metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class Nested(nn.Module):
    """Has the version inside, and decides by values where it is told to: then it has no graph."""

    def __init__(self, decides: bool) -> None:
        super().__init__()
        self.inner, self.decides = Versioned(), decides

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.inner(x)
        return -outputs if self.decides and outputs.sum() > 0 else outputs


class Named(nn.Module):
    """With a parameter of the name that we give the images in ONNX."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.input = nn.Parameter(torch.rand(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) + self.input


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(torch.relu(x + self.norm(self.conv(x))).mean((2, 3)))


class Attending(nn.Module):
    """Attention, which uses the weight of its ``out_proj`` without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
        )
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x.flatten(1, 2))).mean(1))


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., str]:
    """Log a network as the run of a trial that has ended; gives the run's URI."""

    def run(network: nn.Module, masks: Masks | None = None) -> str:
        uri, plan, ids = f"sqlite:///{tmp_path / 'mlflow.db'}", make_plan("odd", swept={}, seed=0), []
        weights = prunable(network, None)
        with Tracker(uri, tmp_path) as tracker:
            tracker.start("odd", "", 1, "framework run it.yaml")
            tracker.trial_started(plan, "name: it\n")
            tracker.recorded(plan, [Record(1, 0, sparsity(weights), 1.0)])

            def artifacts(run_id: str) -> RunArtifacts:
                ids.append(run_id)
                files = {MASKS: encode_masks(masks)} if masks else {}
                return RunArtifacts(files, metrics=anatomy(network, SHAPE), model=network, shape=SHAPE)

            tracker.trial_ended(plan, None, artifacts=artifacts)
        return f"runs:/{ids[0]}/model"

    return run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command on the only run that there is."""
    return lambda *arguments: here(*arguments, "--root", str(tmp_path), monkeypatch=monkeypatch)


def outputs_of(network: nn.Module, images: Tensor = IMAGES) -> Tensor:
    with torch.no_grad(), eval_mode(network):
        found: Tensor = network(images)
    return found


# --- what has a graph, and what has not -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ByLen, ByInt, ByCount, ByNumPy, Failing])
def test_a_network_whose_graph_would_not_be_it_leaves_its_weights_and_says_why(
    kind: type[nn.Module],
    log: Callable[..., str],
    command: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow import MlflowClient

    network = kind()
    uri = log(network)
    run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(uri.split("/")[1])
    assert run.info.status == "FINISHED"
    why = run.data.tags["framework.model"]
    assert why.startswith("torch.export cannot export this network, so only its weights are kept")
    if kind in (ByLen, ByInt, ByCount):
        assert "does not compute the same with 1: the number of images must stay a size of a tensor" in why
    state = load_model_state(uri, f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert torch.equal(state["linear.weight"], network.linear.weight)
    # FLOPs are counted where the network evaluates at all.
    assert ("model/flops" in run.data.metrics) == (kind is not Failing)
    assert run.data.metrics["model/parameters"] == 64 * 3 + 3
    assert command("inspect", "odd/seed=0") == 0
    said = capsys.readouterr().out
    assert "there are only its weights, so it cannot be run" in said
    assert "parameters    195" in said
    assert ("FLOPs         unknown" in said) == (kind is Failing)
    assert command("export", "odd/seed=0", "--format", "onnx") == 1
    assert "has weights only: torch.export could not export the network (" in (error := capsys.readouterr().err)
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("kind", [Drawing, Residual, Attending, Named, Versioned])
def test_a_graph_is_good_for_any_number_of_images(
    kind: type[nn.Module], log: Callable[..., str], tmp_path: Path
) -> None:
    network = kind()
    loaded = load_model(log(network), f"sqlite:///{tmp_path / 'mlflow.db'}")
    for count in (1, 2, 3, 4):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found = outputs_of(network, IMAGES[:count])
            torch.manual_seed(0)
            torch.testing.assert_close(loaded(IMAGES[:count]).detach(), found, atol=1e-5, rtol=1e-5)


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_state_is_restored_with_the_versions_of_its_modules() -> None:
    network, again = Nested(decides=False), Nested(decides=False)
    state = dict(network.state_dict())  # as out of a snapshot
    with pytest.raises(ValueError, match="instead of None"):
        again.load_state_dict(state)
    fill(again, state)
    assert torch.equal(outputs_of(again), outputs_of(network))


@pytest.mark.parametrize("decides", [False, True], ids=["graph", "weights"])
def test_a_run_keeps_the_versions_of_modules(
    decides: bool, log: Callable[..., str], command: Callable[..., int], tmp_path: Path
) -> None:
    network, file = Nested(decides), tmp_path / "net.pt"
    state = load_model_state(log(network), f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert command("export", "odd/seed=0", "--format", "state-dict", "-o", str(file)) == 0
    for given in (state, torch.load(file, weights_only=True)):
        again = Nested(decides)
        again.load_state_dict(given)
        assert torch.equal(outputs_of(again), outputs_of(network))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_out_of_a_file_are_loaded_with_versions(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from framework_plugins.models.weights import load

    network, again, file = Nested(decides=False), Nested(decides=False), tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(network.state_dict(), file)
    else:
        save_file(network.state_dict(), file)
    load(again, file, replaceable=())
    assert torch.equal(outputs_of(again), outputs_of(network))


# --- export -----------------------------------------------------------------------------------------------------------


def pruned(network: nn.Module) -> Masks:
    """Take away half of each weight, by chance."""
    generator, masks = torch.Generator().manual_seed(0), {}
    for name, weight in prunable(network, None).items():
        masks[name] = torch.rand(weight.shape, generator=generator) < 0.5
        weight.data.mul_(masks[name])
    assert masks
    return masks


def loaded_as_the_page_says(file: Path, network: nn.Module) -> nn.Module:
    """Into another network than the page's."""
    page = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
    [source] = re.findall(r"^## torch-prune$.*?^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    source, found = re.subn(r"^network = .*$", "", source, flags=re.MULTILINE)
    assert found == 1
    names: dict[str, Any] = {"network": network}
    exec(source.replace('"net.prune.pt"', repr(str(file))), names)
    return network


@pytest.mark.parametrize("kind", [Residual, Attending])
def test_torchs_pruning_computes_and_trains_on(
    kind: type[nn.Module], log: Callable[..., str], command: Callable[..., int], tmp_path: Path
) -> None:
    network, file = kind(), tmp_path / "net.prune.pt"
    masks = pruned(network)
    log(network, masks)
    assert command("export", "odd/seed=0", "--format", "torch-prune", "-o", str(file)) == 0
    loaded = loaded_as_the_page_says(file, kind())
    torch.testing.assert_close(outputs_of(loaded), outputs_of(network), rtol=0, atol=1e-6)
    # The same steps, by hand: after each, what is masked is set to 0.
    twin = network.train()
    for one in (loaded.train(), twin):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(one(IMAGES), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()
            for name, mask in masks.items() if one is twin else ():
                one.get_parameter(name).data.mul_(mask)
    torch.testing.assert_close(outputs_of(loaded), outputs_of(twin), rtol=0, atol=1e-5)
    for name, mask in masks.items():
        layer, _, parameter = name.rpartition(".")
        weight = getattr(loaded.get_submodule(layer), parameter)
        assert not weight[~mask].any()
        prune.remove(loaded.get_submodule(layer), parameter)


@pytest.mark.parametrize("kind", [Residual, Named])
def test_the_images_are_called_input_in_onnx(
    kind: type[nn.Module], log: Callable[..., str], command: Callable[..., int], tmp_path: Path
) -> None:
    from onnx import checker, load
    from onnx.reference import ReferenceEvaluator

    network, file = kind(), tmp_path / "net.onnx"
    log(network)
    assert command("export", "odd/seed=0", "--format", "onnx", "-o", str(file)) == 0
    model = load(file)
    checker.check_model(model, full_check=True)
    assert [given.name for given in model.graph.input] == ["input"]
    for count in (1, 3):
        [found] = ReferenceEvaluator(model).run(None, {"input": IMAGES[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(found), outputs_of(network, IMAGES[:count]), rtol=0, atol=1e-5)
