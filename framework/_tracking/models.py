"""Models as MLflow keeps them: exported graphs (pt2) that load safely, and without our code."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from framework._errors import DataError
from framework._tracking.archive import read_program
from framework._tracking.files import artifact_folder, write_artifacts
from framework._tracking.run import OpenRun
from framework._tracking.server import configure, reason
from framework._tracking.versions import VERSIONS, VERSIONS_RECORD, versions_of

if TYPE_CHECKING:
    import torch
    from mlflow import MlflowClient
    from mlflow.models import Model
    from torch import Tensor, nn
    from torch.export import ExportedProgram

NAME = "model"
GRAPH = "data/model.pt2"  # where MLflow has a model's graph and its weights
WEIGHTS = "weights.safetensors"
NO_GRAPH = "framework.model"  # the tag that says why a run has only weights
_WHY_NOT = f"torch.export cannot export this network, so only its weights are kept, as {WEIGHTS}: "


def why_no_graph(tags: Mapping[str, str]) -> str:
    """Why a run has only weights, in a line, as its tags say it; empty if they do not."""
    lines = tags.get(NO_GRAPH, "").removeprefix(_WHY_NOT).strip().splitlines()
    return lines[0][:500] if lines else ""


class _Template(NamedTuple):
    """A network that was exported before, for others of its architecture.

    Attributes:
        folder: where MLflow has saved it.
        program: its graph, whose weights are overwritten.
        graph: the same as a module, on the same weights.
        description: what MLflow says of it.
    """

    folder: Path
    program: "ExportedProgram"
    graph: "nn.Module"
    description: "Model"


class ModelWriter:
    """Logs trained networks. Exporting a graph is slow, so networks of one architecture share theirs.

    Args:
        client: where to.
        uri: of the tracking store.
    """

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self._client = client
        self._uri = uri
        self._looks = False
        self._folder = tempfile.TemporaryDirectory(prefix="framework-models-", ignore_cleanup_errors=True)
        self._exported: dict[str, _Template] = {}

    def forget(self) -> None:
        """It is not known what has come to be there: look whether a run has a model before one is made."""
        self._looks = True

    def log(
        self,
        run: OpenRun,
        model: "nn.Module",
        shape: Sequence[int],
        params: Mapping[str, str],
        dtype: "torch.dtype | None" = None,
    ) -> bool:
        """Log a network as ``runs:/<run>/model``, or its weights alone where it cannot be exported.

        Args:
            run: that it belongs to; it is logged at the run's epoch.
            model: the network; put into eval mode and on the CPU, so it must not be in use elsewhere.
            shape: of one input, such as (channels, height, width).
            params: what to show beside it.
            dtype: of its input; None: float32.

        Returns:
            Whether it could be exported.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        import_pytorch()
        try:
            template = self._export(model.eval().cpu(), shape, dtype)
        except Exception as error:  # whatever in the network torch.export cannot follow
            self._log_weights(run, model, error)
            return False
        # There is one already where the store was lost, or the process killed, before the run could end.
        own = f"source_run_id = '{run.run_id}' AND name = '{NAME}'"
        known_to_have_none = run.is_new and not self._looks
        earlier = [] if known_to_have_none else self._client.search_logged_models([run.experiment_id], own)
        logged = (
            earlier[0]
            if earlier
            else self._client.create_logged_model(
                run.experiment_id, name=NAME, source_run_id=run.run_id, params=dict(params)
            )
        )
        with artifact_folder(logged.artifact_location, self._uri) as folder:
            shutil.copytree(template.folder, folder, ignore=shutil.ignore_patterns("*.pt2"), dirs_exist_ok=True)
            _save(template.program, versions_of(model.state_dict()), template.folder / GRAPH, folder / GRAPH)
            description = template.description
            description.run_id, description.model_id = run.run_id, logged.model_id
            description.model_uuid, description.artifact_path = logged.model_id, logged.artifact_location
            description.save(str(folder / "MLmodel"))
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        outputs = self._client.get_run(run.run_id).outputs if earlier else None
        if logged.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            self._client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, run.epoch)])
        return True

    def _log_weights(self, run: OpenRun, model: "nn.Module", error: Exception) -> None:
        """What is left for a network without a graph: its weights, and why there is no more."""
        from safetensors.torch import save

        state = model.state_dict()
        # Weights that are tied are kept under each of their names, so that the names are the network's.
        apart = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
        write_artifacts(run.artifact_uri, self._uri, {WEIGHTS: save(apart, {VERSIONS: versions_of(state)})})
        self._client.set_tag(run.run_id, NO_GRAPH, f"{_WHY_NOT}{error}"[:5000])

    def close(self) -> None:
        """Remove the exported graphs."""
        self._folder.cleanup()

    def _export(self, model: "nn.Module", shape: Sequence[int], dtype: "torch.dtype | None") -> "_Template":
        """The graph of the model with the model's weights, and a saved model to copy the rest from."""
        state = model.state_dict()
        layout = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in state.items()}
        architecture = json.dumps([list(shape), str(dtype), repr(model), layout])
        examples = _examples(shape, dtype)
        if architecture in self._exported:
            template = self._exported[architecture]
            _fill(template.program, state)
            # Not all that a forward pass does shows in the architecture, so the graph has to prove itself.
            if _same(template.graph, model, examples[0]):
                return template
        folder = Path(tempfile.mkdtemp(dir=self._folder.name)) / NAME
        self._exported[architecture] = _save_template(model, examples, folder)
        return self._exported[architecture]


def save_program(
    model: "nn.Module", shape: Sequence[int], file: Path, dtype: "torch.dtype | None" = None
) -> "ExportedProgram":
    """Export a network to a pt2 archive that has nothing but tensors and a graph of known operators.

    Args:
        model: the network, on the CPU; put into eval mode.
        shape: of one input, such as (channels, height, width).
        file: where to.
        dtype: of inputs; None: float32.

    Returns:
        The program as it is read back from the file.

    Raises:
        DataError: it cannot be exported, or does not compute the same for any number of inputs; says why.
    """
    import torch

    model, examples = model.eval(), _examples(shape, dtype)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.pt2")
        try:
            made = torch.export.export(model, (examples[0],), dynamic_shapes=[{0: torch.export.Dim.AUTO}])
        except Exception as error:  # whatever in the network torch.export cannot follow
            raise DataError(f"torch.export cannot export the network: {reason(error)}") from error
        torch.export.save(made, raw)
        program = read_program(raw, file)
    _check_batches(program.module(), model, examples)
    return program


def import_pytorch() -> None:
    """Import what saves and loads models; it warns of its own type hints."""
    configure()
    warnings.filterwarnings("ignore", "(?s).*Any type hint is inferred as AnyType")
    # Of recurrent layers, which keep their weights in a list besides; what is exported is checked.
    warnings.filterwarnings("ignore", r"(?s)The tensor attributes? .*_flat_weights.* during export", UserWarning)
    import mlflow.pytorch  # noqa: F401


def _fill(program: "ExportedProgram", state: "Mapping[str, Tensor]") -> None:
    for name, tensor in program.state_dict.items():
        tensor.data.copy_(state[name])


def _same(graph: "nn.Module", model: "nn.Module", images: "Tensor") -> bool:
    import torch

    outputs = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for network in (graph, model):
            torch.manual_seed(0)  # some draw numbers when they evaluate too
            outputs.append(network(images))
    return torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5, equal_nan=True)


def _examples(shape: Sequence[int], dtype: "torch.dtype | None") -> "list[Tensor]":
    """Batches of as many inputs as a graph must take: two, one and three; tokens are all 0."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, *shape, generator=generator).to(dtype or torch.float32) for count in (2, 1, 3)]


def _check_batches(graph: "nn.Module", model: "nn.Module", examples: "Sequence[Tensor]") -> None:
    """Check that a graph computes what its network does, for any number of images.

    Raises:
        DataError: it does not; says for how many.
    """
    for images in examples:
        why = None
        try:
            kept = _same(graph, model, images)
        except Exception as error:  # whatever the graph, or the network, makes of so many images
            kept, why = False, error
        if not kept:
            raise DataError(
                f"its graph, made with {len(examples[0])} images, does not compute the same with {len(images)}: the "
                "number of images must stay a size of a tensor (x.shape[0]); len(x) and int(x.shape[0]) make it a "
                f"constant{f' ({reason(why)})' if why else ''}"
            ) from why


def _save_template(model: "nn.Module", examples: "Sequence[Tensor]", folder: Path) -> _Template:
    import mlflow.pytorch
    import torch
    from mlflow.models import Model, infer_signature

    example = examples[0]
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
    # Read as a stranger's would be: what cannot be read back is not logged as if it could.
    program = read_program(folder / GRAPH, folder.with_suffix(".pt2"))
    graph = program.module()
    _check_batches(graph, model, examples)
    return _Template(folder, program, graph, Model.load(str(folder)))


def _save(program: "ExportedProgram", versions: str, template: Path, path: Path) -> None:
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
        new.write_string(VERSIONS_RECORD, versions)


# What torch's writer adds to every archive.
_WRITTEN_BY_TORCH = ("archive_format", "archive_version", "byteorder", ".data/")
