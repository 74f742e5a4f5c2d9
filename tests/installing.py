"""Plugin packages as those have them who use them: built as wheels, and installed into an environment of their own."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from running import environment

_TOOLS = ("build", "*.egg-info", "__pycache__", ".*_cache")  # what tools leave beside a package's own files


@dataclass(frozen=True)
class Environment:
    """An environment that has all that the one of the tests has, and some packages more.

    Attributes:
        python: its interpreter.
        sources: the folders of these packages, by name; copies, as building and testing leave things there.
    """

    python: Path
    sources: dict[str, Path]

    def run(self, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter in a process of its own, without a terminal."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=folder,
            env=environment(**more),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def framework(self, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "framework", *arguments, folder=folder, **more)

    def test(self, *packages: str) -> subprocess.CompletedProcess[str]:
        """Run the tests that come with these packages."""
        tests = [str(self.sources[name] / "tests") for name in packages]
        options = ["-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(self.python.parent)]
        return self.run("-m", "pytest", *options, *tests, folder=self.python.parent)


def install(packages: Iterable[Path], folder: Path) -> Environment:
    """Build packages, and install them where nothing else is."""
    wheels = folder / "wheels"
    sources = {
        package.name: Path(shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns(*_TOOLS)))
        for package in packages
    }
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(wheels), *map(str, sources.values()))
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    _pip("install", "--no-compile", *map(str, wheels.glob("*.whl")), python=python)
    # By way of its .pth files too, one of which brings framework itself where that is installed to be edited.
    [site_packages] = python.parent.parent.glob("lib/python*/site-packages")
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (site_packages / "tests.pth").write_text(line)
    return Environment(python, sources)


def _pip(command: str, *arguments: str, python: Path | None = None) -> None:
    where = [] if python is None else ["--python", str(python)]
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *where, command, *options, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
