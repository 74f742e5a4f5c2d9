"""Models as MLflow keeps them: exported graphs (pt2) that load safely, and without our code."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from framework._errors import DataError
from framework._tracking.server import configure, connect, default_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor, nn
    from torch.export import ExportedProgram

NAME = "model"
WEIGHTS = "weights.safetensors"


class ModelWriter:
    """Logs trained networks. Exporting a graph is slow, so networks of one architecture share theirs.

    Args:
        client: where to.
    """

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client
        self._folder = tempfile.TemporaryDirectory(prefix="framework-models-", ignore_cleanup_errors=True)
        self._exported: dict[str, tuple[Path, ExportedProgram]] = {}

    def log(
        self,
        run_id: str,
        experiment_id: str,
        model: "nn.Module",
        shape: Sequence[int],
        step: int,
        params: Mapping[str, str],
    ) -> None:
        """Log a network as ``runs:/<run>/model``.

        Args:
            run_id: the run that it belongs to.
            experiment_id: the experiment of that run.
            model: the network; put into eval mode and on the CPU, so it must not be in use elsewhere.
            shape: (channels, height, width) of its input.
            step: the epoch at which it is logged.
            params: what to show beside it.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        _import()
        from mlflow.models import Model

        try:
            template, program = self._export(model.eval().cpu(), shape)
        except OSError:
            raise
        except Exception as error:  # whatever in the network torch.export cannot follow
            self._log_weights(run_id, model, error)
            return
        logged = self._client.create_logged_model(experiment_id, name=NAME, source_run_id=run_id, params=dict(params))
        with tempfile.TemporaryDirectory(dir=self._folder.name) as temporary:
            folder = Path(temporary, NAME)
            shutil.copytree(template, folder, ignore=shutil.ignore_patterns("*.pt2"))
            _save(program, _graph(template), _graph(folder))
            description = Model.load(str(template))
            description.run_id, description.model_id = run_id, logged.model_id
            description.model_uuid, description.artifact_path = logged.model_id, logged.artifact_location
            description.save(str(folder / "MLmodel"))
            self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])

    def _log_weights(self, run_id: str, model: "nn.Module", error: Exception) -> None:
        """What is left for a network without a graph: its weights, and why there is no more."""
        from safetensors.torch import save_model

        with tempfile.TemporaryDirectory(dir=self._folder.name) as temporary:
            path = Path(temporary, WEIGHTS)
            save_model(model, str(path))
            self._client.log_artifact(run_id, str(path))
        reason = f"torch.export cannot export this network, so only its weights are kept, as {WEIGHTS}: {error}"
        self._client.set_tag(run_id, "framework.model", reason[:5000])

    def close(self) -> None:
        """Remove the exported graphs."""
        self._folder.cleanup()

    def _export(self, model: "nn.Module", shape: Sequence[int]) -> "tuple[Path, ExportedProgram]":
        """The graph of the model with the model's weights, and a saved model to copy the rest from."""
        import torch

        state = model.state_dict()
        layout = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in state.items()}
        architecture = json.dumps([list(shape), repr(model), layout])
        example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        if architecture in self._exported:
            template, program = self._exported[architecture]
            _fill(program, state)
            # Not all that a forward pass does shows in the architecture, so the graph has to prove itself.
            if _same(program, model, example):
                return template, program
        folder = Path(tempfile.mkdtemp(dir=self._folder.name)) / NAME
        self._exported[architecture] = folder, _save_template(model, example, folder)
        return self._exported[architecture]


def load_model(uri: str, tracking_uri: str | None = None) -> "nn.Module":
    """A trained network that a run has logged, on the CPU, as it evaluates: it cannot be trained.

    Args:
        uri: ``runs:/<run id>/model``.
        tracking_uri: where the run is kept; by default where new runs are.

    Returns:
        A module of normalised images, float32 (N, channels, height, width), that gives outputs (N, classes). What
        images are normalised by is in the run's parameters ``data.mean`` and ``data.std``.

    Raises:
        DataError: there is none, or it cannot be loaded safely.
        TrackingError: the tracking store cannot be reached.
    """
    loaded = _load(uri, tracking_uri)
    if isinstance(loaded, dict):
        raise DataError(f"{uri} has weights only: torch.export could not export the network")
    return loaded


def load_model_state(uri: str, tracking_uri: str | None = None) -> "dict[str, Tensor]":
    """The weights of a network that a run has logged, on the CPU.

    Args:
        uri: ``runs:/<run id>/model``, or ``runs:/<run id>/weights.safetensors``.
        tracking_uri: where the run is kept; by default where new runs are.

    Raises:
        DataError: there is none, or it cannot be loaded safely.
        TrackingError: the tracking store cannot be reached.
    """
    loaded = _load(uri, tracking_uri)
    if isinstance(loaded, dict):
        return loaded
    return {key: tensor.detach() for key, tensor in loaded.state_dict().items()}


def _load(uri: str, tracking_uri: str | None) -> "nn.Module | dict[str, Tensor]":
    run_id, _, name = uri.removeprefix("runs:/").partition("/")
    if not uri.startswith("runs:/") or not run_id or not name:
        raise DataError(f"{uri!r} names no logged model: it must be runs:/<run id>/{NAME}")
    client = connect(tracking_uri or default_uri(Path("mlruns")))
    _import()
    import mlflow.pytorch
    from mlflow.exceptions import MlflowException
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = _download(client, run_id, name, folder)
            if path.endswith(".safetensors"):
                return load_file(path)
            model: nn.Module = mlflow.pytorch.load_model(path)
        except (MlflowException, OSError) as error:
            raise DataError(f"no model can be loaded from {uri}: {str(error).splitlines()[0]}") from error
        return model


def _download(client: "MlflowClient", run_id: str, name: str, folder: str) -> str:
    """Fetch what the run logged under that name."""
    import mlflow.artifacts

    # MLflow itself looks a run's models up in the process's own tracking store, whichever it was told to use.
    outputs = client.get_run(run_id).outputs
    for output in reversed(outputs.model_outputs if outputs else []):
        model = client.get_logged_model(output.model_id)
        if model.name == name:
            return mlflow.artifacts.download_artifacts(model.artifact_location, dst_path=folder)
    return client.download_artifacts(run_id, name, folder)


def _import() -> None:
    """Import what saves and loads models; it warns of its own type hints."""
    configure()
    warnings.filterwarnings("ignore", "(?s).*Any type hint is inferred as AnyType")
    import mlflow.pytorch  # noqa: F401


def _fill(program: "ExportedProgram", state: "Mapping[str, Tensor]") -> None:
    for name, tensor in program.state_dict.items():
        tensor.data.copy_(state[name])


def _same(program: "ExportedProgram", model: "nn.Module", example: "Tensor") -> bool:
    import torch

    with torch.no_grad():
        return torch.allclose(program.module()(example), model(example), rtol=1e-4, atol=1e-5, equal_nan=True)


def _save_template(model: "nn.Module", example: "Tensor", folder: Path) -> "ExportedProgram":
    import mlflow.pytorch
    import torch
    from mlflow.models import infer_signature

    with torch.no_grad():
        outputs = model(example)
    mlflow.pytorch.save_model(
        model,
        folder,
        signature=infer_signature(example.numpy(), outputs.numpy()),
        input_example=example.numpy(),
        pip_requirements=[f"{package}=={version(package)}" for package in ("mlflow", "torch", "numpy")],
        serialization_format="pt2",
    )
    return torch.export.load(_graph(folder))


def _save(program: "ExportedProgram", template: Path, path: Path) -> None:
    """Save a program whose graph has been saved before: `torch.export.save` would serialise the graph anew.

    ResNet-18's takes it most of a second, and the weights are files of their own in the archive.
    """
    import torch
    from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter, constants

    with PT2ArchiveReader(str(template)) as old, PT2ArchiveWriter(str(path)) as new:
        layout = json.loads(old.read_string(constants.WEIGHTS_CONFIG_FILENAME_FORMAT.format("model")))["config"]
        weights = {constants.WEIGHTS_DIR + entry["path_name"]: name for name, entry in layout.items()}
        for record in old.get_file_names():
            if record in weights:
                storage = program.state_dict[weights[record]].untyped_storage()
                new.write_bytes(record, torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes())
            elif not record.startswith(_WRITTEN_BY_TORCH):
                new.write_bytes(record, old.read_bytes(record))


# What torch's writer adds to every archive.
_WRITTEN_BY_TORCH = ("archive_format", "archive_version", "byteorder", ".data/")


def _graph(folder: Path) -> Path:
    return folder / "data" / "model.pt2"
