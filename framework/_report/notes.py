"""What runs say of themselves in MLflow's UI: Markdown."""

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as quoted
from typing import Any
from urllib.parse import quote

from framework._code import Code
from framework._emptied import empty_layers
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._report.formats import render
from framework._report.metrics import called, shown
from framework._report.variants import Variant
from framework._tracking import CODE, SPEC, WEIGHTS

_LONGEST = 5000  # characters: what a tag has room for
_LONGEST_TEXT, _LONGEST_LINE, _NAMED = 1000, 150, 10


@dataclass(frozen=True)
class RunLinks:
    """A run, and what it keeps.

    Attributes:
        run_id: of the run.
        files: their paths.
        command: that made it.
        tracking_uri: where it is kept, without a password.
    """

    run_id: str
    files: Collection[str]
    command: str
    tracking_uri: str


def trial_note(
    result: Result,
    why: str | None,
    run: RunLinks,
    data: Mapping[str, Any] | None,
    exported: bool,
) -> str:
    """What a trial's run says of itself: what it is, its result, how to load its network and how to reproduce it.

    Args:
        result: how it came out.
        why: why it failed, or was stopped; None if it came to its end.
        run: its run.
        data: what is noted of the data that its network takes, such as ``data.mean``, see `framework.Source`; None if
            the run keeps no network.
        exported: it keeps the network; otherwise only its weights.
    """
    plan = result.plan
    parts = [f"**{plan.experiment}** {_name(plan)}\n{_stages(plan)}", _result(result)]
    if why is not None:
        parts.insert(0, f"**{'Failed' if result.error else 'Stopped early'}:** {_cut(why, _LONGEST_TEXT)}")
    if empty := empty_layers(result.metrics):
        parts.append(f"**All weights are pruned of:** {_cut(', '.join(f'`{name}`' for name in empty), _LONGEST_TEXT)}")
    parts += [_image(run, name) for name in run.files if name.rpartition("/")[2] == "curves.png"]
    if data is not None:
        parts += [f"### Load the {'network' if exported else 'weights'}", _loading(run, exported, _inputs(data))]
    return "\n\n".join([*parts, "### Reproduce", _reproducing(run, plan.code)])


def sweep_note(
    description: str, groups: Sequence[Variant[Any]], failed: Sequence[tuple[str, str]], run: RunLinks
) -> str:
    """What an invocation's run says of itself: its question, how the variants came out, and how to run it again.

    Args:
        description: what the spec says of itself.
        groups: the variants.
        failed: name and reason of each trial that failed.
        run: its run.
    """
    images = [name for name in run.files if name.endswith(".png")]
    after = [_image(run, name) for name in images[:1]]
    if len(images) > 1:
        after.append(f"More of them are in Artifacts: {', '.join(f'`{name}`' for name in images[1:])}.")
    if failed:
        lines = [f"- {name}: {_cut(why, _LONGEST_LINE)}" for name, why in failed[:_NAMED]]
        lines += [f"- … and {len(failed) - _NAMED} more"] if len(failed) > _NAMED else []
        after += ["### Failed", "\n".join(lines)]
    after += ["### Reproduce", _line(run.command)]
    before = [_cut(description, _LONGEST_TEXT)] if description else []
    room = _LONGEST - sum(len(part) + 2 for part in (*before, *after))
    return "\n\n".join([*before, _table(groups, room), *after])


def _table(groups: Sequence[Variant[Any]], room: int) -> str:
    """The comparison, as many rows of it as there is room for."""
    if not groups:
        return "No trial has come to its end."
    lines = render(groups, "markdown").splitlines()
    rest = f"… and {len(groups)} more: all are in `summary.csv`."
    while len(lines) > 2 and sum(len(line) + 1 for line in (*lines, rest)) > room:
        lines.pop()
    left = len(groups) - (len(lines) - 2)
    return "\n".join(lines) + (f"\n\n… and {left} more: all are in `summary.csv`." if left else "")


def _name(plan: TrialPlan) -> str:
    return f"{plan.variant}, seed {plan.seed}" if plan.variant else f"seed {plan.seed}"


def _stages(plan: TrialPlan) -> str:
    lengths = [f" ({_count(epochs, 'epoch')})" if epochs else "" for epochs in plan.stage_epochs]
    return "Stages: " + " → ".join(f"{stage['name']}{n}" for stage, n in zip(plan.stages, lengths, strict=True))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _result(result: Result) -> str:
    cells = {
        **{
            called(metric): shown(metric, result.metrics.get(metric))
            for metric in (f"test/{result.measures.primary}", "sparsity")
        },
        "epochs": str(result.epochs),
        "seconds": f"{result.seconds:.1f}",
    }
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells, ["--:"] * len(cells), cells.values()))


def _image(run: RunLinks, name: str) -> str:
    # Relative to the UI, wherever that is.
    return f"![{name}](get-artifact?path={quote(name)}&run_uuid={run.run_id})"


def _loading(run: RunLinks, exported: bool, inputs: Sequence[str]) -> str:
    # The UI is as wide as the longest line of a block.
    imports, load, what, after = _NETWORK if exported else _WEIGHTS
    return _block(
        "python",
        *imports,
        "",
        f'mlflow.set_tracking_uri("{run.tracking_uri}")',
        f"{load}(",
        f'    "runs:/{run.run_id}/{what}"',
        ")",
        *after,
        *(f"# {line}" for line in inputs),
    )


def _inputs(data: Mapping[str, Any]) -> list[str]:
    if not {"data.mean", "data.std"} <= data.keys():
        return []
    if "data.columns" in data:  # of which there may be many
        rows = [
            "The network takes rows of the columns data.columns,",
            "less data.mean, divided by data.std (see parameters).",
        ]
        quantities = [
            "It gives data.quantities, less data.quantities_mean,",
            "divided by data.quantities_std.",
        ]
        return rows + quantities if "data.quantities" in data else rows
    mean, std = _numbers(data["data.mean"]), _numbers(data["data.std"])
    return ["The network takes images of values in [0, 1],", f"less {mean},", f"divided by {std}."]


_NETWORK = ["import mlflow"], "network = mlflow.pytorch.load_model", "model", list[str]()
_WEIGHTS = (
    ["import mlflow", "from safetensors.torch import load_file"],
    "file = mlflow.artifacts.download_artifacts",
    WEIGHTS,
    [
        "# torch.export could not export the network:",
        "# the tag framework.model says why.",
        "state_dict = load_file(file)",
    ],
)


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"


def _reproducing(run: RunLinks, code: Code) -> str:
    kept, spec = (CODE, posixpath.join(CODE, code.base, SPEC)) if code.texts else (SPEC, SPEC)
    alone = _block(
        "sh",
        f"MLFLOW_TRACKING_URI={quoted(run.tracking_uri)} \\",
        "  mlflow artifacts download --dst-path . \\",
        f"  --artifact-path {kept} --run-id {run.run_id}",
        *(["# Look at the code in this folder before you run it."] if code.texts else []),
        f"framework run {quoted(spec)} --root reproduced \\",
        "  --tracking-uri sqlite:///reproduced/mlflow.db",  # where it is, it would be found to be finished
    )
    return f"This trial alone:\n\n{alone}\n\nAll that was run with it: {_line(run.command)}"


def _block(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _line(command: str) -> str:
    return f"`{_cut(command, _LONGEST_TEXT)}`"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 2]} …"
