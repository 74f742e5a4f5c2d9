"""Models as MLflow keeps them: exported graphs (pt2) that load safely, and without our code."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from framework._tracking.server import configure

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
    ) -> bool:
        """Log a network as ``runs:/<run>/model``, or its weights alone where it cannot be exported.

        Args:
            run_id: the run that it belongs to.
            experiment_id: the experiment of that run.
            model: the network; put into eval mode and on the CPU, so it must not be in use elsewhere.
            shape: (channels, height, width) of its input.
            step: the epoch at which it is logged.
            params: what to show beside it.

        Returns:
            Whether it could be exported.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        import_pytorch()
        from mlflow.models import Model

        try:
            template, program = self._export(model.eval().cpu(), shape)
        except OSError:
            raise
        except Exception as error:  # whatever in the network torch.export cannot follow
            self._log_weights(run_id, model, error)
            return False
        # There is one already where the store was lost before the run could end.
        own = f"source_run_id = '{run_id}' AND name = '{NAME}'"
        earlier = self._client.search_logged_models([experiment_id], own)
        logged = (
            earlier[0]
            if earlier
            else self._client.create_logged_model(experiment_id, name=NAME, source_run_id=run_id, params=dict(params))
        )
        with tempfile.TemporaryDirectory(dir=self._folder.name) as temporary:
            folder = Path(temporary, NAME)
            shutil.copytree(template, folder, ignore=shutil.ignore_patterns("*.pt2"))
            _save(program, graph_file(template), graph_file(folder))
            description = Model.load(str(template))
            description.run_id, description.model_id = run_id, logged.model_id
            description.model_uuid, description.artifact_path = logged.model_id, logged.artifact_location
            description.save(str(folder / "MLmodel"))
            self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        outputs = self._client.get_run(run_id).outputs if earlier else None
        if logged.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])
        return True

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


def import_pytorch() -> None:
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
    return torch.export.load(graph_file(folder))


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


def graph_file(folder: Path) -> Path:
    """Where a saved model has its graph and its weights."""
    return folder / "data" / "model.pt2"
