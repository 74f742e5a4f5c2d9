"""What a key covers beyond what a spec says: what is in files and folders, and which versions made the trial."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import DirectoryPath, FilePath

from framework import DataError, Interval, Loss, Stage, Trial, hookimpl
from framework._component import build, content
from framework._plan import as_it_stands, make_plans, planner
from framework._registry import Registry, installed
from framework._spec import load

Identity = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Extra:
    folders: tuple[DirectoryPath, ...] = ()


@dataclass(frozen=True)
class Reads(Stage):
    """Takes paths of all kinds."""

    file: FilePath | None = None
    folder: DirectoryPath | None = None
    target: Path = Path("data")
    extra: Extra | None = None
    loss: Loss = "flat"
    times: Annotated[int, Interval(ge=1)] = 1

    def run(self, trial: Trial) -> None: ...


class Stages:
    @hookimpl
    def register_stages(self) -> Any:
        return {"reads": Reads}


class Losses:
    @hookimpl
    def register_losses(self) -> Any:
        return {"flat": lambda: None}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def identity() -> Identity:
    """What a stage's key is made of."""

    def make(of: str = "lab 1", losses_of: str = "lab 1", **params: Any) -> dict[str, Any]:
        registry = Registry([(Stages(), of), (Losses(), losses_of)])
        return build(registry, "stage", {"name": "reads", **params}).plain(identity=True)

    return make


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["file", "target"])
def test_a_file_counts_by_its_content(parameter: str, identity: Identity) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        Path(name).write_text(text)
    a, b, c = (identity(**{parameter: name}) for name in "abc")
    assert a == b != c
    Path("a").write_text("two")
    assert identity(**{parameter: "a"}) == c


def test_a_file_is_read_once_until_it_changes(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = content.hashlib.file_digest
    monkeypatch.setattr(content.hashlib, "file_digest", lambda *args: read.append(args) or original(*args))
    Path("a").write_text("one")
    first = identity(file="a")
    assert [identity(file=name) for name in ("a", str(Path("a").absolute()))] == [first, first]
    assert len(read) == 1
    stat = os.stat("a")
    Path("a").write_text("two")
    os.utime("a", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert identity(file="a") != first
    assert len(read) == 2


def test_a_place_to_write_to_counts_by_its_name_whatever_comes_to_be_there(identity: Identity) -> None:
    before = identity(target="images")
    assert before["target"] == "images"
    Path("images").mkdir()
    Path("images", "a").write_text("one")
    assert identity(target="images") == before != identity(target="other")


def test_what_cannot_be_read_is_told(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    Path("a").write_text("one")
    monkeypatch.setattr(content.hashlib, "file_digest", refuse)
    with pytest.raises(DataError, match=r"^a cannot be read: Permission denied$"):
        identity(file="a")


# --- folders -------------------------------------------------------------------------------------------------------


def tree(root: str) -> Path:
    for name in ("train/x/1.png", "train/y/2.png", "test/x/3.png"):
        file = Path(root, name)
        file.parent.mkdir(parents=True)
        file.write_text(name)
    return Path(root)


def test_a_folder_counts_by_its_listing(identity: Identity) -> None:
    shutil.copytree(tree("a"), "b")  # keeps the times
    first = identity(folder="a")
    assert identity(folder="b") == first == identity(folder=str(Path("b").absolute()))

    Path("b/train/x/1.png").rename("b/train/x/0.png")
    renamed = identity(folder="b")
    Path("b/train/x/0.png").rename("b/train/x/1.png")
    assert identity(folder="b") == first != renamed

    Path("b/train/x/1.png").write_text("longer than it was")
    larger = identity(folder="b")
    os.utime("b/train/x/1.png", ns=(0, 5))
    assert len({str(one) for one in (first, renamed, larger, identity(folder="b"))}) == 4


def test_folders_inside_lists_and_mappings_count_too(identity: Identity) -> None:
    tree("a")
    first = identity(extra={"folders": ["a"]})
    Path("a/new").touch()
    assert identity(extra={"folders": ["a"]}) != first


def test_links_are_followed_but_not_in_circles(identity: Identity) -> None:
    tree("a")
    Path("link").mkdir()
    Path("link/train").symlink_to(Path("a/train").absolute())
    first = identity(folder="link")
    Path("a/train/x/1.png").write_text("changed and longer")
    assert identity(folder="link") != first
    Path("a/train/up").symlink_to(Path("a").absolute())
    Path("a/train/nowhere").symlink_to("nobody")
    assert identity(folder="a") == identity(folder="a")


# --- versions ------------------------------------------------------------------------------------------------------


def test_a_new_version_of_a_components_distribution_is_another_component(identity: Identity) -> None:
    assert identity()["source"] == "lab 1"
    assert identity(of="lab 2", losses_of="lab 2") != identity()
    # Of a loss too, whether it is the default or not.
    assert identity(losses_of="other 2") != identity(losses_of="other 1")
    assert identity(losses_of="other 1", times=2) == {"name": "reads", "source": "lab 1", "loss": "other 1", "times": 2}


def test_components_of_one_distribution_that_are_defaults_change_nothing(identity: Identity) -> None:
    assert identity() == identity(loss="flat") == {"name": "reads", "source": "lab 1"}


# --- keys ----------------------------------------------------------------------------------------------------------


def keys(registry: Registry, **changes: str) -> tuple[str, ...]:
    spec = {"model": "convnet", "data": "digits", "stages": "[test]", **changes}
    Path("spec.yaml").write_text("\n".join(f"{key}: {value}" for key, value in spec.items()))
    [trial] = make_plans(load("spec.yaml", registry), as_it_stands)
    return trial.keys


def test_raising_the_number_of_the_results_changes_all_keys(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(registry)
    monkeypatch.setattr(planner, "RESULTS", planner.RESULTS + 1)
    assert not set(keys(registry)) & set(before)


def test_the_frameworks_version_changes_no_key(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of what finds it: importlib_metadata, once anybody has imported it, has taken the place of Python's own finder.
    found_as = type(metadata.distribution("framework"))
    before, version = keys(registry), found_as.metadata

    def raised(self: metadata.Distribution) -> Any:
        found = version.fget(self)  # type: ignore[attr-defined]
        if found["Name"] == "framework":
            found.replace_header("Version", "99.0")
        return found

    monkeypatch.setattr(found_as, "metadata", property(raised))
    released = installed.__wrapped__()
    assert released.get("stage", "train").source == "framework 99.0"
    assert keys(released) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "{name: npz, path: %s}"},
        {"model": "{name: convnet, weights: %s}"},
        {"model": "{name: resnet18, weights: %s}"},
        {"model": "{name: torchvision, architecture: resnet18, weights: %s}"},
    ],
)
def test_data_and_weights_in_files_count_by_their_content(changes: dict[str, str], registry: Registry) -> None:
    Path("a.pt").write_text("one")
    shutil.copy("a.pt", "b.pt")
    Path("c.pt").write_text("two")
    [(part, value)] = changes.items()
    a, b, c = (keys(registry, **{part: value % f"{name}.pt"}) for name in "abc")
    assert a == b
    assert not set(a) & set(c)


def test_weights_without_a_file_count_by_their_name(registry: Registry) -> None:
    named = [
        keys(registry, model=f"{{name: resnet18, weights: {weights}}}")
        for weights in ("null", "DEFAULT", "IMAGENET1K_V1", "runs:/1/model", "runs:/2/model", "missing.pt")
    ]
    assert len({trial[-1] for trial in named}) == 6
    assert named[0] == keys(registry, model="resnet18")


def test_images_in_a_folder_count_by_their_listing(registry: Registry) -> None:
    shutil.copytree(tree("a"), "b")
    a, b = (keys(registry, data=f"{{name: imagefolder, size: 8, root: {root}}}") for root in "ab")
    Path("b/test/x/4.png").touch()
    assert a == b != keys(registry, data="{name: imagefolder, size: 8, root: b}")
