"""What a trial's run keeps besides what was reported: its network, files and notes."""

import csv
import io
import json
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from framework._data import Source
from framework._errors import first_line
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._registry import Registry
from framework._report.anatomy import anatomy
from framework._report.gradients import NO_GRADIENT, no_gradient
from framework._report.results import LAYERS
from framework._store import Store
from framework._tracking import MASKS, RunArtifacts, encode_masks
from framework._trial import build_model, masks_in, restore_network


def run_artifacts(
    result: Result,
    files: Mapping[str, bytes],
    source: Source | None,
    registry: Registry,
    store: Store,
    note: Callable[[str], None],
    unreached: dict[str, Mapping[str, float]],
) -> RunArtifacts:
    """Gather what the run of a trial that has ended keeps.

    Args:
        result: what the trial came to.
        files: what it has logged, and its figures, by path.
        source: its data; None if they could not be loaded.
        registry: where its components are looked up.
        store: has its final state.
        note: takes what the user should know of its network.
        unreached: what is known of weights that no gradient reaches, by architecture: filled here, as the trials of a
            sweep have one architecture and counting takes longer than all else here.

    Raises:
        StoreError: the final state is not there any more.
    """
    files = dict(files)
    if result.traceback is not None:
        files["traceback.txt"] = result.traceback.encode(errors="backslashreplace")
    if not result.complete:
        return RunArtifacts(files)
    assert source is not None  # else it could not have come to its end
    tensors, _ = store.load(result.plan.key)
    if masks := masks_in(tensors):
        files[MASKS] = encode_masks(masks)
    shape, dtype = source.shape, source.dtype
    # What a plugin's network can raise here says nothing of the trial, which has come to its end.
    try:
        model = _network(result.plan, source, registry, tensors)
    except Exception as error:
        note(f"its network cannot be built again, so its run does not keep it: {first_line(error)}")
        return RunArtifacts(files)
    try:
        metrics = anatomy(model, shape, dtype)
    except Exception as error:
        note(f"what its network consists of cannot be said: {first_line(error)}")
        return RunArtifacts(files, model=model, shape=shape, dtype=dtype)
    if "model/flops" not in metrics:
        note("its FLOPs cannot be counted: the network fails where they are")
    else:
        try:
            key = _architecture(result.plan, source)
            if key not in unreached:
                unreached[key] = no_gradient(model, shape, dtype)
            metrics |= unreached[key]
        except Exception as error:
            note(f"which of its weights never get a gradient cannot be said: {first_line(error)}")
    files[LAYERS] = _layers({**result.metrics, **metrics})
    return RunArtifacts(files, metrics=metrics, model=model, shape=shape, dtype=dtype)


def _architecture(plan: TrialPlan, source: Source) -> str:
    return json.dumps([plan.code.digest, plan.model, source.shape, len(source.task.outputs)])


def _layers(metrics: Mapping[str, float]) -> bytes:
    """The layers in forward order, which metrics in MLflow have not."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "sparsity", NO_GRADIENT])
    for name, value in metrics.items():
        what, _, layer = name.partition("/")
        if what == "sparsity" and layer:
            writer.writerow(
                [layer, value, metrics.get(f"{NO_GRADIENT}/{layer}", 0.0 if NO_GRADIENT in metrics else "")]
            )
    return text.getvalue().encode(errors="backslashreplace")


def _network(plan: TrialPlan, source: Source, registry: Registry, tensors: Mapping[str, Tensor]) -> nn.Module:
    network = build_model(plan, registry, source)
    restore_network(network, tensors)
    return network
