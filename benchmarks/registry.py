"""How long the registry takes beyond importing the plugins: finding them, checking and calling their hooks.

Each side is a fresh process, which times itself:
  imports   imports the modules of all plugins, one after another, and nothing else
  registry  the registry of the same plugins, as every command and every worker builds it; and checks all signatures, as
            `framework plugins list` does

The built-in plugins, and with them so many more packages of one stage each.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from common import load, parser, print_table, show, table, take_turns, verdict

TARGET = 50.0
IMPORTS = """
import time
began = time.perf_counter()
from importlib import import_module
for module in MODULES:
    import_module(module)
print(time.perf_counter() - began)
"""
REGISTRY = """
import time
began = time.perf_counter()
from framework._registry import installed
registry = installed()
made = time.perf_counter()
from framework._component import KINDS, usable
for kind in KINDS:
    assert not usable(registry, kind)[1]
print(CHECKED and time.perf_counter() - began or made - began)
"""
STAGE = """
from dataclasses import dataclass
from framework import Stage, hookimpl

@dataclass(frozen=True)
class Nothing(Stage):
    \"\"\"Do nothing.\"\"\"
    factor: float = 1.0

    def run(self, trial): ...

@hookimpl
def register_stages():
    return {"NAME": Nothing}
"""


def make_packages(folder: Path, count: int) -> list[str]:
    """What installed packages leave on disk."""
    names = [f"nothing_{number}" for number in range(count)]
    for name in names:
        (folder / f"{name}.py").write_text(STAGE.replace("NAME", name))
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[framework]\nits = {name}\n")
    return names


def seconds(code: str, folder: Path) -> float:
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    from framework._registry import installed

    options = parser(__doc__).parse_args()
    before = load()
    built_in = [plugin.module for plugin in installed().plugins]
    made = table(
        "Loading plugins", "packages", "imports, s", "registry, s", "more, ms", "with signatures, ms", "", words=1
    )
    for count in (0, 20):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            names = make_packages(folder, count)
            codes = {
                "imports": IMPORTS.replace("MODULES", repr(built_in + names)),
                "registry": REGISTRY.replace("CHECKED", "False"),
                "checked": REGISTRY.replace("CHECKED", "True"),
            }
            sides = {side: partial(seconds, code, folder) for side, code in codes.items()}
            found = take_turns(sides, options.repeats or 9)
        more, checked = (
            [1000 * (a - b) for a, b in zip(found[side], found["imports"], strict=True)]
            for side in ("registry", "checked")
        )
        made.add_row(
            f"built-in and {count}" if count else "built-in",
            show(found["imports"], ".2f"),
            show(found["registry"], ".2f"),
            show(more, ".0f"),
            show(checked, ".0f"),
            verdict(median(more), TARGET, least=False),
        )
    print_table(made, before)


if __name__ == "__main__":
    main()
