"""Options that several commands share, and the parsers of their values."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from framework._errors import FrameworkError
from framework._paths import home_path


def home_option(path: Path | None) -> Path | None:
    """`home_path`, for an option of the command line."""
    try:
        return None if path is None else home_path(path)
    except FrameworkError as error:
        raise typer.BadParameter(str(error)) from None


class Executor(StrEnum):
    """Where trials run."""

    RAY = "ray"
    INLINE = "inline"


class TableFormat(StrEnum):
    """How a table is written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"


class Target(StrEnum):
    """What a network is exported to."""

    STATE_DICT = "state-dict"
    TORCH_PRUNE = "torch-prune"
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"
    COMPACT = "compact"


Run = Annotated[
    str,
    typer.Argument(
        help="A trial: the id of its run, the beginning of it, or 'EXPERIMENT/TRIAL', such as "
        "'unprune/prune.amount=0.2 seed=1'",
        show_default=False,
    ),
]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Run the code that the run keeps: look at it first.")]
Specs = Annotated[list[Path], typer.Argument(help="Specs, such as experiments/*.yaml", show_default=False)]
Chosen = Annotated[
    list[str],
    typer.Argument(help="Specs or experiments. Default: all experiments.", metavar="SPEC|EXPERIMENT"),
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Change a value in every spec: --set data.name=digits, --set 'stages.*.train.epochs=1'. "
        "May be given several times.",
        show_default=False,
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Replicates to run instead of the specs': --seeds 0,1,2")]
MaxTrials = Annotated[
    int | None,
    typer.Option(
        "--max-trials",
        min=1,
        help="Most trials that a spec may mean; one that means more is refused. [default: 100,000]",
        show_default=False,
    ),
]
Page = Annotated[Path, typer.Option("--output", "-o", help="The page.", callback=home_option)]
FigureFolder = Annotated[
    Path, typer.Option("-o", "--output", help="The folder they are written to.", callback=home_option)
]
ReproducedFolder = Annotated[
    Path, typer.Option("--output", "-o", help="The folder for its spec, code and results.", callback=home_option)
]
ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The file [default: named after the trial]", show_default=False, callback=home_option
    ),
]
PluginSource = Annotated[
    Path | None, typer.Option("--from", help="A file of code that the package is made of.", callback=home_option)
]
PluginFolder = Annotated[Path, typer.Option("--folder", help="Where its folder is made.", callback=home_option)]
Root = Annotated[Path, typer.Option("--root", help="Where results lie.", envvar="FRAMEWORK_ROOT", callback=home_option)]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="The MLflow store [default: $MLFLOW_TRACKING_URI, else a database in --root]",
        show_default=False,
    ),
]
StoreUri = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where the results of stages are kept: a folder, or a URI such as s3://bucket/folder "
        "[default: stages in --root]",
        envvar="FRAMEWORK_STORE",
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="A running Ray cluster; auto finds it. Default: Ray on this machine.",
        show_default=False,
    ),
]
StoreLimit = Annotated[
    float | None,
    typer.Option(
        min=0, help="Most gigabytes of stages' results to keep; the least valuable go first.", show_default=False
    ),
]
Disabled = Annotated[
    list[str],
    typer.Option(
        "--disable-plugin",
        help="Leave out the plugins of a distribution, such as a broken one. May be given several times.",
        metavar="DIST",
        envvar="FRAMEWORK_DISABLE_PLUGINS",
        show_default=False,
    ),
]
PluginFiles = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        help="Also use the hooks in a file, such as mine.py. May be given several times.",
        metavar="FILE",
        show_default=False,
    ),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        help="What it is to bring: stage (the default), model, dataset, loss, optimizer, schedule, criterion, "
        "distribution, sparsifier, metric, transform or observer; with --from, what of the file it is, such as "
        "loss:Focal. May be given several times.",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="What is compared: the last value of each trial. Default: the primary metric on the test set, "
        "such as test/accuracy.",
        show_default=False,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="What the others are compared with, seed by seed: a label, an experiment, or prune.amount=0.1.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=0,
        help="Most variants in a table: the best and the worst of them; 0: all. "
        "[default: 40 in a terminal, 200 on a page, all in other formats]",
        show_default=False,
    ),
]
FORMATS = ("png", "svg")  # of figures
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}  # of an age, in seconds


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """``0,1,2`` as integers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of integers, such as 0,1,2", param_hint="--seeds") from None


def parse_formats(text: str) -> tuple[str, ...]:
    """``png,svg`` as words."""
    found = tuple(part.strip() for part in text.split(","))
    for wrong in {*found} - {*FORMATS}:
        raise typer.BadParameter(f"{wrong!r} is none of {', '.join(FORMATS)}", param_hint="--format")
    return found


def parse_age(text: str | None) -> float | None:
    """``7d``, ``12h`` or ``30m`` in seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([dhms])", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is no age, such as 7d, 12h or 30m", param_hint="--older-than")
    return int(match[1]) * UNITS[match[2]]
