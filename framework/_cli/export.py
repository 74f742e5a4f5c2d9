"""``framework export``."""

from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework._cli.files import file_name, replacing
from framework._cli.find_run import called, find_network
from framework._cli.options import Target
from framework._cli.store import readable
from framework._errors import DataError, FrameworkError, first_line
from framework._report.models import check_state, load_masks
from framework._terminal.console import count as counted
from framework._terminal.console import make_console, say
from framework._tracking import LoggedModel, Reader, TrialRun, default_uri, fetch_model, save_program

if TYPE_CHECKING:
    from torch import Tensor

    from framework._masks import Masks

_SUFFIXES = {
    Target.STATE_DICT: ".pt",
    Target.TORCH_PRUNE: ".prune.pt",
    Target.TORCH_EXPORT: ".pt2",
    Target.ONNX: ".onnx",
    Target.COMPACT: ".compact.pt2",
}


def export_run(
    name: str, format: Target, output: Path | None, root: Path, tracking_uri: str | None, *, trusted: bool = False
) -> None:
    """Write a trial's network to a file.

    Args:
        name: of its run, see `find_run`.
        format: of the file.
        output: the file; None names it after the trial, in the current folder.
        root: the folder of the local store.
        tracking_uri: the tracking store; None for the default one.
        trusted: run the code that the run keeps, for a format that needs it.

    Raises:
        DataError: there is no such run, or its network cannot be had in this format.
        TrackingError: the tracking store cannot be reached.
        FrameworkError: a package is missing, or the file cannot be written.
    """
    if format is Target.ONNX and not (find_spec("onnx") and find_spec("onnxscript")):
        raise FrameworkError("--format onnx needs the packages onnx and onnxscript: pip install 'framework[onnx]'")
    uri = tracking_uri or default_uri(root)
    reader = Reader(uri)
    trial = find_network(name, reader)
    file = output or Path(file_name(called(trial)) + _SUFFIXES[format])
    with fetch_model(f"runs:/{trial.run_id}/model", uri) as logged:
        if format is Target.COMPACT:
            content = _compact(logged, trial, reader, trusted=trusted)
        else:
            content = _CONTENTS[format](logged, trial, reader)
        with replacing(file) as part:
            content(part)
    console = make_console()
    say(console, f"{file}: {called(trial)} as {format}, {readable(file.stat().st_size)}")
    if format is Target.TORCH_PRUNE:
        say(console, "load it as docs/export.md shows: torch alone masks no layer that is never called (attention)")
    if {"data.mean", "data.std"} <= trial.params.keys():
        mean, std = trial.params["data.mean"], trial.params["data.std"]
        # Of a table there may be many.
        rows = "it takes rows of the columns data.columns, less data.mean, divided by data.std: parameters of the run"
        images = f"it takes images in [0, 1], less {mean}, divided by {std}"
        say(console, rows if "data.columns" in trial.params else images)


# What is written, or why it cannot be; the file is begun only then.
Content = Callable[[Path], None]


def _state_dict(logged: LoggedModel, trial: TrialRun, reader: Reader) -> Content:
    return _saved(_checked(logged, trial, load_masks(reader, trial)))


def _torch_prune(logged: LoggedModel, trial: TrialRun, reader: Reader) -> Content:
    """A state dict as that of a network which `torch.nn.utils.prune` has pruned."""
    masks = load_masks(reader, trial)
    if not masks:
        raise DataError(
            f"{called(trial)} holds no masks: nothing was pruned, or all was unpruned, and its zeros are weights like "
            "any other; take --format state-dict"
        )
    state = _checked(logged, trial, masks)
    for name, mask in masks.items():
        weight = state.pop(name)
        state |= {f"{name}_orig": weight, f"{name}_mask": mask.to(weight.dtype)}
    return _saved(state)


def _torch_export(logged: LoggedModel, trial: TrialRun, reader: Reader) -> Content:
    assert logged.program  # else it says why not
    return logged.copy_graph


def _compact(logged: LoggedModel, trial: TrialRun, reader: Reader, *, trusted: bool) -> Content:
    """The program of the network without the filters that are pruned whole."""
    from framework._channels import OUTPUTS, list_reasons
    from framework._cli.compact import compact_network

    compact = compact_network(logged, trial, reader, trusted=trusted)
    console, filters = make_console(), counted(compact.filters, "filter")
    say(console, f"{filters} removed; no output differs by more than {compact.difference:.1g}")
    if kept := {name: why for name, why in compact.kept.items() if why != OUTPUTS}:
        say(console, f"these layers keep all their filters: {list_reasons(kept)}")

    def write(file: Path) -> None:
        save_program(compact.network, logged.shape, file, logged.dtype)

    return write


def _onnx(logged: LoggedModel, trial: TrialRun, reader: Reader) -> Content:
    import torch

    program = logged.program
    try:
        converted = torch.onnx.export(program, dynamo=True, verbose=False)
    except torch.onnx.errors.OnnxExporterError as error:
        raise DataError(f"torch.onnx cannot convert {called(trial)}: {first_line(error)}") from error
    assert converted is not None
    _name_input(converted.model.graph)
    return lambda file: converted.save(file, external_data=False)


def _name_input(graph: Any) -> None:
    """Call the images of an ONNX graph ``input``, whatever the network calls them."""
    [images] = graph.inputs
    others = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    taken = {value.name for value in others}
    for value in others:
        if value.name == _INPUT:  # a weight, or what an operation gives
            value.name = next(name for n in count(1) if (name := f"{_INPUT}_{n}") not in taken)
    images.name = _INPUT


_INPUT = "input"


def _checked(logged: LoggedModel, trial: TrialRun, masks: "Masks") -> "dict[str, Tensor]":
    """The state dict, if it is as sparse as the trial has recorded."""
    state = logged.state()
    check_state(trial, state, masks)
    return state


def _saved(state: "dict[str, Tensor]") -> Content:
    import torch

    return lambda file: torch.save(state, file)


_CONTENTS = {
    Target.STATE_DICT: _state_dict,
    Target.TORCH_PRUNE: _torch_prune,
    Target.TORCH_EXPORT: _torch_export,
    Target.ONNX: _onnx,
}
