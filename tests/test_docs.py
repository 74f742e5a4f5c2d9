"""The documentation says what is so: all of it is there, and all that it shows works."""

import ast
import inspect
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from running import Study

import framework
from framework import SpecError, _hookspecs, testing
from framework._cli import app
from framework._component import KINDS, Entry, usable
from framework._component.described import described
from framework._component.docstring import items, sections
from framework._hookspecs import LIFECYCLE, RESULTS
from framework._registry import Registry, installed
from framework._report.figures import all_sweep_figures
from framework._report.results import Results
from framework._spec import load
from framework._tracking import Reader

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
CODE_PAGES = [page for page in PAGES if page.name != "bring-your-own.md"]  # whose files test_bring_your_own.py runs
HOOKS = [*(kind.hook for kind in KINDS.values()), *LIFECYCLE, *RESULTS]
BUILT_IN = [entry for kind in KINDS for entry in usable(installed(), kind)[0] if entry.source.startswith("framework ")]
OURS = [entry for entry in BUILT_IN if not entry.factory.__module__.startswith(("torch.", "torchvision."))]


def named(entry: Any) -> str | None:
    return f"{entry.kind} {entry.name}" if isinstance(entry, Entry) else None


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line and text of each code block in a language."""
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    _, _, rest = (DOCS / page).read_text().partition(f"\n### {heading}\n")
    return re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]


# --- it is all there ------------------------------------------------------------------------------------------------


def test_the_generated_pages_are_up_to_date() -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    assert (DOCS / "hooks.md").read_text() == generate["hooks"](), "run: make docs"
    assert (DOCS / "components.md").read_text() == generate["components"](installed()), "run: make docs"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_signature_and_an_example(hook: str) -> None:
    arguments = inspect.signature(getattr(_hookspecs, hook)).parameters
    text = section("hooks.md", f"{hook}({', '.join(arguments)})")
    assert re.findall(r"^- `(\w+)` \(`", text, re.MULTILINE) == [*arguments]
    assert f"def {hook}(" in text
    kind = next((kind for kind in KINDS.values() if kind.hook == hook), None)
    if kind:
        assert re.findall(r"^- `(\w+)`: \S", text, re.MULTILINE) == [*kind.inputs]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test_of_its_name(hook: str) -> None:
    tests = (file.read_text() for file in (PROJECT / "tests").rglob("test_*.py") if "packages" not in file.parts)
    assert any(re.search(rf"^def test_\w*{hook}", text, re.MULTILINE) for text in tests)


@pytest.mark.parametrize("entry", BUILT_IN, ids=named)
def test_every_component_is_documented_with_its_parameters_and_an_example(entry: Entry) -> None:
    text = section("components.md", f"{entry.kind} {entry.name}")
    assert re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE) == [parameter.name for parameter in described(entry)]
    assert entry.name in text.partition("```yaml\n")[2]


@pytest.mark.parametrize("entry", OURS, ids=named)
def test_what_is_ours_says_what_its_parameters_mean_and_of_no_others(entry: Entry) -> None:
    assert [parameter.name for parameter in described(entry) if not parameter.meaning] == []
    about = sections(entry.factory)
    said = {**items(about.get("Args", "")), **items(about.get("Attributes", ""))}
    assert said.keys() <= {*inspect.signature(entry.factory).parameters}
    assert "Example" in about


@pytest.mark.parametrize("module", [framework, testing], ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module: ModuleType) -> None:
    aliases = {}
    for file in (PROJECT / "framework").rglob("*.py"):
        for one, after in zip(body := ast.parse(file.read_text()).body, body[1:], strict=False):
            if isinstance(one, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                target = one.targets[0] if isinstance(one, ast.Assign) else one.target
                aliases[ast.unparse(target)] = isinstance(after.value, ast.Constant) and str(after.value.value)
    for name in module.__all__:
        found = getattr(module, name)
        doc = found.__doc__ if inspect.isclass(found) or inspect.isfunction(found) else aliases.get(name)
        assert doc, name
        # What the dataclass decorator writes by itself says nothing.
        assert not doc.startswith(f"{name}("), name


def test_the_package_is_typed() -> None:
    assert (files("framework") / "py.typed").is_file()
    shipped = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["framework"]
    assert "py.typed" in shipped


# --- and it works ---------------------------------------------------------------------------------------------------

CHECKS: dict[str, Callable[..., None]] = {kind: getattr(testing, f"check_{kind}") for kind in KINDS}
# What has no default, or does nothing in a few steps.
NEEDED: dict[str, dict[str, Any]] = {
    "perturb": {"std": 0.1},
    "shave": {"every": 2},
    "tethered": {"epochs": 2},
    "threshold": {"threshold": 0.1, "every": 2},
}


def run_blocks(page: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Run a page's Python from top to bottom; each block is a module, of which all together are `my_plugin`."""
    together = ModuleType("my_plugin")
    monkeypatch.setitem(sys.modules, "my_plugin", together)
    for line, source in blocks(page, "python"):
        module = ModuleType(f"{page.stem}_{line}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile("\n" * line + source, str(page), "exec"), module.__dict__)
        vars(together).update({name: value for name, value in vars(module).items() if not name.startswith("__")})
        yield module


PYTHON = [(page, line) for page in CODE_PAGES for line, _ in blocks(page, "python")]


@pytest.mark.parametrize(("page", "line"), PYTHON, ids=[f"{page.name}:{line}" for page, line in PYTHON])
def test_python_runs_and_what_it_registers_keeps_its_promises(
    page: Path, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = next(m for m in run_blocks(page, monkeypatch) if m.__name__ == f"{page.stem}_{line}")
    (plugin,) = Registry([(module, "documentation 1")]).plugins
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert tests or plugin.hooks
    for test in tests:
        test()
    for entry in plugin.components:
        CHECKS[entry.kind](entry.factory, **NEEDED.get(entry.name, {}))
    if {*plugin.hooks} & {*LIFECYCLE}:
        testing.check_observer(module)


def test_sweep_figures_of_the_documentation_draw_real_results(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(Reader(f"sqlite:///{study.root / 'mlflow.db'}"))
    drawn: list[str] = []
    for page in CODE_PAGES:
        for module in run_blocks(page, monkeypatch):
            if {*RESULTS} & {*vars(module)}:
                remarks: list[str] = []
                drawn += all_sweep_figures(results, Registry([(module, "documentation 1")]), remarks.append)
                assert remarks == []
    assert {"speed", "learning-rate"} <= {*drawn}


YAML = [(page, line, text) for page in CODE_PAGES for line, text in blocks(page, "yaml")]
# What a fragment needs to be a spec.
REST = {"model": "convnet", "data": "digits", "stages": "[prune: {amount: {uniform: [0.1, 0.2]}}]"}


@pytest.mark.parametrize(("page", "line", "text"), YAML, ids=[f"{page.name}:{line}" for page, line, _ in YAML])
def test_specs_are_valid(page: Path, line: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = "".join(f"{key}: {value}\n" for key, value in REST.items() if key not in yaml.safe_load(text))
    (tmp_path / "my.yaml").write_text(text + rest)
    for name in ("mine.npz", "mine.csv", "mine.parquet"):
        (tmp_path / name).touch()
    for name in ("arrays", "images"):
        (tmp_path / name).mkdir()
    plugins = [*run_blocks(page, monkeypatch)]
    monkeypatch.chdir(tmp_path)
    assert load(Path("my.yaml"), with_built_ins(*plugins)).name


def with_built_ins(*plugins: ModuleType) -> Registry:
    """A registry of the built-in plugins and these; of two that register one name only the first."""
    points = [
        point for point in metadata.entry_points(group="framework") if point.dist and point.dist.name == "framework"
    ]
    registry = Registry((point.load(), f"framework {metadata.version('framework')}") for point in points)
    taken: set[tuple[str, str]] = set()
    for plugin in plugins:
        (known,) = Registry([(plugin, "my-plugin 0.1.0")]).plugins
        names = {(entry.kind, entry.name) for entry in known.components}
        if not names & taken:
            registry.add(plugin, "my-plugin 0.1.0")
            taken |= names
    return registry


COMMANDS = [
    line.partition("  #")[0].strip()
    for page in [PROJECT / "README.md", *PAGES]
    for _, block in blocks(page, "sh")
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("framework ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_can_be_given(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line.partition(" > ")[0])[1:]
    context = None
    while True:
        # Every option and argument is parsed, and nothing is run.
        context = command.make_context(command.name, words, parent=context)
        if not hasattr(command, "resolve_command") or not (rest := [*context._protected_args, *context.args]):
            break
        _, command, words = command.resolve_command(context, rest)
    assert not context.args


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize("page", [PROJECT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.name)
def test_a_pyproject_names_the_entry_point(path: Path) -> None:
    for _, text in blocks(path, "toml"):
        assert tomllib.loads(text)["project"]["entry-points"]["framework"] == {"my_plugin": "my_plugin"}


# --- errors ---------------------------------------------------------------------------------------------------------

STAGE = """
from dataclasses import dataclass
from framework import Stage, hookimpl

@dataclass(frozen=True)
class Shrink(Stage):
    factor: float = 0.5
    def run(self, trial): ...

@hookimpl
def register_stages():
    return {"shrink": Shrink}
"""
UNTYPED = STAGE.replace("@dataclass(frozen=True)\n", "").replace(
    "    factor: float = 0.5\n", "    def __init__(self, factor): ...\n"
)


@pytest.mark.parametrize(
    ("code", "requires"),
    [
        ("import lion_pytorch", ""),
        (STAGE.replace("register_stages", "register_stage"), ""),
        (STAGE.replace('{"shrink": Shrink}', "[Shrink]"), ""),
        (STAGE, "Requires-Dist: framework>=2\n"),
        (STAGE.replace('"shrink"', '"train"'), ""),
        (UNTYPED, ""),
    ],
)
def test_broken_plugins_are_told_as_the_guide_shows(
    code: str, requires: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_plugin.py").write_text(code)
    info = tmp_path / "my_plugin-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-plugin\nVersion: 0.1.0\n{requires}")
    (info / "entry_points.txt").write_text("[framework]\nmy_plugin = my_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    registry = installed.__wrapped__()
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    (told,) = [*registry.broken, *usable(registry, "stage")[1]]
    assert f"\n{told}\n" in (DOCS / "writing-a-plugin.md").read_text()


def test_mistakes_in_specs_are_told_as_the_guide_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = (DOCS / "writing-a-plugin.md").read_text()
    plugins = [m for m in run_blocks(DOCS / "writing-a-plugin.md", monkeypatch) if "Shrink" in vars(m)]
    monkeypatch.chdir(tmp_path)
    for stage in ("shrnk", "shrink: {factor: 2}"):
        Path("my.yaml").write_text(f"model: convnet\ndata: digits\nstages:\n  - {stage}\n")
        with pytest.raises(SpecError) as error:
            load(Path("my.yaml"), with_built_ins(*plugins))
        assert f"\n{error.value}\n" in shown
