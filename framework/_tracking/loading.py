"""Logged models, read back.

Whoever made a run may be a stranger, so MLflow's own loading is not used: what it reads may be code.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from framework._errors import DataError
from framework._tracking.archive import copy_checked, read_program, read_tensors
from framework._tracking.models import GRAPH, NAME, WEIGHTS, why_no_graph
from framework._tracking.server import connect, default_uri, reason
from framework._tracking.versions import VERSIONS, versioned

if TYPE_CHECKING:
    import torch
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from torch import Tensor, nn
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class LoggedModel:
    """What a run has logged of its network, on this machine.

    Attributes:
        uri: where it was.
        path: the file of the exported network, or of its weights where it could not be exported. Nothing in it has
            been checked.
        why: there are only weights; empty if that is not known.
    """

    uri: str
    path: Path
    why: str = ""

    @property
    def exported(self) -> bool:
        """Whether there is more than weights."""
        return self.path.name == Path(GRAPH).name

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    @property
    def no_graph(self) -> str:
        """That there are only weights, and why."""
        return "torch.export could not export the network" + (f" ({self.why})" if self.why else "")

    def copy_graph(self, file: Path) -> None:
        """Write what `torch.export.load` may read without running anything but the network.

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        self._check_exported()
        with self._named():
            copy_checked(self.path, file)

    @cached_property
    def program(self) -> "ExportedProgram":
        """The exported network.

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        self._check_exported()
        with self._named():
            return read_program(self.path, self.path.with_suffix(".checked.pt2"))

    @property
    def shape(self) -> list[int]:
        """The shape of one input, such as (channels, height, width).

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        found = self._input.shape
        if len(found) < 2 or not all(isinstance(size, int) for size in found[1:]):
            raise DataError(f"{self.uri} takes no inputs of one size: {tuple(found)}")
        return list(found[1:])

    @property
    def dtype(self) -> "torch.dtype":
        """Of inputs: float32, or int64 of tokens.

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        return self._input.dtype

    @property
    def _input(self) -> "Tensor":
        [inputs] = self.program.graph_signature.user_inputs
        found: Tensor = next(node.meta["val"] for node in self.program.graph.nodes if node.name == inputs)
        return found

    def module(self) -> "nn.Module":
        """The network as it evaluates.

        Raises:
            DataError: there are only weights, or it cannot be loaded safely.
        """
        module: nn.Module = self.program.module()
        return module

    def state(self) -> "dict[str, Tensor]":
        """The state dict, with the versions of the network's modules.

        Raises:
            DataError: it cannot be loaded safely.
        """
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        with self._named():
            if self.exported:
                return read_tensors(self.path)
            try:
                with safe_open(self.path, "pt") as file:
                    versions = (file.metadata() or {}).get(VERSIONS)
                return versioned(load_file(self.path), versions)
            except (SafetensorError, OSError) as error:
                raise DataError(f"it is damaged: {error}") from error

    def _check_exported(self) -> None:
        if not self.exported:
            raise DataError(f"{self.uri} has weights only: {self.no_graph}")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise _unloadable(self.uri, error) from error


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
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            run = client.get_run(run_id)
            path = _download(client, run, name, folder)
        except (MlflowException, OSError) as error:
            raise DataError(f"{_unloadable(uri, error)}; {_READ}") from error
        yield LoggedModel(uri, Path(path), why_no_graph(run.data.tags))


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


_READ = f"only exported programs ({GRAPH}) and {WEIGHTS} are read: MLflow's other formats run code when they are loaded"


def _download(client: "MlflowClient", run: "Run", name: str, folder: str) -> str:
    """Fetch the one file that is read of what the run logged under that name."""
    import mlflow.artifacts

    # MLflow itself looks a run's models up in the process's own tracking store, whichever it was told to use.
    for output in reversed(run.outputs.model_outputs if run.outputs else []):
        model = client.get_logged_model(output.model_id)
        if model.name == name:
            return mlflow.artifacts.download_artifacts(
                f"{model.artifact_location}/{GRAPH}", dst_path=folder, tracking_uri=client.tracking_uri
            )
    if name == NAME and any(file.path == WEIGHTS for file in client.list_artifacts(run.info.run_id)):
        name = WEIGHTS
    file = name if name.endswith(Path(WEIGHTS).suffix) else f"{name}/{GRAPH}"
    return client.download_artifacts(run.info.run_id, file, folder)


def _unloadable(uri: str, error: Exception) -> DataError:
    return DataError(f"no model can be loaded from {uri}: {reason(error)}")
