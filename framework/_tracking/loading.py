"""Logged models, read back."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework._errors import DataError
from framework._tracking.models import NAME, WEIGHTS, graph_file, import_pytorch
from framework._tracking.server import connect, default_uri, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor, nn
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class LoggedModel:
    """What a run has logged of its network, on this machine.

    Attributes:
        uri: where it was.
        path: the folder of the exported network, or the file of its weights where it could not be exported.
    """

    uri: str
    path: Path

    @property
    def exported(self) -> bool:
        """Whether there is more than weights."""
        return self.path.is_dir()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        files = self.path.rglob("*") if self.exported else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def graph(self) -> Path:
        """The file that `torch.export.load` reads.

        Raises:
            DataError: there are only weights.
        """
        if not self.exported:
            raise DataError(f"{self.uri} has weights only: torch.export could not export the network")
        return graph_file(self.path)

    @property
    def shape(self) -> list[int]:
        """(channels, height, width) of one image.

        Raises:
            DataError: there are only weights.
        """
        from mlflow.models import Model

        assert self.graph  # else it says so
        signature = Model.load(str(self.path)).signature
        return [int(size) for size in signature.inputs.inputs[0].shape[1:]]

    def module(self) -> "nn.Module":
        """The network as it evaluates.

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        import mlflow.pytorch
        from mlflow.exceptions import MlflowException

        assert self.graph  # else it says so
        try:
            model: nn.Module = mlflow.pytorch.load_model(str(self.path))
        except (MlflowException, OSError) as error:
            raise _unloadable(self.uri, error) from error
        return model

    def program(self) -> "ExportedProgram":
        """The exported program.

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        import torch

        self.module()  # MLflow refuses what would run code when it is loaded
        return torch.export.load(self.graph)

    def state(self) -> "dict[str, Tensor]":
        """The state dict.

        Raises:
            DataError: it cannot be loaded safely.
        """
        from safetensors.torch import load_file

        if not self.exported:
            return load_file(self.path)
        return {key: tensor.detach() for key, tensor in self.module().state_dict().items()}


@contextmanager
def fetch_model(uri: str, tracking_uri: str | None = None) -> Iterator[LoggedModel]:
    """Have a logged model on this machine for a while.

    Args:
        uri: ``runs:/<run id>/model``, or ``runs:/<run id>/weights.safetensors``; the first finds the second too.
        tracking_uri: where the run is kept; by default where new runs are.

    Raises:
        DataError: there is none.
        TrackingError: the tracking store cannot be reached.
    """
    run_id, _, name = uri.removeprefix("runs:/").partition("/")
    if not uri.startswith("runs:/") or not run_id or not name:
        raise DataError(f"{uri!r} names no logged model: it must be runs:/<run id>/{NAME}")
    client = connect(tracking_uri or default_uri(Path("mlruns")))
    import_pytorch()
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = _download(client, run_id, name, folder)
        except (MlflowException, OSError) as error:
            raise _unloadable(uri, error) from error
        yield LoggedModel(uri, Path(path))


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
    with fetch_model(uri, tracking_uri) as logged:
        return logged.module()


def load_model_state(uri: str, tracking_uri: str | None = None) -> "dict[str, Tensor]":
    """The weights of a network that a run has logged, on the CPU.

    Args:
        uri: ``runs:/<run id>/model``, or ``runs:/<run id>/weights.safetensors``.
        tracking_uri: where the run is kept; by default where new runs are.

    Raises:
        DataError: there is none, or it cannot be loaded safely.
        TrackingError: the tracking store cannot be reached.
    """
    with fetch_model(uri, tracking_uri) as logged:
        return logged.state()


def _download(client: "MlflowClient", run_id: str, name: str, folder: str) -> str:
    """Fetch what the run logged under that name."""
    import mlflow.artifacts

    # MLflow itself looks a run's models up in the process's own tracking store, whichever it was told to use.
    outputs = client.get_run(run_id).outputs
    for output in reversed(outputs.model_outputs if outputs else []):
        model = client.get_logged_model(output.model_id)
        if model.name == name:
            return mlflow.artifacts.download_artifacts(
                model.artifact_location, dst_path=folder, tracking_uri=client.tracking_uri
            )
    if name == NAME and any(file.path == WEIGHTS for file in client.list_artifacts(run_id)):
        name = WEIGHTS
    return client.download_artifacts(run_id, name, folder)


def _unloadable(uri: str, error: Exception) -> DataError:
    return DataError(f"no model can be loaded from {uri}: {reason(error)}")
