"""The commands that show results."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from framework._cli.options import (
    Baseline,
    Chosen,
    Disabled,
    Executor,
    FigureFolder,
    Limit,
    Metric,
    ModelFile,
    Page,
    PluginFiles,
    ReproducedFolder,
    Root,
    Run,
    TableFormat,
    Target,
    TrackingUri,
    TrustCode,
    parse_formats,
)
from framework._cli.report_errors import load_registry, report_errors
from framework._errors import redact
from framework._paths import RESULTS

outcomes_app = typer.Typer(rich_markup_mode=None)


@outcomes_app.command()
def compare(
    names: Chosen = [],  # noqa: B006 - typer reads it
    metric: Metric = None,
    by: Annotated[
        list[str],
        typer.Option(
            help="Pool the trials by these values only: --by prune.amount, --by experiment,seed. "
            "Default: by all that was swept.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    baseline: Baseline = None,
    format: Annotated[TableFormat, typer.Option(help="How the table is written.")] = TableFormat.TABLE,
    limit: Limit = None,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show how the variants came out over their seeds, and how sure that is."""
    with report_errors():
        from framework._cli.compare import compare_experiments

        compare_experiments(names, metric, by, baseline, format.value, limit, root, tracking_uri)


@outcomes_app.command()
def figures(
    names: Chosen = [],  # noqa: B006 - typer reads it
    output: FigureFolder = Path("figures"),
    trials: Annotated[bool, typer.Option("--trials", help="Also those of each trial.")] = False,
    format: Annotated[str, typer.Option(help="Which kinds of files.")] = "png,svg",
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """Draw what came out, for papers: PNG and SVG files of sweeps and of trials.

    Exit codes: 0 all are drawn, 1 a plugin has failed or there is nothing to draw, 2 bad usage or spec.
    """
    formats = parse_formats(format)
    with report_errors():
        from framework._cli.figures import write_figures

        code = write_figures(
            names, load_registry(disable_plugin, plugin), output, formats, root, tracking_uri, trials=trials
        )
    raise typer.Exit(code)


@outcomes_app.command()
def report(
    names: Chosen = [],  # noqa: B006 - typer reads it
    output: Page = Path("report.html"),
    metric: Metric = None,
    baseline: Baseline = None,
    limit: Limit = None,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """Write one page that shows experiments to others: question, set-up, results, figures, how to reproduce."""
    with report_errors():
        from framework._cli.report import write_report

        write_report(
            names,
            output,
            root,
            tracking_uri,
            load_registry(disable_plugin, plugin),
            metric=metric,
            baseline=baseline,
            limit=limit,
            command=redact(shlex.join(["framework", *sys.argv[1:]])),
        )


@outcomes_app.command()
def inspect(
    trial: Run,
    latency: Annotated[
        bool, typer.Option(help="Measure how long it takes, with its zeros, with them filled, and without filters.")
    ] = True,
    trust_code: TrustCode = False,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show what a trial's network consists of: parameters, zeros, FLOPs, dead filters, size, latency."""
    with report_errors():
        from framework._cli.inspect import inspect_run

        inspect_run(trial, root, tracking_uri, latency=latency, trusted=trust_code)


@outcomes_app.command()
def reproduce(
    trial: Run,
    output: ReproducedFolder = Path("reproduced"),
    trust_code: TrustCode = False,
    executor: Annotated[Executor, typer.Option(help="As of framework run.")] = Executor.INLINE,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Run a trial again from what its run keeps: its spec, and the files of code that the spec names.

    Code is written to --output and not run, unless you say that you trust it.
    """
    with report_errors():
        from framework._cli.reproduce import reproduce_run

        code = reproduce_run(trial, output, root, tracking_uri, executor.value, trusted=trust_code)
    raise typer.Exit(code)


@outcomes_app.command()
def export(
    trial: Run,
    format: Annotated[
        Target,
        typer.Option(
            help="state-dict: weights with exact zeros. torch-prune: with weight_orig and weight_mask, as "
            "torch.nn.utils.prune has them. torch-export: an ExportedProgram. onnx: ONNX. compact: an ExportedProgram "
            "without the filters that are pruned whole.",
            show_default=False,
        ),
    ],
    output: ModelFile = None,
    trust_code: TrustCode = False,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a trial's network to a file that other programs read."""
    with report_errors():
        from framework._cli.export import export_run

        export_run(trial, format, output, root, tracking_uri, trusted=trust_code)
