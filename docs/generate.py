"""Writes hooks.md and components.md, beside this file, out of the docstrings: ``make docs``."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from framework import _hookspecs
from framework._component import KINDS, Entry
from framework._component.described import described
from framework._component.docstring import items, sections
from framework._registry import Registry, installed

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py (make docs) out of the code: change it there. -->"
HOOKS_INTRO = """
A hook is a function of a plugin that the framework calls by its name. Mark it with `framework.hookimpl`, and name the
module that it is in as an entry point of the group `framework`. [How to write a plugin](writing-a-plugin.md) goes
through that step by step. Each example here is a whole plugin.
"""
REGISTER_INTRO = """
Each of these returns a mapping from names, by which specs call components, to components. A component is a callable.
It is called with what is said here, if anything, and with its parameters: those are the other parameters of its
signature.
"""
LIFECYCLE_INTRO = """
Every plugin that is installed and has one of these observes every trial, in the process that the trial runs in. An
implementation takes those of the arguments that it needs. It may look at all of the trial, and must change nothing of
it but its artifacts ([Trial.log_artifact](writing-a-plugin.md#observe-trials)). Gradients are off, and torch's random
state is put back afterwards. An exception fails no trial: it is told with the plugin's name and the hook, and the
plugin is told nothing more of that trial. What is logged as a warning with the logger `framework` is shown to the user.
"""
RESULTS_INTRO = """
What has an effect on no trial, and so is in no key: these are called when trials have ended. What one raises is told
with the plugin's name, and nothing else fails. A figure of a single trial needs no hook of its own: draw it in
[stage_ended](#stage_endedtrial-name-stage) or [trial_ended](#trial_endedtrial), and keep it with `trial.log_artifact`.
"""
COMPONENTS_INTRO = """
What comes with the framework, and is registered through the same [hooks](hooks.md) as anybody's. Where a spec names a
component it gives its name, or a mapping of its name and its parameters. `framework plugins show KIND NAME` shows the
same in the terminal, for installed plugins too.
"""
WHERE = {
    "stage": "Each is an item of `stages`.",
    "model": "A trial's network: `model`.",
    "dataset": "Labelled images: `data`. For all datasets, `validation` is the fraction of the training images that is "
    "held out, of each class alike, and `augment` any of `crop` (shift by up to an eighth of the height and of the "
    "width), `flip` (left to right) and `cutout` (a square of half the shorter side).",
    "loss": "What a stage minimises: its parameter `loss`.",
    "optimizer": "How a stage minimises it: its parameter `optimizer`.",
    "schedule": "How the learning rate changes over a stage: its parameter `schedule`. Epochs count from the beginning "
    "of the stage.",
    "criterion": "Which weights `prune` takes: its parameter `criterion`. Those with the lowest scores go.",
    "distribution": "How many of the weights that go each layer loses: the parameter `distribution` of `prune` and "
    "`gradual`.",
    "sparsifier": "What changes masks while a stage trains: its parameter `sparsifier`.",
    "metric": "By what trials are measured: `metrics`, of which the first is the primary one. Without it, the task of "
    "the data says: the accuracy of classes; `f1` and `accuracy` of labels; `rmse`, `mae` and `r2` of quantities. `as` "
    "gives a metric another name, as in `{name: f1, average: micro, as: micro_f1}`.",
    "transform": "What is done to an image when it is read: `transforms` and `test_transforms` of the `loader` of the "
    "datasets `imagefolder` and `npy`.",
}

# Where torch's own classes are documented: by the beginning of their module, how many parts of it name them, and the
# folder of the pages.
_TORCH = {"torch.": (2, "docs"), "torchvision.": (3, "vision")}
# What a transform's example gives for what is required.
_GIVEN = {
    "bits": "4",
    "kernel_size": "3",
    "padding": "4",
    "sharpness_factor": "2",
    "size": "32",
    "threshold": "128",
}


def hooks() -> str:
    """The page of hooks.md."""
    parts = [NOTE, "# Hooks", HOOKS_INTRO, "## Hooks that register components", REGISTER_INTRO]
    for kind in KINDS.values():
        parts += _hook(kind.hook)
    parts += ["## Hooks that observe trials", LIFECYCLE_INTRO]
    for name in _hookspecs.LIFECYCLE:
        parts += _hook(name)
    parts += ["## Hooks that show results", RESULTS_INTRO]
    for name in _hookspecs.RESULTS:
        parts += _hook(name)
    return _page(parts)


def _hook(name: str) -> Iterator[str]:
    hook = getattr(_hookspecs, name)
    code = ast.parse(textwrap.dedent(inspect.getsource(hook))).body[0]
    assert isinstance(code, ast.FunctionDef)
    types = {a.arg: _type(a.annotation) for a in code.args.args if a.annotation}
    returns = _type(code.returns) if code.returns else "None"
    about = sections(hook)
    yield f"### {name}({', '.join(types)})"
    yield _markdown(about[""])
    if "Called with" in about:
        yield "Called with:"
        yield "\n".join(f"- `{arg}`: {_markdown(said)}" for arg, said in items(about["Called with"]).items())
    said = items(about.get("Args", ""))
    if types:
        yield "\n".join(f"- `{arg}` (`{hint}`): {_markdown(said[arg])}" for arg, hint in types.items())
    gives = " ".join(about.get("Returns", "").split())
    yield f"Returns `{returns}`" + (f": {_markdown(gives)}" if gives else ".")
    yield f"```python\n{_spaced(about['Example'])}\n```"


def _type(annotation: ast.expr) -> str:
    """One that stands in quotes, as what it names takes long to import, without them."""
    return ast.unparse(annotation).strip("'")


def _spaced(example: str) -> str:
    """Python as it stands in a file: two blank lines around what is at the top level."""
    return re.sub(r"\n\n(?=@|def |class )", "\n\n\n", example)


def components(registry: Registry) -> str:
    """The page of components.md."""
    parts = [NOTE, "# Built-in components", COMPONENTS_INTRO]
    for kind, (hook, *_) in KINDS.items():
        parts += [
            f"## {hook.removeprefix('register_').capitalize()}",
            f"{WHERE[kind]} One of your own: [{hook}](hooks.md#{hook}).",
        ]
        for entry in builtin(registry, kind):
            parts += _component(entry)
    return _page(parts)


def builtin(registry: Registry, kind: str) -> list[Entry]:
    """The components of a kind that come with the framework."""
    entries = (registry.get(kind, name) for name in registry.names(kind))
    return [entry for entry in entries if entry.source.split()[0] == "framework"]


def _component(entry: Entry) -> Iterator[str]:
    about, parameters = sections(entry.factory), described(entry)
    module, name = entry.factory.__module__, entry.factory.__qualname__
    yield f"### {entry.kind} {entry.name}"
    if of_torch := module.startswith(tuple(_TORCH)):
        depth, pages = next(found for start, found in _TORCH.items() if module.startswith(start))
        name = ".".join([*module.split(".")[:depth], name])
        summary = re.sub(r" (between )?\w+ :math:.*", "", entry.doc.split(". ")[0].rstrip("."))  # no formulas
        summary = re.sub(r"`(\S.+?) <(\S+?)>`_", r"[\1](\2)", summary)
        yield f"{summary}. [{name}](https://docs.pytorch.org/{pages}/stable/generated/{name}.html) says more."
    else:
        yield _markdown(about[""])
    if parameters:
        columns = ["parameter", "type", "bounds", "default", *([] if of_torch else ["meaning"])]
        rows = [(f"`{p.name}`", p.type, p.bounds, _default(p.default), _markdown(p.meaning)) for p in parameters]
        lines = [columns, ["---"] * len(columns), *rows]
        yield "\n".join(f"| {' | '.join(_cells(line[: len(columns)]))} |" for line in lines)
    if "Raises" in about:
        errors = items(about["Raises"]).items()
        yield "\n".join(f"It fails with `{error}`: {_markdown(when)}" for error, when in errors)
    yield f"```yaml\n{_example(entry) if of_torch else about['Example']}\n```"


def _cells(line: list[str] | tuple[str, ...]) -> Iterator[str]:
    return (cell.replace("|", "\\|") for cell in line)


def _default(text: str) -> str:
    return "required" if text == "(required)" else f"`{text}`"


def _example(entry: Entry) -> str:
    """For torch's own classes: with what is required, or the learning rate, if there is one."""
    if entry.kind == "transform":
        given = [f", {name}: {_GIVEN[name]}" for name, f in entry.parameters.model_fields.items() if f.is_required()]
        value = f"{{name: {entry.name}{''.join(given)}}}" if given else entry.name
        return f"data: {{name: npy, root: arrays, loader: {{transforms: [{value}]}}}}"
    lr = entry.parameters.model_fields.get("lr")
    value = entry.name if lr is None else f"{{name: {entry.name}, lr: {json.dumps(lr.default)}}}"
    return f"stages:\n  - train: {{epochs: 5, {entry.kind}: {value}}}"


def _markdown(text: str) -> str:
    """A docstring's text as Markdown: code is between single backticks there, and papers are links."""
    text = text.replace("``", "`")
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _page(parts: list[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


if __name__ == "__main__":
    (HERE / "hooks.md").write_text(hooks())
    (HERE / "components.md").write_text(components(installed()))
