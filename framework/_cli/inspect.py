"""``framework inspect``."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from framework._cli.compact import compact_network
from framework._cli.find_run import called, find_network
from framework._cli.store import readable
from framework._errors import DataError, first_line
from framework._masks import layer_name
from framework._report.anatomy import TOTALS, Anatomy, dissect
from framework._report.gradients import NO_GRADIENT
from framework._report.latency import Latency, latencies
from framework._report.models import load_masks
from framework._terminal.console import count, make_console, say
from framework._tracking import LoggedModel, Reader, TrialRun, default_uri, fetch_model, save_program, valid_name

if TYPE_CHECKING:
    from torch import nn

_HONEST = "unstructured zeros do not speed up dense kernels: a multiplication by 0 takes as long as any other"


def inspect_run(name: str, root: Path, tracking_uri: str | None, *, latency: bool, trusted: bool = False) -> None:
    """Print what a trial's network consists of, and how long it takes.

    Args:
        name: of its run, see `find_run`.
        root: the folder of the local store.
        tracking_uri: the tracking store; None for the default one.
        latency: measure how long it takes.
        trusted: run the code that the run keeps, if the network has to be built again by it.

    Raises:
        DataError: there is no such run, or it has no network that can be run.
        TrackingError: the tracking store cannot be reached.
    """
    uri, console = tracking_uri or default_uri(root), make_console()
    reader = Reader(uri)
    trial = find_network(name, reader)
    with fetch_model(f"runs:/{trial.run_id}/model", uri) as logged:
        if not logged.exported:
            _say_totals(console, trial, trial.metrics, logged.size)
            say(console, f"{logged.no_graph}: there are only its weights, so it cannot be run")
            return
        network, shape, dtype = logged.module(), logged.shape, logged.dtype
        weights = prunable_names(trial, dict(network.named_parameters()))
        with _explained(trial):
            found = dissect(network, {name: network.get_parameter(name) for name in weights}, shape, dtype)
        _say_totals(console, trial, {**trial.metrics, **found.metrics()}, logged.size)
        smaller = None
        if {*load_masks(reader, trial)} - {*weights}:  # whole filters are pruned, with what belongs to them
            smaller = _without_filters(console, logged, trial, reader, trusted=trusted)
    console.print(_layers(found, trial.metrics))
    if latency:
        with _explained(trial):
            measured = list(latencies(network, weights, shape, smaller, dtype=dtype))
        say(console, f"\n{_HONEST}")
        console.print(_latencies(measured))


def _without_filters(
    console: Console, logged: LoggedModel, trial: TrialRun, reader: Reader, *, trusted: bool
) -> "nn.Module | None":
    """The network without the filters that are pruned whole, exported like the whole one; None if there is none."""
    try:
        compact = compact_network(logged, trial, reader, trusted=trusted)
        with tempfile.TemporaryDirectory() as folder:
            network = save_program(compact.network, logged.shape, Path(folder, "compact.pt2"), logged.dtype).module()
    except DataError as error:
        say(console, f"compact       none: {error}\n")
        return None
    found = dissect(network, {}, logged.shape, logged.dtype)
    cost = "" if found.flops is None else f", {flops(found.flops)} FLOPs"
    say(console, f"compact       {found.parameters:,} parameters{cost}: without {count(compact.filters, 'filter')}\n")
    return network


@contextmanager
def _explained(trial: TrialRun) -> Iterator[None]:
    """Turn an error inside a logged network into a sentence that names the trial."""
    try:
        yield
    except Exception as error:
        raise DataError(f"{called(trial)}: its network cannot be run: {first_line(error)}") from error


def prunable_names(trial: TrialRun, names: Iterable[str]) -> list[str]:
    """Select, from the names in a network's state dict, the prunable weights that the trial has reported."""
    layers = {name.removeprefix("sparsity/") for name in trial.metrics if name.startswith("sparsity/")}
    return [name for name in names if valid_name(layer_name(name)) in layers]


def _say_totals(console: Console, trial: TrialRun, metrics: Mapping[str, float], size: int) -> None:
    say(console, f"{called(trial)}  run {trial.run_id}\n")
    totals = {name: metrics[f"model/{name}"] for name in TOTALS if f"model/{name}" in metrics}
    if "parameters" in totals:
        say(
            console,
            f"parameters    {totals['parameters']:,.0f}, of which {_part(totals, 'nonzero', 'parameters')} are not 0",
        )
        if "flops" in totals:
            effective = _part(totals, "flops_effective", "flops")
            say(console, f"FLOPs         {flops(totals['flops'])} for one image; without those on zeros {effective}")
        else:
            say(console, "FLOPs         unknown: the network fails where they are counted")
        say(console, f"dead filters  {totals['dead_filters']:,.0f}, of which all weights are 0")
        if NO_GRADIENT in metrics:
            say(console, f"no gradient   ever reaches {metrics[NO_GRADIENT]:.2%} of the weights below")
        say(console, f"state dict    {readable(int(totals['bytes']))}")
    say(console, f"logged model  {readable(size)}\n")


def _part(totals: Mapping[str, float], part: str, whole: str) -> str:
    number = flops(totals[part]) if whole == "flops" else f"{totals[part]:,.0f}"
    return f"{number} ({totals[part] / totals[whole]:.2%})" if totals[whole] else number


def flops(number: float) -> str:
    """A number of FLOPs as people read it: ``1.219 M``."""
    for unit in ("", " k", " M", " G"):
        if number < 999.5:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:.4g} T"


def _layers(found: Anatomy, metrics: Mapping[str, float]) -> Table:
    table = Table(box=None, pad_edge=False)
    without = ("no gradient",) if metrics.get(NO_GRADIENT) else ()
    for column in ("layer", "weights", "zeros", "share", "filters", "dead", "FLOPs", "effective", *without):
        table.add_column(column, justify="left" if column == "layer" else "right", no_wrap=column != "layer")
    for layer in found.layers:
        table.add_row(
            Text(layer.name.removesuffix(".weight")),
            f"{layer.weights:,}",
            f"{layer.zeros:,}",
            f"{layer.zeros / max(1, layer.weights):.2%}",
            f"{layer.filters:,}",
            f"{layer.dead_filters:,}",
            flops(layer.flops) if found.flops is not None else "–",
            flops(layer.flops_effective) if found.flops is not None else "–",
            *(f"{metrics.get(f'{NO_GRADIENT}/{valid_name(layer_name(layer.name))}', 0):.2%}" for _ in without),
        )
    return table


def _latencies(measured: Iterable[Latency]) -> Table:
    table, measured = Table(box=None, pad_edge=False), list(measured)
    smaller = ("compact", "ratio") if any(latency.compact for latency in measured) else ()
    for column in ("batch", "threads", "with its zeros", "zeros filled in", "ratio", *smaller, "rounds"):
        table.add_column(column, justify="right", no_wrap=True)
    for latency in measured:
        cells = [f"{1000 * latency.sparse:.2f} ms", f"{1000 * latency.dense:.2f} ms"]
        cells.append(f"{latency.sparse / latency.dense:.2f}")
        if latency.compact is not None:
            cells += [f"{1000 * latency.compact:.2f} ms", f"{latency.compact / latency.dense:.2f}"]
        table.add_row(str(latency.batch), str(latency.threads), *cells, str(latency.rounds))
    return table
